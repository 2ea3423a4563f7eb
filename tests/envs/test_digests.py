"""What ids do is what their digests say, and digests do not depend on the last bits of a machine."""

import hashlib

import gymnasium as gym
import numpy as np
import pytest

from bisimgym.envs import IDS, digests
from bisimgym.envs.digests import DIGESTS, compute_digest
from bisimgym.envs.manipulation import simulator


class Drifting(gym.Env):
    """Floats, a picture of a scene and a grid's picture, each moved by a little."""

    observation_space = gym.spaces.Dict(
        {
            "floats": gym.spaces.Box(-1, 1, (40,)),
            "scene": gym.spaces.Box(0, 255, (84, 84, 3), np.uint8),
            "grid": gym.spaces.Box(0, 255, (8, 8, 2), np.uint8),
        }
    )
    action_space = gym.spaces.Discrete(3, start=-1)

    def __init__(self, floats=0.0, pixels=0, cell=0, success=False):
        self.moved = floats, pixels, cell
        self.success = success

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.seen(), {}

    def step(self, action):
        return self.seen(), float(action) + self.moved[0], False, False, {"is_success": self.success}

    def seen(self):
        floats, pixels, cell = self.moved
        scene = self.np_random.integers(5, 250, (84, 84, 3)).astype(np.uint8)
        scene[:pixels, 0] += 1
        grid = np.zeros((8, 8, 2), np.uint8)
        grid[3, 3] = cell
        return {"floats": np.float32(self.np_random.uniform(-0.9, 0.9, 40) + floats), "scene": scene, "grid": grid}


@pytest.fixture
def digest_of():
    gym.register("Drifting-v0", Drifting, disable_env_checker=True)

    def compute(**moved):
        gym.registry["Drifting-v0"].kwargs = moved
        return compute_digest("Drifting-v0")

    yield compute
    del gym.registry["Drifting-v0"]


@pytest.mark.parametrize("env_id", IDS)
def test_ids_do_what_their_digests_say(env_id):
    if "Manipulation" in env_id and not simulator.is_installed():
        pytest.skip(f"needs robosuite: {simulator.INSTALL}")
    assert env_id in DIGESTS, f"add {env_id!r}: {compute_digest(env_id)!r} to DIGESTS in envs/digests.py"
    assert compute_digest(env_id) == DIGESTS[env_id], (
        f"{env_id} does not do what it did: register it with a higher version, raise the version of the suites that "
        "use it, and add a digest for the new id; never edit one"
    )


def test_only_registered_ids_have_digests():
    assert set(DIGESTS) == set(IDS)


def test_last_bits_do_not_change_a_digest_and_anything_else_does(digest_of):
    digest = digest_of()
    assert digest_of(floats=1e-6) == digest
    assert digest_of(pixels=1) == digest
    changes = ({"floats": 0.02}, {"pixels": 84}, {"cell": 1}, {"success": True})
    assert len({digest, *(digest_of(**change) for change in changes)}) == 1 + len(changes)


def test_large_numbers_in_single_precision_may_drift_more():
    """Sums of a network differ by a few units in the last place from one processor to the next."""
    sums = np.random.default_rng(0).normal(size=(2000, 16)) * 100
    for dtype, agree in ((np.float32, True), (np.float64, False)):
        moved = sums * (1 + 4e-7)
        safe = [digests._add(hashlib.sha256(), "sum", row.astype(dtype)) for row in sums]
        rounded = [
            (np.rint(of / digests.QUANTUM) == np.rint(one / digests.QUANTUM)).all()
            for of, one in zip(sums, moved, strict=True)
        ]
        assert any(safe)
        assert not all(safe)
        assert all(same for same, is_safe in zip(rounded, safe, strict=True) if is_safe) == agree
