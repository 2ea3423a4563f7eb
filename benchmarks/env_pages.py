"""One documentation page per environment: its docstring, its spaces and an animation of its oracle."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

import bisimgym  # noqa: F401  (registers the ids)
from bisimgym.envs import IDS

_MOST_FRAMES, _WIDEST = 64, 420
#: Random actions in between show what the oracle does about them. One wrong jump would end its episode.
_MISTAKES, _MISTAKES_OF = 0.1, {"JumpingTask-v0": 0.0, "JumpingTaskColors-v0": 0.0, "LQRDistractors-v0": 0.25}


def page_name(env_id: str) -> str:
    """Return the stem of an environment's files: ``bisimgym/Nav2D-v0`` is ``Nav2D-v0``."""
    return env_id.partition("/")[2]


def page(env_id: str) -> str:
    """Return an environment's page as Markdown."""
    env = gym.make(env_id).unwrapped
    title, _, body = _markdown(inspect.cleandoc(type(env).__doc__)).partition("\n")
    stem = page_name(env_id)
    return (
        f"# {stem}\n\n{title}\n\n![The oracle plays {stem}]({stem}.gif)\n\n"
        f'```python\nimport gymnasium as gym\nimport bisimgym\n\nenv = gym.make("{env_id}")\n'
        f'envs = gym.make_vec("{env_id}", num_envs=1024)\n```\n\n'
        f"| | |\n| --- | --- |\n| observation | `{_space(env.observation_space)}` |\n"
        f"| action | `{_space(env.action_space)}` |\n"
        f"\n{body.strip()}\n\n---\n\nMade from the docstring of `{type(env).__module__}.{type(env).__name__}` by "
        "`bisimgym pages`.\n"
    )


def _markdown(text: str) -> str:
    """Return a docstring's text with reStructuredText's literals and roles as Markdown's."""
    return re.sub(r"(?::\w+)?:`~?([^`]+)`", r"`\1`", text).replace("``", "`")


def _space(space: gym.Space) -> str:
    if isinstance(space, gym.spaces.Dict):
        return "Dict(" + ", ".join(f"{key}: {_space(value)}" for key, value in space.items()) + ")"
    if isinstance(space, gym.spaces.Box):
        low, high = float(space.low.min()), float(space.high.max())
        bounds = "" if high > 1e30 else f"{low:g}, {high:g}, "
        return f"Box({bounds}{space.shape}, {space.dtype})"
    return str(space)


def index() -> str:
    """Return the list of pages as Markdown."""
    lines = ["# Environments\n", "| id | what it is |", "| --- | --- |"]
    for env_id in IDS:
        title = inspect.cleandoc(type(gym.make(env_id).unwrapped).__doc__).partition("\n")[0]
        lines.append(f"| [`{env_id}`]({page_name(env_id)}.md) | {title} |")
    return "\n".join(lines) + "\n\nMade by `bisimgym pages`.\n"


def animation(env_id: str, path: Path, seed: int = 3) -> None:
    """Write an animation of one episode of the oracle, with some random actions, as a GIF."""
    from PIL import Image

    env = gym.make(env_id, render_mode="rgb_array")
    env.reset(seed=seed)
    env.action_space.seed(seed)
    rng = np.random.default_rng(seed)
    frames = [env.render()]
    ended = False
    while not ended:
        action: Any = env.unwrapped.optimal_action()
        if rng.random() < _MISTAKES_OF.get(page_name(env_id), _MISTAKES):
            action = env.action_space.sample()
        *_, terminated, truncated, _ = env.step(action)
        ended = terminated or truncated
        frames.append(env.render())
    chosen = np.unique(np.linspace(0, len(frames) - 1, _MOST_FRAMES).astype(int))
    images = [Image.fromarray(frames[i]) for i in chosen]
    if images[0].width > _WIDEST:
        size = (_WIDEST, round(images[0].height * _WIDEST / images[0].width))
        images = [image.resize(size, Image.Resampling.LANCZOS) for image in images]
    # One palette for all frames, or colours flicker; made from several, or colours are missing.
    several = np.concatenate([np.asarray(image) for image in images[:: max(len(images) // 8, 1)]])
    palette = Image.fromarray(several).quantize(160, method=Image.Quantize.MEDIANCUT)
    images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    images[0].save(path, save_all=True, append_images=images[1:], duration=90, loop=0, optimize=True)


def write(folder: Path, pictures: bool) -> list[Path]:
    """Write every page, the index and, if asked, the animations, and return the paths of the pages."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text(index(), encoding="utf-8")
    paths = []
    for env_id in IDS:
        paths.append(folder / f"{page_name(env_id)}.md")
        paths[-1].write_text(page(env_id), encoding="utf-8")
        if pictures:
            animation(env_id, folder / f"{page_name(env_id)}.gif")
    return paths
