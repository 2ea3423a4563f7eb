"""Certificates: bounds of a metric with all that is needed to check them, whoever computed the distances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from bisimgym.baselines.metrics import transport
from bisimgym.baselines.metrics.operators import EPS, Operator
from bisimgym.envs.checks import first_bad, real_array

Coupling = list[tuple[int, int, float]]
Potentials = tuple[dict[int, float], dict[int, float]]


@dataclass(frozen=True)
class Certificate:
    """Bounds of a metric between all states, and what shows them; keys are (action, x, y).

    Attributes:
        upper, lower: ``float64[Sx, Sy]``.
        couplings: of the next states: (next state of x, next state of y, mass). What rounding may have added to masses
            is left out; the checker counts it at the largest distance.
        potentials: of next states of x, and of y, no two of which add up to more than ``lower`` between them. They are
            there for the action at which the maximum is attained, or for all if these are weighted.
    """

    upper: np.ndarray
    lower: np.ndarray
    couplings: dict[tuple[int, int, int], Coupling]
    potentials: dict[tuple[int, int, int], Potentials]


def certify(operator: Operator, distance: ArrayLike) -> Certificate:
    """Return bounds around distances ``float[Sx, Sy]`` that anyone can check.

    The bounds are as wide as the error bound of the distances and their rounding make them, a few times the tolerance
    of a solved metric. :func:`~bisimgym.baselines.metrics.check_certificate` checks them in exact arithmetic:

    .. code-block:: python

        operator = metrics.bisimulation_operator(transition, reward, 0.9)
        certificate = metrics.certify(operator, metrics.solve(operator))
        costs = metrics.exact_reward_costs(reward, reward)
        metrics.check_certificate(certificate, costs, transition, transition, 0.9)

    Every pair of states and action is one optimal transport problem, solved by POT. Made for up to some hundred states.

    Args:
        operator: of a metric with cheapest couplings.
        distance: for example what :func:`~bisimgym.baselines.metrics.solve` returned.

    Raises:
        ValueError: if next states are drawn independently, if actions are matched (lax bisimulation), or for distances
            of a wrong shape or that are not finite.
    """
    if operator.independent:
        raise ValueError(
            f"{operator.name} draws next states independently and needs no certificate: where operator(distance) is no "
            "larger than distance everywhere, distance is an upper bound, and a lower one where it is no smaller"
        )
    if operator.matches_actions:
        raise ValueError(f"{operator.name} matches actions: certificates are of metrics that compare like actions")
    given = operator.checked(real_array("distance", distance))
    if not np.isfinite(given).all():
        raise ValueError(f"distance must be finite, got {first_bad(given, ~np.isfinite(given))}")
    distances = np.maximum(given, 0)
    x, y = operator.distributions
    # Mass that couplings leave out, and what potentials are lowered by, is some units in the last place for each state.
    rounding = 16 * (np.diff(x.first).max() + np.diff(y.first).max()) * EPS * operator.largest_distance()
    margin = 2 * operator.bound_of(float(np.abs(operator(distances) - distances).max()) + rounding)
    upper, lower = distances + margin, np.maximum(distances - margin, 0)
    couplings: dict[tuple[int, int, int], Coupling] = {}
    potentials: dict[tuple[int, int, int], Potentials] = {}
    rows = np.arange(len(x))
    costs = np.stack([operator.cost(action, rows) for action in range(operator.num_actions)])
    for i in range(len(x)):
        for j in range(len(y)):
            terms, priced = np.empty(operator.num_actions), []
            for action in range(operator.num_actions):
                (to_x, mass_x), (to_y, mass_y) = x.row(i, action), y.row(j, action)
                between = lower[to_x[:, None], to_y]
                plan, price_x, _ = transport.solved(mass_x, mass_y, distances[to_x[:, None], to_y])
                couplings[action, i, j] = _submarginal(plan, mass_x, mass_y, to_x, to_y)
                # The largest potentials of y that those of x permit, and a little less for rounding.
                price_y = (between - price_x[:, None]).min(axis=0)
                price_y -= 4 * EPS * (np.abs(price_x).max() + between.max())
                terms[action] = costs[action, i, j] + operator.discount * (mass_x @ price_x + mass_y @ price_y)
                priced.append((_named(to_x, price_x), _named(to_y, price_y)))
            shown = [int(terms.argmax())] if operator.weights is None else range(operator.num_actions)
            for action in shown if lower[i, j] > 0 else ():
                potentials[action, i, j] = priced[action]
    return Certificate(upper, lower, couplings, potentials)


def _submarginal(
    plan: np.ndarray, mass_x: np.ndarray, mass_y: np.ndarray, to_x: np.ndarray, to_y: np.ndarray
) -> Coupling:
    """Return a coupling whose rows and columns sum to no more than the masses, whatever rounding did."""
    for axis, mass in ((1, mass_x[:, None]), (0, mass_y)):
        total = plan.sum(axis=axis, keepdims=True).reshape(mass.shape)
        plan = plan * np.minimum(1, mass / np.where(total > 0, total, 1)) * (1 - 8 * (len(mass_x) + len(mass_y)) * EPS)
    row, column = plan.nonzero()
    return [(int(to_x[r]), int(to_y[c]), float(plan[r, c])) for r, c in zip(row, column, strict=True)]


def _named(states: np.ndarray, values: np.ndarray) -> dict[int, float]:
    return dict(zip(states.tolist(), values.tolist(), strict=True))
