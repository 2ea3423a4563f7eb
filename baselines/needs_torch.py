"""Imported before torch by modules that need it: says what to install where it is missing."""

from bisimgym.envs.extras import require

require("losses and learners", "baselines", "torch")
