"""Random processes of all kinds, held to what must hold for each, and to POT's public solver pair by pair."""

import os

import numpy as np
import ot
import pytest

from bisimgym.baselines import metrics
from bisimgym.envs.finite_mdp import FiniteMDP
from bisimgym.envs.toy_mdps import garnet

#: BISIMGYM_RANDOM_PROCESSES=2000 pytest tests/baselines/metrics/test_random_processes.py
SEEDS = int(os.environ.get("BISIMGYM_RANDOM_PROCESSES", "40"))
PAIRS = 12


def random_process(rng):
    """Return a process of 1 to 40 states with ties and absorbing states, a discount and the scale of its rewards."""
    states, actions = int(rng.integers(1, 41)), int(rng.integers(1, 5))
    branching = int(rng.choice([1, min(2, states), min(5, states), states]))
    mdp = garnet(states, actions, branching, rng, num_terminal=int(rng.choice([0, min(2, states)])))
    discount = float(rng.choice([0.0, 0.5, 0.9, 0.99, 0.9999]))
    scale = float(rng.choice([0.0, 1.0, 1e9]))
    reward = mdp.reward if rng.random() < 0.5 else np.round(2 * mdp.reward)
    transition = mdp.transition
    if not mdp.deterministic and rng.random() < 0.5:  # equal probabilities: every basis is degenerate
        transition = (transition > 0) / (transition > 0).sum(axis=2, keepdims=True)
    return FiniteMDP(transition, scale * reward, mdp.terminal, mdp.state_names), discount, scale


def applied(mdp, discount, distance, x, y):
    """Return one application of the recursion at a pair, with POT."""
    terms = []
    for action in range(mdp.num_actions):
        if mdp.deterministic:
            expected = distance[mdp.transition[x, action], mdp.transition[y, action]]
        else:
            p, q = mdp.transition[x, action], mdp.transition[y, action]
            p, q = p / p.sum(), q / q.sum()
            expected = ot.emd2(p[p > 0], q[q > 0], np.ascontiguousarray(distance[np.ix_(p > 0, q > 0)]))
        terms.append(abs(mdp.reward[x, action] - mdp.reward[y, action]) + discount * expected)
    return max(terms)


def optimal_values(mdp, discount):
    """Return ``float64[S]`` by policy iteration: sweeps take too many of them near a discount of 1."""
    rows, policy = np.arange(mdp.num_states), np.zeros(mdp.num_states, dtype=int)
    transition = np.eye(mdp.num_states)[mdp.transition] if mdp.deterministic else mdp.transition
    for _ in range(100):
        values = np.linalg.solve(np.eye(len(rows)) - discount * transition[rows, policy], mdp.reward[rows, policy])
        quality = mdp.reward + discount * transition @ values
        better = quality.max(axis=1) > quality[rows, policy] + 1e-12 * np.abs(values).max()
        if not better.any():
            break
        policy = np.where(better, quality.argmax(axis=1), policy)
    return values


def check(seed):
    rng = np.random.default_rng(seed)
    mdp, discount, scale = random_process(rng)
    tolerance = 1e-6 * max(scale, 1.0) / (1 - discount)
    d = metrics.bisimulation(mdp.transition, mdp.reward, discount, tolerance=tolerance, progress=False)
    assert (d >= 0).all()
    assert not d.diagonal().any()
    np.testing.assert_array_equal(d, d.T)
    assert (d[:, None, :] - d[:, :, None] - d[None]).max() <= 3 * tolerance
    values = optimal_values(mdp, discount)
    slack = tolerance + 100 * np.finfo(float).eps * scale / (1 - discount) ** 2
    assert (np.abs(values[:, None] - values) - d).max() <= slack
    for x, y in rng.integers(mdp.num_states, size=(PAIRS, 2)):
        miss = abs(applied(mdp, discount, d, x, y) - d[x, y])
        assert miss <= (1 + discount) * tolerance
    return mdp


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_random_process(seed):
    check(seed)
