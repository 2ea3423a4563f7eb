"""What every id does, as one hash: results carry it, and results of unlike hashes are not compared.

A roll-out with fixed seeds and actions is hashed: spaces, observations, rewards, ends and successes. Integers and
images of grids count exactly. Other numbers are rounded to :data:`QUANTUM`; so that machines which differ in the last
bits come to one hash, the roll-out is of the first seed with which no number lies near where rounding turns: within
:data:`MARGIN` or, in single precision, the fraction :data:`RELATIVE_MARGIN` of the largest number of its array.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np

#: By id. An entry is never edited: if what an id does changes, its version is raised, and the new id gets an entry.
DIGESTS = {
    "bisimgym/JumpingTask-v0": "42098b115e9ba00c5b475c24377e0b6ad2d730a96a855e431590bbfd15ccc78f",
    "bisimgym/JumpingTaskColors-v0": "9cbd0874849729c2a4cee84217aac4c9bb263022f6e0ad64376ecc716363d203",
    "bisimgym/Nav2D-v0": "6ca45a5fd958e48cc95983cee419dd75c6cfdafa5f13036beba09816656ebc54",
    "bisimgym/Nav2DCorridor-v0": "3e83d23dff988244dd8f1ba25c686a425a7153c939858ac3d622e51cb54c7d03",
    "bisimgym/Nav2DGoal-v0": "e2d4ef0421b4f76d2af10fcfe7fd1ae9bcc764a7a90e12bf6696d1e96003ba8f",
    "bisimgym/LQRDistractors-v0": "e26383215a8ccba3451e90c6e203cc228a69b120dd6bfda1e137b3b2d0d79a7d",
    "bisimgym/MarkovSignal-v0": "5ac10079bc60ad24656efe2fb516fc90908602aaf3e2c2d45e357a8e71a81b7b",
    "bisimgym/DistractorDial-v0": "547d21f3b2fe2ea3ec521d041af1b703d62ed62e112db7ba5096b6f8e7be809f",
    "bisimgym/HighwayDriving-v0": "59a5d9006e32b32b24499bd7f1b6184350f3f39b93df3ea55693fd55e91bbb4b",
    "bisimgym/DistractingControl-v0": "5a97f5d5fa7fdb8d410b1f8b60d108d537d5330e623c060d7b12b661db92da92",
    "bisimgym/DistractingBallInCupCatch-v0": "fbe68fd113067ac36c1d653c2d31967f304c31b2b11c77262f44e9a28508e60e",
    "bisimgym/DistractingCartpoleSwingup-v0": "5a97f5d5fa7fdb8d410b1f8b60d108d537d5330e623c060d7b12b661db92da92",
    "bisimgym/DistractingCheetahRun-v0": "41709d06d9f9b5406f168393ae5a61ac1224cf6f8e83bf21760889ffffc2be14",
    "bisimgym/DistractingFingerSpin-v0": "bce42c50cd24e00265199766b88f13e9b66f6c81bb513581388a309d09c6178f",
    "bisimgym/DistractingReacherEasy-v0": "ad73183a9b22e377f869713590cc91ebcdaaba89c2f4468b8af419bf31acfa96",
    "bisimgym/ChannelPruning-v0": "55a34111a6dfb3eaf1540f01cdb42bf631f10af8a7f67789a2a9e40a7affb7c0",
    "bisimgym/Manipulation-v0": "6956e2e855d82ed7104883c7d1bbb9f9536857388cc5eacdb35e60a5a1c1081b",
    "bisimgym/ManipulationDoor-v0": "6956e2e855d82ed7104883c7d1bbb9f9536857388cc5eacdb35e60a5a1c1081b",
    "bisimgym/ManipulationTwoArmPegInHole-v0": "a117c550c6f41a55708ca0f5f61c17ca151dbb10b671ed56bd4ad43eed2a4d97",
    "bisimgym/DistractingWalkerWalk-v0": "efe87ca55d2dfd8becd2bc0e608f4e3ccd7881cb1caa9a55783d5c34dfd1a63d",
}

#: Steps of a roll-out, and most numbers of an array of floats that count (evenly spaced ones).
STEPS, NUMBERS = 12, 16
QUANTUM, MARGIN, RELATIVE_MARGIN = 0.01, 2e-5, 7e-6
#: Images with so many rows are rendered from scenes, in floats: the means of 4 x 4 parts count, as fractions of 255.
_RENDERED, _PARTS = 80, 4
_MOST_SEEDS = 1000


def compute_digest(env_id: str) -> str:
    """Return the SHA-256 of what an id does, as registered.

    Raises:
        ImportError: if the environment needs a package that is not installed.
        RuntimeError: if no seed gives a roll-out that can be rounded.
    """
    with gym.make(env_id) as env:
        for seed in range(_MOST_SEEDS):
            hashed = hashlib.sha256(f"{_described(env.observation_space)} {_described(env.action_space)}".encode())
            if all(_add(hashed, name, value) for name, value in _roll_out(env, seed)):
                return hashed.hexdigest()
    raise RuntimeError(f"{env_id}: no seed below {_MOST_SEEDS} gives numbers that are safe to round")


def _roll_out(env: gym.Env, seed: int) -> Iterator[tuple[str, Any]]:
    rng = np.random.default_rng(seed)
    observation, _ = env.reset(seed=seed)
    yield "reset", observation
    for _ in range(STEPS):
        observation, reward, terminated, truncated, info = env.step(_action(env.action_space, rng))
        yield "observation", observation
        yield "reward", np.float64(reward)
        yield "end", np.array([terminated, truncated, bool(info.get("is_success", False))])
        if terminated or truncated:
            yield "reset", env.reset()[0]


def _described(space: gym.Space) -> str:
    """Return what a space is, without its ``repr``, which is Gymnasium's and may change."""
    if isinstance(space, gym.spaces.Dict):
        return str({name: _described(space[name]) for name in sorted(space)})
    if isinstance(space, gym.spaces.Discrete):
        return f"{space.n} from {space.start}"
    assert isinstance(space, gym.spaces.Box)
    return f"{space.dtype} {space.shape} from {space.low.min():.4g} to {space.high.max():.4g}"


def _action(space: gym.Space, rng: np.random.Generator) -> Any:
    """Return an action without ``space.sample``, which is Gymnasium's and may change."""
    if isinstance(space, gym.spaces.Discrete):
        return int(rng.integers(space.n) + space.start)
    assert isinstance(space, gym.spaces.Box)
    low, high = np.clip(space.low, -1, 1), np.clip(space.high, -1, 1)
    return rng.uniform(low, high).astype(space.dtype)


def _add(hashed: Any, name: str, value: Any) -> bool:
    """Add a value to a hash, and return whether rounding it is safe."""
    if isinstance(value, dict):
        return all(_add(hashed, f"{name}.{key}", value[key]) for key in sorted(value))
    array = np.asarray(value)
    hashed.update(f"{name} {array.dtype} {array.shape}".encode())
    if array.dtype == np.uint8 and array.ndim == 3 and len(array) >= _RENDERED:
        parts = [np.array_split(rows, _PARTS, axis=1) for rows in np.array_split(array, _PARTS)]
        array = np.array([part.mean(axis=(0, 1)) / 255 for row in parts for part in row])
    elif not np.issubdtype(array.dtype, np.floating):
        hashed.update(np.ascontiguousarray(array).astype(np.int64).tobytes())
        return True
    flat = array.astype(np.float64).ravel()
    scaled = flat[np.linspace(0, len(flat) - 1, min(len(flat), NUMBERS)).astype(int)] / QUANTUM
    hashed.update(np.rint(scaled).astype(np.int64).tobytes())
    margin = max(MARGIN, RELATIVE_MARGIN * np.abs(flat).max(initial=0.0) * (array.dtype == np.float32))
    return bool((np.abs(scaled - np.floor(scaled) - 0.5) > margin / QUANTUM).all())
