import numpy as np
import pytest
from torch import nn

from bisimgym.baselines.core.checkpoint import load_checkpoint
from bisimgym.baselines.core.coordconv import CoordConvNet
from bisimgym.baselines.core.encoder import JumpingEncoder
from bisimgym.baselines.core.frame_replay import HerFrameReplayBuffer
from bisimgym.baselines.learners import METRIC_LOSSES
from bisimgym.baselines.mico import MICoDQN
from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.suites import load_suite, small_images
from bisimgym.benchmarks.suites.base import make_spec

SUITE = load_suite("small-images")
LAYOUT = {"size": 8, "num_obstacles": 5, "obstacle_size": 1, "min_goal_distance": 4, "max_episode_steps": 30}
#: Two environments and ten layouts.
QUICK = SUITE.under(small_images.Protocol(num_envs=2, layouts=10))


def spec_of(method="double-dqn", task="nav2d-8x8", **variant):
    settings = {"transitions": 120, "evaluations": 3, "batch_size": 8, "learning_starts": 70, "features_dim": 16}
    return make_spec(QUICK, task, method, "smoke", 1, {**settings, "updates_per_transition": 1.0, **variant})


class Oracle:
    """Finds ways in Nav2D by breadth-first search in what it sees."""

    def predict(self, observation, state=None, episode_start=None, deterministic=True):
        return np.array(list(map(self._action, observation["observation"], observation["desired_goal"]))), None

    def _action(self, picture, goal):
        moves = [(1, 0), (0, 1), (-1, 0), (0, -1)]
        free = picture[..., 0] == 0
        distance = np.full(free.shape, 10_000)
        distance[tuple(goal)], front = 0, [tuple(goal)]
        for cell in front:
            for move in moves:
                near = tuple(np.add(cell, move))
                inside = min(near) >= 0 and max(near) < len(free)
                if inside and free[near] and distance[near] == 10_000:
                    distance[near] = distance[cell] + 1
                    front.append(near)
        here = np.argwhere(picture[..., 1])[0]
        around = [tuple(np.clip(here + move, 0, len(free) - 1)) for move in moves]
        return int(np.argmin([distance[cell] for cell in around]))


class Still:
    def predict(self, observation, state=None, episode_start=None, deterministic=True):
        return np.zeros(len(observation["observation"]), dtype=int), None


def test_layouts_can_all_be_solved_and_not_by_chance():
    for task in ("nav2d-8x8", "nav2d-20x20"):
        assert QUICK.evaluate(Oracle(), task, 1).score == 1
        assert QUICK.evaluate(Still(), task, 1).score < 0.5


def test_every_method_trains_and_is_scored(folder_of, rows_of):
    for method in SUITE.methods:
        folder = folder_of(spec := spec_of(method))
        outcome = QUICK.train(spec, folder, "cpu")
        assert QUICK.rescore(spec.task, 1, outcome.outcomes) == {"score": outcome.score}
        rows = rows_of(folder)
        assert [row["transitions"] for row in rows] == [40, 80, 120], method
        assert outcome.scores["area"] == pytest.approx(np.mean([row["score"] for row in rows]))


def test_the_jumping_task_is_scored_on_unseen_tasks(folder_of):
    folder = folder_of(spec := spec_of("mico", "jumping-narrow", transitions=40, evaluations=1))
    outcome = QUICK.train(spec, folder, "cpu")
    assert set(outcome.scores) == {"trained", "area"}
    assert sum(outcome.outcomes["trained"]) == 18
    assert QUICK.rescore(spec.task, 1, outcome.outcomes)["score"] == outcome.score
    # Only the 18 training tasks are played: those of the narrow grid.
    envs = QUICK.training_envs("jumping-narrow", 1)
    envs.reset(seed=0)
    assert set(envs.unwrapped.state.obstacle_position) <= {28, 30, 32, 34, 36, 38}
    # A jump is one step for learners, with the 32 pixels or the exit that it earns, in units of the exit's bonus.
    assert envs.step(np.ones(2, dtype=int))[1].min() > 10
    stored = load_checkpoint(MICoDQN, folder.checkpoint, "cpu").replay_buffer.rewards[:20]
    assert 0.1 < stored.max() < 1.5
    assert np.isclose(stored, 0.01).any()


@pytest.mark.parametrize("method", ["self-prediction", "rss"])
def test_a_killed_run_goes_on_to_the_same_numbers(check_resumed, method):
    check_resumed(
        QUICK, spec_of(method, "nav2d-8x8", learning_rate=1e-2), at=92
    )  # some steps after the last checkpoint


def test_mistakes_are_named(folder_of):
    with pytest.raises(UserError, match="hindsight_goals must be 0 on the jumping task"):
        spec_of("dqn", "jumping-wide", hindsight_goals=1)
    with pytest.raises(UserError, match="updates_per_transition must be at least 0.5"):
        spec_of(updates_per_transition=0.1)
    with pytest.raises(UserError, match="transitions must be at least 1"):
        spec_of(transitions=0)
    with pytest.raises(ValueError, match="10 entries"):
        QUICK.rescore("nav2d-8x8", 1, {"solved": [True]})
    with pytest.raises(ValueError, match="one action per row"):
        QUICK.evaluate(type("Bad", (), {"predict": lambda *a, **k: (np.zeros(3), None)})(), "nav2d-8x8", 1)
    folder = folder_of(spec := spec_of())
    folder.checkpoint.mkdir()
    with pytest.raises(UserError, match="is damaged"):
        QUICK.train(spec, folder, "cpu")


@pytest.mark.parametrize("method", list(SUITE.methods))
@pytest.mark.parametrize("task", list(SUITE.tasks))
def test_learners_are_what_their_settings_say(method, task):
    spec = make_spec(SUITE, task, method, "short", 3, {"transitions": 2000})
    settings = spec.settings
    model = small_images.make_learner(spec, "cpu")
    assert model.metric is METRIC_LOSSES.get(method)
    assert model.double_q == (method != "dqn")
    assert (model.representation_settings["self_prediction"] > 0) == (
        method in ("self-prediction", "rap") or (method == "dbc" and task.startswith("nav2d"))
    )
    assert (model.gamma, model.seed, model.batch_size) == (settings["discount"], 3, settings["batch_size"])
    assert model.gradient_steps == {"nav2d-8x8": 4, "nav2d-20x20": 8}.get(task, 2)
    assert model.target_update_interval == small_images.PROTOCOL.num_envs
    encoder = model.encoders()[0]
    picture = encoder.image if task.startswith("nav2d") else encoder
    kinds = {"coordconv": CoordConvNet, "jumping": JumpingEncoder, "minatar": nn.Sequential}
    assert type(picture.convolutions) is kinds[settings["architecture"]]
    if task.startswith("nav2d"):
        replay = model.replay_buffer
        assert type(replay) is HerFrameReplayBuffer
        assert replay.recompute_dones
        assert replay.n_sampled_goal == settings["hindsight_goals"]


class SecondTry:
    """Stands still for the first episode, and then finds its way."""

    def __init__(self, first):
        self.left, self.oracle = first, Oracle()

    def predict(self, observation, **kwargs):
        self.left -= 1
        return Still().predict(observation) if self.left >= 0 else self.oracle.predict(observation)


def test_only_the_first_episode_of_a_layout_counts():
    solved = small_images.solved_layouts(SecondTry(30), LAYOUT, 40)  # the time limit is 30 steps
    np.testing.assert_array_equal(solved, small_images.solved_layouts(Still(), LAYOUT, 40))
    assert not solved.all()
    assert small_images.solved_layouts(SecondTry(0), LAYOUT, 40).all()


def test_held_out_layouts_are_those_of_seeds_from_a_million(monkeypatch):
    seeds, make = [], small_images.gym.make_vec

    def recorded(env_id, **arguments):
        envs = make(env_id, **arguments)
        reset = envs.reset
        monkeypatch.setattr(envs, "reset", lambda seed=None, **k: seeds.append(seed) or reset(seed=seed, **k))
        return envs

    monkeypatch.setattr(small_images.gym, "make_vec", recorded)
    small_images.solved_layouts(Still(), LAYOUT, 10)
    assert seeds == [[1_000_000 + i for i in range(10)]]
