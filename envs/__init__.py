"""The registered tasks. Ids are registered from strings, so importing this module loads no task code."""

from gymnasium.envs.registration import register

_TABLE = {
    "JumpingTask-v0": "bisimgym.envs.jumping:JumpingTask",
    "JumpingTaskColors-v0": "bisimgym.envs.jumping:JumpingTaskColors",
    "Nav2D-v0": "bisimgym.envs.nav2d:Nav2D",
    "Nav2DCorridor-v0": "bisimgym.envs.nav2d:Nav2DCorridor",
    "Nav2DGoal-v0": "bisimgym.envs.nav2d:Nav2DGoal",
    "LQRDistractors-v0": "bisimgym.envs.lqr:LQRDistractors",
    "MarkovSignal-v0": "bisimgym.envs.markov_signal:MarkovSignal",
    "DistractingControl-v0": "bisimgym.envs.distracting_control:DistractingControl",
    "DistractingBallInCupCatch-v0": "bisimgym.envs.distracting_control:DistractingControl",
    "DistractingCartpoleSwingup-v0": "bisimgym.envs.distracting_control:DistractingControl",
    "DistractingCheetahRun-v0": "bisimgym.envs.distracting_control:DistractingControl",
    "DistractingFingerSpin-v0": "bisimgym.envs.distracting_control:DistractingControl",
    "DistractingReacherEasy-v0": "bisimgym.envs.distracting_control:DistractingControl",
    "DistractingWalkerWalk-v0": "bisimgym.envs.distracting_control:DistractingControl",
}

#: Every id that bisimgym registers, in the order of the documentation.
IDS = tuple(f"bisimgym/{name}" for name in _TABLE)

#: Time limits that a wrapper of ``gym.make`` keeps (native vector environments keep them themselves).
_STEP_LIMITS = {"bisimgym/Nav2D-v0": 50, "bisimgym/Nav2DCorridor-v0": 50, "bisimgym/Nav2DGoal-v0": 50}

#: Arguments that an id stands for.
_ARGUMENTS = {
    "bisimgym/DistractingBallInCupCatch-v0": {"domain": "ball_in_cup", "task": "catch"},
    "bisimgym/DistractingCartpoleSwingup-v0": {"domain": "cartpole", "task": "swingup"},
    "bisimgym/DistractingCheetahRun-v0": {"domain": "cheetah", "task": "run"},
    "bisimgym/DistractingFingerSpin-v0": {"domain": "finger", "task": "spin"},
    "bisimgym/DistractingReacherEasy-v0": {"domain": "reacher", "task": "easy"},
    "bisimgym/DistractingWalkerWalk-v0": {"domain": "walker", "task": "walk"},
}

for _id, _stem in zip(IDS, _TABLE.values(), strict=True):
    register(
        id=_id,
        entry_point=f"{_stem}Env",
        vector_entry_point=f"{_stem}VectorEnv",
        max_episode_steps=_STEP_LIMITS.get(_id),
        kwargs=_ARGUMENTS.get(_id, {}),
    )
