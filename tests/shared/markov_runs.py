"""Finished runs of the markov suite, whose scores a test chooses."""

from bisimgym.benchmarks.running.run_folder import RunFolder
from bisimgym.benchmarks.suites import load_suite
from bisimgym.benchmarks.suites.base import EXTERNAL, Outcome, Spec, make_spec
from bisimgym.benchmarks.suites.markov.settings import PROTOCOL

SUITE = load_suite("markov")


def spec(method, seed, task="uniform", preset="short", **variant):
    return make_spec(SUITE, task, method, preset, seed, variant)


def outside(name, seed=1, task="uniform"):
    return Spec("markov", SUITE.version, task, name, EXTERNAL, seed, {}, {})


def seeds_of(method, *values, **chosen):
    return [(spec(method, i + 1, **chosen), value, {}) for i, value in enumerate(values)]


def write_runs(out, *runs):
    """Write finished runs ``(spec, accuracy, measures)`` and return the folder."""
    for own, accuracy, measures in runs:
        folder = RunFolder(out, own)
        folder.path.mkdir(parents=True)
        folder.start({})
        folder.finish(Outcome(accuracy, measures, {"accuracy": [accuracy] * PROTOCOL.test_sequences}), False, {})
    return out
