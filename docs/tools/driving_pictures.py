"""Draws the pictures of driving: one place in six weathers, and an image in parts.

pip install "."
python docs/tools/driving_pictures.py [--out docs/driving]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import gymnasium as gym
import numpy as np

import bisimgym  # noqa: F401  (registers the ids)
from bisimgym.envs.files import MARK, followed, is_our_picture, replaceable_file
from bisimgym.envs.highway_driving.weather import PRESETS

FOLDER = Path(__file__).parents[1] / "driving"
NAMES = ("weather.png", "episode.png")
_GAP = 4


def driven(actions: int, seed: int = 1, **arguments: object) -> gym.Env:
    """Return an environment after some actions of the oracle."""
    env = gym.make("bisimgym/HighwayDriving-v0", render_mode="rgb_array", **arguments)
    env.reset(seed=seed)
    for _ in range(actions):
        env.step(env.unwrapped.optimal_action())  # type: ignore[attr-defined]
    return env


def in_weathers(names: Sequence[str] = tuple(PRESETS), actions: int = 73) -> np.ndarray:
    """Return what agents see in one state in each weather, from top to bottom, ``uint8[H, W, 3]``."""
    images = []
    for name in names:
        env = driven(actions, weather="fixed", weather_presets=[name])
        images.append(env.unwrapped.state.images[0])  # type: ignore[attr-defined]
    return stacked(images).repeat(2, axis=0).repeat(2, axis=1)


def episode(at: Sequence[int] = (1, 40, 73, 120)) -> np.ndarray:
    """Return pictures for people of one episode under the slow weather, from top to bottom."""
    return stacked([driven(actions, weather="slow").render() for actions in at])  # type: ignore[misc]


def stacked(images: Sequence[np.ndarray]) -> np.ndarray:
    """Return images of one width over each other, with white between."""
    gap = np.full((_GAP, images[0].shape[1], 3), 255, dtype=np.uint8)
    return np.concatenate([part for image in images for part in (image, gap)][:-1])


def write(folder: Path) -> None:
    """Draw both pictures into a folder."""
    from PIL import Image, PngImagePlugin

    marked = PngImagePlugin.PngInfo()
    marked.add_text("Software", MARK)
    folder = followed(folder)
    for name, image in zip(NAMES, (in_weathers(), episode()), strict=True):
        replaceable_file(folder / name, "a picture", is_our_picture)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / name, optimize=True, pnginfo=marked)
        print(folder / name)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Draw the pictures of driving.")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the pictures")
    write(parser.parse_args(arguments).out)


if __name__ == "__main__":
    main()
