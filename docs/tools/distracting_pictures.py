"""Draws distracting control for the documentation: presets, renderers, cameras, videos and compositing.

pip install ".[all]"
python docs/tools/distracting_pictures.py [--out docs/distracting_control]

Each is a grid of labelled frames, drawn at the size that agents see and enlarged. The frames of a row show the same
state unless the grid says otherwise: the task's seed and the actions are the same, and distractions draw from a stream
of their own.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from metric_pictures import INK

import bisimgym  # noqa: F401  (registers the ids)
from bisimgym.benchmarks.report.tables import pipe_table
from bisimgym.benchmarks.speed.distracting import RENDERERS, TASKS
from bisimgym.envs.distractions.presets import DISTRACTION_SCALES, PRESETS, preset_table
from bisimgym.envs.files import MARK, followed, is_our_picture, replaceable_file
from bisimgym.envs.rendering import probe

if TYPE_CHECKING:
    from PIL.Image import Image

#: The names of all pictures.
NAMES = ("presets_dcs", "presets_others", "cameras", "videos", "compositing", "renderers")
_SIZE, _SHOWN_SIZE = 84, 128
_GAP, _LINE, _FONT = 4, 18, 15
_PAPER = "white"
#: Agent steps from the start to the frames that are shown, about a second: what is dynamic has moved by then.
_STEPS = 12
_SEED, _DISTRACTION_SEED = 3, 0


@dataclass(frozen=True)
class Grid:
    """A picture: frames in rows, all of one size, with names of rows and columns.

    Attributes:
        name: of the file, without its suffix.
        rows: names; a line break is a new line.
        columns: names, likewise.
        frames: ``[rows][columns]`` of ``uint8[H, W, 3]``.
        blocks: columns after which there is more room.
        size: height and width of a frame in the picture.
    """

    name: str
    rows: Sequence[str]
    columns: Sequence[str]
    frames: Sequence[Sequence[np.ndarray]]
    blocks: Sequence[int] = ()
    size: int = _SHOWN_SIZE

    def draw(self) -> Image:
        """Return the picture."""
        from PIL import Image, ImageDraw, ImageFont

        font = ImageFont.load_default(_FONT)
        left = 3 * _GAP + round(max(font.getlength(line) for name in self.rows for line in name.split("\n")))
        top = 2 * _GAP + _LINE * max(name.count("\n") + 1 for name in self.columns)
        cell = self.size + _GAP
        x = [left + i * cell + 4 * _GAP * sum(i > block for block in self.blocks) for i in range(len(self.columns))]
        y = [top + i * cell for i in range(len(self.rows))]
        picture = Image.new("RGB", (x[-1] + cell, y[-1] + cell), _PAPER)
        pen = ImageDraw.Draw(picture)
        for at, name in zip(y, self.rows, strict=True):
            pen.multiline_text((left - 2 * _GAP, at + self.size / 2), name, INK, font, anchor="rm", align="right")
        for at, name in zip(x, self.columns, strict=True):
            pen.multiline_text((at + self.size / 2, top - _GAP), name, INK, font, anchor="md", align="center")
        for top, row in zip(y, self.frames, strict=True):
            for left, frame in zip(x, row, strict=True):
                image = Image.fromarray(frame).resize((self.size, self.size), Image.Resampling.LANCZOS)
                picture.paste(image, (left, top))
        return picture


def smooth_actions(env: gym.Env, count: int, seed: int) -> np.ndarray:
    """Return actions that sway, ``float32[count, *action_space.shape]``.

    They are cosines of 0.6 to 1.2 Hz, half as large as can be. A force that is a cosine gives speeds
    without a mean, so that nothing drifts out of the picture.
    """
    rng = np.random.default_rng(seed)
    shape = env.action_space.shape
    hertz, sign = rng.uniform(0.6, 1.2, shape), rng.choice((-1.0, 1.0), shape)
    time = np.arange(count).reshape(-1, *[1] * len(shape)) / env.metadata["render_fps"]
    return (0.5 * sign * np.cos(2 * np.pi * hertz * time)).astype(np.float32)


def frame(env_id: str, steps: int = _STEPS, distraction_seed: int = _DISTRACTION_SEED, **arguments: Any) -> np.ndarray:
    """Return what an agent sees after some steps, ``uint8[84, 84, 3]``.

    Args:
        env_id: one of :data:`TASKS`.
        steps: of the agent.
        distraction_seed: of the distraction. The task's own seed is fixed.
        **arguments: of :class:`bisimgym.envs.distracting_control.DistractingControlEnv`.
    """
    env = gym.make(env_id, size=_SIZE, frame_stack=1, distraction_seed=distraction_seed, **arguments)
    observation, _ = env.reset(seed=_SEED)
    for action in smooth_actions(env.unwrapped, steps, _SEED):
        observation, *_ = env.step(action)
    env.close()
    return observation


def presets(names: Sequence[str] = tuple(PRESETS), tasks: Mapping[str, str] = TASKS) -> Iterator[Grid]:
    """Yield the presets of the Distracting Control Suite, and the others."""
    suite = [name for name in names if name.startswith("dcs-")]
    suite.sort(key=lambda name: name.endswith("dynamic"))
    others = [name for name in names if name not in ("clean", *suite)]
    for name, columns in (("presets_dcs", ["clean", *suite]), ("presets_others", ["clean", *others])):
        frames = [[frame(env_id, preset=preset) for preset in columns] for env_id in tasks.values()]
        yield Grid(name, list(tasks), [_two_lines(c) for c in columns], frames, blocks=[0])


def _two_lines(name: str) -> str:
    """Return a preset's name in two lines, where it has three words or more."""
    return "\n".join(name.rsplit("-", 1)) if name.count("-") > 1 else name


def renderers(
    names: Sequence[str] = RENDERERS, distracted: str = "dcs-hard-dynamic", tasks: Mapping[str, str] = TASKS
) -> Grid:
    """Return what renderers make of the same states, clean and distracted."""
    columns = [(preset, renderer) for preset in ("clean", distracted) for renderer in names]
    frames = [[frame(env_id, preset=p, renderer=r) for p, r in columns] for env_id in tasks.values()]
    labels = [f"{_two_lines(preset)}\n{renderer}" for preset, renderer in columns]
    return Grid("renderers", list(tasks), labels, frames, blocks=[len(names) - 1])


def cameras(count: int = 7) -> Grid:
    """Return where cameras of several episodes start, for each difficulty, and where one without distraction is."""
    tasks = {name: TASKS[name] for name in ("cheetah", "reacher")}
    rows, frames = [], []
    for task, env_id in tasks.items():
        still = frame(env_id, 0, preset="clean")
        for difficulty, strength in DISTRACTION_SCALES.items():
            rows.append(f"{task}\n{difficulty}")
            drawn = [frame(env_id, 0, seed, preset="clean", camera=strength) for seed in range(count)]
            frames.append([still, *drawn])
    return Grid("cameras", rows, ["clean", *[f"episode {i + 1}" for i in range(count)]], frames, blocks=[0])


def videos() -> Grid:
    """Return frames of the procedural videos: each family's first, and two moments of its second."""
    from bisimgym.envs.distractions.procedural_videos import FAMILIES, NAMES, NUM_FRAMES
    from bisimgym.envs.distractions.videos import video_source

    shown = [(0, 0), (1, 0), (1, NUM_FRAMES // 8), (1, NUM_FRAMES // 4)]
    columns = [(split, family) for split, families in FAMILIES.items() for family in families]
    size = 100
    sources = {split: video_source(split=split, size=(size, size)) for split in FAMILIES}
    frames = [
        [sources[s].frames(NAMES[s].index(f"{family}-{number:02d}"))[index] for s, family in columns]
        for number, index in shown
    ]
    rows = [f"video {number}\nframe {index}" for number, index in shown]
    blocks = [len(FAMILIES["train"]) - 1]
    return Grid("videos", rows, [f"{split}\n{f}" for split, f in columns], frames, blocks, size)


def compositing() -> Grid:
    """Return one video as a texture of the sky and as a mask, from two places of the camera."""
    ways = {
        "clean": {"background": 0.0},
        "texture\nfloor_alpha=1": {},
        "texture\nfloor_alpha=0.3": {"floor_alpha": 0.3},
        "mask\nsky": {"compositing": "mask"},
        "mask\nsky+floor": {"compositing": "mask", "background_geoms": "sky+floor"},
        "mask, sky\nbackground=0.5": {"compositing": "mask", "background": 0.5},
    }
    fixed = {"preset": "clean", "background": 1.0, "num_videos": 1}
    rows = {f"{task}\n{where}": (TASKS[task], s) for task in ("walker", "cartpole") for where, s in _PLACES.items()}
    frames = [
        [frame(env_id, distraction_seed=6, camera=strength, **fixed | way) for way in ways.values()]
        for env_id, strength in rows.values()
    ]
    return Grid("compositing", list(rows), list(ways), frames, blocks=[0])


_PLACES = {"camera 1": 0.0, "camera 2": 0.2}


def preset_markdown() -> str:
    """Return the presets as a Markdown table: settings that are not those of ``clean``."""
    rows = preset_table()
    plain = rows[0]
    lines = []
    for row in rows:
        settings = {name: value for name, value in row.items() if name not in ("preset", "source")}
        changed = [f"`{name}={_python(value)}`" for name, value in settings.items() if value != plain[name]]
        lines.append([f"`{row['preset']}`", row["source"], ", ".join(changed)])
    return pipe_table(["preset", "source", "settings"], lines, texts=3)


def _python(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write every picture and print its path, with what is missing from it."""
    parser = argparse.ArgumentParser(description="Draw presets, renderers, cameras and videos side by side.")
    parser.add_argument("--out", type=Path, default=Path("docs/distracting_control"), help="folder of the pictures")
    folder = parser.parse_args(arguments).out
    found = probe.probe()
    names = RENDERERS if found.backend else ("raycast",)
    write(folder, itertools.chain(presets(), (cameras(), videos(), compositing(), renderers(names))), found)


def write(folder: Path, grids: Iterable[Grid], found: probe.OpenGL) -> None:
    """Write pictures into a folder, where others of this script are replaced and nothing else."""
    for name in NAMES:
        replaceable_file(folder / f"{name}.jpg", "a picture", is_our_picture)
    folder = followed(folder)
    folder.mkdir(parents=True, exist_ok=True)
    note = "" if found.backend else f" (without OpenGL: {found.explain()})"
    for grid in grids:
        path = folder / f"{grid.name}.jpg"
        grid.draw().save(path, quality=85, optimize=True, comment=MARK)
        print(f"{path}{note if grid.name == 'renderers' else ''}")


if __name__ == "__main__":
    main()
