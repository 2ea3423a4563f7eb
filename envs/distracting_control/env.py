"""Tasks of dm_control's suite with distractions: backgrounds, cameras, colors, and noise on states.

Sources: Stone et al. 2021, "The Distracting Control Suite" (arXiv 2101.02722) and what was built after it; see
:mod:`bisimgym.envs.distractions.presets`.
"""

from __future__ import annotations

import copy
import functools
import logging
from collections.abc import Mapping
from typing import Any, Unpack

from bisimgym.envs.distracting_control.distracted import DistractedEnv
from bisimgym.envs.distracting_control.settings import Keywords
from bisimgym.envs.rendering import probe

suite: Any = probe.import_without_opengl("dm_control.suite")

#: Control steps per action, as in PlaNet, DrQ and PSE (its Table I.3). Other tasks: 4.
ACTION_REPEATS: Mapping[tuple[str, str], int] = {
    ("ball_in_cup", "catch"): 4,
    ("cartpole", "swingup"): 8,
    ("cartpole", "swingup_sparse"): 8,
    ("cheetah", "run"): 4,
    ("finger", "spin"): 2,
    ("reacher", "easy"): 4,
    ("walker", "stand"): 2,
    ("walker", "walk"): 2,
    ("walker", "run"): 2,
}
_CAMERAS = {"quadruped": 2}


class DistractingControlEnv(DistractedEnv):
    """Control tasks of dm_control with backgrounds, cameras, colors and noise that do not matter.

    ## Description

    A robot of DeepMind's control suite is seen from a camera while something that has nothing to do with the task goes
    on: a video plays behind it, the camera wanders, colors drift. Two observations that differ in that alone show the
    same state, and an agent that knows which states behave alike ignores it. Physics and rewards are those of
    dm_control: with one seed and the same actions, states and rewards are equal with and without distractions.

    ``bisimgym/Distracting<Task>-v0`` are the six tasks of the Distracting Control Suite: BallInCupCatch,
    CartpoleSwingup, CheetahRun, FingerSpin, ReacherEasy and WalkerWalk. ``bisimgym/DistractingControl-v0`` takes any
    ``domain`` and ``task`` of the suite.

    | preset | what distracts |
    | --- | --- |
    | ``clean`` | nothing |
    | ``dcs-{easy,medium,hard}-static`` | per episode a still from one of 4, 8, all videos on the sky, a pose, colors |
    | ``dcs-{easy,medium,hard}-dynamic`` | the same, and video, camera and colors move |
    | ``pse-2video`` | a moving video on the sky: 2 videos to train, all to test (PSE, AMBS) |
    | ``natural-video`` | gray videos in place of the background, per agent step (DBC, AMBS, RAP) |
    | ``natural-video-color`` | the same in color (Luo et al. 2025, as the next two) |
    | ``natural-image``, ``natural-image-color`` | one still image there: a gray one, or one in color |
    | ``natural-noise`` | noise there, fresh for every pixel, channel and step |
    | ``color-easy``, ``color-hard`` | another palette for floor, agent and sky in each episode (DMControl-GB) |
    | ``video-easy``, ``video-hard`` | videos in place of the sky, or of sky and floor (DMControl-GB) |

    The ``dcs`` presets are the difficulties of the Distracting Control Suite: cameras and colors at strength 0.1, 0.2
    or 0.3.

    ## Action space

    One number in [-1, 1] per actuator, mapped linearly to its range. It is applied for ``action_repeat`` control steps.

    ## Observation space

    ``observation="pixels"``: the last ``frame_stack`` images along the channels, oldest first, RGB, top row first; at
    the start the first one fills the stack. One image is drawn per action, not per control step.

    ``observation="state"``: dm_control's observations as one vector, then ``noise_dimensions`` entries of fresh
    Gaussian noise; with ``random_projection``, a fixed random matrix times that. ``info["clean_observation"]`` is the
    vector without either.

    With a video, ``info["background"]`` is its name and ``info["background_frame"]`` the frame shown.

    ## Reward

    The sum of dm_control's rewards, in [0, 1] each, over the control steps of an action. A return is at most 1000.

    ## Start and end

    The task draws its start. No task of the six ends by itself: after dm_control's time limit, 1000 control steps, an
    episode is truncated. ``reset(seed=...)`` determines all that follows. The task and its distractions draw from
    streams of their own; ``distraction_seed`` fixes the distractions whatever the task's seed.

    ## Arguments

    - ``domain``, ``task``: of dm_control's suite, as in ``suite.load``; cartpole, swingup by default.
    - ``observation``: "pixels" or "state".
    - ``preset``: see above, "dcs-easy-dynamic" by default. Any setting of it can be changed: ``background``, ``camera``
      and ``color`` (strengths in [0, 1]), ``content`` ("video" or "noise"), ``dynamic``, ``compositing`` ("texture" on
      the sky or "mask" in the image), ``background_geoms``, ``floor_alpha``, ``num_videos``, ``num_test_videos``,
      ``playback`` ("bounce" or "loop"), ``advance`` (a frame per "control" or "agent" step), ``start``, ``order``,
      ``grayscale``, ``palette`` and ``neutral_floor``; see
      :class:`bisimgym.envs.distractions.presets.Distraction`.
    - ``backgrounds``: "procedural", or a folder: DAVIS 2017, or any folder of folders of frames or of video files.
    - ``split``: "train" or the held-out "test" videos.
    - ``action_repeat``: control steps per action; by default that of the task in the literature (8 for cartpole, 2 for
      finger and walker, 4 for others).
    - ``frame_stack``, ``size``: images per observation and their height and width (3 and 84).
    - ``supersampling``: images are drawn that many times as high and wide, and each pixel is the mean of a square (1:
      not at all). Small images keep what is thin, as a pole is, where single rays would miss it.
    - ``camera_id``: by default 0 (quadruped: 2).
    - ``renderer``: "raycast" (no OpenGL, the same bits in every process of a machine), "opengl" (dm_control's
      pixels), "opengl-fast" (no shadows, reflections and multisampling), or "auto" (OpenGL where a GPU draws). Images
      differ between them: compare results of one renderer only.
    - ``distraction_seed``: seeds distractions apart from the task.
    - ``noise_dimensions``, ``noise_std``, ``noise_mean``: Gaussian noise beside states.
    - ``random_projection``, ``projection_rows``, ``projection_seed``: mix states and noise by a random matrix.
    """

    def __init__(
        self,
        domain: str = "cartpole",
        task: str = "swingup",
        *,
        action_repeat: int | None = None,
        camera_id: int | None = None,
        **keywords: Unpack[Keywords],
    ):
        super().__init__(
            _load(domain, task),
            domain=domain,
            action_repeat=default_action_repeat(domain, task) if action_repeat is None else action_repeat,
            camera_id=_CAMERAS.get(domain, 0) if camera_id is None else camera_id,
            **keywords,
        )


def default_action_repeat(domain: str, task: str) -> int:
    """Return the literature's number of control steps per action (PSE, Table I.3)."""
    return ACTION_REPEATS.get((domain, task), 4)


def _load(domain: str, task: str) -> Any:
    if (domain, task) not in suite.ALL_TASKS:
        same = [t for d, t in suite.ALL_TASKS if d == domain]
        domains = sorted({d for d, _ in suite.ALL_TASKS})
        hint = f"tasks of {domain!r} are {same}" if same else f"domains are {domains}"
        count = len(suite.ALL_TASKS)
        raise ValueError(f"domain={domain!r}, task={task!r} is none of the {count} of dm_control's suite: {hint}")
    return copy.deepcopy(_compiled(domain, task))


@functools.lru_cache(maxsize=16)
def _compiled(domain: str, task: str) -> Any:
    """Return an environment that is only ever copied: to copy a model takes a tenth of the time to compile it."""
    # Models of the suite use an attribute that MuJoCo calls deprecated, at every load.
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        environment = suite.load(domain, task, task_kwargs={"random": 0})
    finally:
        logger.setLevel(level)
    if (domain, task) == ("quadruped", "escape"):
        environment.physics.__class__ = _EscapePhysics
    return environment


class _EscapePhysics(suite.quadruped.Physics):
    """Physics without dm_control's OpenGL.

    This task asks for a context at every start, to show new terrain; where there is no OpenGL that ends the process.
    """

    contexts = None
