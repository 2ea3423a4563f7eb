"""Entropic bisimulation: by hand, against POT's Sinkhorn, and between what it must lie between."""

import numpy as np
import ot
import pytest

from bisimgym.baselines import metrics
from bisimgym.envs.toy_mdps import garnet


def solve(mdp, discount, temperature, **options):
    return metrics.entropic_bisimulation(mdp.transition, mdp.reward, discount, temperature, **options)


def test_by_hand():
    # Two ends, rewarded 1 apart for ever, and a state that leads to either by a coin.
    transition = np.array([[[1.0, 0, 0]], [[0, 1, 0]], [[0.5, 0.5, 0]]])
    d = metrics.entropic_bisimulation(transition, [[0.0], [1.0], [0.0]], 0.5, 0.3, tolerance=1e-10)
    assert d[0, 1] == pytest.approx(2)
    assert d[0, 2] == pytest.approx(0.5 * 1)  # one coupling with a sure next state, which is the independent one
    # Equal coins may land alike (distance 0) or not (2); the best share p of landing apart is logistic.
    apart = 1 / (1 + np.exp(2 / 0.3))
    divergence = apart * np.log(2 * apart) + (1 - apart) * np.log(2 * (1 - apart))
    assert d[2, 2] == pytest.approx(0.5 * (apart * 2 + 0.3 * divergence))


@pytest.mark.parametrize("temperature", [0.3, 1.0])
def test_it_is_the_fixed_point_of_pots_entropic_transport(rng, temperature):
    mdp = garnet(4, 2, 3, rng)
    d = solve(mdp, 0.6, temperature, tolerance=1e-7)
    again = np.zeros_like(d)
    for x, y, a in np.ndindex(4, 4, 2):
        p, q = mdp.transition[x, a], mdp.transition[y, a]
        at, to = p.nonzero()[0], q.nonzero()[0]
        cost, product = d[np.ix_(at, to)], p[at][:, None] * q[to]
        plan = ot.sinkhorn(p[at], q[to], cost, temperature, method="sinkhorn_log", stopThr=1e-12, numItermax=10_000)
        value = (plan * cost).sum() + temperature * (plan * np.log(np.maximum(plan, 1e-300) / product)).sum()
        again[x, y] = max(again[x, y], abs(mdp.reward[x, a] - mdp.reward[y, a]) + 0.6 * value)
    np.testing.assert_allclose(d, again, atol=1e-6)


@pytest.mark.parametrize("discount", [0.0, 0.9])
def test_it_rises_from_bisimulation_to_independent_draws(rng, discount):
    mdp = garnet(10, 1, 3, rng)
    exact = metrics.bisimulation(mdp.transition, mdp.reward, discount)
    independent = metrics.mico(mdp.transition, mdp.reward, np.ones((10, 1)), discount)
    before = exact
    for temperature in (0.1, 1.0, 1e6):
        d = solve(mdp, discount, temperature)
        assert (d >= before - 3e-6).all()
        assert (d <= exact + discount * temperature * np.log(3) / (1 - discount) + 3e-6).all()
        assert (d <= independent + 3e-6).all()
        np.testing.assert_array_equal(d, d.T)
        before = d
    np.testing.assert_allclose(d, independent, atol=1e-3 * max(independent.max(), 1e-9))


def test_deterministic_processes_have_nothing_to_choose(rng):
    mdp = garnet(12, 3, 1, rng)
    np.testing.assert_allclose(
        solve(mdp, 0.9, 5.0), metrics.bisimulation(mdp.transition, mdp.reward, 0.9), rtol=0, atol=2e-6
    )


def test_next_states_of_different_number(rng):
    transition = np.array([[[0.2, 0.3, 0.5]], [[0, 1.0, 0]], [[0.5, 0, 0.5]]])
    reward = rng.random((3, 1))
    d = metrics.entropic_bisimulation(transition, reward, 0.8, 0.01)
    np.testing.assert_allclose(d, metrics.bisimulation(transition, reward, 0.8), atol=0.8 * 0.01 * np.log(3) / 0.2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temperature": 0.0}, "temperature must be"),
        ({"temperature": float("nan")}, "temperature must be"),
        ({"tolerance": 1e-18}, "out of reach"),
        ({"discount": 1.0}, "discount must be"),
    ],
)
def test_bad_values_are_named(rng, arguments, message):
    mdp = garnet(3, 1, 2, rng)
    with pytest.raises(ValueError, match=message):
        solve(mdp, **{"discount": 0.9, "temperature": 1.0, **arguments})


def test_a_temperature_too_low_is_an_error(rng):
    mdp = garnet(6, 1, 3, rng)
    with pytest.raises(ArithmeticError, match="raise it, or take bisimulation"):
        metrics.entropic_bisimulation(mdp.transition, 1e9 * mdp.reward, 0.9, 1e-6, tolerance=1.0)


@pytest.mark.parametrize("reward", [np.ones((4, 2)), np.array([[0.0, 5.0]] * 4)])
@pytest.mark.parametrize("discount", [0.0, 0.9])
def test_states_with_equal_rewards_are_at_distance_zero(rng, reward, discount, capsys):
    transition = rng.dirichlet(np.ones(4), size=(4, 2))
    np.testing.assert_allclose(metrics.entropic_bisimulation(transition, reward, discount, 1.0), 0, atol=1e-12)
    assert capsys.readouterr().err == ""
