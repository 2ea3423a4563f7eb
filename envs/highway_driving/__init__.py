"""Driving on a highway from the images of five cameras: see :class:`HighwayDrivingEnv`."""

from bisimgym.envs.highway_driving.driver import drive
from bisimgym.envs.highway_driving.env import HighwayDrivingEnv, HighwayDrivingVectorEnv

__all__ = ["HighwayDrivingEnv", "HighwayDrivingVectorEnv", "drive"]
