"""What the page of the distractor dial says of its metrics, against the generic solvers."""

import itertools

import numpy as np
import pytest

from bisimgym.baselines import metrics
from bisimgym.envs.distractor_dial import Dials, dial_mdp
from bisimgym.envs.distractor_dial.process import PHASES

DISCOUNT = 0.8
EXACT = {"tolerance": 1e-8, "progress": False}
KINDS = list(itertools.product((False, True), (False, True)))
kinds = pytest.mark.parametrize(("controllable", "predictable"), KINDS)
LIT = (True, True, False, False) * 2


def grid():
    """Return next cells and rewards of the grid without a distractor, by itself."""
    cells = np.arange(9)
    row, column = np.divmod(cells, 3)
    steps = ((1, 0), (0, 1), (-1, 0), (0, -1), (0, 0))
    after = [np.clip(row + r, 0, 2) * 3 + np.clip(column + c, 0, 2) for r, c in steps]
    return np.stack(after, axis=1), np.repeat((cells == 8).astype(float)[:, None], 5, axis=1)


def some_actions(mdp):
    """Return transition and reward of a move and of staying: enough for what is claimed, where transport is slow."""
    actions = slice(None) if mdp.deterministic else [0, 4]
    return mdp.transition[:, actions], mdp.reward[:, actions]


def by_cells(distance):
    """Return ``[cell, phase, cell, phase]``."""
    return distance.reshape(9, PHASES, 9, PHASES)


@kinds
def test_an_irrelevant_distractor_leaves_the_metrics_of_the_grid(controllable, predictable):
    """Each recursion has one fixed point, and that of the grid is it."""
    mdp = dial_mdp(Dials(controllable, predictable, 0.0, 3))
    transition, reward = grid()
    uniform, uniform_grid = np.full(mdp.reward.shape, 0.2), np.full(reward.shape, 0.2)
    best, best_grid = mdp.optimal_policy(DISCOUNT), np.eye(5)[[0, 0, 0, 0, 0, 0, 1, 1, 0]]
    some, some_rewards = some_actions(mdp)
    some_grid, some_grid_rewards = (transition, reward) if predictable else (transition[:, [0, 4]], reward[:, [0, 4]])
    for recursion, expected in (
        (
            metrics.bisimulation_operator(some, some_rewards, DISCOUNT),
            metrics.bisimulation(some_grid, some_grid_rewards, DISCOUNT, **EXACT),
        ),
        (
            metrics.on_policy_bisimulation_operator(mdp.transition, mdp.reward, uniform, DISCOUNT),
            metrics.on_policy_bisimulation(transition, reward, uniform_grid, DISCOUNT, **EXACT),
        ),
        (
            metrics.mico_operator(mdp.transition, mdp.reward, uniform, DISCOUNT),
            metrics.mico(transition, reward, uniform_grid, DISCOUNT, **EXACT),
        ),
        (
            metrics.policy_similarity_operator(mdp.transition, best, DISCOUNT),
            metrics.policy_similarity(transition, best_grid, DISCOUNT, **EXACT),
        ),
    ):
        lifted = np.repeat(np.repeat(expected, PHASES, axis=0), PHASES, axis=1)
        assert lifted.max() > 0.5
        np.testing.assert_allclose(recursion(lifted), lifted, atol=1e-7)


@kinds
def test_bisimulation_of_phases_in_one_cell(controllable, predictable):
    dials = Dials(controllable, predictable, 0.6, 3)
    mdp, w, g = dial_mdp(dials), dials.weight, DISCOUNT
    found = by_cells(metrics.bisimulation(*some_actions(mdp), g, **EXACT))
    for x, z, other in itertools.product(range(9), range(PHASES), range(PHASES)):
        differs = [float(LIT[(z + k) % PHASES] != LIT[(other + k) % PHASES]) for k in range(PHASES)]
        if controllable and predictable:
            expected = w * g ** differs.index(1) / (1 - g) if any(differs) else 0
        elif controllable:
            expected = w * differs[0] / (1 - g)
        elif predictable:
            expected = w * sum(g**k * d for k, d in enumerate(differs)) / (1 - g**PHASES)
        else:
            expected = w * differs[0]
        assert found[x, z, x, other] == pytest.approx(expected, abs=1e-7)
        assert found[x, z, x, (z + 4) % PHASES] == pytest.approx(0, abs=1e-7)


@kinds
def test_with_full_correlation_the_grid_is_irrelevant(controllable, predictable):
    mdp = dial_mdp(Dials(controllable, predictable, 1.0, 3))
    uniform = np.full(mdp.reward.shape, 0.2)
    for found in (
        metrics.bisimulation(*some_actions(mdp), DISCOUNT, **EXACT),
        metrics.mico(mdp.transition, mdp.reward, uniform, DISCOUNT, **EXACT),
    ):
        cells = by_cells(found)
        np.testing.assert_allclose(cells, np.broadcast_to(cells[:1, :, :1], cells.shape), atol=1e-7)


@pytest.mark.parametrize("predictable", [True, False])
def test_an_uncontrollable_relevant_distractor_leaves_policy_similarity(predictable):
    plain, relevant = (dial_mdp(Dials(False, predictable, correlation, 3)) for correlation in (0.0, 0.6))
    policies = [mdp.optimal_policy(DISCOUNT) for mdp in (plain, relevant)]
    np.testing.assert_array_equal(*policies)
    if predictable:
        found = by_cells(metrics.policy_similarity(relevant.transition, policies[1], DISCOUNT, **EXACT))
        assert found[:, 0, :, 0].max() > 0
        np.testing.assert_array_equal(found, np.broadcast_to(found[:, :1, :, :1], found.shape))
    switched = dial_mdp(Dials(True, predictable, 0.6, 3)).optimal_policy(DISCOUNT)
    assert (switched != policies[1]).any()
