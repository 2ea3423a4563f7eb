"""Settings of published agents that learn control from 84 x 84 images, as data: what each paper or script has.

Sources: DrQ, Kostrikov et al. (2021). SAC-AE and DBC, Zhang et al. (2021) and the script for a cluster. AMBS, Chen and
Pan (2022), and RAP, Chen and Pan (2024), with the weights of their scripts. MICo, SimSR, self-prediction and DeepMDP
have no published setting of this kind, or one with another SAC: they have DBC's here, with their own weights, as in Luo
et al. (2025). CURL: Laskin et al. (2020). SLAC: Lee et al. (2020). Observations are stacks of three RGB frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bisimgym.baselines import needs_torch  # noqa: F401

# isort: split
from bisimgym.baselines.core.settings import merged
from bisimgym.baselines.pse.augmentation import random_shift

#: What all have: the discount, the first temperature, steps before training, and three frames in an observation.
_ALL: Mapping[str, Any] = {
    "gamma": 0.99,
    "ent_coef": "auto_0.1",
    "learning_starts": 1000,
    "tau": 0.01,
    "actor_period": 2,
    "target_update_interval": 2,
    "replay_buffer_kwargs": {"frame_stack": 3},
    "policy_kwargs": {"net_arch": [1024, 1024], "log_std_bounds": (-10.0, 2.0)},
}
_SAC_AE: Mapping[str, Any] = merged(
    _ALL,
    {
        "learning_rate": 1e-3,
        "batch_size": 512,
        "buffer_size": 1_000_000,
        "encoder_tau": 0.05,
        "ent_coef_learning_rate": 1e-4,
        "ent_coef_beta1": 0.5,
        "policy_kwargs": {"initialization": "delta-orthogonal"},
    },
)
_DRQ: Mapping[str, Any] = merged(
    _ALL,
    {
        "learning_rate": 1e-3,
        "batch_size": 512,
        "buffer_size": 100_000,
        "encoder_tau": 0.01,
        "augmentation": random_shift,
        "views": 2,
        "target_views": 2,
        "policy_kwargs": {"initialization": "orthogonal", "features_extractor_kwargs": {"squash": True}},
    },
)
_CHEN_AND_PAN: Mapping[str, Any] = merged(
    _SAC_AE, {"learning_rate": 5e-4, "batch_size": 128, "features_dim": 100, "model_weight_decay": 0.0}
)

#: Keyword arguments of a learner of :data:`~bisimgym.baselines.learners.SAC_LEARNERS` by its name, for "PixelPolicy".
PIXEL_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "sac": _SAC_AE,
    "drq": _DRQ,
    "drq-pse": _DRQ,
    "curl": merged(_SAC_AE, {"augmentation": random_shift}),
    "slac": merged(
        _ALL,
        {
            "learning_rate": 3e-4,
            "buffer_size": 100_000,
            "batch_size": 256,
            "tau": 0.005,
            "encoder_tau": None,
            "ent_coef": "auto",
            "actor_period": 1,
            "target_update_interval": 1,
            "policy_kwargs": {"net_arch": [256, 256]},
        },
    ),
    "dbc": _SAC_AE,
    "robust-dbc": merged(
        _SAC_AE,
        {
            "buffer_size": 160_000,
            "tau": 0.005,
            "encoder_tau": 0.005,
            "ent_coef": "auto_0.01",
            "ent_coef_learning_rate": None,
            "ent_coef_beta1": 0.9,
            "model_weight_decay": 0.0,
            "norm": "cap",
            "policy_kwargs": {"net_arch": [256, 256]},
        },
    ),
    "rap": _CHEN_AND_PAN,
    "ambs": merged(_CHEN_AND_PAN, {"augmentation": random_shift}),
    "mico": _SAC_AE,
    "simsr": merged(_SAC_AE, {"batch_size": 128, "buffer_size": 100_000, "norm": "l2"}),
    "deepmdp": _SAC_AE,
    "self-prediction": _SAC_AE,
}


def pixel_settings(learner: str, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the keyword arguments of a learner for images, with changes merged in.

    Args:
        learner: a name of :data:`PIXEL_SETTINGS`.
        changes: further arguments; of dictionaries, such as ``policy_kwargs``, the entries are merged.

    Raises:
        ValueError: for another name.

    Example:
        >>> import bisimgym, gymnasium as gym
        >>> from bisimgym.baselines.mico import MICoSAC
        >>> from bisimgym.baselines.pixels import pixel_settings
        >>> env = gym.make("bisimgym/DistractingCartpoleSwingup-v0", size=84)
        >>> model = MICoSAC("PixelPolicy", env, **pixel_settings("mico", {"buffer_size": 10_000}))
    """
    if learner not in PIXEL_SETTINGS:
        raise ValueError(f"learner must be one of {list(PIXEL_SETTINGS)}, got {learner!r}")
    return merged(PIXEL_SETTINGS[learner], changes or {})
