"""Draws manipulation for the documentation: both tasks, by two renderers, in looks of training and in held-out ones.

pip install ".[all,manipulation]" && pip install --no-deps "robosuite==1.5.2"
python docs/tools/manipulation_pictures.py [--out docs/manipulation]

The frames of a column show the same state: only their looks and their renderer differ.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import gymnasium as gym
import numpy as np
from distracting_pictures import Grid

import bisimgym  # noqa: F401  (registers the ids)
from bisimgym.benchmarks.suites.manipulation.settings import ENV_IDS
from bisimgym.envs.files import MARK, followed, is_our_picture, replaceable_file

FOLDER = Path(__file__).parents[1] / "manipulation"
#: The name of a picture by the task of the suite that it shows.
NAMES = {task: task.replace("-", "_") for task in ENV_IDS}
_SIZE, _SEEDS = 96, 5
_ROWS = {
    "robosuite's look": {"randomize": []},
    "training": {"split": "train"},
    "held out": {"split": "test"},
}
_RENDERERS = {"raycast": "raycast", "opengl": "OpenGL"}


def frames(task: str, renderer: str, **look: object) -> list[np.ndarray]:
    """Return the first images of some episodes, ``uint8[size, size, 3]``."""
    with gym.make(ENV_IDS[task], image_size=_SIZE, frame_stack=1, renderer=renderer, **look) as env:
        return [env.reset(seed=seed)[0] for seed in range(_SEEDS)]


def grids(tasks: Sequence[str] = tuple(ENV_IDS), renderers: Sequence[str] = tuple(_RENDERERS)) -> Iterator[Grid]:
    """Yield the picture of each task."""
    for task in tasks:
        shown = {
            f"{name},\n{_RENDERERS[renderer]}": frames(task, renderer, **look)
            for name, look in _ROWS.items()
            for renderer in renderers
        }
        columns = [f"episode {seed}" for seed in range(_SEEDS)]
        yield Grid(NAMES[task], list(shown), columns, list(shown.values()), size=_SIZE)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the pictures and print their paths."""
    parser = argparse.ArgumentParser(description="Draw manipulation for the documentation.")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the pictures")
    folder = followed(parser.parse_args(arguments).out)
    for name in NAMES.values():
        replaceable_file(folder / f"{name}.png", "a picture", is_our_picture)
    folder.mkdir(parents=True, exist_ok=True)
    from PIL.PngImagePlugin import PngInfo

    about = PngInfo()
    about.add_text("Software", MARK)
    for grid in grids():
        path = folder / f"{grid.name}.png"
        grid.draw().quantize(128).save(path, optimize=True, pnginfo=about)
        print(path)


if __name__ == "__main__":
    main()
