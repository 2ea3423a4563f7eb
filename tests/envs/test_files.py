"""What is replaced at a path that a user gives, and what is not."""

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from bisimgym.baselines.core.checkpoint import load_checkpoint, recover_checkpoint, save_checkpoint
from bisimgym.baselines.core.metric_learning import MetricDQN
from bisimgym.baselines.langevin.model import NeuralLangevinDynamics
from bisimgym.envs import files


@pytest.fixture(scope="module")
def model():
    return MetricDQN("MlpPolicy", "CartPole-v1", learning_starts=4, batch_size=2, buffer_size=20, seed=0).learn(6)


def tree(folder):
    """Return all that is in a folder: contents of files, targets of links, None for folders."""
    return {
        path.relative_to(folder).as_posix(): os.readlink(path)
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file()
        else None
        for path in folder.rglob("*")
    }


def with_source(folder):
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "main.py").write_text("work")


def with_a_foreign_file(folder):
    folder.mkdir()
    for name in ("model.zip", "rest.pkl.gz", "notes.txt"):
        (folder / name).write_text("mine")


def with_half_of_a_checkpoint(folder):
    folder.mkdir()
    (folder / "model.zip").write_text("my model")


def with_links_for_files(folder):
    with_source(folder.parent / "elsewhere")
    folder.mkdir()
    for name in ("model.zip", "rest.pkl.gz"):
        (folder / name).symlink_to(folder.parent / "elsewhere" / "src" / "main.py")


def with_hidden_files(folder):
    (folder / ".git").mkdir(parents=True)
    (folder / ".git" / "HEAD").write_text("ref")


def as_a_file(folder):
    folder.write_text("mine")


def as_a_link_to_a_project(folder):
    with_source(folder.parent / "elsewhere")
    folder.symlink_to(folder.parent / "elsewhere", target_is_directory=True)


def as_a_link_to_a_file(folder):
    (folder.parent / "text").write_text("mine")
    folder.symlink_to(folder.parent / "text")


def as_a_circle(folder):
    folder.symlink_to(folder.parent / "other")
    (folder.parent / "other").symlink_to(folder)


OTHERS = [
    with_source,
    with_a_foreign_file,
    with_half_of_a_checkpoint,
    with_links_for_files,
    with_hidden_files,
    as_a_file,
    as_a_link_to_a_project,
    as_a_link_to_a_file,
    as_a_circle,
]


@pytest.mark.parametrize("make", OTHERS)
def test_a_checkpoint_replaces_nothing_of_others(model, tmp_path, make):
    make(tmp_path / "results")
    before = tree(tmp_path)
    with pytest.raises(FileExistsError, match=str(tmp_path)):
        save_checkpoint(model, tmp_path / "results")
    assert tree(tmp_path) == before
    recover_checkpoint(tmp_path / "results" if make is not as_a_circle else tmp_path / "none")
    assert tree(tmp_path) == before


def test_a_checkpoint_replaces_itself_an_empty_folder_and_what_a_link_leads_to(model, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    for name in ("empty", "new", "new"):
        save_checkpoint(model, tmp_path / name)
        assert sorted(p.name for p in (tmp_path / name).iterdir()) == ["model.zip", "rest.pkl.gz"]
    link = tmp_path / "link"
    for target in ("new", "missing"):
        link.symlink_to(tmp_path / target, target_is_directory=True)
        save_checkpoint(model, link)
        assert link.is_symlink()
        assert load_checkpoint(MetricDQN, tmp_path / target, device="cpu").num_timesteps == model.num_timesteps
        link.unlink()
    monkeypatch.chdir(tmp_path / "new")
    save_checkpoint(model, tmp_path / "new")  # the current folder, which holds nothing else


def test_recovering_leaves_folders_of_others_that_are_named_alike(model, tmp_path):
    for name in (".results-old", ".results-backup-old", ".results-bisimgym-mine"):
        with_source(tmp_path / name)
    before = tree(tmp_path)
    recover_checkpoint(tmp_path / "results")
    save_checkpoint(model, tmp_path / "results")
    recover_checkpoint(tmp_path / "results")
    after = tree(tmp_path)
    assert before.items() <= {**after, **{k: v for k, v in before.items() if k.startswith("results")}}.items()
    assert after[".results-bisimgym-mine/src/main.py"] == b"work"


def saved(kind, path, model):
    if kind == "langevin":
        NeuralLangevinDynamics(4, hidden=4, context=4).save(path)
    else:
        model.save(path)


@pytest.mark.parametrize("kind", ["langevin", "learner"])
def test_a_model_replaces_models_only(kind, model, tmp_path):
    path = tmp_path / "thesis.zip"
    for content in (b"twenty pages", b""):
        path.write_bytes(content)
        if content:
            with pytest.raises(FileExistsError, match="thesis.zip is there and not a model"):
                saved(kind, path, model)
            assert path.read_bytes() == content
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("one.txt", "1")
    with pytest.raises(FileExistsError, match="photos.zip is there"):
        saved(kind, tmp_path / "photos.zip", model)
    for _ in range(2):
        saved(kind, path, model)
    (tmp_path / "link.zip").symlink_to(path)
    saved(kind, tmp_path / "link.zip", model)
    assert (tmp_path / "link.zip").is_symlink()
    with pytest.raises(FileExistsError, match="no regular file"):
        saved(kind, Path("/dev/null"), model) if kind == "langevin" else saved(kind, _folder(tmp_path / "f.zip"), model)


def _folder(path):
    path.mkdir()
    return path


def test_a_learner_saves_with_the_suffix_of_sb3_and_to_streams(model, tmp_path):
    (tmp_path / "results.zip").write_text("mine")
    with pytest.raises(FileExistsError, match="results.zip is there"):
        model.save(tmp_path / "results")
    model.save(str(tmp_path / "other"))
    assert (tmp_path / "other.zip").is_file()
    with (tmp_path / "stream").open("wb") as stream:
        model.save(stream)
    assert (tmp_path / "stream").stat().st_size


def test_logs_and_states_of_a_training_replace_their_own_only(tmp_path):
    signals = np.random.default_rng(0).normal(size=(3, 40, 4)).astype(np.float32)
    short = {
        "updates": 1,
        "batch_size": 2,
        "window": 8,
        "long_window": 8,
        "long_updates": 1,
        "warm_up": 1,
        "kl_warm_up": 1,
    }
    for name in ("log_path", "checkpoint_path"):
        path = tmp_path / name
        path.write_text("mine")
        with pytest.raises(FileExistsError, match=f"{name} is there and not"):
            NeuralLangevinDynamics(4, hidden=4, context=4).fit(signals, **short, **{name: path})
        assert path.read_text() == "mine"
        path.unlink()
        for _ in range(2):
            NeuralLangevinDynamics(4, hidden=4, context=4).fit(signals, **short, **{name: path})


def test_pictures_are_known_by_their_mark(tmp_path):
    image, marked = Image.new("RGB", (4, 4)), PngInfo()
    marked.add_text("Software", files.MARK)
    image.save(tmp_path / "ours.png", pnginfo=marked)
    image.save(tmp_path / "ours.jpg", comment=files.MARK)
    image.save(tmp_path / "ours.gif", comment=files.MARK)
    image.save(tmp_path / "theirs.png")
    (tmp_path / "text.png").write_text("mine")
    for name in ("ours.png", "ours.jpg", "ours.gif"):
        assert files.replaceable_file(tmp_path / name, "a picture", files.is_our_picture)
    for name in ("theirs.png", "text.png"):
        with pytest.raises(FileExistsError, match=f"{name} is there and not a picture that bisimgym wrote"):
            files.replaceable_file(tmp_path / name, "a picture", files.is_our_picture)


def test_a_file_is_replaced_whole_or_left_alone(tmp_path):
    path = tmp_path / "model.zip"
    with files.atomic_write(path) as temporary:
        temporary.write_text("first")
        assert temporary.suffix == ".zip"
        assert temporary.parent == tmp_path
        assert not path.exists()
    with pytest.raises(RuntimeError), files.atomic_write(path) as temporary:
        temporary.write_text("half of the sec")
        raise RuntimeError
    assert path.read_text() == "first"
    with files.atomic_write(str(path)) as temporary:
        temporary.write_text("second")
    assert path.read_text() == "second"
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_is_full_leaves_the_model_that_was_there(model, tmp_path, monkeypatch):
    model.save(tmp_path / "model.zip")
    before = (tmp_path / "model.zip").read_bytes()

    def full(path, *arguments, **keywords):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("stable_baselines3.common.base_class.save_to_zip_file", full)
    with pytest.raises(OSError, match="No space left"):
        model.save(tmp_path / "model.zip")
    assert (tmp_path / "model.zip").read_bytes() == before
    assert list(tmp_path.iterdir()) == [tmp_path / "model.zip"]


def test_a_checkpoint_with_a_changed_replay_is_refused(model, tmp_path):
    save_checkpoint(model, tmp_path / "kept")
    path = tmp_path / "kept/rest.pkl.gz"
    content = bytearray(path.read_bytes())
    at = len(content) // 2
    content[at : at + 8] = bytes(255 - byte for byte in content[at : at + 8])
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"the checkpoint in .*kept is damaged"):
        load_checkpoint(MetricDQN, tmp_path / "kept")


def test_a_tilde_is_the_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert files.followed("~/model.zip") == tmp_path / "model.zip"
