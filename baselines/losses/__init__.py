"""What losses of several methods share: distances, pairs, norms, predictions and small models. Pure torch, no SB3."""

from bisimgym.baselines import needs_torch  # noqa: F401

# isort: split
from bisimgym.baselines.losses.distances import (
    PairLoss,
    cosine_distance,
    gaussian_w2,
    huber,
    l1_distance,
    l2_distance,
    mico_distance,
    pairs,
    rap_distance,
    safe_angle,
)
from bisimgym.baselines.losses.models import Gaussian, InverseModel, RewardModel, TransitionModel
from bisimgym.baselines.losses.norms import cap_norm, norm_radius
from bisimgym.baselines.losses.predictions import gaussian_nll, reward_prediction_loss

__all__ = [
    "Gaussian",
    "InverseModel",
    "PairLoss",
    "RewardModel",
    "TransitionModel",
    "cap_norm",
    "cosine_distance",
    "gaussian_nll",
    "gaussian_w2",
    "huber",
    "l1_distance",
    "l2_distance",
    "mico_distance",
    "norm_radius",
    "pairs",
    "rap_distance",
    "reward_prediction_loss",
    "safe_angle",
]
