"""Checkpoints from which training goes on exactly as if it had not stopped.

SB3's ``save`` keeps the networks and optimizers. To go on to the bit takes the replay, the environments in the middle
of their episodes and all random streams as well; these functions keep them too.
"""

from __future__ import annotations

import contextlib
import gzip
import inspect
import io
import os
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any, TypeVar

import cloudpickle
import numpy as np
import torch as th
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from bisimgym.envs.files import followed, replaceable_folder

Algorithm = TypeVar("Algorithm", bound=OffPolicyAlgorithm)

_MODEL, _REST = "model.zip", "rest.pkl.gz"
#: Part of the names of the hidden folders that saving makes beside a checkpoint, and the end of that of the old one.
_HIDDEN, _OLD = "-bisimgym-", "-old"


def save_checkpoint(
    model: OffPolicyAlgorithm, folder: str | os.PathLike[str], with_env: bool = True, compress: bool = False
) -> None:
    """Write all that training goes on from into a folder, which is replaced as a whole and never half written.

    Only a checkpoint or an empty folder is replaced. A link is followed, and stays.

    A kill at the wrong moment leaves hidden folders beside it: :func:`recover_checkpoint` puts them in order.

    Args:
        model: between two steps of training: after ``learn``, or in a callback's ``_on_rollout_start``.
        folder: made if it is not there.
        with_env: whether to keep the environments; without, training goes on from new episodes.
        compress: whether to compress the replay: images of few colors take a hundredth of the room.

    Raises:
        FileExistsError: if there is a file, or a folder with anything but a checkpoint. Nothing is written then.
        TypeError: if the environments cannot be pickled (a simulator in another process, say).
    """
    folder = replaceable_folder(folder, "a checkpoint of bisimgym", _checkpoint_files)
    folder.parent.mkdir(parents=True, exist_ok=True)
    rest: dict[str, Any] = {
        "replay_buffer": model.replay_buffer,
        "action_space": model.action_space,
        "streams": _streams(model.device),
    }
    try:
        rest["env"] = _pickled(model.env) if with_env else None
    except Exception as error:
        raise TypeError(
            f"the environments of this model cannot be pickled ({error}): an exact checkpoint needs that. Use "
            "with_env=False, which goes on from new episodes"
        ) from error
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}{_HIDDEN}", dir=folder.parent))
    try:
        model.save(temporary / _MODEL)
        with gzip.open(temporary / _REST, "wb", compresslevel=1 if compress else 0) as file:
            cloudpickle.dump(rest, file)
        for name in (_MODEL, _REST):  # on the disk before what they replace is gone
            with (temporary / name).open("rb") as file:
                os.fsync(file.fileno())
        if folder.exists():
            old = temporary.with_name(temporary.name + _OLD)
            folder.rename(old)
            temporary.rename(folder)
            _remove(old)
        else:
            temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # made above: nobody else's


def _checkpoint_files(folder: Path) -> tuple[str, ...] | None:
    """Return the files of a whole checkpoint, or None if it is none."""
    files = (_MODEL, _REST)
    return files if all((folder / name).is_file() and not (folder / name).is_symlink() for name in files) else None


def _remove(folder: Path) -> None:
    """Remove a hidden folder and the files of a checkpoint in it; whatever else has got there stays."""
    if folder.is_dir():
        for name in (_MODEL, _REST):
            (folder / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty
            folder.rmdir()


def recover_checkpoint(folder: str | os.PathLike[str]) -> None:
    """Undo what a kill within :func:`save_checkpoint` left: afterwards there is the last whole checkpoint, or none.

    Args:
        folder: of the checkpoint, which nobody else may be writing.
    """
    folder = followed(folder)
    if not folder.parent.is_dir():
        return
    prefix = f".{folder.name}{_HIDDEN}"
    hidden = [path for path in folder.parent.iterdir() if path.name.startswith(prefix) and path.is_dir()]
    for old in hidden:
        # The one that was there moves away when the new one is whole.
        if old.name.endswith(_OLD) and not folder.exists():
            new = old.with_name(old.name.removesuffix(_OLD))
            (new if new.exists() else old).rename(folder)
    for path in hidden:
        _remove(path)


def load_checkpoint(
    algorithm: type[Algorithm],
    folder: str | os.PathLike[str],
    device: th.device | str = "auto",
    env: VecEnv | None = None,
) -> Algorithm:
    """Return the model of :func:`save_checkpoint`; ``learn(..., reset_num_timesteps=False)`` goes on exactly.

    The global random streams of Python, numpy and PyTorch become those of the checkpoint.

    Only load checkpoints that you trust: like all pickles, they can run any code.

    Args:
        algorithm: the class of the model.
        folder: of the checkpoint.
        device: to put the networks on. On another device than before, results differ in rounding, and pairs,
            samples and augmentations are drawn from their seeds anew.
        env: new environments, for a checkpoint without.

    Raises:
        ValueError: if the checkpoint is damaged, or has no environments and none are given.
        FileNotFoundError: if there is no checkpoint.
    """
    folder = Path(folder)
    if not (folder / _MODEL).exists() or not (folder / _REST).exists():
        raise FileNotFoundError(f"no checkpoint in {folder}: {_MODEL} and {_REST} are expected there")
    try:
        with gzip.open(folder / _REST, "rb") as file:
            rest = cloudpickle.load(file)
            while file.read(2**20):  # to the end, where the checksum is compared
                pass
    except (ImportError, AttributeError):  # of the environments' own modules, which are not there
        raise
    except Exception as error:  # whatever damage makes gzip and pickle raise
        raise ValueError(f"the checkpoint in {folder} is damaged ({error}): remove it, or restore it") from error
    if rest["env"] is None and env is None:
        raise ValueError(f"the checkpoint in {folder} has no environments: give some with env=")
    model = algorithm.load(
        folder / _MODEL,
        env=cloudpickle.loads(rest["env"]) if env is None else env,
        device=device,
        force_reset=env is not None,
    )
    model.replay_buffer = rest["replay_buffer"]
    if hasattr(model.replay_buffer, "set_env"):  # HER asks the environments for rewards
        model.replay_buffer.set_env(model.env)
    model.replay_buffer.device = model.device
    model.action_space = rest["action_space"]  # with its generator, which warm-up actions come from
    _set_streams(rest["streams"], model.device)
    return model


class _EnvPickler(cloudpickle.Pickler):
    """Pickles wrappers of SB3 with all that they hold: by themselves some cannot be, and others leave out the rest."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, VecEnvWrapper):
            state = {key: value for key, value in vars(obj).items() if key != "class_attributes"}
            return _wrapper_of, (type(obj), state)
        return super().reducer_override(obj)


def _wrapper_of(kind: type[VecEnvWrapper], state: dict[str, Any]) -> VecEnvWrapper:
    wrapper = kind.__new__(kind)
    wrapper.__dict__.update(state, class_attributes=dict(inspect.getmembers(kind)))
    return wrapper


def _pickled(env: VecEnv | None) -> bytes:
    stream = io.BytesIO()
    _EnvPickler(stream).dump(env)
    return stream.getvalue()


def _streams(device: th.device) -> dict[str, Any]:
    # SB3 draws from the global streams.
    streams = {"python": random.getstate(), "numpy": np.random.get_state(), "torch": th.get_rng_state()}  # noqa: NPY002
    if device.type == "cuda":
        streams["cuda"] = th.cuda.get_rng_state(device)
    return streams


def _set_streams(streams: dict[str, Any], device: th.device) -> None:
    random.setstate(streams["python"])
    np.random.set_state(streams["numpy"])  # noqa: NPY002
    th.set_rng_state(streams["torch"])
    if "cuda" in streams and device.type == "cuda":
        th.cuda.set_rng_state(streams["cuda"], device)
