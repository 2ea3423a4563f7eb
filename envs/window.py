"""A desktop window for ``render_mode="human"``. Imported only when one is opened: it needs pygame."""

from __future__ import annotations

import numpy as np

try:
    import pygame
except ImportError as error:
    raise ImportError('render_mode="human" needs pygame: pip install "bisimgym[render]"') from error


class Window:
    """Shows frames at a given rate. A window that the user closes stays closed until ``close`` and a new one."""

    def __init__(self, frames_per_second: int):
        pygame.display.init()
        self._clock = pygame.time.Clock()
        self._frames_per_second = frames_per_second
        self._surface: pygame.Surface | None = None
        self._closed_by_user = False

    def show(self, frame: np.ndarray, caption: str) -> None:
        """Show ``uint8[H, W, 3]`` and wait until the frame's time is over."""
        if self._closed_by_user:
            return
        height, width = frame.shape[:2]
        if self._surface is None or self._surface.get_size() != (width, height):
            self._surface = pygame.display.set_mode((width, height))
        pygame.display.set_caption(caption)
        pygame.surfarray.blit_array(self._surface, frame.swapaxes(0, 1))
        pygame.display.flip()
        for event in pygame.event.get():
            if event.type == pygame.QUIT:
                self._closed_by_user = True
                pygame.display.quit()
                return
        self._clock.tick(self._frames_per_second)

    def close(self) -> None:
        pygame.display.quit()
        self._surface = None
