"""Writes one documentation page per environment: its docstring, its spaces and an animation.

pip install ".[all]"
python docs/tools/env_pages.py [--out docs/envs] [--no-pictures]

Some ids are another one with arguments: their pages are short and link to the page of the other. Animations of array
tasks show the oracle; others a trained policy, where ``shown_policies.py`` has kept one; else actions that sway. Their
captions say which. Without robosuite, the pages of manipulation are left as they are.
"""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import shown_policies
from distracting_pictures import smooth_actions

import bisimgym  # noqa: F401  (registers the ids)
from bisimgym.benchmarks.listing import env_title
from bisimgym.envs import IDS
from bisimgym.envs.array_task import BatchedEnv
from bisimgym.envs.files import MARK, followed, is_our_picture, replaceable_file
from bisimgym.envs.manipulation import simulator

_FEWEST_FRAMES, _MOST_FRAMES, _WIDEST, _COLORS = 12, 64, 420, 160
#: Of environments that are simulated one by one: pictures of the world take more bytes than drawings.
_SWAYING_WIDTH, _SWAYING_COLORS, _SWAYING_PRESET = 160, 96, "dcs-medium-dynamic"
_NATIVE_ENVS, _WORKER_ENVS = 1024, 8
#: The task that an id without a task in its name makes.
_DEFAULT_TASKS = {"DistractingControl-v0": "CartpoleSwingup"}
#: Random actions in between show what the oracle does about them. One wrong jump would end its episode.
_MISTAKES = 0.1
_MISTAKES_OF = {"JumpingTask-v0": 0.0, "JumpingTaskColors-v0": 0.0, "LQRDistractors-v0": 0.25, "HighwayDriving-v0": 0.0}

#: Pages with more than a docstring has, from the folder of the pages.
_GUIDES = {
    "DistractingControl-v0": "Presets, renderers and speed: [distracting control](../distracting_control.md).",
    "HighwayDriving-v0": "Pictures, CARLA, the suite and speed: [driving](../driving.md).",
    "Manipulation-v0": "How to install it, what it looks like, results and speed: [manipulation](../manipulation.md).",
}

#: The end of the index.
_MADE = "Made by `docs/tools/env_pages.py`."


def page_name(env_id: str) -> str:
    """Return the stem of an environment's files: ``bisimgym/Nav2D-v0`` is ``Nav2D-v0``."""
    return env_id.partition("/")[2]


def page(env_id: str) -> str:
    """Return an environment's page as Markdown."""
    env = gym.make(env_id).unwrapped
    stem, (general, arguments) = page_name(env_id), _stands_for(env_id)
    has_oracle = _shows_oracle(env)
    num_envs, shown = _NATIVE_ENVS if has_oracle else _WORKER_ENVS, caption(env_id, has_oracle)
    head = (
        f"# {stem}\n\n{_markdown(env_title(env_id))}\n\n![{stem}: {shown}]({stem}.gif)\n\n"
        f"*{shown[0].upper()}{shown[1:]}.*\n\n"
        f'```python\nimport gymnasium as gym\nimport bisimgym\n\nenv = gym.make("{env_id}")\n'
        f'envs = gym.make_vec("{env_id}", num_envs={num_envs})\n```\n\n'
        f"| | |\n| --- | --- |\n| observation | `{_space(env.observation_space)}` |\n"
        f"| action | `{_space(env.action_space)}` |\n"
    )
    if arguments:
        return (
            f"{head}\nThis is [`{general}`]({page_name(general)}.md) with {arguments}: rewards, arguments and all else "
            "are on its page.\n\n---\n\nMade by `docs/tools/env_pages.py`.\n"
        )
    body = _markdown(inspect.cleandoc(type(env).__doc__)).partition("\n")[2].strip()
    module = type(env).__module__.removesuffix(".env")
    guide = f"{_GUIDES[stem]}\n\n" if stem in _GUIDES else ""
    return (
        f"{head}\n{guide}{body}\n\n---\n\nMade from the docstring of `{module}.{type(env).__name__}` by "
        "`docs/tools/env_pages.py`.\n"
    )


def caption(env_id: str, has_oracle: bool) -> str:
    """Return what an animation shows: whose actions, and under which preset."""
    stem, policy = page_name(env_id), policy_of(env_id)
    if has_oracle:
        mistakes = _MISTAKES_OF.get(stem, _MISTAKES)
        return f"the oracle acts, {100 * mistakes:.0f} % of the time at random" if mistakes else "the oracle acts"
    acts = "no policy: actions that sway"
    if policy is not None:
        acts = (
            f"SAC acts, trained on clean states for {policy['steps']:,} steps (mean return over "
            f"{shown_policies.EPISODES} episodes: {policy['score']:.0f} of 1000)"
        )
    return f"{acts}; preset {_SWAYING_PRESET}" if stem.startswith("Distracting") else acts


def policy_of(env_id: str) -> shown_policies.Policy | None:
    """Return the trained policy that is shown on the page of an id, or None where none is kept."""
    stem = page_name(env_id)
    return shown_policies.load(_DEFAULT_TASKS.get(stem, stem.removeprefix("Distracting").rpartition("-")[0]))


def _shows_oracle(env: gym.Env) -> bool:
    """Return whether the animation is the oracle's: of array tasks, which are simulated fast."""
    return isinstance(env, BatchedEnv)


def _stands_for(env_id: str) -> tuple[str, str]:
    """Return the id that this one is with some arguments (itself without any), and the arguments as Markdown."""
    spec = gym.spec(env_id)
    if not spec.kwargs:
        return env_id, ""
    general = next(i for i in IDS if gym.spec(i).entry_point == spec.entry_point and not gym.spec(i).kwargs)
    return general, " and ".join(f'`{name}="{value}"`' for name, value in spec.kwargs.items())


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
    lines += [f"| [`{env_id}`]({page_name(env_id)}.md) | {_markdown(env_title(env_id))} |" for env_id in IDS]
    return "\n".join(lines) + f"\n\n{_MADE}\n"


def animation(env_id: str, path: Path, seed: int = 3, preset: str = _SWAYING_PRESET, steps: int = 40) -> None:
    """Write an animation as a GIF: the oracle with some random actions, or the first steps under a preset.

    Of the oracle it shows an episode, or several where they are short.
    """
    if _shows_oracle(gym.make(env_id).unwrapped):
        _save(_oracle_frames(env_id, seed), path, _WIDEST, _COLORS, 90)
    else:
        # Videos of their own for each, rather than the same one everywhere.
        frames, milliseconds = _first_frames(env_id, seed + IDS.index(env_id), preset, steps)
        _save(frames, path, _SWAYING_WIDTH, _SWAYING_COLORS, milliseconds)


def _oracle_frames(env_id: str, seed: int) -> list[np.ndarray]:
    env = gym.make(env_id, render_mode="rgb_array")
    env.action_space.seed(seed)
    rng = np.random.default_rng(seed)
    frames: list[np.ndarray] = []
    while len(frames) < _FEWEST_FRAMES:
        env.reset(seed=None if frames else seed)
        frames.append(env.render())
        ended = False
        while not ended:
            action: Any = env.unwrapped.optimal_action()
            if rng.random() < _MISTAKES_OF.get(page_name(env_id), _MISTAKES):
                action = env.action_space.sample()
            *_, terminated, truncated, _ = env.step(action)
            ended = terminated or truncated
            frames.append(env.render())
    chosen = np.unique(np.linspace(0, len(frames) - 1, _MOST_FRAMES).astype(int))
    return [frames[i] for i in chosen]


def _first_frames(env_id: str, seed: int, preset: str, steps: int) -> tuple[list[np.ndarray], int]:
    """Return the first steps of an episode, and the milliseconds from one to the next."""
    arguments = {"preset": preset} if "Distracting" in env_id else {}
    env, policy = gym.make(env_id, render_mode="rgb_array", **arguments), policy_of(env_id)
    task: Any = env.unwrapped
    env.reset(seed=seed)
    frames = []
    for action in smooth_actions(task, steps, seed):
        env.step(action if policy is None else shown_policies.act(policy, task.clean_state().vector))
        frames.append(env.render())
    return frames, round(1000 / env.unwrapped.metadata["render_fps"])


def _save(frames: list[np.ndarray], path: Path, widest: int, colors: int, milliseconds: int) -> None:
    from PIL import Image

    images = [Image.fromarray(frame) for frame in frames]
    if images[0].width > widest:
        size = (widest, round(images[0].height * widest / images[0].width))
        images = [image.resize(size, Image.Resampling.LANCZOS) for image in images]
    # One palette for all frames, or colors flicker; made from several, or colors are missing.
    several = np.concatenate([np.asarray(image) for image in images[:: max(len(images) // 8, 1)]])
    palette = Image.fromarray(several).quantize(colors, method=Image.Quantize.MEDIANCUT)
    images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    images[0].save(
        path,
        save_all=True,
        append_images=images[1:],
        duration=milliseconds,
        loop=0,
        optimize=True,
        comment=MARK.encode(),
    )


def can_be_made() -> list[str]:
    """Return the ids whose environments can be made here."""
    return [env_id for env_id in IDS if "Manipulation" not in env_id or simulator.is_installed()]


def main(arguments: Sequence[str] | None = None) -> None:
    """Write every page, the index and, unless they are left out, the animations, and print the paths of the pages."""
    parser = argparse.ArgumentParser(description="Write one documentation page per environment, with an animation.")
    parser.add_argument("--out", type=Path, default=Path("docs/envs"), help="folder of the pages")
    parser.add_argument("--no-pictures", action="store_true", help="leave out the animations")
    options = parser.parse_args(arguments)
    folder = followed(options.out)
    replaceable_file(folder / "README.md", "the index", lambda file: _MADE in file.read_text("utf-8"))
    for env_id in IDS:
        path, made = folder / f"{page_name(env_id)}.md", f'env = gym.make("{env_id}")'
        replaceable_file(path, "a page", lambda file, made=made: made in file.read_text("utf-8"))
        if not options.no_pictures:
            replaceable_file(path.with_suffix(".gif"), "an animation", is_our_picture)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text(index(), encoding="utf-8")
    for env_id in can_be_made():
        path = folder / f"{page_name(env_id)}.md"
        path.write_text(page(env_id), encoding="utf-8")
        if not options.no_pictures:
            animation(env_id, path.with_suffix(".gif"))
        print(path)


if __name__ == "__main__":
    main()
