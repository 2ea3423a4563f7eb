"""Bisimulation with an entropic transport cost: smooth, and between the cheapest couplings and independent ones."""

from __future__ import annotations

from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from tqdm import tqdm

from bisimgym.baselines.metrics import checks
from bisimgym.baselines.metrics.distributions import Distributions
from bisimgym.baselines.metrics.memory import free_memory, in_units
from bisimgym.baselines.metrics.operators import EPS
from bisimgym.baselines.metrics.processes import as_distributions

#: Scalings of one transport problem, and between two looks at what is missing.
_MAX_SCALINGS, _LOOK = 10_000, 4
#: Rounds of new couplings, and sweeps with given ones between two.
_MAX_ROUNDS, _MAX_SWEEPS = 1000, 1000


def entropic_bisimulation(
    transition: ArrayLike,
    reward: ArrayLike,
    discount: float,
    temperature: float,
    *,
    tolerance: float = 1e-6,
    progress: bool = True,
) -> np.ndarray:
    """Return the bisimulation metric with an entropic transport cost, ``float64[S, S]``.

    The fixed point of ``d(s, t) = max_a [ |r(s, a) - r(t, a)| + discount * W(P(s, a), P(t, a); d) ]`` with
    ``W = min over couplings of E[d] + temperature * KL(coupling, independent draws)``. It is differentiable in the
    probabilities and falls with the temperature: to :func:`bisimulation` from above as that goes to 0, which it
    exceeds by at most ``discount * temperature * log(K) / (1 - discount)`` with at most K next states; as it grows, the
    metric rises to that of independent draws (with one action MICo). As there, a state whose next state is random is at
    a positive distance from itself. On deterministic processes it is bisimulation at any temperature.

    Source: Cuturi (2013), "Sinkhorn distances", in the recursion of Ferns, Panangaden and Precup (2004). Solved by
    strategy iteration, couplings by Sinkhorn's scalings in logarithms with steps of Newton's between; the end is
    certified by what couplings and potentials leave between them.

    Args:
        transition: ``float[S, A, S]`` probabilities, ``int[S, A]`` next states, or sparse.
        reward: ``float[S, A]`` expected rewards.
        discount: in [0, 1).
        temperature: positive, in units of distances. Scalings grow as the largest distance over it.
        tolerance: the returned distances are at most this far from the fixed point.
        progress: whether to show a bar on stderr for work of more than two seconds.

    Raises:
        ValueError: for bad shapes, probabilities, rewards, discount, temperature or tolerance.
        MemoryError: if the couplings of all pairs do not fit in memory.
        ArithmeticError: if the temperature is so low that scalings do not end.
    """
    moves = as_distributions(checks.next_states_or_distributions(transition))
    rewards, discount = checks.rewards(reward, *moves.shape), checks.discount_factor(discount)
    temperature, tolerance = _positive("temperature", temperature), _positive("tolerance", tolerance)
    actions = range(moves.num_actions)
    first, second = np.triu_indices(len(moves))
    spread = float(np.ptp(rewards, axis=0).max())
    # Values go up to the spread of rewards over 1 - discount; potentials are logarithms times the temperature.
    smallest = 64 * EPS * (temperature + spread / (1 - discount)) / (1 - discount)
    if tolerance < smallest:
        raise ValueError(
            f"tolerance={tolerance:g} is out of reach: float64 certifies no better than {smallest:.1e} here"
        )
    width = max(int(moves.support(action)[1].max()) for action in actions)
    needed = 8 * 6 * len(first) * width**2 * moves.num_actions
    if needed > free_memory():
        raise MemoryError(
            f"couplings of {len(first)} pairs with up to {width} next states each need about {in_units(needed)}, and "
            f"{in_units(free_memory())} are free"
        )
    problems = [_problems(moves, action, first, second) for action in actions]
    cost = np.abs(rewards[first] - rewards[second]).T
    values, potentials = cost.max(axis=0), [np.zeros(p.second.shape) for p in problems]
    accuracy = max(spread, tolerance)  # where nothing differs, what is left is rounding
    with tqdm(desc=f"entropic bisimulation of {len(moves)} states", disable=not progress, delay=2, leave=False) as bar:
        for _ in range(_MAX_ROUNDS):
            found = [
                _coupled(values[p.pairs], p, g, temperature, accuracy)
                for p, g in zip(problems, potentials, strict=True)
            ]
            potentials = [f.potential for f in found]
            improved = (cost + discount * np.stack([f.value for f in found])).max(axis=0)
            residual = float(np.abs(improved - values).max()) + discount * max(f.gap for f in found)
            bound = residual / (1 - discount) + smallest / 2
            bar.update()
            bar.set_postfix_str(f"error at most {bound:.1e}", refresh=False)
            if bound <= tolerance:
                distance = np.empty((len(moves), len(moves)))
                distance[first, second] = distance[second, first] = improved
                return distance
            accuracy = max(residual / 100, tolerance * (1 - discount) / 8)
            # With couplings held fixed the recursion needs no transport.
            fixed = cost + discount * temperature * np.stack([f.divergence for f in found])
            values = improved
            for _ in range(_MAX_SWEEPS):
                ahead = [np.einsum("pij,pij->p", f.plan, values[p.pairs]) for f, p in zip(found, problems, strict=True)]
                following = (fixed + discount * np.stack(ahead)).max(axis=0)
                change, values = float(np.abs(following - values).max()), following
                if change <= accuracy:
                    break
    raise ArithmeticError(f"no convergence in {_MAX_ROUNDS} rounds, error at most {bound:.1e}")


def _positive(name: str, value: Any) -> float:
    if not isinstance(value, Real) or not 0 < float(value) < np.inf:
        raise ValueError(f"{name} must be positive and finite, got {value!r}")
    return float(value)


class _Problems(NamedTuple):
    """Transport between the next states of all pairs under one action; K is the largest number of next states.

    Attributes:
        pairs: ``int64[P, K, K]``, the numbers of pairs of next states.
        first, second: ``float64[P, K]``, masses; 0 where there are fewer than K.
    """

    pairs: np.ndarray
    first: np.ndarray
    second: np.ndarray


class _Coupled(NamedTuple):
    """Couplings ``plan``, ``float64[P, K, K]``, of exact marginals.

    ``value`` and ``divergence`` are their costs and KL divergences from independent draws, ``float64[P]``,
    ``potential`` is that of the second side, and no value is more than ``gap`` above the least.
    """

    plan: np.ndarray
    value: np.ndarray
    divergence: np.ndarray
    potential: np.ndarray
    gap: float


def _problems(moves: Distributions, action: int, first: np.ndarray, second: np.ndarray) -> _Problems:
    start, size = moves.support(action)
    place = np.arange(size.max())
    there = place < size[:, None]
    entries = np.where(there, start[:, None] + place, 0)
    states, mass = moves.states[entries], np.where(there, moves.mass[entries], 0.0)
    x, y = states[first][:, :, None], states[second][:, None, :]
    low, high = np.minimum(x, y), np.maximum(x, y)
    return _Problems(low * len(moves) - low * (low - 1) // 2 + high - low, mass[first], mass[second])


def _coupled(
    distance: np.ndarray, problems: _Problems, potential: np.ndarray, temperature: float, accuracy: float
) -> _Coupled:
    """Return couplings for ``distance``, ``float64[P, K, K]``, of values at most ``accuracy`` above the least."""
    plan, potential = np.empty_like(distance), potential.copy()
    value, divergence, gap = (np.empty(len(distance)) for _ in range(3))
    left = np.arange(len(distance))
    for _ in range(0, _MAX_SCALINGS, _LOOK):
        p, q, ahead, g = problems.first[left], problems.second[left], distance[left], potential[left]
        with np.errstate(divide="ignore"):
            log_p, log_q = np.log(p)[:, :, None], np.log(q)[:, None, :]
        for _ in range(_LOOK):
            f = -temperature * _log_sums((g[:, None, :] - ahead) / temperature + log_q, axis=2)
            g = -temperature * _log_sums((f[:, :, None] - ahead) / temperature + log_p, axis=1)
        coupled = _masses(f, g, ahead, p, q, temperature)
        # A step of Newton's where it gains: scalings alone crawl at low temperatures.
        near_f = f + temperature * _newton_step(coupled, p)
        near_g = -temperature * _log_sums((near_f[:, :, None] - ahead) / temperature + log_p, axis=1)
        gains = _weighted(p, near_f) + _weighted(q, near_g) > _weighted(p, f) + _weighted(q, g)
        f, g = (np.where(gains[:, None], near, old) for near, old in ((near_f, f), (near_g, g)))
        coupled[gains] = _masses(f, g, ahead, p, q, temperature)[gains]
        potential[left] = g
        plan[left] = coupled = _rounded(coupled, p, q)
        independent = p[:, :, None] * q[:, None, :]
        ratio = np.divide(coupled, independent, out=np.ones_like(coupled), where=coupled > 0)
        divergence[left] = (coupled * np.log(ratio)).sum(axis=(1, 2))
        value[left] = (coupled * ahead).sum(axis=(1, 2)) + temperature * divergence[left]
        gap[left] = value[left] - _weighted(p, f) - _weighted(q, g)
        left = left[gap[left] > accuracy]
        if not len(left):
            return _Coupled(plan, value, divergence, potential, max(float(gap.max(initial=0.0)), 0.0))
    raise ArithmeticError(
        f"temperature={temperature:g} is too low beside distances of up to {distance.max():.3g}: "
        f"{_MAX_SCALINGS:,} scalings did not reach {accuracy:.1e}; raise it, or take bisimulation, which is exact"
    )


def _masses(
    f: np.ndarray, g: np.ndarray, distance: np.ndarray, p: np.ndarray, q: np.ndarray, temperature: float
) -> np.ndarray:
    """Return ``float64[P, K, K]``: the masses that potentials give, 0 where there are fewer than K next states."""
    independent = p[:, :, None] * q[:, None, :]
    exponents = (f[:, :, None] + g[:, None, :] - distance) / temperature
    return np.exp(np.where(independent > 0, exponents, -np.inf)) * independent


def _newton_step(plan: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Return how far first potentials move, over the temperature, in a step that makes both marginals right.

    Second potentials follow, so that columns of ``plan`` are right before and after.
    """
    rows, columns = plan.sum(axis=2), plan.sum(axis=1)
    share = np.divide(plan, columns[:, None, :], out=np.zeros_like(plan), where=columns[:, None, :] > 0)
    system = -share @ plan.transpose(0, 2, 1)
    size = plan.shape[1]
    # Constants change nothing; states that are not there stay where they are.
    system += np.eye(size) * (rows + np.where(p > 0, 1e-14, 1.0))[:, :, None] + 1 / size**2
    return np.linalg.solve(system, (p - rows)[:, :, None])[:, :, 0]


def _weighted(mass: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.einsum("pk,pk->p", mass, values)


def _log_sums(exponents: np.ndarray, axis: int) -> np.ndarray:
    """Return ``log(sum(exp(exponents)))`` along an axis; none is empty of finite ones."""
    top = exponents.max(axis=axis, keepdims=True)
    return np.log(np.exp(exponents - top).sum(axis=axis)) + top.squeeze(axis)


def _rounded(plan: np.ndarray, p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Return couplings near ``plan`` whose marginals are exact (Altschuler, Weed and Rigollet 2017, Algorithm 2)."""
    for axis, mass in ((2, p), (1, q)):
        total = plan.sum(axis=axis)
        share = np.minimum(np.divide(mass, total, out=np.zeros_like(total), where=total > 0), 1)
        plan = plan * np.expand_dims(share, axis)
    rest_p, rest_q = p - plan.sum(axis=2), q - plan.sum(axis=1)
    missing = np.maximum(rest_p.sum(axis=1), 0)[:, None, None]
    product = np.maximum(rest_p, 0)[:, :, None] * np.maximum(rest_q, 0)[:, None, :]
    return plan + np.divide(product, missing, out=np.zeros_like(product), where=missing > 0)
