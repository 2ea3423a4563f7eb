"""Sweeps, which serve where couplings do not fit in memory, against strategy iteration and what certifies both."""

import numpy as np
import pytest

from bisimgym.baselines import metrics
from bisimgym.baselines.metrics import fixed_point, stochastic, sweeps
from bisimgym.envs.toy_mdps import garnet

TOLERANCE = 1e-6


def swept(operator, workers=1):
    return sweeps.swept_distances(operator, TOLERANCE, stochastic.tqdm(disable=True), workers)


def processes(rng):
    """Return operators of all kinds that sweeps serve."""
    mdp, other = garnet(14, 3, 4, rng), garnet(9, 3, 4, rng)
    mixed = mdp.transition.copy()  # rows of one to seven next states
    mixed[::3] = np.eye(14)[rng.integers(14, size=mixed[::3].shape[:2])]
    mixed[1::3] = (mixed[1::3] + mixed[::-1][1::3]) / 2
    equal = (mdp.transition > 0) / (mdp.transition > 0).sum(axis=2, keepdims=True)
    cost = np.abs(rng.random((14, 1)) - rng.random(14))  # not symmetric
    return {
        "random": metrics.bisimulation_operator(mdp.transition, mdp.reward, 0.9),
        "next states of different number": metrics.bisimulation_operator(mixed, mdp.reward, 0.9),
        "ties": metrics.bisimulation_operator(equal, np.round(mdp.reward), 0.9),
        "stays": metrics.bisimulation_operator(0.5 * np.eye(14)[:, None] + 0.5 * equal, mdp.reward, 0.95),
        "two": metrics.bisimulation_operator(mdp.transition, mdp.reward, 0.9, other=(other.transition, other.reward)),
        "mean": metrics.recursive_similarity_operator(mdp.transition, cost, 0.9),
        "no discount": metrics.bisimulation_operator(mdp.transition, mdp.reward, 0.0),
    }


@pytest.mark.parametrize("kind", processes(np.random.default_rng(0)))
def test_they_find_the_metric(rng, kind):
    operator = processes(rng)[kind]
    found = swept(operator)
    assert operator.error_bound(found) <= TOLERANCE
    np.testing.assert_allclose(found, metrics.solve(operator), rtol=0, atol=2 * TOLERANCE)


def test_the_limit_of_memory_chooses(rng, monkeypatch):
    operator = processes(rng)["random"]
    needs, least = fixed_point.memory_needed(operator), int(sweeps.memory_needed(operator))
    assert least < needs
    exact, used = metrics.solve(operator, memory_limit=needs), []
    own = sweeps.swept_distances
    monkeypatch.setattr(sweeps, "swept_distances", lambda *a: used.append(1) or own(*a))
    found = metrics.solve(operator, memory_limit=needs - 1, rows=[3], columns=[5, 6])
    assert used
    np.testing.assert_allclose(found, exact[3:4, 5:7], rtol=0, atol=2 * TOLERANCE)
    with pytest.raises(MemoryError, match="ask for fewer states"):
        metrics.solve(operator, memory_limit=least - 1)


def test_where_they_do_not_serve(rng):
    mdp, wide = garnet(30, 2, 3, rng), garnet(30, 2, 20, rng)
    for operator in (
        metrics.lax_bisimulation_operator(mdp.transition, mdp.reward, 0.9),
        metrics.mico_operator(mdp.transition, mdp.reward, np.full((30, 2), 0.5), 0.9),
        metrics.bisimulation_operator(wide.transition, wide.reward, 0.9),
    ):
        assert sweeps.memory_needed(operator) == np.inf


def test_problems_that_pivots_do_not_solve_are_solved_alone(rng, monkeypatch):
    mdp = garnet(6, 2, 3, rng)
    operator = metrics.bisimulation_operator(mdp.transition, mdp.reward, 0.5)
    expected, used = swept(operator), []
    monkeypatch.setattr(sweeps, "PIVOTS_PER_CELL", 0)
    own = sweeps.transport.plan
    monkeypatch.setattr(sweeps.transport, "plan", lambda *a: used.append(1) or own(*a))
    np.testing.assert_allclose(swept(operator), expected, rtol=0, atol=2 * TOLERANCE)
    assert used


def test_threads_change_nothing(rng, monkeypatch):
    monkeypatch.setattr(sweeps, "IN_STEP", 64)
    operator = processes(rng)["random"]
    np.testing.assert_array_equal(swept(operator, workers=2), swept(operator))
