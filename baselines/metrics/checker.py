"""A checker of certificates in exact arithmetic: standard library only, and no code of the solvers.

Let F(d)(x, y) be the largest over actions (or the weighted sum) of ``cost + discount * W1``. F is monotone and a
contraction, so that ``F(U) <= U`` everywhere proves ``d* <= U`` and ``L <= F(L)`` proves ``L <= d*``. A coupling shows
that W1 is no larger than what it costs, potentials that it is no smaller than what they add up to (weak duality).
"""

from fractions import Fraction
from operator import mul


def check_certificate(certificate, cost, transition_x, transition_y, discount, weights=None):
    """Raise ``ValueError`` unless a :class:`~bisimgym.baselines.metrics.Certificate` proves its bounds.

    Args:
        certificate: bounds, couplings and potentials.
        cost: local distances ``[A][Sx][Sy]``; :func:`exact_reward_costs` are exact.
        transition_x, transition_y: probabilities ``[S][A][S]``; rows count as divided by their exact sums.
        discount: in [0, 1).
        weights: ``[A]`` that sum to one, or None for the maximum over actions.
    """
    upper, lower = ([[Fraction(v) for v in row] for row in side] for side in (certificate.upper, certificate.lower))
    rows_x, rows_y, discount = _rows(transition_x), _rows(transition_y), Fraction(discount)
    shares = [Fraction(1)] if weights is None else [Fraction(w) for w in weights]
    if not 0 <= discount * sum(shares) < 1 or min(shares) < 0 or (weights is not None and len(shares) != len(cost)):
        raise ValueError("discount must be in [0, 1), and weights one for each action, not negative")
    if any(len(side) != len(rows_x) or {len(row) for row in side} != {len(rows_y)} for side in (upper, lower)):
        raise ValueError("bounds must be [Sx][Sy]")
    largest = max(max(row) for row in upper)
    for x, row_x in enumerate(rows_x):
        for y, row_y in enumerate(rows_y):
            above, below = [], []
            for a, costs in enumerate(cost):
                coupling, potentials = certificate.couplings.get((a, x, y), ()), certificate.potentials.get((a, x, y))
                above.append(Fraction(costs[x][y]) + discount * _coupled(coupling, row_x[a], row_y[a], upper, largest))
                below.append(Fraction(costs[x][y]) + discount * _priced(potentials, row_x[a], row_y[a], lower))
            ends = [max(s) if weights is None else sum(map(mul, shares, s)) for s in (above, below)]
            if not 0 <= ends[0] <= upper[x][y]:
                raise ValueError(f"the upper bound at {x}, {y} is not shown")
            if lower[x][y] < 0 or (lower[x][y] > 0 and ends[1] < lower[x][y]):
                raise ValueError(f"the lower bound at {x}, {y} is not shown")


def exact_reward_costs(reward_x, reward_y):
    """Return the absolute differences of rewards ``[S][A]`` as fractions, ``[A][Sx][Sy]``."""
    x, y = ([[Fraction(float(v)) for v in row] for row in reward] for reward in (reward_x, reward_y))
    return [[[abs(r[a] - s[a]) for s in y] for r in x] for a in range(len(x[0]))]


def _rows(transition):
    rows = [[{t: Fraction(float(p)) for t, p in enumerate(row) if p} for row in actions] for actions in transition]
    return [[{t: p / sum(row.values()) for t, p in row.items()} for row in actions] for actions in rows]


def _coupled(coupling, row_x, row_y, upper, largest):
    """Return what a coupling costs. Its mass must be there; what it leaves out counts as ``largest`` apart."""
    left_x, left_y, total = dict(row_x), dict(row_y), Fraction(0)
    for to_x, to_y, mass in coupling:
        mass = Fraction(mass)
        left_x[to_x], left_y[to_y] = left_x.get(to_x, 0) - mass, left_y.get(to_y, 0) - mass
        if mass < 0 or left_x[to_x] < 0 or left_y[to_y] < 0:
            raise ValueError(f"the coupling of {to_x} and {to_y} is negative, or more than there is")
        total += mass * upper[to_x][to_y] if mass else 0
    return total + sum(left_x.values()) * largest


def _priced(potentials, row_x, row_y, lower):
    """Return what potentials add up to: at most W1, as no two of them exceed the distance. None of them is worth 0."""
    if potentials is None:
        return Fraction(0)
    if not (row_x.keys() <= potentials[0].keys() and row_y.keys() <= potentials[1].keys()):
        raise ValueError("potentials are missing")
    x, y = ({t: Fraction(side[t]) for t in row} for side, row in zip(potentials, (row_x, row_y), strict=True))
    if any(x[s] + y[t] > lower[s][t] for s in x for t in y):
        raise ValueError("two potentials exceed the distance between their states")
    return sum(p * x[t] for t, p in row_x.items()) + sum(p * y[t] for t, p in row_y.items())
