"""Optimal transport of many small problems of one shape at a time: the transportation simplex, in step for all.

A basis of an n x m problem is a spanning tree of n + m - 1 cells, and the inverse of its matrix holds -1, 0 and 1 only:
it is carried through all pivots without rounding, and fits a byte per entry. So it can be kept, and serves again when
costs have changed; most bases stay optimal then, and checking one takes a fraction of finding it.

Arrays have the problems as their last axis, so that each step is one operation on contiguous memory.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

#: A reduced cost counts as negative below this, relative to the largest cost: rounding of the duals reaches it.
ROUNDING = 8 * float(np.finfo(np.float64).eps)


class Bases(NamedTuple):
    """Bases of P problems with n x m cells and k = n + m - 1 basic ones.

    Attributes:
        cells: ``uint8[k, P]``, the basic cells, numbered row by row.
        inverse: ``int8[k, k, P]``: flows from the marginals, without that of the last column.
        flow: ``float64[k, P]``, the masses of the basic cells.
    """

    cells: np.ndarray
    inverse: np.ndarray
    flow: np.ndarray

    def part(self, problems: slice | np.ndarray) -> Bases:
        return Bases(self.cells[:, problems], self.inverse[..., problems], self.flow[:, problems])


def first_bases(x: np.ndarray, y: np.ndarray) -> Bases:
    """Return the bases of the northwest corner rule for marginals ``float64[n, P]`` and ``float64[m, P]``.

    Dantzig (1951): fill cells from the first on; go down where the row is used up and to the right where the column is.
    """
    (n, count), m = x.shape, len(y)
    k, problems = n + m - 1, np.arange(count)
    # The mass of the last column is that of all rows without the other columns.
    columns = np.concatenate([np.eye(k, dtype=np.int8)[n:], np.r_[np.ones(n, np.int8), -np.ones(m - 1, np.int8)][None]])
    cells, inverse, flow = np.empty((k, count), np.uint8), np.empty((k, k, count), np.int8), np.empty((k, count))
    i, j = np.zeros((2, count), dtype=np.int64)
    left_x, left_y = x[0].copy(), y[0].copy()
    terms_x = np.repeat(np.eye(k, dtype=np.int8)[0][:, None], count, axis=1)
    terms_y = np.repeat(columns[0][:, None], count, axis=1)
    for step in range(k):
        down = ((left_x <= left_y) & (i < n - 1)) | (j == m - 1)
        cells[step] = i * m + j
        flow[step] = np.where(down, left_x, left_y)
        inverse[step] = np.where(down, terms_x, terms_y)
        if step == k - 1:
            break
        i, j = i + down, j + ~down
        left_x, left_y = (
            np.where(down, x[i, problems], left_x - left_y),
            np.where(down, left_y - left_x, y[j, problems]),
        )
        unit = np.arange(k)[:, None] == i
        terms_x, terms_y = np.where(down, unit, terms_x - terms_y), np.where(down, terms_y - terms_x, columns[j].T)
    return Bases(cells, inverse, np.maximum(flow, 0, out=flow))


def duals(bases: Bases, cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return potentials ``float64[n, P]`` and ``float64[m, P]`` that add up to the costs of basic cells."""
    n, m, count = cost.shape
    basic = cost.reshape(n * m, count)[bases.cells, np.arange(count)]
    potentials = np.zeros((n + m, count))
    for price, row in zip(basic, bases.inverse, strict=True):
        potentials[:-1] += price * row
    return potentials[:n], potentials[n:]


def optimize(bases: Bases, cost: np.ndarray, max_pivots: int) -> tuple[np.ndarray, np.ndarray]:
    """Make feasible bases optimal, in place, and return which of them changed, and which are not optimal yet.

    Dantzig's rule: the cell of the most negative reduced cost enters. It may cycle where flows are zero; problems that
    are not done after ``max_pivots`` pivots are returned.

    Args:
        bases: P feasible ones.
        cost: ``float64[n, m, P]``, non-negative.

    Returns:
        changed, unfinished: ``int64[...]``, numbers of problems.
    """
    n, m, _ = cost.shape
    allowed = -ROUNDING * cost.max(initial=0.0)
    entering, changed = _priced(bases, cost, allowed)
    problems, work, cost, entering = changed, bases.part(changed), cost[..., changed], entering[changed]
    for _ in range(max_pivots):
        if not len(problems):
            break
        _pivot(work, entering, n, m)
        entering, left = _priced(work, cost, allowed)
        if len(left) < len(problems):
            done = np.ones(len(problems), dtype=bool)
            done[left] = False
            _store(bases, problems, work, done.nonzero()[0])
            problems, work, cost, entering = problems[left], work.part(left), cost[..., left], entering[left]
    _store(bases, problems, work, np.arange(len(problems)))
    return changed, problems


def _priced(bases: Bases, cost: np.ndarray, allowed: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the cell of each problem that would enter, and the problems in which its reduced cost is negative."""
    n, m, count = cost.shape
    potential_x, potential_y = duals(bases, cost)
    reduced = cost - potential_x[:, None]
    reduced -= potential_y
    flat = reduced.reshape(n * m, count)
    entering = flat.argmin(axis=0)
    return entering, (flat[entering, np.arange(count)] < allowed).nonzero()[0]


def _store(bases: Bases, problems: np.ndarray, work: Bases, done: np.ndarray) -> None:
    for whole, part in zip(bases, work.part(done), strict=True):
        whole[..., problems[done]] = part


def _pivot(bases: Bases, entering: np.ndarray, n: int, m: int) -> None:
    """Exchange a basic cell of each problem for the entering one."""
    cells, inverse, flow = bases
    problems = np.arange(len(entering))
    row, column = np.divmod(entering, m)
    change = inverse[:, row, problems]
    inside = column < m - 1
    change += np.where(inside, inverse[:, np.where(inside, n + column, 0), problems], 0)
    ratio = np.where(change > 0, flow, np.inf)
    leaving = ratio.argmin(axis=0)
    amount = flow[leaving, problems]
    flow -= amount * change
    np.maximum(flow, 0, out=flow)
    flow[leaving, problems] = amount
    cells[leaving, problems] = entering
    source = inverse[leaving, :, problems].T
    change[leaving, problems] = 0  # the leaving row itself stays as it is: its entry is one
    for target, times in zip(inverse, change, strict=True):
        target -= times * source
