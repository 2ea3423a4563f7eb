"""Certificates of solved metrics pass the checker in exact arithmetic; false ones never do."""

from fractions import Fraction

import numpy as np
import pytest
from gambles import GAMBLE, GAMBLE_REWARD, G, U, V, X, Y

from bisimgym.baselines import metrics
from bisimgym.envs.toy_mdps import garnet

#: Run once with 10,000: none was believed that is false.
TRIES = 400


@pytest.mark.parametrize("discount", [0.0, 0.9, 0.999])
@pytest.mark.parametrize("size", [(1, 1, 1), (4, 2, 1), (5, 2, 3), (6, 1, 6)])
@pytest.mark.parametrize("scale", [1.0, 1e9])
def test_solved_metrics_are_certified(rng, size, discount, scale):
    mdp = garnet(*size, rng)
    reward = np.round(2 * mdp.reward) * scale
    operator = metrics.bisimulation_operator(mdp.transition, reward, discount)
    tolerance = 1e-6 * scale
    certificate = metrics.certify(operator, metrics.solve(operator, tolerance=tolerance))
    dense = np.eye(size[0])[mdp.transition] if mdp.deterministic else mdp.transition
    metrics.check_certificate(certificate, metrics.exact_reward_costs(reward, reward), dense, dense, discount)
    assert (certificate.upper - certificate.lower).max() <= 20 * tolerance


def test_weights_and_two_processes(rng):
    x, y = garnet(5, 2, 2, rng), garnet(4, 2, 3, rng)
    cost, weights = rng.random((2, 5, 4)), np.array([0.25, 0.75])
    operator = metrics.recursive_similarity_operator(x.transition, cost, 0.9, weights, other=y.transition)
    distance = metrics.solve(operator)
    certificate = metrics.certify(operator, distance)
    metrics.check_certificate(certificate, cost, x.transition, y.transition, 0.9, weights)
    assert (certificate.lower <= distance).all()
    assert (distance <= certificate.upper).all()
    with pytest.raises(ValueError, match="bound at"):
        metrics.check_certificate(certificate, 1.01 * cost, x.transition, y.transition, 0.9, weights)


def test_the_metric_by_hand_lies_between_the_bounds():
    operator = metrics.bisimulation_operator(GAMBLE, GAMBLE_REWARD, G)
    certificate = metrics.certify(operator, metrics.solve(operator))
    g = Fraction(G)
    far = 1 / (1 - g)
    moved = [abs(Fraction(0.7) / (Fraction(0.7) + Fraction(0.3)) - Fraction(0.2) / (Fraction(0.2) + Fraction(0.8)))]
    for pair, exact in (((X, Y), far), ((U, V), g * moved[0] * far)):
        assert certificate.lower[pair] <= exact <= certificate.upper[pair]


def mutated(certificate, rng):
    """Return the certificate with one number changed, by much or little."""
    upper, lower = certificate.upper.copy(), certificate.lower.copy()
    couplings = {key: list(value) for key, value in certificate.couplings.items()}
    potentials = {key: tuple(dict(side) for side in value) for key, value in certificate.potentials.items()}
    amount = rng.choice([-1, 1]) * 10.0 ** rng.integers(-7, 2)
    kind = rng.integers(5)
    pair = tuple(rng.integers(len(upper), size=2))
    if kind == 0:
        upper[pair] += amount
    elif kind == 1:
        lower[pair] += amount
    elif kind == 2:
        key = list(couplings)[rng.integers(len(couplings))]
        place = rng.integers(len(couplings[key]))
        x, y, mass = couplings[key][place]
        couplings[key][place] = (x, y, mass + amount) if rng.random() < 0.5 else (y, x, mass)
    elif kind == 3:
        key = list(potentials)[rng.integers(len(potentials))]
        side = potentials[key][rng.integers(2)]
        side[list(side)[rng.integers(len(side))]] += amount
    else:
        both = rng.random() < 0.5
        upper, lower = upper + amount * (both or amount < 0), lower + amount * (both or amount > 0)
    return metrics.Certificate(upper, lower, couplings, potentials)


def test_mutated_certificates_are_not_believed():
    """What is accepted after a change is still true: the change made a bound wider, or left it shown."""
    rng = np.random.default_rng(0)
    transition = np.array([[[0.5, 0.25, 0.25]], [[0.125, 0.625, 0.25]], [[0.0, 0.0, 1.0]]])
    reward = np.array([[0.0], [1.0], [0.25]])
    operator = metrics.bisimulation_operator(transition, reward, 0.5)
    exact = metrics.solve(operator, tolerance=1e-13)
    certificate = metrics.certify(operator, metrics.solve(operator, tolerance=1e-9))
    cost = metrics.exact_reward_costs(reward, reward)
    accepted = 0
    for _ in range(TRIES):
        changed = mutated(certificate, rng)
        try:
            metrics.check_certificate(changed, cost, transition, transition, 0.5)
        except ValueError:
            continue
        accepted += 1
        assert (changed.lower <= exact + 1e-13).all()
        assert (changed.upper >= exact - 1e-13).all()
    assert 0 < accepted < TRIES / 2


def test_independent_draws_need_none():
    operator = metrics.mico_operator(GAMBLE, GAMBLE_REWARD, np.ones((4, 1)), G)
    with pytest.raises(ValueError, match="MICo draws next states independently and needs no certificate"):
        metrics.certify(operator, np.zeros((4, 4)))


def test_metrics_that_match_actions_and_distances_that_are_no_numbers_are_refused(rng):
    mdp = garnet(4, 2, 2, rng)
    with pytest.raises(ValueError, match="lax bisimulation matches actions"):
        metrics.certify(metrics.lax_bisimulation_operator(mdp.transition, mdp.reward, 0.9), np.zeros((4, 4)))
    with pytest.raises(ValueError, match=r"distance must be finite, got nan at \[0, 0\]"):
        metrics.certify(metrics.bisimulation_operator(mdp.transition, mdp.reward, 0.9), np.full((4, 4), np.nan))
