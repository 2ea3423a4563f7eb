"""CURL, contrastive unsupervised representations (Laskin, Srinivas and Abbeel 2020): two shifts of one image are alike.

Which of the batch's images, shifted anew and embedded by the slowly moving encoder, is this one?
"""

from __future__ import annotations

from bisimgym.baselines import needs_torch  # noqa: F401

# isort: split
from torch import nn

from bisimgym.baselines.auxiliary_tasks import contrastive_loss
from bisimgym.baselines.core.metric_learning import MetricSAC
from bisimgym.baselines.core.metric_loss import AuxiliaryTask
from bisimgym.baselines.pse.augmentation import random_shift


class CURL(AuxiliaryTask):
    """:func:`~bisimgym.baselines.auxiliary_tasks.contrastive_loss` of two views, with bilinear scores.

    Queries are embeddings of the first view, keys those of the second by the target encoder, which no gradient
    reaches. It needs ``augmentation``.
    """

    def build(self, latent_dim, action_dim, discount, make_encoder):
        super().build(latent_dim, action_dim, discount, make_encoder)
        self.bilinear = nn.Linear(latent_dim, latent_dim, bias=False)

    def forward(self, batch, permutation, model, generator):
        return contrastive_loss(batch.z, self.bilinear(batch.second_view.target_z)), {}


class CURLSAC(MetricSAC):
    """SAC with CURL's loss, whose optimizer steps the encoder after the critic's, on images that are shifted."""

    defaults = {
        "metric": CURL,
        "metric_weight": 1.0,
        "augmentation": random_shift,
        "encoder_optimizer": "separate",
        "actor_period": 2,
        "target_update_interval": 2,
    }
