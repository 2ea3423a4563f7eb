"""How an episode of driving ends, as a pure function of a frame.

Rules are those of DBC's releases and of SECANT. What ends by a rule is a terminal state; the time limit and a glitch of
the simulator, which say nothing about the state, truncate.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

#: Rules that a task can have, in the order in which they are asked.
RULES = ("off-road", "road-end", "collision", "crashing", "stuck")
#: All reasons, by the number that stands for them in arrays; 0 is none yet.
REASONS = ("", *RULES, "glitch", "time-limit")
TRUNCATING = ("glitch", "time-limit")
#: Those of DBC's release for CARLA 0.9.8. That for 0.9.6 lacks "crashing"; SECANT has none, or "collision".
DEFAULT_RULES = ("off-road", "road-end", "crashing", "stuck")

#: Every so many frames a car that is slower than this, m/s, is stuck.
STUCK_EVERY, STUCK_SPEED = 100, 0.02
#: So many colliding frames in a row are a crash.
CRASHING_FRAMES = 20
#: In the first frames a car that rises is a fault of the simulator: frames, m/s and m.
GLITCH_FRAMES, GLITCH_SPEED, GLITCH_HEIGHT = 20, 1.0, 0.5


def ending(
    frame: np.ndarray,
    speed: np.ndarray,
    colliding_frames: np.ndarray,
    off_road: np.ndarray,
    *,
    rules: Iterable[str],
    limit: int,
    road_end: np.ndarray | bool = False,
    glitch: np.ndarray | bool = False,
) -> np.ndarray:
    """Return the reason for which each episode ends with this frame, ``int64[N]``, a place in :data:`REASONS`.

    Args:
        frame: ``int64[N]``, frames since the start, from 1.
        speed: ``float64[N]``, m/s.
        colliding_frames: ``int64[N]``, colliding frames in a row, this one included.
        off_road: ``bool[N]``.
        rules: of :data:`RULES`: those in force.
        limit: time limit, frames.
        road_end: ``bool[N]``, whether the lane goes on nowhere.
        glitch: ``bool[N]``, see :func:`is_glitch`.
    """
    holds = {
        "off-road": off_road,
        "road-end": road_end,
        "collision": colliding_frames > 0,
        "crashing": colliding_frames >= CRASHING_FRAMES,
        "stuck": (frame % STUCK_EVERY == 0) & (speed < STUCK_SPEED),
        "glitch": glitch,
        "time-limit": frame >= limit,
    }
    in_force = {*rules, *TRUNCATING}
    reason = np.zeros(np.shape(frame), dtype=np.int64)
    for number, name in reversed(list(enumerate(REASONS))):
        if name in in_force:
            reason = np.where(holds[name], number, reason)
    return reason


def terminates(reason: np.ndarray) -> np.ndarray:
    """Return whether each reason is one of a terminal state, ``bool[N]``."""
    return (reason > 0) & (reason <= len(RULES))


def is_glitch(frame: np.ndarray, vertical_speed: np.ndarray, height: np.ndarray) -> np.ndarray:
    """Return whether a car at the start of an episode is thrown into the air, ``bool[N]``.

    Args:
        frame: ``int64[N]``, frames since the start, from 1.
        vertical_speed: ``float64[N]``, m/s.
        height: ``float64[N]``, m above where it started.
    """
    return (frame <= GLITCH_FRAMES) & ((vertical_speed > GLITCH_SPEED) | (height > GLITCH_HEIGHT))
