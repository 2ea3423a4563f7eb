"""Imported first: says what to install where torch or scikit-learn are missing."""

from bisimgym.envs.extras import require

require("environments of channel pruning", "pruning", "torch", "sklearn")
