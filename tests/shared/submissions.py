"""Submissions that are fine, to be spoiled."""

import copy
import functools
import json

from bisimgym.benchmarks.submissions import model
from bisimgym.benchmarks.suites import load_suite

SEEDS = [1, 2, 3, 4, 5]


def _lqr(task, seed):
    return {"trained": [True, True, False], "cost": [0.25 * seed, 0.5, int(task) / 1000 + seed]}


def _markov(task, seed):
    return {"accuracy": [0.5 + seed / 100] * 500}


OUTCOMES = {"lqr": _lqr, "markov": _markov}


@functools.cache
def _fine(name):
    suite = load_suite(name)
    outcomes = {(task, seed): OUTCOMES[name](task, seed) for task in suite.open_tasks for seed in SEEDS}
    scores = {key: dict(suite.rescore(*key, columns)) for key, columns in outcomes.items()}
    rows = [
        {"task": task, "seed": seed, "episode": number} | dict(zip(columns, values, strict=True))
        for (task, seed), columns in outcomes.items()
        for number, values in enumerate(zip(*columns.values(), strict=True))
    ]
    described = {
        "format": model.FORMAT,
        "suite": name,
        "suite_version": suite.version,
        "agent": "theirs",
        "description": "An agent of somebody else",
        "authors": "Somebody Else",
        "budget": 1000,
        "environments": model.environments(suite),
        "seeds": SEEDS,
        "runs": [
            {"task": task, "seed": seed, "score": of.pop("score"), "scores": of}
            for (task, seed), of in copy.deepcopy(scores).items()
        ],
        "means": {task: sum(scores[task, seed]["score"] for seed in SEEDS) / len(SEEDS) for task in suite.open_tasks},
        "machine": {"cores": 2},
    }
    return described, rows


def fine(name="lqr"):
    """A description and rows of episodes."""
    return copy.deepcopy(_fine(name))


def write(folder, described, rows):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / model.DESCRIPTION).write_text(json.dumps(described))
    (folder / model.EPISODES).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder
