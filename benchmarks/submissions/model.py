"""What a submission is: the one model that its files are checked by and that its published JSON schema is made of.

A submission is a folder of two files: ``submission.json``, the agent and what it claims, and ``episodes.jsonl``, one
line for each row of outcomes (an episode, in most suites).
"""

from __future__ import annotations

import json
from typing import Any

from bisimgym.benchmarks.running import schema
from bisimgym.benchmarks.submissions.kinds import (
    FACTS,
    NAME,
    TEXT,
    Kind,
    Leaf,
    ListOf,
    Record,
    choice,
    constant,
    entry,
    integer,
    number,
)
from bisimgym.benchmarks.suites import SUITES, load_suite
from bisimgym.benchmarks.suites.base import Suite

FORMAT = 1
DESCRIPTION, EPISODES = "submission.json", "episodes.jsonl"
#: Fewest and most seeds of every task.
LEAST_SEEDS, MOST_SEEDS = 5, 100
#: Most environment steps to learn for, and most rows of outcomes of one run.
_MOST_ROWS = 100_000
_SEED = integer(0, 2**32 - 1)


def env_ids(suite: Suite) -> list[str]:
    """Return the environments that a suite's tasks are made of, each once."""
    return list(dict.fromkeys(env_id for task in suite.open_tasks for env_id in suite.env_ids(task)))


def environments(suite: Suite) -> dict[str, str]:
    """Return the digests of a suite's environments."""
    return {env_id: value for task in suite.open_tasks for env_id, value in schema.environments(suite, task).items()}


def description(suite: Suite) -> Record:
    """Return what ``submission.json`` holds."""
    score = number(*suite.bounds)
    measures: dict[str, Kind] = {name: number(*schema.measure_bounds(suite, name)) for name in suite.measures}
    run = Record({"task": choice(suite.open_tasks), "seed": _SEED, "score": score}, {"scores": Record({}, measures)})
    return Record(
        {
            "format": constant(FORMAT),
            "suite": constant(suite.name),
            "suite_version": constant(suite.version),
            "agent": Leaf(lambda where, value: schema.check_agent_name(suite, value, where), NAME.schema),
            "description": TEXT,
            "authors": TEXT,
            "budget": integer(0, schema.MOST_BUDGET),
            "environments": Record({env_id: constant(value) for env_id, value in environments(suite).items()}),
            "seeds": ListOf(_SEED, LEAST_SEEDS, MOST_SEEDS),
            "runs": ListOf(run, 1, MOST_SEEDS * len(suite.open_tasks)),
            "means": Record(dict.fromkeys(suite.open_tasks, score)),
        },
        {"versions": FACTS, "machine": FACTS},
    )


def episode(suite: Suite) -> Record:
    """Return what a line of ``episodes.jsonl`` holds: which columns of outcomes a task has, the suite says."""
    fields = {"task": choice(suite.open_tasks), "seed": _SEED, "episode": integer(0, _MOST_ROWS - 1)}
    return Record(fields, {name: entry(kind) for name, kind in suite.columns.items()})


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of both files, for every suite under ``$defs/SUITE``."""
    suites = [load_suite(name) for name in SUITES]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Submissions to the leaderboard of bisimgym",
        "$defs": {
            suite.name: {
                "$defs": {DESCRIPTION: description(suite).json_schema(), EPISODES: episode(suite).json_schema()}
            }
            for suite in suites
        },
        "oneOf": [{"$ref": f"#/$defs/{suite.name}/$defs/{DESCRIPTION}"} for suite in suites],
    }


def schema_text() -> str:
    """Return the published JSON schema."""
    return json.dumps(json_schema(), indent=1, allow_nan=False) + "\n"
