"""Optimal transport of many small problems in step, and of single ones, against POT's public calls."""

import numpy as np
import ot
import pytest

from bisimgym.baselines import metrics
from bisimgym.baselines.metrics import couplings, simplex, stochastic, transport
from bisimgym.envs.toy_mdps import garnet

PROBLEMS = 40


def masses(rng, size, kind):
    """``float64[size, PROBLEMS]``: random, equal (every basis is degenerate), or one state with nearly all of it."""
    if kind == "equal":
        return np.full((size, PROBLEMS), 1 / size)
    x = rng.dirichlet(np.ones(size), PROBLEMS).T
    if kind == "one-sided":
        x = np.full((size, PROBLEMS), 1e-13)
        x[0] = 1 - 1e-13 * (size - 1)
    return x


@pytest.mark.parametrize("kind", ["random", "equal", "one-sided"])
@pytest.mark.parametrize("shape", [(2, 2), (1, 4), (3, 5), (6, 2), (7, 7)])
@pytest.mark.parametrize("scale", [1.0, 1e9])
def test_the_simplex_finds_cheapest_couplings_and_keeps_them(rng, kind, shape, scale):
    (n, m), x, y = shape, masses(rng, shape[0], kind), masses(rng, shape[1], kind)
    trees = simplex.greedy_trees(x, y, rng.random((n, m, PROBLEMS)))
    for cost in (rng.random((n, m, PROBLEMS)), np.round(3 * rng.random((n, m, PROBLEMS)))):
        cost *= scale
        value, _, unfinished = simplex.optimize(trees, x, y, cost, 500)
        assert not len(unfinished)
        cells, mass = simplex.flows(trees, x, y)
        coupled = np.zeros((n * m, PROBLEMS))
        coupled[cells, np.arange(PROBLEMS)] = mass
        coupled = coupled.reshape(n, m, PROBLEMS)
        np.testing.assert_allclose((coupled * cost).sum(axis=(0, 1)), value, rtol=1e-12, atol=1e-12 * scale)
        np.testing.assert_allclose(coupled.sum(axis=1), x, atol=1e-14)
        np.testing.assert_allclose(coupled.sum(axis=0), y, atol=1e-14)
        potential = simplex.potentials(trees, cost)
        below = potential[:n, None] + potential[n:] - cost
        assert below.max() <= simplex.ROUNDING * cost.max()
        for p in range(0, PROBLEMS, 8):
            expected = ot.emd2(x[:, p] / x[:, p].sum(), y[:, p] / y[:, p].sum(), np.ascontiguousarray(cost[..., p]))
            assert (coupled[..., p] * cost[..., p]).sum() == pytest.approx(expected, rel=1e-9, abs=1e-12 * scale)
        assert not len(simplex.optimize(trees, x, y, cost, 500)[1])


def test_pivots_are_limited(rng):
    x, y, cost = masses(rng, 6, "random"), masses(rng, 6, "random"), rng.random((6, 6, PROBLEMS))
    _, changed, unfinished = simplex.optimize(simplex.greedy_trees(x, y, cost), x, y, cost, 1)
    assert 0 < len(unfinished) <= len(changed)


@pytest.mark.parametrize("branching", [4, 14])  # in step, and alone
def test_the_public_call_of_pot_gives_the_same(rng, monkeypatch, branching):
    mdp = garnet(15, 2, branching, rng)
    entry = metrics.bisimulation(mdp.transition, mdp.reward, 0.9)
    monkeypatch.setattr(transport, "_entry", lambda: None)
    np.testing.assert_array_equal(metrics.bisimulation(mdp.transition, mdp.reward, 0.9), entry)


def test_an_entry_of_pot_that_has_changed_is_not_used(monkeypatch):
    from ot.lp import emd_wrap

    assert transport._entry() is not None
    for other in (lambda x, y, cost, steps: None, lambda *_: (np.eye(2), 0.0, 0.0, 0.0, 1)):
        monkeypatch.setattr(emd_wrap, "emd_c", other)
        transport._entry.cache_clear()
        assert transport._entry() is None
        assert metrics.wasserstein([0.25, 0.75], [0.5, 0.5], [[0.0, 1.0], [1.0, 0.0]]) == 0.25
    monkeypatch.undo()
    transport._entry.cache_clear()


@pytest.mark.parametrize("pivots", [couplings.PIVOTS_PER_CELL, 0])
def test_problems_that_pivots_do_not_solve_are_solved_alone(rng, pivots):
    mdp = garnet(9, 2, 3, rng)
    pairs = stochastic.Pairs(metrics.bisimulation_operator(mdp.transition, mdp.reward, 0.9), pivots)
    distance = rng.random((9, 9))
    distance = distance + distance.T
    np.fill_diagonal(distance, 0)
    found = pairs.transported(distance)
    for x, y, action in ((0, 1, 0), (3, 7, 1), (8, 2, 0)):
        expected = metrics.wasserstein(mdp.transition[x, action], mdp.transition[y, action], distance)
        assert found[action, x, y] == pytest.approx(expected, abs=1e-12)
    alone = sum(int(group.single.sum()) for c in pairs.couplings for group in c.groups)
    assert (alone > 0) == (pivots == 0)


def test_bounds_leave_out_actions_that_are_not_the_maximum(rng):
    mdp = garnet(40, 4, 3, rng)
    operator = metrics.bisimulation_operator(mdp.transition, mdp.reward, 0.9)
    pairs = stochastic.Pairs(operator)
    values = pairs.drawn_independently()
    improved, _ = pairs.improve(values, 1, stochastic.tqdm(disable=True))
    known = np.mean([c.known.mean() for c in pairs.couplings])
    assert 0.25 <= known < 0.6
    np.testing.assert_allclose(pairs.square(improved), operator(pairs.square(values)), atol=1e-12)
