"""Spaces of data sets: as JSON, and the comparison of one with another."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces


def space_to_json(space: spaces.Space) -> dict[str, Any]:
    """Return a space as JSON.

    Raises:
        ValueError: for a space that data sets do not hold.
    """
    if isinstance(space, spaces.Box):
        low, high = (_bound(values) for values in (space.low, space.high))
        return {"type": "Box", "low": low, "high": high, "shape": list(space.shape), "dtype": str(space.dtype)}
    if isinstance(space, spaces.Discrete):
        return {"type": "Discrete", "n": int(space.n), "start": int(space.start), "dtype": str(space.dtype)}
    if isinstance(space, spaces.MultiDiscrete):
        return {"type": "MultiDiscrete", "nvec": space.nvec.tolist(), "dtype": str(space.dtype)}
    if isinstance(space, spaces.MultiBinary):
        return {"type": "MultiBinary", "n": list(space.shape)}
    if isinstance(space, spaces.Dict) and not any(isinstance(part, spaces.Dict) for part in space.values()):
        return {"type": "Dict", "spaces": {key: space_to_json(part) for key, part in space.items()}}
    raise ValueError(
        f"data sets hold Box, Discrete, MultiDiscrete, MultiBinary and Dict spaces of those, got {space}: flatten it "
        "with gymnasium.wrappers.FlattenObservation"
    )


def space_from_json(written: dict[str, Any]) -> spaces.Space:
    """Return the space that :func:`space_to_json` wrote."""
    kind, arguments = written["type"], {key: value for key, value in written.items() if key != "type"}
    if kind == "Dict":
        return spaces.Dict({key: space_from_json(part) for key, part in arguments["spaces"].items()})
    if "dtype" in arguments:
        arguments["dtype"] = np.dtype(arguments["dtype"])
    if kind == "Box":
        shape, dtype = tuple(arguments["shape"]), arguments["dtype"]
        low, high = (np.broadcast_to(np.asarray(arguments[k], dtype), shape) for k in ("low", "high"))
        return spaces.Box(low, high, shape, dtype)
    if kind not in ("Discrete", "MultiDiscrete", "MultiBinary"):
        raise ValueError(f"unknown kind of space {kind!r}")
    return getattr(spaces, kind)(**arguments)


def require_same(what: str, wanted: spaces.Space, found: spaces.Space) -> None:
    """Raise ``ValueError`` unless the space ``found`` of a data set is the one ``wanted``."""
    if wanted != found:
        raise ValueError(f"the data set has other {what}s: {found} there, {wanted} here")


def batch_of(space: spaces.Space, values: Any) -> Any:
    """Return a batch of values as arrays of the space's dtype, in the form that data sets keep it."""
    if isinstance(space, spaces.Dict):
        return {key: batch_of(part, values[key]) for key, part in space.items()}
    return np.asarray(values, dtype=space.dtype)


def _bound(values: np.ndarray) -> Any:
    """Return bounds as one number where they are all the same; float32 numbers keep their bits in JSON."""
    same = values.size and (values == values.flat[0]).all()
    return values.flat[0].item() if same else values.tolist()
