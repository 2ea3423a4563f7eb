"""DrQ, data-regularized Q (Kostrikov et al. 2021): SAC from images that are shifted whenever they are sampled.

The critic's targets are averages over two shifts of the next image, and its loss is summed over two of the image.
"""

from __future__ import annotations

from bisimgym.baselines import needs_torch  # noqa: F401

# isort: split
from bisimgym.baselines.core.metric_learning import MetricSAC
from bisimgym.baselines.pse.augmentation import random_shift


class DrQSAC(MetricSAC):
    """SAC with DrQ: ``target_views`` (M) and ``views`` (K) random shifts of images; any loss can be added."""

    defaults = {
        "augmentation": random_shift,
        "views": 2,
        "target_views": 2,
        "encoder_tau": 0.01,
        "actor_period": 2,
        "target_update_interval": 2,
        "batch_size": 512,
        "buffer_size": 100_000,
    }
