"""Losses as pure functions of torch tensors, usable from any training code, and the small models they need."""

from bisimgym.baselines.losses.ambs import ambs_loss, two_view_distances
from bisimgym.baselines.losses.dbc import dbc_loss
from bisimgym.baselines.losses.distances import (
    PairLoss,
    cosine_distance,
    gaussian_w2,
    huber,
    l1_distance,
    l2_distance,
    mico_distance,
    rap_distance,
    safe_angle,
)
from bisimgym.baselines.losses.mico import mico_loss
from bisimgym.baselines.losses.models import (
    Balance,
    Gaussian,
    GaussianRewardModel,
    InverseModel,
    PairModel,
    RewardModel,
    TransitionModel,
)
from bisimgym.baselines.losses.rap import rap_loss
from bisimgym.baselines.losses.recursive_similarity import interaction_loss, recursive_similarity_loss
from bisimgym.baselines.losses.robust_dbc import (
    cap_norm,
    intrinsic_reward,
    inverse_dynamics_loss,
    norm_radius,
    robust_dbc_loss,
)
from bisimgym.baselines.losses.self_prediction import (
    deepmdp_loss,
    gaussian_nll,
    reward_prediction_loss,
    self_prediction_loss,
)
from bisimgym.baselines.losses.simsr import simsr_loss
from bisimgym.baselines.pse.losses import Coupling, contrastive_metric_loss, coupling, metric_regression_loss

__all__ = [
    "Balance",
    "Coupling",
    "Gaussian",
    "GaussianRewardModel",
    "InverseModel",
    "PairLoss",
    "PairModel",
    "RewardModel",
    "TransitionModel",
    "ambs_loss",
    "cap_norm",
    "contrastive_metric_loss",
    "cosine_distance",
    "coupling",
    "dbc_loss",
    "deepmdp_loss",
    "gaussian_nll",
    "gaussian_w2",
    "huber",
    "interaction_loss",
    "intrinsic_reward",
    "inverse_dynamics_loss",
    "l1_distance",
    "l2_distance",
    "metric_regression_loss",
    "mico_distance",
    "mico_loss",
    "norm_radius",
    "rap_distance",
    "rap_loss",
    "recursive_similarity_loss",
    "reward_prediction_loss",
    "robust_dbc_loss",
    "safe_angle",
    "self_prediction_loss",
    "simsr_loss",
    "two_view_distances",
]
