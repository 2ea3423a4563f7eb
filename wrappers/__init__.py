"""Wrappers and adapters. The adapter for Stable-Baselines3 is imported by its own name, because it needs that package:
``from bisimgym.wrappers.sb3_vec_env import SB3VecEnv``.
"""

from bisimgym.wrappers.demonstrations import Demonstrations, collect_demonstrations
from bisimgym.wrappers.noise import GaussianNoise, RandomProjection
from bisimgym.wrappers.pixel_background import PixelBackground

__all__ = ["Demonstrations", "GaussianNoise", "PixelBackground", "RandomProjection", "collect_demonstrations"]
