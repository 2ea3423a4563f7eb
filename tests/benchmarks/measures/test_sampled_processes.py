"""Processes with infinitely many states: their samples are those of the environments, their metrics exact."""

import dataclasses

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from bisimgym.benchmarks.measures import score_encoder
from bisimgym.benchmarks.measures.encoder_score import exact_score
from bisimgym.benchmarks.measures.processes import (
    PROCESSES,
    distances_of_data,
    fidelity_envs,
    fidelity_metrics,
    fidelity_process,
    fidelity_transitions,
)
from bisimgym.benchmarks.measures.sampled_processes import optimal_control
from bisimgym.benchmarks.suites.fidelity.pictures import FILES, figures_of
from bisimgym.envs.lqr.system import riccati
from bisimgym.envs.markov_signal.filters import filter_posteriors

SAMPLED = ("markov-signal", "lqr")


def unwrapped(name):
    return [make().unwrapped for make in fidelity_envs(name)]


@pytest.mark.parametrize("name", SAMPLED)
def test_what_is_scored_and_what_is_learned_from_are_of_the_environments_spaces_and_differ(name):
    process, data = fidelity_process(name), fidelity_transitions(name)
    env = fidelity_envs(name)[0]()
    for observations in (process.observations, data.observations, data.next_observations):
        assert observations.shape[1:] == env.observation_space.shape
        assert observations.dtype == env.observation_space.dtype
    assert set(process.distances) == set(fidelity_metrics(name))
    assert {len(values) for values in (*process.factors.values(), *process.values.values(), process.images)} == {
        len(process.observations)
    }
    assert not data.dones.any()
    seen = {row.tobytes() for row in data.observations}
    assert len(seen) == len(data.observations)
    assert not any(row.tobytes() in seen for row in process.observations)


class TestMarkovSignal:
    def test_histories_are_what_the_environment_shows(self):
        (make,) = fidelity_envs("markov-signal")
        env = make()
        law = env.unwrapped.law
        process = fidelity_process("markov-signal")
        observation, _ = env.reset(seed=3)
        for seen in range(1, 17):
            frames = observation.reshape(16, -1)
            assert (frames[:-seen] == 0).all()
            np.testing.assert_array_equal(frames[-seen:], env.unwrapped.state.signals[0, :seen])
            if seen < 16:
                hidden = env.unwrapped.state.hidden[0, seen - 1]
                observation, reward, _, truncated, _ = env.step(0)
                assert reward == (hidden == 0)
                assert truncated == (seen == 15)
        for row in (0, 4, 14, 200, 419):
            seen = int(process.factors["frames seen"][row])
            frames = process.observations[row].reshape(16, -1)
            assert (frames[:-seen] == 0).all()
            belief = filter_posteriors(law, frames[None, -seen:])[0, -1, 0]
            assert process.factors["belief"][row] == pytest.approx(belief, abs=1e-12)

    def test_data_go_on_by_a_frame_and_pay_what_is_believed(self):
        data = fidelity_transitions("markov-signal")
        frames, following = (o.reshape(len(o), 16, -1) for o in (data.observations, data.next_observations))
        np.testing.assert_array_equal(following[:, :-1], frames[:, 1:])
        same_episode = np.arange(len(frames)) % 15 != 14
        np.testing.assert_array_equal(following[same_episode], frames[np.flatnonzero(same_episode) + 1])
        assert (data.actions == 0).all()
        scale = 1 / (1 - 0.99 * 0.9)
        belief = distances_of_data("markov-signal", "bisimulation-random").distances[:, 0] / scale
        for low in np.arange(0, 1, 0.1):
            rows = (belief >= low) & (belief < low + 0.1)
            error = 4 * np.sqrt(0.25 / rows.sum())
            assert data.rewards[rows].mean() == pytest.approx(belief[rows].mean(), abs=error)

    def test_the_distance_between_next_beliefs_is_that_of_their_means(self):
        """What the closed form rests on, against the Wasserstein distance of samples."""
        (env,) = unwrapped("markov-signal")
        law, rng = env.law, np.random.default_rng(0)
        count = 40_000
        after = []
        for belief in (0.15, 0.8):
            predicted = np.array([belief, 1 - belief]) @ law.transition_matrix
            hidden = rng.choice(2, p=predicted, size=count)
            frames = np.empty((count, law.dimension))
            for state in (0, 1):
                rows = hidden == state
                frames[rows] = rng.multivariate_normal(law.means[state], law.covariances[state], size=rows.sum())
            posterior = filter_posteriors(law, frames[:, None])[:, 0, 0]  # from the stationary prior, 1/2 each
            odds = posterior / (1 - posterior) * predicted[0] / predicted[1]
            after.append(odds / (1 + odds))
        assert wasserstein_distance(*after) == pytest.approx(0.9 * 0.65, abs=0.01)

    def test_the_metric_solves_its_recursion(self):
        process = fidelity_process("markov-signal", discount=0.95)
        belief = process.factors["belief"]
        apart = np.abs(belief[:, None] - belief)
        exact = process.distances["bisimulation-random"]
        np.testing.assert_allclose(exact, apart + 0.95 * 0.9 * exact, atol=1e-5)
        np.testing.assert_allclose(process.values["optimal value"], 0.5 / 0.05 + (belief - 0.5) / (1 - 0.855))


class TestLQR:
    def test_each_state_is_seen_by_both_environments(self):
        process = fidelity_process("lqr")
        one, other = unwrapped("lqr")
        half = len(process.observations) // 2
        states = process.observations[:half, 20:] @ one.system.Wd  # columns are orthonormal
        np.testing.assert_allclose(states @ other.system.Wd.T, process.observations[half:, 20:], atol=1e-5)
        np.testing.assert_allclose(np.square(states).sum(axis=1), process.factors["squared length"][:half], rtol=1e-4)
        assert (process.factors["environment"] == np.repeat([0, 1], half)).all()
        for exact in process.distances.values():
            assert np.abs(exact[:half, half:].diagonal()).max() == 0
            assert exact[0, 1] > 0

    def test_data_are_steps_of_the_environments(self):
        data = fidelity_transitions("lqr")
        for env, start in zip(unwrapped("lqr"), (0, len(data.actions) // 2), strict=True):
            system, rows = env.system, slice(start, start + 500)
            s, following = (o[rows, 20:] @ system.Wd for o in (data.observations, data.next_observations))
            force = 10 * data.actions[rows].astype(float)
            np.testing.assert_allclose(following, s @ system.A.T + force, atol=1e-4)
            cost = np.square(s).sum(axis=1) + np.square(force).sum(axis=1)
            np.testing.assert_allclose(data.rewards[rows], -cost, rtol=1e-4)
            assert np.square(following).mean() == pytest.approx(1, abs=0.05)  # as far as they started

    def test_the_distance_between_next_lengths_is_that_of_their_means(self):
        rng = np.random.default_rng(0)
        (x, y), after = rng.standard_normal((2, 20)) * [[0.6], [1.4]], []
        system = unwrapped("lqr")[0].system
        for state in (x, y):
            next_states = state @ system.A.T + 0.6 * rng.standard_normal((100_000, 20))
            after.append(np.square(next_states).sum(axis=1))
        assert wasserstein_distance(*after) == pytest.approx(0.64 * abs(x @ x - y @ y), rel=0.02)

    @pytest.mark.parametrize("discount", [0.5, 0.99])
    def test_the_metrics_solve_their_recursions(self, discount):
        process = fidelity_process("lqr", discount=discount)
        system = unwrapped("lqr")[0].system
        half = len(process.observations) // 2
        s = process.observations[:half, 20:].astype(float) @ system.Wd
        size = np.square(s).sum(axis=1)
        faded = dataclasses.replace(system, A=system.A * discount**0.5, B=system.B * discount**0.5)
        cost, gain = riccati(faded)  # a discount is a system that forgets
        np.testing.assert_allclose(cost, optimal_control(discount)[0] * np.eye(20), atol=1e-9)
        forces, following = -s @ gain.T, s @ (system.A - system.B @ gain).T
        reward = -size - np.square(forces).sum(axis=1)
        shrinks = np.square(following).sum(axis=1) / size
        value = process.values["optimal value"][:half]
        np.testing.assert_allclose(value, reward + discount * value * shrinks, rtol=1e-4)
        found = {name: exact[:half, :half] for name, exact in process.distances.items()}
        for name, local, shrunk in (
            ("bisimulation-random", np.abs(size[:, None] - size), 0.64),
            ("bisimulation-optimal", np.abs(reward[:, None] - reward), shrinks.mean()),
            ("policy-similarity", np.linalg.norm(forces[:, None] - forces, axis=2), np.sqrt(shrinks.mean())),
        ):
            np.testing.assert_allclose(found[name], local + discount * shrunk * found[name], rtol=1e-3, atol=1e-3)

    def test_without_a_discount_nothing_is_pushed(self):
        assert optimal_control(0.0) == (1.0, 0.0, 0.8)


class TestScores:
    @pytest.mark.parametrize("name", SAMPLED)
    def test_the_exact_metric_is_the_ceiling_and_nothing_is_controlled(self, name):
        exact = exact_score(name)
        assert exact.score == pytest.approx(1)
        assert exact.control is None
        assert "control" not in exact.rows()
        floor = score_encoder(lambda x: x[:, -4:], name)
        assert 0 < floor.score < 0.5
        with pytest.raises(ValueError, match="leave out predict: the states of this process are a sample"):
            score_encoder(lambda x: x[:, -4:], name, predict=lambda z, actions: z)

    @pytest.mark.parametrize("name", SAMPLED)
    def test_pictures_are_drawn(self, name):
        assert tuple(figures_of(lambda x: x[:, -5:], name)) == FILES

    @pytest.mark.parametrize("name", SAMPLED)
    def test_data_are_drawn_once_and_cannot_be_spoiled(self, name):
        data = fidelity_transitions(name)
        assert data.rewards is fidelity_transitions(name).rewards
        for column in data[:4]:
            with pytest.raises(ValueError, match="read-only"):
                column[0] = 0
        with pytest.raises(ValueError, match="read-only"):
            next(iter(fidelity_process(name).factors.values()))[0] = 0

    def test_metrics_of_data(self):
        for name in SAMPLED:
            known = distances_of_data(name, "policy-similarity")
            assert known.are_points
            assert len(known.distances) == len(known.observations) == len(fidelity_transitions(name).rewards)
        assert not distances_of_data("markov-signal", "policy-similarity").distances.any()  # one action
        finite = distances_of_data("nav2d-8x8", "policy-similarity")
        assert not finite.are_points
        expected = fidelity_process("nav2d-8x8").distances["policy-similarity"]
        np.testing.assert_allclose(finite.distances, expected, rtol=1e-6)
        for name in ("lqr", "nav2d-8x8"):
            with pytest.raises(ValueError, match=f"metric of {name} must be one of"):
                distances_of_data(name, "nothing")

    def test_they_are_of_registered_environments(self):
        assert {PROCESSES[name][0] for name in SAMPLED} == {"bisimgym/MarkovSignal-v0", "bisimgym/LQRDistractors-v0"}
