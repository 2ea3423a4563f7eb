"""Run folders as strangers may write them: copies of committed runs, changed and sealed again."""

import json
import shutil
import signal
from contextlib import contextmanager
from pathlib import Path

from bisimgym.benchmarks.running import reading
from bisimgym.benchmarks.running.run_folder import sealed, write_json
from bisimgym.benchmarks.running.schema import digest

RESULTS = Path(reading.__file__).parents[1] / "results"
FILES = ("run.json", "curve.jsonl", "result.json")
NOISY = "noisy-states/cartpole-swingup-noise/mico/short/seed-1"
IMAGES = "small-images/nav2d-8x8/double-dqn/short/seed-1"
JUMPING = "jumping/wide/dropout-l2/short/seed-1"
MARKOV = "markov/uniform/nld-overdamped/short/seed-1"
FIDELITY = "fidelity/nav2d-8x8/mico/short/seed-1"


def copy(place, to):
    """A copy of a committed run, files alone."""
    to.mkdir(parents=True)
    for name in FILES:
        shutil.copyfile(RESULTS / place / name, to / name)
    return to


def reseal(path, spec=None, curve=None, **result):
    """Change a run folder as somebody who knows how to seal one."""
    run = json.loads((path / "run.json").read_text())
    run["spec"].update(spec or {})
    run["spec_digest"] = digest(run["spec"])
    (path / "run.json").write_text(json.dumps(run))
    if curve is not None:
        (path / "curve.jsonl").write_text("".join(json.dumps(row) + "\n" for row in curve))
    old = json.loads((path / "result.json").read_text())
    old.update({key: value for key, value in (spec or {}).items() if key in old}, **result)
    write_json(path / "result.json", sealed(path, old))


@contextmanager
def within(seconds):
    """Fail rather than wait for a named pipe for ever."""

    def late(*_):
        raise TimeoutError(f"took longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
