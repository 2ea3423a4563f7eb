"""Optimal transport of many small problems of one shape at a time: the transportation simplex, in step for all.

A basis of an n x m problem is a spanning tree of n + m - 1 cells. Trees are kept, two bytes a cell, and serve again
when costs have changed: most stay optimal then, and checking one takes a fraction of finding it. To pivot, a tree is
unfolded into the inverse of its matrix, which holds -1, 0 and 1 only: pivots carry it on without rounding.

Arrays have the problems as their last axis, so that each step is one operation on contiguous memory. A tree is
``uint8[2, n + m - 1, P]``: edges from a node that is there already (the first one: the root) to a new one, where nodes
are the n rows and after them the m columns.
"""

from __future__ import annotations

import numpy as np

#: A reduced cost counts as negative below this, relative to the largest cost: rounding of the duals reaches it.
ROUNDING = 8 * float(np.finfo(np.float64).eps)


def greedy_trees(x: np.ndarray, y: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """Return feasible trees for marginals ``float64[n, P]`` and ``float64[m, P]``, cheap under ``float64[n, m, P]``.

    The least-cost rule: fill the cheapest cell, and close its row or column, whichever is used up. What closes first
    hangs on what is left, so that the edges in turn, backwards, are a tree from its root on.
    """
    n, m, count = cost.shape
    problems, size = np.arange(count), n + m - 1
    trees = np.empty((2, size, count), np.uint8)
    left, cost = np.concatenate([x, y]), cost.copy()
    rows, columns = np.full(count, n), np.full(count, m)
    for step in range(size - 1, -1, -1):
        row, column = np.divmod(cost.reshape(n * m, count).argmin(axis=0), m)
        down = ((left[row, problems] <= left[n + column, problems]) & (rows > 1)) | (columns == 1)
        trees[0, step] = stays = np.where(down, n + column, row)
        trees[1, step] = closes = np.where(down, row, n + column)
        left[stays, problems] -= left[closes, problems]
        rows -= down
        columns -= ~down
        cost[row[down], :, problems[down]] = np.inf
        cost[:, column[~down], problems[~down]] = np.inf
    return trees


def flows(trees: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the cells of trees, ``int64[k, P]`` numbered row by row, and their masses ``float64[k, P]``."""
    known, new = _places(trees)
    left, mass = np.concatenate([x, y]).ravel(), np.empty(new.shape)
    for step in range(len(mass) - 1, -1, -1):  # leaves first: what a node needs has to come through its only edge
        mass[step] = moved = left.take(new[step])
        left[known[step]] -= moved
    return _cells(trees, len(x), len(y)), np.maximum(mass, 0, out=mass)


def potentials(trees: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """Return ``float64[n + m, P]``, of rows and columns, that add up to the costs of the trees' cells."""
    n, m, count = cost.shape
    prices = cost.take(_cells(trees, n, m) * count + np.arange(count))
    known, new = _places(trees)
    result = np.zeros((n + m) * count)
    for price, at, to in zip(prices, known, new, strict=True):
        result[to] = price - result.take(at)
    return result.reshape(n + m, count)


def values(trees: np.ndarray, x: np.ndarray, y: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """Return ``float64[P]``: what the couplings of trees cost."""
    return _weighted(potentials(trees, cost), x, y)


def optimize(
    trees: np.ndarray, x: np.ndarray, y: np.ndarray, cost: np.ndarray, max_pivots: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Make feasible trees optimal, in place.

    Dantzig's rule: the cell of the most negative reduced cost enters. It may cycle where flows are zero; problems that
    are not done after ``max_pivots`` pivots are returned.

    Args:
        trees: ``uint8[2, n + m - 1, P]``.
        x, y: marginals, ``float64[n, P]`` and ``float64[m, P]``.
        cost: ``float64[n, m, P]``, non-negative.

    Returns:
        values: ``float64[P]``, what the couplings cost.
        changed, unfinished: ``int64[...]``, numbers of problems.
    """
    allowed = -ROUNDING * cost.max(initial=0.0)
    prices = potentials(trees, cost)
    value = _weighted(prices, x, y)
    left = changed = (_reduced(cost, prices).min(axis=0) < allowed).nonzero()[0]
    while len(left) and max_pivots > 0:
        moved, part_x, part_y, part = trees[..., left], x[:, left], y[:, left], cost[..., left]
        max_pivots -= _pivot_all(moved, part_x, part_y, part, allowed, max_pivots)
        trees[..., left] = moved
        # Pivots update potentials; fresh ones say what rounding did to those.
        prices = potentials(moved, part)
        value[left] = _weighted(prices, part_x, part_y)
        left = left[_reduced(part, prices).min(axis=0) < allowed]
    return value, changed, left


def _pivot_all(
    trees: np.ndarray, x: np.ndarray, y: np.ndarray, cost: np.ndarray, allowed: float, max_pivots: int
) -> int:
    """Pivot until nothing enters, at most so many times; return how many times it was."""
    n, m, count = cost.shape
    going = np.arange(count)
    cells, flow = flows(trees, x, y)
    inverse, prices = _inverse(trees, n, m), potentials(trees, cost)
    # The root is the last column from here on.
    prices = np.concatenate([prices[:n] + prices[-1], prices[n:] - prices[-1]])
    for pivots in range(max_pivots + 1):
        reduced = _reduced(cost, prices)
        entering = reduced.argmin(axis=0)
        gain = reduced[entering, np.arange(len(going))]
        more = gain < allowed if pivots < max_pivots else np.zeros(len(going), dtype=bool)
        if not more.all():
            trees[..., going[~more]] = _ordered(cells[:, ~more], inverse[..., ~more], n, m)
            going, entering, gain, cost = going[more], entering[more], gain[more], cost[..., more]
            cells, inverse, flow, prices = cells[:, more], inverse[..., more], flow[:, more], prices[:, more]
        if not len(going):
            break
        _pivot(cells, inverse, flow, prices, entering, gain, m)
    return max(pivots, 1)


def _pivot(
    cells: np.ndarray,
    inverse: np.ndarray,
    flow: np.ndarray,
    prices: np.ndarray,
    entering: np.ndarray,
    gain: np.ndarray,
    m: int,
) -> None:
    """Exchange a basic cell of each problem for the entering one, in place."""
    problems, n = np.arange(len(entering)), len(prices) - m
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
    prices[:-1] += gain * source
    change[leaving, problems] = 0  # the leaving row itself stays as it is: its entry is one
    for target, times in zip(inverse, change, strict=True):
        target -= times * source


def _inverse(trees: np.ndarray, n: int, m: int) -> np.ndarray:
    """Return ``int8[k, k, P]``: flows of the cells from the marginals, without that of the last column."""
    _, k, count = trees.shape
    problems = np.arange(count)
    # How the potential of a node depends on the prices of cells: they alternate along its path from the root. As bits.
    plus, minus = np.zeros((2, n + m, count), np.uint32)
    for step, (known, new) in enumerate(zip(*trees.astype(np.intp), strict=True)):
        plus[new, problems] = minus[known, problems] | np.uint32(1 << step)
        minus[new, problems] = plus[known, problems]
    result = np.empty((k, n + m, count), np.int8)
    for step, signs in enumerate(result):
        bit = np.uint32(1 << step)
        signs[:] = ((plus & bit) > 0).view(np.int8) - ((minus & bit) > 0).view(np.int8)
        last = signs[-1].copy()
        signs[:n] += last
        signs[n:] -= last
    return result[:, :-1]


def _ordered(cells: np.ndarray, inverse: np.ndarray, n: int, m: int) -> np.ndarray:
    """Return the trees of cells: edges in the order of their distance from the last column."""
    problems = np.arange(cells.shape[1])
    depth = np.zeros((n + m, len(problems)), np.uint8)
    np.add.reduce(inverse != 0, axis=0, dtype=np.uint8, out=depth[:-1])
    row, column = np.divmod(cells, m)
    column += n
    row_depth, column_depth = depth[row, problems], depth[column, problems]
    away = row_depth > column_depth
    edges = np.array([np.where(away, column, row), np.where(away, row, column)], dtype=np.uint8)
    order = np.maximum(row_depth, column_depth).argsort(axis=0)
    return np.take_along_axis(edges, order[None], axis=1)


def _places(trees: np.ndarray) -> np.ndarray:
    """Return ``int64[2, k, P]``: where the nodes of edges are in arrays ``[n + m, P]``."""
    places = trees.astype(np.intp)
    places *= trees.shape[2]
    places += np.arange(trees.shape[2])
    return places


def _cells(trees: np.ndarray, n: int, m: int) -> np.ndarray:
    low, high = np.minimum(*trees), np.maximum(*trees)
    return low.astype(np.intp) * m + high - n


def _weighted(prices: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.einsum("kp,kp->p", prices[: len(x)], x) + np.einsum("kp,kp->p", prices[len(x) :], y)


def _reduced(cost: np.ndarray, prices: np.ndarray) -> np.ndarray:
    """Return reduced costs ``float64[n * m, P]``."""
    n, m, count = cost.shape
    reduced = cost - prices[:n, None]
    reduced -= prices[n:]
    return reduced.reshape(n * m, count)
