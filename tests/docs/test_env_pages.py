"""The pages of the environments, and their animations."""

from pathlib import Path

import env_pages
import gymnasium as gym
import numpy as np
import pytest
import shown_policies
from PIL import Image
from stable_baselines3 import SAC

from bisimgym.envs import IDS

COMMITTED = Path(__file__).parents[2] / "docs" / "envs"


def test_pages_are_what_the_docstrings_say(tmp_path):
    env_pages.main(["--out", str(tmp_path), "--no-pictures"])
    assert len(list(tmp_path.iterdir())) == len(env_pages.can_be_made()) + 1
    for path in tmp_path.iterdir():
        assert (COMMITTED / path.name).read_text() == path.read_text(), f"{path.name}: run docs/tools/env_pages.py"


def test_all_but_those_of_robosuite_can_be_made_anywhere():
    assert {env_id for env_id in IDS if "Manipulation" not in env_id} <= set(env_pages.can_be_made())


@pytest.mark.parametrize("env_id", IDS)
def test_every_page_has_an_animation(env_id):
    path = COMMITTED / f"{env_pages.page_name(env_id)}.gif"
    assert path.stat().st_size < 2_000_000
    with Image.open(path) as image:
        assert image.format == "GIF"
        assert image.n_frames > 10
        assert 150 <= image.width <= 420


def test_an_id_with_arguments_links_to_the_page_of_the_other():
    text = env_pages.page("bisimgym/DistractingFingerSpin-v0")
    assert '[`bisimgym/DistractingControl-v0`](DistractingControl-v0.md) with `domain="finger"`' in text
    assert "## Reward" not in text
    assert "num_envs=8" in text
    assert "\n*SAC acts, trained on clean states for 60,000 steps (" in text
    assert env_pages.caption("bisimgym/Manipulation-v0", has_oracle=False) == "no policy: actions that sway"
    assert "## Reward" in env_pages.page("bisimgym/DistractingControl-v0")


@pytest.mark.parametrize(
    ("name", "frames", "size", "milliseconds"),
    [("Nav2DCorridor-v0", None, None, 90), ("DistractingReacherEasy-v0", 3, (160, 160), 80)],
)
def test_animations(name, frames, size, milliseconds, tmp_path):
    env_pages.animation(f"bisimgym/{name}", tmp_path / "env.gif", preset="color-easy", steps=3)
    with Image.open(tmp_path / "env.gif") as image:
        assert image.info["duration"] == milliseconds
        assert image.n_frames == frames if frames else image.n_frames > 3
        assert image.size == size if size else image.width <= 420


def test_a_kept_policy_acts_in_the_animation_and_is_named(tmp_path, monkeypatch):
    pytest.importorskip("dm_control")
    monkeypatch.setattr(shown_policies, "FOLDER", tmp_path)
    weights = {"weight0": np.array([[0, 0, 0, 0, 1.0]]), "bias0": np.zeros(1)}  # by the speed of the pole
    np.savez(tmp_path / "CartpoleSwingup.npz", **weights, steps=8000, score=812.4)
    for env_id in ("bisimgym/DistractingControl-v0", "bisimgym/DistractingCartpoleSwingup-v0"):
        assert env_pages.caption(env_id, False) == (
            "SAC acts, trained on clean states for 8,000 steps (mean return over 5 episodes: 812 of 1000); "
            "preset dcs-medium-dynamic"
        )
    assert env_pages.policy_of("bisimgym/DistractingWalkerWalk-v0") is None
    seen = []
    monkeypatch.setattr(shown_policies, "act", lambda policy, state: seen.append(state) or np.zeros(1, np.float32))
    env_pages.animation("bisimgym/DistractingCartpoleSwingup-v0", tmp_path / "env.gif", preset="color-easy", steps=2)
    assert [state.shape for state in seen] == [(5,), (5,)]
    assert not np.array_equal(*seen)


def test_arrays_of_a_policy_act_as_its_model():
    env = gym.make("Pendulum-v1")
    model = SAC("MlpPolicy", env, policy_kwargs={"net_arch": [8, 8]}, buffer_size=10, seed=0, device="cpu")
    policy = shown_policies.arrays(model)
    for state in np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32):
        expected = model.predict(state, deterministic=True)[0] / 2  # torques reach 2
        np.testing.assert_allclose(shown_policies.act(policy, state), expected, atol=1e-5)
