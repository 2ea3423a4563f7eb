"""The jumping task written out step by step from its published description, for one episode: the slow reference."""

import numpy as np

SCREEN = 60


class ReferenceJumping:
    """Scalar dynamics and a painter in float, row 0 at the bottom, as in the published environment."""

    def __init__(self, obstacle_position, floor_height, color="white"):
        self.p, self.f, self.color = obstacle_position, floor_height, color
        self.x, self.y = 0, floor_height
        self.jumping = [False, None]
        self.touched = False

    def step(self, action):
        if not self.jumping[0] and action == 1:
            self.jumping = [True, "up"]
        self.x += 1
        if self.jumping[0]:
            if self.y - self.f > 15:
                self.jumping[1] = "down"
            if self.jumping[1] == "up":
                self.y += 1
            else:
                self.y -= 1
                if self.y == self.f:
                    self.jumping = [False, None]
        touching = self.p + 9 > self.x and self.p < self.x + 5 and self.f + 10 > self.y
        exited = self.x + 5 > SCREEN
        reward = 1.0
        if touching and self.color != "green":
            return -1.0, True
        if touching and not self.touched:
            self.touched = True
            reward = -1.0 + (100.0 if self.y == self.f else 0.0)
        return reward + 100.0 * exited, exited

    def frame(self):
        """Return float[60, 60, channels]."""
        channels = 1 if self.color == "white" else 3
        image = np.zeros((SCREEN, SCREEN, channels))
        image[self.y : self.y + 10, self.x : self.x + 5] = 1.0
        paint = {"white": [0.5], "red": [0.5, 0, 0], "green": [0, 0.5, 0]}[self.color]
        image[self.f : self.f + 10, self.p : self.p + 9] = paint
        image[[0, -1]] = image[:, [0, -1]] = 1.0
        image[self.f] = 1.0
        return image

    def as_observed(self, previous):
        """Return the uint8[60, 60, 2 * channels] observation after ``previous``, a frame or None."""
        current = self.frame()
        stack = np.concatenate([np.zeros_like(current) if previous is None else previous, current], axis=2)
        return np.ceil(stack * 255)[::-1].astype(np.uint8)
