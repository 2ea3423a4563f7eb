"""Finished runs without what depends on the clock and on memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_CLOCK = ("train_seconds", "seconds", "finished", "peak_memory", "digest", "curve_digest", "record_digest")


def comparable(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the result of a run's folder and its curve; the digests of its pictures are in the result."""
    result = json.loads((path / "result.json").read_text())
    curve = [json.loads(line) for line in (path / "curve.jsonl").read_text().splitlines()]
    for row in [result, *curve]:
        for key in _CLOCK:
            row.pop(key, None)
    return result, curve
