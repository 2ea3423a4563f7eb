import numpy as np
import ot
import pytest

from bisimgym.baselines import metrics
from bisimgym.envs.toy_mdps import garnet


def sampled(mdp, per_action, rng, noise=0.1):
    """Return samples of every state and action: state, action, noisy reward, next state."""
    state, action = (a.ravel() for a in np.indices((mdp.num_states, mdp.num_actions)))
    state, action = np.repeat(state, per_action), np.repeat(action, per_action)
    ends = mdp.transition[state, action].cumsum(axis=1)
    next_state = (rng.random((len(state), 1)) > ends).sum(axis=1).clip(max=mdp.num_states - 1)
    return state, action, mdp.reward[state, action] + noise * rng.standard_normal(len(state)), next_state


def test_by_hand():
    process = metrics.empirical_process([0, 0, 1, 0], [0, 0, 0, 0], [1.0, 2.0, 0.5, 3.0], [1, 0, 1, 1], 2, 1)
    np.testing.assert_allclose(process.transition.toarray(), [[1 / 3, 2 / 3], [0, 1]])
    np.testing.assert_array_equal(process.reward, [[2.0], [0.5]])
    np.testing.assert_array_equal(process.visits, [[3], [1]])


def test_the_estimate_tends_to_the_metric(rng):
    mdp = garnet(8, 2, 3, rng)
    exact = metrics.bisimulation(mdp.transition, mdp.reward, 0.8)
    off = []
    for per_action in (10, 1000):
        errors = []
        for _ in range(5):
            process = metrics.empirical_process(*sampled(mdp, per_action, rng), 8, 2)
            errors.append(np.abs(metrics.bisimulation(process.transition, process.reward, 0.8) - exact).max())
        off.append(np.mean(errors))
    assert off[1] < off[0] / 3
    assert off[1] < 0.1 * exact.max()


def draws(mdp, count, rng, noise=0.1):
    """Yield samples of all states and actions at once."""
    ends = mdp.transition.cumsum(axis=2)
    for _ in range(count):
        to = (rng.random((*mdp.reward.shape, 1)) > ends).sum(axis=2).clip(max=mdp.num_states - 1)
        yield mdp.reward + noise * rng.standard_normal(mdp.reward.shape), to


def brute_force(mdp, discount):
    """Return the bisimulation metric by plain iteration, with POT's public call for every problem."""
    d = np.zeros((mdp.num_states, mdp.num_states))
    for _ in range(15):
        terms = np.abs(mdp.reward[:, None] - mdp.reward)
        for x, y, a in np.ndindex(terms.shape):
            terms[x, y, a] += discount * ot.emd2(mdp.transition[x, a], mdp.transition[y, a], d)
        d = terms.max(axis=2)
    return d


def test_streamed_estimates_tend_to_the_metric(rng):
    mdp = garnet(5, 2, 3, rng)
    exact = brute_force(mdp, 0.6)
    off = {}
    for count in (20, 2000):
        found = [metrics.sampled_bisimulation(draws(mdp, count, rng), 0.6) for _ in range(2)]
        off[count] = np.mean([np.abs(d - exact).max() for d in found])
        np.testing.assert_array_equal(found[0], found[0].T)
        assert not found[0].diagonal().any()
    assert off[2000] < off[20] / 2
    assert off[2000] < 0.1 * exact.max()


def test_a_stream_without_chance_is_plain_iteration():
    # One sample says all: the first gives distances of one step, and each brings the rest nearer by its own step.
    to, reward = np.array([[1], [1], [2]]), np.array([[0.0], [1.0], [3.0]])
    once = metrics.sampled_bisimulation([(reward, to)], 0.5)
    np.testing.assert_allclose(once, np.abs(reward - reward.T))
    d = metrics.sampled_bisimulation([(reward, to)] * 3000, 0.5)
    np.testing.assert_allclose(d, metrics.bisimulation(to, reward, 0.5), atol=0.01)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], "at least one draw"),
        ([(np.zeros((2, 1)), np.zeros((2, 1)))], r"sample 1: rewards must be float\[S, A\] and next states int"),
        ([(np.zeros(2), np.zeros(2, dtype=int))], "sample 1: rewards must be"),
        (
            [(np.zeros((2, 1)), np.array([[0], [1]])), (np.zeros((2, 1)), np.array([[0], [2]]))],
            "sample 2: .* from 0 to 1",
        ),
        ([(np.array([[0.0], [np.nan]]), np.array([[0], [1]]))], "rewards finite"),
    ],
)
def test_bad_streams_are_named(samples, message):
    with pytest.raises(ValueError, match=message):
        metrics.sampled_bisimulation(samples, 0.9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"state": [0, 2]}, "state must be from 0 to 1, got 0 to 2"),
        ({"action": [0.0, 0.0]}, r"action must be int\[2\]"),
        ({"reward": [0.0, np.nan]}, "reward must be finite"),
        ({"state": [0, 0]}, "state 1 has no sample of action 0"),
        ({"num_states": 0}, "num_states must be an integer of at least 1"),
    ],
)
def test_bad_samples_are_named(change, message):
    given = {"state": [0, 1], "action": [0, 0], "reward": [0.0, 1.0], "next_state": [1, 0], "num_states": 2}
    with pytest.raises(ValueError, match=message):
        metrics.empirical_process(**{**given, "num_actions": 1, **change})
