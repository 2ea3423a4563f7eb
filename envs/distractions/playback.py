"""Which frame of a background video is shown at each step."""

from __future__ import annotations

import numpy as np

from bisimgym.envs.checks import choice, integer

MODES = ("bounce", "loop")


class Playback:
    """Position in a video of ``num_frames`` frames.

    ``"bounce"`` plays back and forth without a cut, as the Distracting Control Suite does (``background.py``): each
    step adds the direction to the index; an index of at most 0 becomes 0 and turns forwards, one of at least
    ``num_frames`` becomes ``num_frames - 1`` and turns backwards. The two tests differ, so the last frame is shown
    twice in a row at its end and the first once. ``"loop"`` adds one modulo ``num_frames``, as the natural-video
    backgrounds of deep_bisim4control and DMControl-GB do.

    The start is drawn uniformly over the frames and, under ``"bounce"``, the direction uniformly from {-1, +1}. A still
    video draws the same numbers as a moving one, so that both start at the same frame.

    Attributes:
        num_frames: frames of the video, at least 1.
        mode: ``"bounce"`` or ``"loop"``.
        dynamic: whether the video moves; otherwise it stays on the frame drawn.
        index: frame to show now, in [0, num_frames).
        direction: +1 or -1; always +1 under ``"loop"``.

    Raises:
        ValueError: for a number or a mode out of range.
    """

    def __init__(self, num_frames: int, mode: str, rng: np.random.Generator, dynamic: bool = True) -> None:
        self.num_frames = integer("num_frames", num_frames, 1)
        self.mode, self.dynamic = choice("mode", mode, MODES), bool(dynamic)
        self.index = int(rng.integers(self.num_frames))
        self.direction = int(rng.choice((-1, 1))) if mode == "bounce" else 1

    def advance(self, steps: int = 1) -> None:
        """Take ``steps`` >= 0 single steps (a task with action repeat k takes k per decision)."""
        integer("steps", steps, 0)
        if not self.dynamic:
            return
        if self.mode == "loop":
            self.index = (self.index + steps) % self.num_frames
            return
        for _ in range(steps):
            self.index += self.direction
            if self.index <= 0:
                self.index, self.direction = 0, 1
            elif self.index >= self.num_frames:
                self.index, self.direction = self.num_frames - 1, -1
