"""An outside agent: it looks for the obstacle in the image and jumps 14 pixels before it.

bisimgym evaluate jumping --task wide --agent my_agent:make
"""

import numpy as np


class PixelRule:
    """Follows the agent protocol: ``predict`` gets a batch of observations and returns one action for each."""

    def predict(self, observation, state=None, episode_start=None, deterministic=True):
        previous, current = observation[..., 0], observation[..., 1]
        obstacle = (current == 128).any(axis=1).argmax(axis=1)
        # One step to the right lights up a column just ahead of the agent: its right edge is where the frames differ.
        moved = ((current == 255) & (previous == 0)).any(axis=1)
        right_edge = 59 - moved[:, ::-1].argmax(axis=1)
        agent = np.where(np.any(previous, axis=(1, 2)), right_edge - 4, 0)  # no previous frame: the start, x = 0
        return (agent == obstacle - 14).astype(int), state


def make():
    return PixelRule()
