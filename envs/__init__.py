"""The registered tasks. Ids are registered from strings, so importing this module loads no task code."""

from typing import Any

from gymnasium.envs.registration import register

__all__ = ["IDS"]

_CONTROL, _MANIPULATION = "distracting_control:DistractingControl", "manipulation:Manipulation"
#: (id, module and class without "Env" or "VectorEnv", time limit that a wrapper of ``gym.make`` keeps, arguments that
#: the id stands for). Native vector environments keep time limits themselves.
_ROWS: tuple[tuple[str, str, int | None, dict[str, Any]], ...] = (
    ("JumpingTask-v0", "jumping:JumpingTask", None, {}),
    ("JumpingTaskColors-v0", "jumping:JumpingTaskColors", None, {}),
    ("Nav2D-v0", "nav2d:Nav2D", 50, {}),
    ("Nav2DCorridor-v0", "nav2d:Nav2DCorridor", 50, {}),
    ("Nav2DGoal-v0", "nav2d:Nav2DGoal", 50, {}),
    ("LQRDistractors-v0", "lqr:LQRDistractors", None, {}),
    ("MarkovSignal-v0", "markov_signal:MarkovSignal", None, {}),
    ("DistractorDial-v0", "distractor_dial:DistractorDial", None, {}),
    ("ChannelPruning-v0", "channel_pruning:ChannelPruning", None, {}),
    ("HighwayDriving-v0", "highway_driving:HighwayDriving", None, {}),
    ("DistractingControl-v0", _CONTROL, None, {}),
    ("DistractingBallInCupCatch-v0", _CONTROL, None, {"domain": "ball_in_cup", "task": "catch"}),
    ("DistractingCartpoleSwingup-v0", _CONTROL, None, {"domain": "cartpole", "task": "swingup"}),
    ("DistractingCheetahRun-v0", _CONTROL, None, {"domain": "cheetah", "task": "run"}),
    ("DistractingFingerSpin-v0", _CONTROL, None, {"domain": "finger", "task": "spin"}),
    ("DistractingReacherEasy-v0", _CONTROL, None, {"domain": "reacher", "task": "easy"}),
    ("DistractingWalkerWalk-v0", _CONTROL, None, {"domain": "walker", "task": "walk"}),
    ("Manipulation-v0", _MANIPULATION, None, {}),
    ("ManipulationDoor-v0", _MANIPULATION, None, {"task": "Door"}),
    ("ManipulationTwoArmPegInHole-v0", _MANIPULATION, None, {"task": "TwoArmPegInHole"}),
)

#: Every id that bisimgym registers, in the order of the documentation.
IDS = tuple(f"bisimgym/{name}" for name, *_ in _ROWS)

for _name, _stem, _limit, _arguments in _ROWS:
    register(
        id=f"bisimgym/{_name}",
        entry_point=f"bisimgym.envs.{_stem}Env",
        vector_entry_point=f"bisimgym.envs.{_stem}VectorEnv",
        max_episode_steps=_limit,
        kwargs=_arguments,
    )
