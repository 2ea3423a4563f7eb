"""Prints the measurements of docs/metrics.md that are no comparison of speed, as rows of its tables.

pip install ".[all]"
python docs/tools/metric_measurements.py garnet --states 400 [--sweeps] [--workers 2]
python docs/tools/metric_measurements.py rows
python docs/tools/metric_measurements.py entropy
python docs/tools/metric_measurements.py samples [--most 10000]

Seconds are of the processor, those of all threads together.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable, Iterator

import numpy as np
from scipy import sparse

from bisimgym.baselines import metrics
from bisimgym.baselines.metrics import sweeps
from bisimgym.benchmarks.running import machine
from bisimgym.envs.finite_mdp import FiniteMDP
from bisimgym.envs.jumping import jumping_union
from bisimgym.envs.toy_mdps import garnet

_DISCOUNT, _DRAWS, _NOISE = 0.9, 10, 0.1


def timed(work: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    """Return seconds of the processor, and what the work came to."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def large_garnet(states: int, by_sweeps: bool, workers: int) -> None:
    """Print what bisimulation of a Garnet process takes; start a new process for each, or memory is that of both."""
    recursion = metrics.bisimulation_operator(*sparse_garnet(states, 4, 5, np.random.default_rng(0)), 0.99)
    limit = int(sweeps.memory_needed(recursion)) + 1 if by_sweeps else None
    start = time.monotonic()
    seconds, _ = timed(functools.partial(metrics.solve, recursion, memory_limit=limit, workers=workers))
    wall, pairs = time.monotonic() - start, states * (states - 1) / 2
    print(
        f"| {states:,} | {seconds:.3g} | {wall:.3g} | {1e6 * seconds / pairs:.0f} | "
        f"{machine.peak_memory() / 2**30:.2f} |"
    )


def sparse_garnet(
    states: int, actions: int, branching: int, rng: np.random.Generator
) -> tuple[sparse.csr_array, np.ndarray]:
    """Return transition ``[S * A, S]`` and reward of a Garnet process too large for ``float[S, A, S]``."""
    to = rng.integers(states, size=(states * actions, branching))
    while (twice := (np.diff(np.sort(to)) == 0).any(axis=1)).any():  # next states are drawn without replacement
        to[twice] = rng.integers(states, size=(twice.sum(), branching))
    mass = np.diff(np.sort(rng.random((len(to), branching - 1))), axis=1, prepend=0.0, append=1.0)
    first = np.arange(0, to.size + 1, branching)
    return sparse.csr_array((mass.ravel(), to.ravel(), first), (len(to), states)), rng.random((states, actions))


def some_rows(tasks: int = 10, states: int = 60) -> None:
    """Print what the distances from some states take, beside those between all: of jumping tasks, and in Garnets."""
    jumps = jumping_union([(position, 10) for position in range(20, 20 + tasks)])
    apart = FiniteMDP.union({str(seed): garnet(states, 4, 5, np.random.default_rng(seed)) for seed in range(5)})
    for name, mdp, wanted in (
        (f"union of {tasks} jumping tasks, one of them", jumps, np.arange(jumps.num_states // tasks)),
        (f"five Garnet processes of {states} states, one of them", apart, np.arange(states)),
        (f"the same, {states // 6} states of one", apart, np.arange(states // 6)),
    ):
        recursion = metrics.bisimulation_operator(mdp.transition, mdp.reward, 0.99)
        every, whole = timed(functools.partial(metrics.solve, recursion, progress=False))
        some, part = timed(functools.partial(metrics.solve, recursion, rows=wanted, columns=wanted, progress=False))
        print(f"| {name} | {every:.2f} | {some:.2f} | {whole.nbytes / 2**20:.1f} | {part.nbytes / 2**20:.2f} |")


def entropy() -> None:
    """Print how far entropic bisimulation is off."""
    mdp = garnet(20, 3, 4, np.random.default_rng(0))
    exact = metrics.bisimulation(mdp.transition, mdp.reward, _DISCOUNT)
    for temperature in (1, 0.3, 0.1, 0.03, 0.01):
        seconds, found = timed(
            functools.partial(
                metrics.entropic_bisimulation,
                mdp.transition,
                mdp.reward,
                _DISCOUNT,
                temperature * exact.mean(),
                progress=False,
            )
        )
        off = found - exact
        print(
            f"| {temperature} | {off.mean() / exact.mean():+.0%} | {off.max() / exact.max():+.0%} | "
            f"{found.diagonal().mean() / exact.mean():.0%} | {seconds:.2g} |"
        )


def draws(mdp: FiniteMDP, count: int, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield noisy rewards and next states of all states and actions at once."""
    ends = mdp.transition.cumsum(axis=2)
    for _ in range(count):
        to = (rng.random((*mdp.reward.shape, 1)) > ends).sum(axis=2).clip(max=mdp.num_states - 1)
        yield mdp.reward + _NOISE * rng.standard_normal(mdp.reward.shape), to


def samples(most: int) -> None:
    """Print how far estimates are off, those by plug-in and streamed ones, of the same samples."""
    mdp = garnet(20, 3, 4, np.random.default_rng(0))
    exact = metrics.bisimulation(mdp.transition, mdp.reward, _DISCOUNT)
    state, action = (a.ravel() for a in np.indices(mdp.reward.shape))
    for count in (10 ** np.arange(1, np.log10(most) + 1)).astype(int):
        off: dict[str, list[np.ndarray]] = {"plug-in": [], "streamed": []}
        for seed in range(_DRAWS):
            drawn = list(draws(mdp, count, np.random.default_rng(seed)))
            rewards, to = np.array([r for r, _ in drawn]), np.array([t for _, t in drawn])
            process = metrics.empirical_process(
                np.tile(state, count), np.tile(action, count), rewards.ravel(), to.ravel(), *mdp.reward.shape
            )
            plug_in = metrics.bisimulation(process.transition, process.reward, _DISCOUNT, progress=False)
            off["plug-in"].append(plug_in - exact)
            off["streamed"].append(metrics.sampled_bisimulation(drawn, _DISCOUNT) - exact)
        cells = []
        for errors in off.values():
            for shares in (
                100 * np.array([np.abs(e).max() for e in errors]) / exact.max(),
                100 * np.array([e.mean() for e in errors]) / exact.mean(),
            ):
                cells.append(f"{shares.mean():.1f} % ({shares.min():.1f} to {shares.max():.1f})")
        print(f"| {count:,} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Print one kind of measurement."""
    parser = argparse.ArgumentParser(description="Print measurements of the page of metrics.")
    what = parser.add_subparsers(dest="what", required=True)
    large = what.add_parser("garnet", help="states, seconds, seconds of the clock, microseconds a pair, GiB at most")
    large.add_argument("--states", type=int, default=400)
    large.add_argument("--sweeps", action="store_true", help="as where couplings do not fit in memory")
    large.add_argument("--workers", type=int, default=1)
    what.add_parser("rows", help="process, seconds for all states and for some, MiB of both results")
    what.add_parser("entropy", help="temperature, mean and largest error, from a state to itself, seconds")
    sampled = what.add_parser("samples", help="samples, largest and mean signed error by plug-in, and streamed")
    sampled.add_argument("--most", type=int, default=10_000)
    given = parser.parse_args()
    if given.what == "garnet":
        large_garnet(given.states, given.sweeps, given.workers)
    elif given.what == "samples":
        samples(given.most)
    else:
        {"rows": some_rows, "entropy": entropy}[given.what]()


if __name__ == "__main__":
    main()
