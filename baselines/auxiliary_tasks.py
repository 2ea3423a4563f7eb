"""Losses that shape an embedding and name no metric: what metrics' losses are compared with.

Each is an :class:`~bisimgym.baselines.core.metric_loss.AuxiliaryTask`: offline learning and the learners take its
name, or the class, as ``metric``. Predictions of the next embedding and of the reward are switches of the learners.
"""

from __future__ import annotations

from typing import Any

from bisimgym.baselines import needs_torch  # noqa: F401

# isort: split
import torch as th
from torch import nn
from torch.nn import functional as F

from bisimgym.baselines.core.metric_loss import AuxiliaryTask
from bisimgym.baselines.losses.distances import full_precision
from bisimgym.baselines.losses.models import InverseModel, TransitionModel, check_sizes
from bisimgym.baselines.recursive_similarity import interaction_loss


class InverseDynamics(AuxiliaryTask):
    """Which action led from here to there: what no action changes is left out.

    Source: Pathak, Agrawal, Efros and Darrell (2017), "Curiosity-driven exploration by self-supervised prediction",
    section 2.2.
    """

    trains_next = True

    def build(self, latent_dim, action_dim, discount, make_encoder):
        super().build(latent_dim, action_dim, discount, make_encoder)
        self.inverse = InverseModel(latent_dim, action_dim, hidden=(256,), activation=nn.ReLU)

    def forward(self, batch, permutation, model, generator):
        predicted = self.inverse(batch.z, batch.trained_next_z)
        if self.finite:
            return F.cross_entropy(predicted, batch.actions.argmax(dim=1)), {}
        return F.mse_loss(predicted, batch.actions), {}


class Interaction(InverseDynamics):
    """Inverse dynamics, and where an action leads: psi of recursive state similarity, on its own.

    Source: Black, Chuck and Niekum (2021), equation 4, see
    :func:`~bisimgym.baselines.recursive_similarity.interaction_loss`.

    Args:
        inverse_weight: of inverse dynamics, in [0, 1]; the rest is of the next embedding.
    """

    def __init__(self, inverse_weight: float = 0.2):
        super().__init__()
        if not 0 <= inverse_weight <= 1:
            raise ValueError(f"inverse_weight must be in [0, 1], got {inverse_weight!r}")
        self.inverse_weight = inverse_weight

    def build(self, latent_dim, action_dim, discount, make_encoder):
        super().build(latent_dim, action_dim, discount, make_encoder)
        self.forward_model = TransitionModel(
            latent_dim, action_dim, kind="deterministic", hidden=256, layer_norm=False, trains_encoder=True
        )

    def forward(self, batch, permutation, model, generator):
        actions = batch.actions.argmax(dim=1) if self.finite else batch.actions
        next_z = batch.trained_next_z
        predicted = self.forward_model.expected(batch.z, batch.actions)
        return interaction_loss(self.inverse(batch.z, next_z), actions, predicted, next_z, self.inverse_weight), {}


class Reconstruction(AuxiliaryTask):
    """An autoencoder: the observation from its embedding; or a variational one.

    Source: Kingma and Welling (2014), "Auto-encoding variational Bayes", for the variational form. The decoder is an
    MLP, whatever the encoder is.

    Args:
        kl_weight: of the divergence of the posterior, whose mean is the embedding, from a standard normal; 0 is the
            plain autoencoder. The error is summed over the observation, as the likelihood of unit variance is.
        hidden: units of the decoder's two hidden layers.
    """

    def __init__(self, kl_weight: float = 0.0, hidden: int = 256):
        super().__init__()
        if not kl_weight >= 0:
            raise ValueError(f"kl_weight must be at least 0, got {kl_weight!r}")
        check_sizes(hidden=hidden)
        self.kl_weight, self.hidden = kl_weight, hidden

    def build(self, latent_dim, action_dim, discount, make_encoder):
        super().build(latent_dim, action_dim, discount, make_encoder)
        encoder: Any = make_encoder()
        pixels = int(th.Size(encoder._observation_space.shape).numel())
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, self.hidden),
            nn.ReLU(),
            nn.Linear(self.hidden, self.hidden),
            nn.ReLU(),
            nn.Linear(self.hidden, pixels),
        )
        self.log_std = nn.Linear(latent_dim, latent_dim) if self.kl_weight else None

    def forward(self, batch, permutation, model, generator):
        z = mean = batch.z
        loss = z.new_zeros(())
        if self.log_std is not None:
            log_std = self.log_std(mean).clamp(-10, 2)
            noise = th.randn(mean.shape, generator=generator, device=generator.device).to(mean.device)
            z = mean + noise * log_std.exp()
            divergence = 0.5 * (mean.square() + (2 * log_std).exp() - 1) - log_std
            loss = self.kl_weight * divergence.sum(dim=1).mean()
        error = self.decoder(z) - batch.observations.flatten(1)
        return loss + 0.5 * error.square().sum(dim=1).mean(), {}


@full_precision
def contrastive_loss(query: th.Tensor, key: th.Tensor, temperature: float = 1.0) -> th.Tensor:
    """Return InfoNCE, a scalar: which of all keys is a query's own?

    Source: van den Oord, Li and Vinyals (2018), "Representation learning with contrastive predictive coding",
    equation 4, with the other rows of the batch as negatives.

    Args:
        query: ``float[B, D]``.
        key: ``float[B, D]``; row i is query i's own.
        temperature: above 0.
    """
    scores = query @ key.t() / temperature
    return F.cross_entropy(scores, th.arange(len(scores), device=scores.device))


class TemporalContrast(AuxiliaryTask):
    """Which of the batch's next states comes next: contrastive predictive coding, one step ahead.

    Keys are of the target encoder, and scores bilinear, as CURL's (Laskin, Srinivas and Abbeel 2020); see
    :func:`contrastive_loss`. Actions are not shown to it.
    """

    def build(self, latent_dim, action_dim, discount, make_encoder):
        super().build(latent_dim, action_dim, discount, make_encoder)
        self.bilinear = nn.Linear(latent_dim, latent_dim, bias=False)

    def forward(self, batch, permutation, model, generator):
        return contrastive_loss(self.bilinear(batch.z), batch.next_target_z), {}


@full_precision
def spread_loss(z: th.Tensor, covariance_weight: float = 0.04) -> th.Tensor:
    """Return what keeps embeddings from collapsing, a scalar: variance and covariance terms of VICReg.

    Standard deviations below 1 count with what they lack, and squared covariances of two dimensions with
    ``covariance_weight``, summed over the pairs and divided by the dimensions.

    Source: Bardes, Ponce and LeCun (2022), "VICReg", equations 1 to 4; its weights 25, 25 and 1 for invariance,
    variance and covariance, divided by 25.

    Args:
        z: ``float[B, D]``.
        covariance_weight: at least 0.
    """
    centered = z - z.mean(dim=0)
    deviation = (centered.square().sum(dim=0) / (len(z) - 1) + 1e-4).sqrt()
    covariance = centered.t() @ centered / (len(z) - 1)
    between = covariance.square().sum() - covariance.diagonal().square().sum()
    return F.relu(1 - deviation).mean() + covariance_weight * between / z.shape[1]


class JointEmbedding(AuxiliaryTask):
    """Predicts the next embedding, with gradients on both sides; variance and covariance keep it from collapsing.

    Source: Sobal, Jyothir, Jalagam, Carion, Cho and LeCun (2022), "Joint embedding predictive architectures focus on
    slow features", section 2, with VICReg; see :func:`spread_loss`.

    Args:
        covariance_weight: of the covariance term.
    """

    trains_next = True

    def __init__(self, covariance_weight: float = 0.04):
        super().__init__()
        if not covariance_weight >= 0:
            raise ValueError(f"covariance_weight must be at least 0, got {covariance_weight!r}")
        self.covariance_weight = covariance_weight

    def build(self, latent_dim, action_dim, discount, make_encoder):
        super().build(latent_dim, action_dim, discount, make_encoder)
        self.predictor = TransitionModel(
            latent_dim, action_dim, kind="deterministic", hidden=256, layer_norm=False, trains_encoder=True
        )

    def forward(self, batch, permutation, model, generator):
        z, next_z = batch.z, batch.trained_next_z
        predicted = F.mse_loss(self.predictor.expected(z, batch.actions), next_z)
        spread = spread_loss(z, self.covariance_weight) + spread_loss(next_z, self.covariance_weight)
        return predicted + spread / 2, {}


class ValueRegression(AuxiliaryTask):
    """The value of the policy that acted, by temporal differences; the slowly moving encoder gives the targets.

    With an embedding of one number it is the value itself, and distances are differences of values: the lower bound of
    bisimulation that Le Lan, Bellemare and Castro (2021), "Metrics and continuity in reinforcement learning", compare
    metrics with.
    """

    def build(self, latent_dim, action_dim, discount, make_encoder):
        super().build(latent_dim, action_dim, discount, make_encoder)
        self.head = nn.Identity() if latent_dim == 1 else nn.Linear(latent_dim, 1)

    def forward(self, batch, permutation, model, generator):
        with th.no_grad():
            ahead = (batch.discounts * self.head(batch.next_target_z))[:, 0]
            target = batch.rewards + (1 - batch.dones) * ahead
        return 0.5 * F.mse_loss(self.head(batch.z)[:, 0], target), {}
