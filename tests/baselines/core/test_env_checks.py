"""Environments that a learner cannot take, and those that give what is no number."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from bisimgym.baselines.core.loss_log import DivergedError
from bisimgym.baselines.core.metric_learning import MetricDQN, MetricSAC

SMALL = {"learning_starts": 8, "batch_size": 8, "buffer_size": 100, "seed": 0, "device": "cpu"}
VECTOR, TWO, BOX = spaces.Box(-1, 1, (3,)), spaces.Discrete(2), spaces.Box(-1, 1, (2,))


def image(height, width):
    return spaces.Box(0, 255, (height, width, 3), np.uint8)


class Given(gym.Env):
    """Random observations of a space; from some step on, one part of what it gives is ``bad``."""

    def __init__(self, observation_space=VECTOR, action_space=TWO, part="", bad=np.nan, first=12):
        self.observation_space, self.action_space = observation_space, action_space
        self.part, self.bad, self.first, self.steps = part, bad, first, 0

    def observation(self, part):
        given = self.observation_space.sample()
        if part == self.part and self.steps >= self.first:
            given[0] = self.bad
        return given

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation("reset"), {}

    def step(self, action):
        self.steps += 1
        ended = self.steps % 10 == 0
        reward = self.bad if self.part == "reward" and self.steps >= self.first else 0.0
        return self.observation("last" if ended else "observation"), reward, False, ended, {}


@pytest.mark.parametrize(
    ("space", "problem"),
    [
        (spaces.Discrete(4, start=2), "does not start at 0"),
        (spaces.MultiDiscrete([3, 4], start=[0, 1]), "does not start at 0"),
        (spaces.MultiDiscrete([[3, 4], [2, 2]]), "several axes"),
        (spaces.Tuple((TWO, VECTOR)), "Tuple has no fixed array"),
        (spaces.Text(4), "Text has no fixed array"),
        (spaces.Sequence(TWO), "Sequence has no fixed array"),
        (spaces.Box(-1, 1, ()), "no axis or no entry"),
        (spaces.Box(-1, 1, (0,)), "no axis or no entry"),
        (spaces.Dict(a=spaces.Dict(b=VECTOR)), "the entry 'a': a dictionary within another"),
        (spaces.Dict(a=VECTOR, b=spaces.Discrete(3, start=1)), "the entry 'b': it does not start at 0"),
        (spaces.Dict({}), "or an empty one"),
    ],
)
@pytest.mark.parametrize(("learner", "actions"), [(MetricDQN, TWO), (MetricSAC, BOX)])
def test_observations_that_no_learner_takes(learner, actions, space, problem):
    policy = "MultiInputPolicy" if isinstance(space, spaces.Dict) else "MlpPolicy"
    with pytest.raises(
        ValueError, match=f"(?s){learner.__name__} cannot take observations of .*{problem}.* observations are"
    ):
        learner(policy, Given(space, actions), **SMALL)


@pytest.mark.parametrize(
    ("learner", "space", "problem"),
    [
        (MetricDQN, spaces.Discrete(2, start=1), "does not start at 0"),
        (MetricDQN, spaces.MultiBinary(2), "it is MultiBinary, not Discrete"),
        (MetricDQN, spaces.MultiDiscrete([2, 2]), "it is MultiDiscrete, not Discrete"),
        (MetricDQN, BOX, "it is Box, not Discrete"),
        (MetricSAC, TWO, "it is Discrete, not Box"),
        (MetricSAC, spaces.Dict(a=BOX), "it is Dict, not Box"),
        (MetricSAC, spaces.Box(-np.inf, np.inf, (2,)), "no finite bounds"),
        (MetricSAC, spaces.Box(0, 255, (2,), np.uint8), "its numbers are uint8"),
        (MetricSAC, spaces.Box(1, 1, (2,)), "not below its highest"),
        (MetricSAC, spaces.Box(-1, 1, (0,)), "holds no number"),
    ],
)
def test_actions_that_a_learner_does_not_take(learner, space, problem):
    with pytest.raises(ValueError, match=f"{learner.__name__} cannot take actions of .*{problem}.*Its actions are"):
        learner("MlpPolicy", Given(VECTOR, space), **SMALL)


@pytest.mark.parametrize(
    ("space", "policy", "message"),
    [
        (image(84, 8), "CnnPolicy", "images of 84 x 8 pixels are too small for architecture 'sac-ae'"),
        (image(3, 3), "CnnPolicy", "images of 3 x 3 pixels are too small for architecture 'coordconv'"),
        (spaces.Dict(a=image(84, 8)), "MultiInputPolicy", "images of 84 x 8 pixels are too small"),
        (VECTOR, "CnnPolicy", "ImageExtractor needs images"),
        (VECTOR, "MultiInputPolicy", "DictExtractor needs a dictionary"),
    ],
)
def test_images_that_an_encoder_cannot_take(space, policy, message):
    with pytest.raises(ValueError, match=message):
        MetricDQN(policy, Given(space), **SMALL)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(4),
        spaces.MultiDiscrete([3, 4]),
        spaces.MultiBinary(5),
        spaces.Box(-1, 1, (4, 5), np.float64),
        spaces.Box(0, 9, (3,), np.int64),
        spaces.Dict(a=VECTOR, b=spaces.Discrete(3), c=image(40, 36)),
        image(50, 5),
    ],
)
def test_spaces_that_are_taken(space):
    policy = "MultiInputPolicy" if isinstance(space, spaces.Dict) else "CnnPolicy" if space.shape[2:] else "MlpPolicy"
    model = MetricDQN(policy, Given(space), **SMALL)
    before = [parameter.detach().clone() for parameter in model.policy.parameters()]
    model.learn(12)
    assert model._n_updates > 0
    assert all(parameter.isfinite().all() for parameter in model.policy.parameters())
    assert any((old != new).any() for old, new in zip(before, model.policy.parameters(), strict=True))


@pytest.mark.parametrize(("learner", "actions"), [(MetricDQN, TWO), (MetricSAC, BOX)])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("observation", "gave an observation that is not finite, {} at [0, 0], at step 12"),
        ("reset", "gave an observation that is not finite, {} at [0, 0], at step 20"),
        ("last", "gave an observation that is not finite, {} at [0], at step 20, the last of an episode"),
        ("reward", "gave a reward that is not finite, {} at [0], at step 12"),
    ],
)
def test_what_is_no_number_is_blamed_on_the_environment(learner, actions, bad, part, message):
    with pytest.raises(ValueError) as raised:  # noqa: PT011  # the message is compared below
        learner("MlpPolicy", Given(VECTOR, actions, part, bad), **SMALL).learn(60)
    assert message.format(bad) in str(raised.value)


def test_the_first_reset_and_normalized_environments_are_looked_at():
    with pytest.raises(ValueError, match="observation that is not finite, nan .*, at the reset"):
        MetricDQN("MlpPolicy", Given(part="reset", first=0), **SMALL).learn(20)
    # Which clips what is infinite.
    envs = VecNormalize(DummyVecEnv([lambda: Given(part="reward", bad=np.inf)]))
    with pytest.raises(ValueError, match="reward that is not finite, inf"):
        MetricDQN("MlpPolicy", envs, **SMALL).learn(60)


def test_a_replay_that_holds_what_is_no_number_is_blamed():
    model = MetricDQN("MlpPolicy", Given(), **SMALL).learn(8)
    model.replay_buffer.rewards[:] = np.nan
    with pytest.raises(ValueError, match="gave a reward that is not finite, nan .*, as the replay holds it"):
        model.learn(200, reset_num_timesteps=False)
    sound = MetricDQN("MlpPolicy", Given(), **{**SMALL, "learning_rate": 1e30})
    with pytest.raises(DivergedError, match="the training has diverged"):
        sound.learn(400)
