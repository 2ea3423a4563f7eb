import numpy as np
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
