"""A grid with one distractor, whose kind and weight are dials: see :class:`DistractorDialEnv`."""

from bisimgym.envs.distractor_dial.env import DistractorDialEnv, DistractorDialVectorEnv
from bisimgym.envs.distractor_dial.process import Dials, dial_mdp

__all__ = ["Dials", "DistractorDialEnv", "DistractorDialVectorEnv", "dial_mdp"]
