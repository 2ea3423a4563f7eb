"""What solving a task means."""

import json

import numpy as np
import pytest

from bisimgym.benchmarks.cli import main
from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.suites import jumping, load_suite
from bisimgym.benchmarks.suites.base import make_spec
from bisimgym.benchmarks.suites.jumping_transfer import transfer_solved

SUITE = load_suite("jumping")


class TestScoring:
    class Oracle:
        """Reads the task from the picture and jumps at the right moment."""

        def predict(self, observation, state=None, episode_start=None, deterministic=True):
            frame = observation[..., -3:].max(axis=3) if observation.shape[-1] == 6 else observation[..., -1]
            obstacle = (frame == 128).any(axis=1).argmax(axis=1)
            floor = (frame[:, :, 1:-1] == 255).all(axis=2)
            row = 59 - floor[:, 1:-1].argmax(axis=1) - 1
            x = np.array([(f[59 - r - 1, 1:] == 255).argmax() + 1 for f, r in zip(frame, row, strict=True)])
            x = np.where(frame[np.arange(len(frame)), 58 - row, 4] == 255, 0, x)
            green = observation.shape[-1] == 6 and (observation[..., 4] == 128).any(axis=(1, 2))
            return ((x == obstacle - 14) & ~np.asarray(green)).astype(int), state

    class Always:
        def __init__(self, action):
            self.action = action

        def predict(self, observation, state=None, episode_start=None, deterministic=True):
            return np.full(len(observation), self.action), state

    @pytest.mark.parametrize("task", ["wide", "narrow", "random", "colors"])
    def test_an_agent_that_sees_the_rule_solves_everything(self, task):
        outcome = jumping.evaluate(self.Oracle(), task, 1)
        assert outcome.score == 1
        assert outcome.scores["trained"] == 1

    def test_constant_agents(self):
        assert jumping.evaluate(self.Always(0), "wide", 1).score == 0
        right = jumping.evaluate(self.Always(0), "colors", 1)
        assert (right.scores["red"], right.scores["green"], right.score) == (0, 1, 0.5)
        assert jumping.evaluate(self.Always(1), "colors", 1).score == 0

    def test_solved_means_what_a_played_episode_shows(self):
        import gymnasium as gym

        class Near:
            """Jumps when the obstacle is some pixels ahead: right on some rows of the grid, wrong on others."""

            def predict(self, observation, state=None, episode_start=None, deterministic=True):
                oracle, _ = TestScoring.Oracle().predict(observation)
                frame = observation[..., -1]
                floor = (frame[:, 1:-1, 1:-1] == 255).all(axis=2).argmax(axis=1)
                early = (frame[:, :, 8] == 255).sum(axis=1) > 8
                return np.where(floor % 3 == 0, early.astype(int), oracle), state

        tasks = np.array(jumping.ALL_TASKS)
        envs = gym.make_vec("bisimgym/JumpingTask-v0", num_envs=286, autoreset_mode="Disabled")
        observation, _ = envs.reset(options={"obstacle_position": tasks[:, 0], "floor_height": tasks[:, 1]})
        success, ended = np.zeros(286, dtype=bool), np.zeros(286, dtype=bool)
        agent = Near()
        for _ in range(56):
            observation, _, terminated, _, infos = envs.step(agent.predict(observation)[0])
            if terminated.any():
                success |= ~ended & terminated & infos["is_success"]
                ended |= terminated
                if not ended.all():
                    observation, _ = envs.reset(options={"reset_mask": terminated})
        solved = jumping.solved_tasks(agent, "wide")
        assert 0 < solved.sum() < 286
        np.testing.assert_array_equal(solved, success)

    def test_random_grids_differ_by_seed(self):
        outcomes = [jumping.columns("random", seed, np.zeros(286, dtype=bool)) for seed in (1, 2)]
        assert outcomes[0]["trained"] != outcomes[1]["trained"]
        assert sum(outcomes[0]["trained"]) == len(set(jumping.seen_tasks("random", 1)))

    def test_published_numbers_name_tasks_methods_and_measures_that_exist(self):
        for task, method, measure in SUITE.published:
            assert task in SUITE.tasks
            assert method in SUITE.methods
            assert measure == "score" or measure in SUITE.measures


class TestBisimulationTransfer:
    @pytest.mark.parametrize("task", ["narrow", "random"])  # wide is the run below
    def test_solves_exactly_the_unseen_tasks_that_share_an_obstacle_position(self, task):
        seen = jumping.seen_tasks(task, 1)
        # A part of the suite's grid: every third task beside those that were seen.
        tasks = [t for i, t in enumerate(jumping.ALL_TASKS) if i % 3 == 0 or t in seen]
        solved = transfer_solved([(p, f, "white") for p, f in tasks], np.array([t in seen for t in tasks]), 0.99)
        positions = {p for p, _ in seen}
        np.testing.assert_array_equal(solved, [p in positions for p, _ in tasks])
        assert solved[[t not in seen for t in tasks]].sum() > 0

    def test_colors_are_rows_of_their_own(self):
        # A part of the suite's grid: all of it takes most of a minute.
        positions, floors = range(20, 33), (10, 20)
        tasks = [(p, f, color) for color in ("red", "green") for p in positions for f in floors]
        trained = np.isin(positions, [20, 25, 30])
        solved = transfer_solved(tasks, np.array([p % 5 == 0 and f == 10 for p, f, _ in tasks]), 0.99)
        solved = solved.reshape(2, len(positions), len(floors))
        np.testing.assert_array_equal(solved[0], np.repeat(trained[:, None], len(floors), axis=1))
        assert solved[1][trained].all()

    def test_its_policy_is_that_of_the_environments_oracle(self):
        import gymnasium as gym

        from bisimgym.envs.jumping.env import jumping_mdp

        for color in ("white", "red", "green"):
            env_id, extra = ("JumpingTask-v0", {}) if color == "white" else ("JumpingTaskColors-v0", {"color": color})
            env = gym.make(f"bisimgym/{env_id}", obstacle_position=31, floor_height=12, **extra)
            env.reset()
            mdp = jumping_mdp(31, 12, color)
            best, state, terminated = mdp.optimal_policy(discount=1.0).argmax(axis=1), 0, False
            while not terminated:
                action = env.unwrapped.optimal_action()
                if color == "green" or int(mdp.state_names[state].split()[0][2:]) <= 31 - 14:
                    assert best[state] == action
                state = mdp.transition[state, action]
                terminated = env.step(action)[2]
            assert mdp.terminal[state]

    def test_runs_as_a_method_and_takes_a_discount(self, tmp_path, capsys, error_of):
        arguments = ["run", "jumping", "--task", "wide", "--method", "bisimulation-transfer", "--seeds", "1"]
        assert main([*arguments, "--out", str(tmp_path), "--jobs", "1"]) == 0
        assert "17.9" in capsys.readouterr().out
        result = json.loads(next(tmp_path.rglob("result.json")).read_text())
        assert result["score"] == 48 / 268
        assert "discount must be in [0, 0.999], got 1.0" in error_of(*arguments, "--set", "discount=1.0")
        assert "unknown setting 'epochs': choose from discount" in error_of(*arguments, "--set", "epochs=3")


@pytest.mark.parametrize(
    ("task", "variant", "channels"), [("colors", {}, 3), ("colors", {"mix_colors": False}, 1), ("wide", {}, 1)]
)
def test_filters_mix_colors_where_there_are_some_unless_told_not_to(task, variant, channels, folder_of, monkeypatch):
    class Made(Exception):
        pass

    def learner(**settings):
        raise Made(settings["frame_channels"])

    monkeypatch.setattr("bisimgym.baselines.pse.imitation.ImitationLearner", learner)
    spec = make_spec(SUITE, task, "randconv", "smoke", 1, variant)
    with pytest.raises(Made, match=f"^{channels}$"):
        SUITE.train(spec, folder_of(spec), "cpu")


def test_colors_are_mixed_nowhere_else():
    with pytest.raises(UserError, match="mix_colors is a setting of the task colors: narrow has one color"):
        make_spec(SUITE, "narrow", "randconv", "smoke", 1, {"mix_colors": False})
