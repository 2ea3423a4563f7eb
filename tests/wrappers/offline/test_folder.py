"""Data sets on disk: what is damaged, half-written or in use is refused, and a full disk loses nothing."""

import fcntl
import json
import os
import resource
import subprocess
import sys
import textwrap

import gymnasium as gym
import numpy as np
import pytest
from episodes import assert_same

import bisimgym  # noqa: F401
from bisimgym.wrappers.offline import DamagedDataError, collect, convert, load
from bisimgym.wrappers.offline.manifest import MANIFEST, sha256_of_json

NAV2D = "bisimgym/Nav2D-v0"


@pytest.fixture
def folder(tmp_path):
    collect(NAV2D, "epsilon-greedy", 600, num_envs=2, part_steps=200, dataset=tmp_path / "d")
    return tmp_path / "d"


def test_what_is_read_is_what_was_collected(folder):
    kept = collect(NAV2D, "epsilon-greedy", 600, num_envs=2, part_steps=200)
    for in_memory in (False, True):
        d = load(folder, in_memory=in_memory)
        assert_same(d.columns, kept.columns)
        assert d.info == kept.info
        for a, b in zip(d.sample(np.arange(50)), kept.sample(np.arange(50)), strict=True):
            np.testing.assert_array_equal(a, b)


def test_files_are_mapped(tmp_path):
    d = collect("bisimgym/JumpingTask-v0", "random", 500, num_envs=2, dataset=tmp_path / "d")
    column = d.columns.observations[""]
    assert isinstance(column.base, np.memmap)
    batch = d.sample(np.arange(10))
    assert not np.shares_memory(batch.observations, column)
    with pytest.raises(ValueError, match="read-only"):
        column[0] = 1


@pytest.mark.parametrize("damage", ["flip", "cut", "grow", "remove", "manifest", "nonsense"])
def test_damage_is_refused(folder, damage):
    path = folder / "column-00.bin"
    data = bytearray(path.read_bytes())
    manifest = folder / MANIFEST
    if damage == "flip":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif damage == "cut":
        path.write_bytes(data[:-1])
    elif damage == "grow":
        path.write_bytes(data + b"x")
    elif damage == "remove":
        path.unlink()
    elif damage == "manifest":
        written = json.loads(manifest.read_text())
        written["content"]["info"]["policy"] = "oracle"
        manifest.write_text(json.dumps(written))
    else:
        manifest.write_text('{"content": 3')
    with pytest.raises(DamagedDataError, match=r"(column-00.bin|offline.json)") as error:
        load(folder)
    assert "\n" not in str(error.value)


def test_damage_of_the_same_size_is_found_by_checksums_alone(folder):
    path = folder / "column-02.bin"
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)
    load(folder, verify=False)
    with pytest.raises(DamagedDataError, match="checksum"):
        load(folder)


def test_what_is_no_data_set(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="is no data set"):
        load(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="there is no data set"):
        load(tmp_path / "nothing")


def test_display_arguments(folder):
    shown = load(folder)
    hidden = load(folder, env_kwargs={"goal_visible": False})
    rows = np.arange(20)
    np.testing.assert_array_equal(shown.observations(rows)[..., :2], hidden.observations(rows)[..., :2])
    assert shown.observations(rows)[..., 2].any()
    assert not hidden.observations(rows)[..., 2].any()
    assert hidden.info["env_kwargs"] == {"goal_visible": False}
    with pytest.raises(ValueError, match=r"env_kwargs \['size'\] are part of the data"):
        load(folder, env_kwargs={"size": 10})


def test_arrays_keep_what_was_shown(folder, tmp_path):
    arrays = convert(folder, tmp_path / "arrays", "arrays", env_kwargs={"goal_visible": False})
    hidden = load(folder, env_kwargs={"goal_visible": False})
    rows = np.random.default_rng(0).permutation(len(hidden))
    for a, b in zip(arrays.sample(rows), hidden.sample(rows), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(arrays.columns.per_episode["seed"], hidden.columns.per_episode["seed"])
    with pytest.raises(ValueError, match="stored as they were shown"):
        load(tmp_path / "arrays", env_kwargs={"goal_visible": True})
    with pytest.raises(ValueError, match="keeps 'arrays', of which 'compact' cannot be made"):
        convert(tmp_path / "arrays", tmp_path / "back", "compact")
    with pytest.raises(FileExistsError):
        convert(folder, tmp_path / "arrays", "arrays")


def test_two_processes_do_not_write_one_data_set(tmp_path):
    partial = tmp_path / ".d.partial"
    partial.mkdir()
    with (partial / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="another process is writing"):
            collect(NAV2D, "random", 10, dataset=tmp_path / "d")
    collect(NAV2D, "random", 10, dataset=tmp_path / "d")


def test_what_is_in_the_way_stays(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.tex").write_text("all of it")
    (tmp_path / ".link.partial").symlink_to(tmp_path / "precious")
    (tmp_path / ".full.partial").mkdir()
    (tmp_path / ".full.partial" / "thesis.tex").write_text("all of it")
    (tmp_path / ".file.partial").write_text("all of it")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("link", "full", "file"):
        with pytest.raises(FileExistsError, match="is in the way"):
            collect(NAV2D, "random", 10, dataset=tmp_path / name)
    with pytest.raises(FileExistsError, match="dangling exists"):
        collect(NAV2D, "random", 10, dataset=tmp_path / "dangling")
    assert [path.name for path in (tmp_path / "precious").iterdir()] == ["thesis.tex"]
    assert (tmp_path / ".full.partial" / "thesis.tex").read_text() == "all of it"
    assert (tmp_path / ".file.partial").read_text() == "all of it"


def test_a_full_disk_loses_nothing(tmp_path):
    """The limit on file sizes fails writes as a full disk does."""
    code = textwrap.dedent(f"""
        import resource, signal
        from bisimgym.wrappers.offline import collect
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
        arguments = dict(num_envs=2, part_steps=2_000, dataset={str(tmp_path / "d")!r})
        try:
            collect("bisimgym/Nav2D-v0", "random", 10_000, **arguments)
        except OSError as error:
            print(error.filename, error.strerror)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        done = []
        collect("bisimgym/Nav2D-v0", "random", 10_000, progress=lambda now, total: done.append(now), **arguments)
        print(done[0])
    """)
    message, first = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert str(tmp_path / ".d.partial") in message
    assert "give the same command again" in message
    assert int(first) >= 2_000  # the parts before were kept
    whole = collect(NAV2D, "random", 10_000, num_envs=2, part_steps=2_000)
    assert_same(load(tmp_path / "d").columns, whole.columns)
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 20_000


@pytest.mark.parametrize("form", ["arrays", "minari"])
def test_a_process_that_is_killed_leaves_what_can_be_gone_on_with(tmp_path, form, monkeypatch):
    if form == "minari":
        pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    name = "killed-v0" if form == "minari" else str(tmp_path / "killed")
    arguments = {"num_envs": 2, "part_steps": 500, "form": form}
    code = (
        "from bisimgym.wrappers.offline import collect\n"
        f"collect({NAV2D!r}, 'random', 100_000, dataset={name!r}, progress=lambda now, all: print(now, flush=True), "
        f"**{arguments!r})"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if int(line) > 3_000:
                break
        process.kill()
    first = []

    class Seen(Exception):
        pass

    def stop(now, total):
        first.append(now)
        raise Seen

    with pytest.raises(Seen):
        collect(NAV2D, "random", 100_000, dataset=name, progress=stop, **arguments)
    assert 2_000 < first[0] < 4_000
    with pytest.raises(FileNotFoundError, match="is not finished"):
        load(name)


def edit(folder, change):
    """Change a manifest and seal it again, as a stranger can."""
    content = json.loads((folder / MANIFEST).read_text())["content"]
    content = change(content) or content
    (folder / MANIFEST).write_text(json.dumps({"content": content, "sha256": sha256_of_json(content)}))


def of_columns(key, value):
    def change(content):
        for part in content["parts"]:
            for column in part["columns"]:
                column[key] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        *(of_columns("dtype", value) for value in ("|O", "<M8[s]", "V8", "zzz", 5, None)),
        *(of_columns("shape", value) for value in ([-1], [1.5], [2**70], "", None)),
        *(of_columns("name", value) for value in (5, "rewards")),
        of_columns("bytes", -8),
        lambda content: content.update(parts=[]),
        lambda content: content.update(parts={}),
        lambda content: content.pop("parts") and None,
        lambda content: content.pop("info") and None,
        lambda content: content.pop("form") and None,
        lambda content: content.pop("format") and None,
        lambda content: [content],
        lambda content: content["parts"][0].update(steps=10**30),
        lambda content: content["parts"][0].update(columns=[]),
    ],
)
def test_a_strangers_manifest_is_refused(folder, change):
    edit(folder, change)
    with pytest.raises(DamagedDataError):
        load(folder)


@pytest.mark.parametrize("text", ["[" * 10**5, '{"content": ' + "9" * 5000 + ', "sha256": ""}', "[]", "null"])
def test_a_manifest_of_other_json_is_refused(folder, text):
    (folder / MANIFEST).write_text(text)
    with pytest.raises(DamagedDataError, match=r"offline.json is damaged"):
        load(folder)


def test_spaces_of_other_kinds_are_refused(tmp_path):
    collect("CartPole-v1", "random", 40, num_envs=2, dataset=tmp_path / "d", form="arrays")
    for kind in ("Graph", "__dict__", "Text"):
        edit(tmp_path / "d", lambda content, kind=kind: content["action_space"].update(type=kind))
        with pytest.raises(DamagedDataError, match=r"the spaces in offline.json are damaged"):
            load(tmp_path / "d")


def test_no_module_is_imported_because_a_file_says_so(folder, tmp_path, monkeypatch):
    (tmp_path / "evil.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    edit(folder, lambda content: content["info"].update(env_id="evil:Nav-v7"))
    with pytest.raises(ValueError, match="no environment Nav-v7 is registered: import the module that registers it"):
        load(folder)


@pytest.mark.parametrize("kind", ["link", "pipe"])
@pytest.mark.parametrize("name", ["column-00.bin", MANIFEST])
def test_links_and_pipes_are_not_read(folder, name, kind):
    (folder / name).rename(folder.parent / "elsewhere")
    os.symlink(folder.parent / "elsewhere", folder / name) if kind == "link" else os.mkfifo(folder / name)
    with pytest.raises((DamagedDataError, FileNotFoundError)):
        load(folder)


@pytest.mark.parametrize("name", [".lock", "column-00.bin"])
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_nothing_is_written_through_links(tmp_path, name, kind):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / ".d.partial").mkdir()
    path = tmp_path / ".d.partial" / name
    path.symlink_to(victim) if kind == "link" else os.mkfifo(path)
    with pytest.raises((OSError, ValueError), match="move it away|no such device"):
        collect("CartPole-v1", "random", 30, num_envs=2, dataset=tmp_path / "d", form="arrays")
    assert victim.read_text() == "mine"


class Broken(gym.Env):
    """Gives what is not finite at its fifth step."""

    observation_space = gym.spaces.Box(-1, 1, (2,))
    action_space = gym.spaces.Discrete(2)

    def __init__(self, what="reward"):
        self.what, self.steps = what, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.steps += 1
        bad = np.nan if self.steps == 5 else 0.0
        observation = np.full(2, bad if self.what == "observation" else 0, np.float32)
        return observation, bad if self.what == "reward" else 0.0, self.steps == 10, False, {}


@pytest.mark.parametrize("what", ["reward", "observation"])
def test_numbers_that_are_not_finite_are_not_kept(tmp_path, what):
    gym.register("Broken-v0", Broken)
    try:
        with pytest.raises(ValueError, match=rf"environment Broken-v0 gave {what}s.* that are not finite, nan at"):
            collect("Broken-v0", "random", 30, num_envs=2, dataset=tmp_path / "d", env_kwargs={"what": what})
    finally:
        del gym.registry["Broken-v0"]


@pytest.mark.parametrize("name", ["nope/..", "/"])
def test_a_path_without_a_name_is_refused_before_anything_is_played(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, FileExistsError), match=r"is no name for a data set|exists: take another name"):
        collect("CartPole-v1", "random", 30, num_envs=2, dataset=name, form="arrays")
    assert list(tmp_path.iterdir()) == []


def test_a_tilde_is_the_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    collect("CartPole-v1", "random", 30, num_envs=2, dataset="~/d", form="arrays")
    assert len(load("~/d")) >= 30
    assert (tmp_path / "d" / MANIFEST).is_file()
