"""A fuzz of run folders: each mutation is refused in one line or reported, and touches nothing outside of the site."""

import json
import os
import random
import shutil
import time

import pytest
from forged import FIDELITY, FILES, IMAGES, JUMPING, NOISY, copy, within

from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.report.leaderboard import build_site
from bisimgym.benchmarks.running.run_folder import find_runs
from bisimgym.benchmarks.running.schema import digest

#: BISIMGYM_FUZZ=2000 tries more.
MUTATIONS = int(os.environ.get("BISIMGYM_FUZZ", "300"))
VALUES = (
    *(None, True, False, -1, 0, 1, 2**31, 2**63, 10**30, 1e308, -1e-320, 0.5, "", "x" * 5000, [], {}, [[]], {"a": {}}),
    *(
        "../../../../escaped",
        "/etc/passwd",
        "\x1b[2J",
        "a\nb",
        "<script>",
        "=1+1",
        "\ud800",
        "é",
        "..",
        ".",
        "a" * 300,
    ),
)


def places(value, path=()):
    """Yield the paths of every value in a tree of JSON."""
    yield path
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value[:3]):
            yield from places(item, (*path, key))


def changed(value, path, new):
    if not path:
        return new
    copied = value.copy()
    copied[path[0]] = changed(value[path[0]], path[1:], new)
    return copied


def mutate_value(rng, path):
    """Replace, remove or add something in a file of JSON; seal it again, or not."""
    name = rng.choice(FILES)
    file = path / name
    lines = file.read_text().splitlines() if name == "curve.jsonl" else [file.read_text()]
    at = rng.randrange(len(lines))
    value = json.loads(lines[at])
    where = rng.choice(list(places(value)))
    new = rng.choice(VALUES)
    if rng.random() < 0.2:
        for _ in range(rng.choice((5, 50, 5000))):
            new = [new] if rng.random() < 0.5 else {"a": new}
    try:
        lines[at] = json.dumps(changed(value, where, new))
    except RecursionError:
        lines[at] = '{"a":' * 100_000
    file.write_text("\n".join(lines) + "\n")
    if rng.random() < 0.7:
        reseal_loosely(path)


def reseal_loosely(path):
    """Seal as far as what is there can be sealed: what the strict functions refuse stays as it is."""
    try:
        run, result = (json.loads((path / name).read_text()) for name in ("run.json", "result.json"))
        rows = [json.loads(line) for line in (path / "curve.jsonl").read_text().splitlines()]
        run["spec_digest"] = result["spec_digest"] = digest(run["spec"])
        result["record_digest"] = digest({k: v for k, v in run.items() if k not in ("spec", "spec_digest")})
        result["curve_digest"] = digest(rows)
        result |= {k: run["spec"][k] for k in ("suite", "task", "method", "variant", "preset", "seed")}
        result["digest"] = digest({k: v for k, v in result.items() if k != "digest"})
        (path / "run.json").write_text(json.dumps(run))
        (path / "result.json").write_text(json.dumps(result))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, UnicodeError):
        pass


def mutate_bytes(rng, path):
    file = path / rng.choice(FILES)
    content = bytearray(file.read_bytes())
    at = rng.randrange(len(content))
    kind = rng.randrange(5)
    if kind == 0:
        content[at] ^= 1 << rng.randrange(8)
    elif kind == 1:
        del content[at:]
    elif kind == 2:
        content[at:at] = rng.choice(
            (b"\xff\xfe", b"\xed\xa0\x80", b"\x00", b"[" * 5000, b"9" * 5000, b"\r", b"\xe2\x80\xa8")
        )
    elif kind == 3:
        content = bytearray(b"")
    else:
        content += bytes(content)
    file.write_bytes(content)


def mutate_files(rng, path, outside):
    file = path / rng.choice((*FILES, "pictures", "pictures/a.png"))
    file.parent.mkdir(exist_ok=True)
    if file.is_dir():
        file.rmdir()
    file.unlink(missing_ok=True)
    kind = rng.randrange(5)
    if kind == 0:
        os.mkfifo(file)
    elif kind == 1:
        file.symlink_to(rng.choice((outside / "secret.json", outside, file, "/dev/zero", "/nowhere")))
    elif kind == 2:
        file.mkdir()
    elif kind == 3:
        file.write_bytes(b"")
        os.truncate(file, rng.choice((1, 5 * 2**20, 2**33)))  # a hole: takes no room


def mutate_place(rng, path):
    names = ("seed-2", "seed-1\n", "x y", "\udcff", "..x", "<b>", "a" * 200, "jumping/wide/pse/short/seed-1")
    new = path.parent / rng.choice(names)
    new.parent.mkdir(parents=True, exist_ok=True)
    path.rename(new)


def snapshot(folder):
    return {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("part", range(10))
def test_mutated_folders_are_refused_in_one_line_or_reported(tmp_path, part):
    rng = random.Random(part)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.json").write_text('{"auth": "c2VjcmV0"}')
    before = snapshot(outside)
    lines, reported = [], 0
    for number in range(MUTATIONS // 10):
        base = tmp_path / f"{number}"
        path = copy(rng.choice((NOISY, IMAGES, JUMPING, FIDELITY)), base / "runs/x")
        for _ in range(rng.choice((1, 1, 1, 2))):
            if not path.exists():
                break
            kind = rng.choice(("value", "value", "value", "bytes", "files", "place"))
            try:
                if kind == "files":
                    mutate_files(rng, path, outside)
                else:
                    {"value": mutate_value, "bytes": mutate_bytes, "place": mutate_place}[kind](rng, path)
            except (FileNotFoundError, IsADirectoryError, ValueError, OSError):
                continue  # a second mutation of what the first has taken away
        started = time.monotonic()
        try:
            with within(30):
                build_site(find_runs([base / "runs"]), base / "site")
            reported += 1
            for page in (base / "site").rglob("*"):
                if page.is_file():
                    content = page.read_bytes()
                    assert b"c2VjcmV0" not in content
                    assert b"<script>" not in content
        except UserError as error:
            lines.append(str(error))
        assert time.monotonic() - started < 30
        assert {p.name for p in base.iterdir()} <= {"runs", "site"}
        shutil.rmtree(base)
    assert snapshot(outside) == before
    assert {p.name for p in tmp_path.iterdir()} == {"outside"}
    assert all(str(tmp_path) in line and len(line) < 2000 for line in lines)
    assert len(lines) > reported > 0 or MUTATIONS < 100
