"""What learners have in common: parents of Stable-Baselines3, encoders, replay, checkpoints."""

from bisimgym.envs.extras import require

require("learners", "baselines", "torch", "stable_baselines3", "cloudpickle")
