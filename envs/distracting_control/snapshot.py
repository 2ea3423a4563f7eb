"""States of the physics that can be drawn again, with what a task changes in its model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import mujoco
import numpy as np

#: What tasks may change in a model at the start of an episode that shows in images.
_VISIBLE_FIELDS = (
    *(f"{kind}_{what}" for kind in ("geom", "site") for what in ("pos", "quat", "size", "rgba")),
    *("body_pos", "body_quat", "cam_pos", "cam_quat", "light_pos", "light_dir", "mat_rgba", "hfield_data"),
)
_PHYSICS = int(mujoco.mjtState.mjSTATE_FULLPHYSICS)


@dataclass(frozen=True)
class Snapshot:
    """A state of the physics, enough to draw it again.

    Attributes:
        physics: ``float64[n]``, MuJoCo's full physics.
        changed: what is visible in the model and differs from the compiled model.
    """

    physics: np.ndarray
    changed: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class CleanState:
    """What an observation shows, without how it is distracted (see :meth:`DistractedEnv.clean_state`).

    Attributes:
        vector: ``float64[d]``, the task's own observation.
        snapshots: states of the physics, oldest first, one per image of the stack; empty for states. At the start of
            an episode one stands for all.
    """

    vector: np.ndarray
    snapshots: tuple[Snapshot, ...]


def visible_fields(model: mujoco.MjModel) -> dict[str, np.ndarray]:
    """Return copies of what is visible in a model."""
    return {name: getattr(model, name).copy() for name in _VISIBLE_FIELDS}


def flat_fields(model: mujoco.MjModel) -> np.ndarray:
    """Return all that is visible in a model as one array, ``float64[n]``."""
    return np.concatenate([np.ravel(getattr(model, name)) for name in _VISIBLE_FIELDS]).astype(np.float64)


def fields_of(flat: np.ndarray, like: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the fields that :func:`flat_fields` joined; ``like`` are :func:`visible_fields` of the same model."""
    ends = np.cumsum([array.size for array in like.values()])
    parts = np.split(flat, ends[:-1])
    return {name: part.reshape(like[name].shape) for name, part in zip(like, parts, strict=True)}


def take(model: mujoco.MjModel, data: mujoco.MjData, pristine: Mapping[str, np.ndarray]) -> Snapshot:
    """Return a snapshot; ``pristine`` is :func:`visible_fields` of the model as it was compiled."""
    physics = np.empty(mujoco.mj_stateSize(model, _PHYSICS))
    mujoco.mj_getState(model, data, physics, _PHYSICS)
    now = {name: getattr(model, name) for name in _VISIBLE_FIELDS}
    return Snapshot(physics, {k: a.copy() for k, a in now.items() if not np.array_equal(a, pristine[k])})


def restore(snapshot: Snapshot, model: mujoco.MjModel, data: mujoco.MjData, pristine: Mapping[str, np.ndarray]) -> None:
    """Put a snapshot into ``model`` and ``data``, and compute the kinematics."""
    for name, array in pristine.items():
        getattr(model, name)[:] = snapshot.changed.get(name, array)
    mujoco.mj_setState(model, data, snapshot.physics, _PHYSICS)
    mujoco.mj_forward(model, data)


@contextmanager
def model_kept(model: mujoco.MjModel) -> Iterator[None]:
    """Undo what is changed in the visible fields of a model in the meantime."""
    own = visible_fields(model)
    try:
        yield
    finally:
        for name, array in own.items():
            getattr(model, name)[:] = array
