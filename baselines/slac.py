"""SLAC, stochastic latent actor-critic (Lee, Nagabandi, Abbeel and Levine 2020): a critic on latents of a world model.

A latent variable model of two layers is trained to explain images; nothing else trains it or the encoder. SAC's critic
takes its latents, and the actor takes images. Sequences here are of two observations.
"""

from __future__ import annotations

from typing import Any

from bisimgym.baselines import needs_torch  # noqa: F401

# isort: split
import torch as th
from torch import nn

from bisimgym.baselines.core.latents import LatentBatch
from bisimgym.baselines.core.metric_learning import MetricSAC
from bisimgym.baselines.core.metric_loss import AuxiliaryTask
from bisimgym.baselines.losses.distances import check_shape, full_precision
from bisimgym.baselines.losses.models import Gaussian, check_sizes

#: Least standard deviation of a latent.
_LEAST_STD = 1e-4


@full_precision
def divergence(mean: th.Tensor, std: th.Tensor, prior_mean: th.Tensor, prior_std: th.Tensor) -> th.Tensor:
    """Return the Kullback-Leibler divergence of diagonal Gaussians from others, ``float[B]``.

    Args:
        mean, std, prior_mean, prior_std: ``float[B, D]``, with gradients to all.
    """
    for name, tensor in (("std", std), ("prior_mean", prior_mean), ("prior_std", prior_std)):
        check_shape(name, tensor, tuple(mean.shape))
    moved = (std.square() + (mean - prior_mean).square()) / (2 * prior_std.square())
    return (prior_std.log() - std.log() + moved - 0.5).sum(dim=1)


@full_precision
def reconstruction_loss(image: th.Tensor, decoded: th.Tensor, std: float) -> th.Tensor:
    """Return the negative log-likelihood of images under Gaussians of one ``std``, without the constant, ``float[B]``.

    It is summed over all numbers of an image.

    Args:
        image: ``float[B, C, H, W]``, in [0, 1].
        decoded: of the same shape, with gradients.
        std: above 0.
    """
    check_shape("decoded", decoded, tuple(image.shape))
    return (image - decoded).square().flatten(1).sum(dim=1) / (2 * std**2)


class LatentGaussian(nn.Module):
    """Two layers and the Gaussian of a latent: standard deviations are a softplus."""

    def __init__(self, inputs: int, outputs: int, hidden: int):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(inputs, hidden), nn.LeakyReLU(), nn.Linear(hidden, hidden), nn.LeakyReLU())
        self.head = nn.Linear(hidden, 2 * outputs)

    def forward(self, *inputs: th.Tensor) -> Gaussian:
        mean, raw = self.head(self.body(th.cat(inputs, dim=1))).chunk(2, dim=1)
        return Gaussian(mean, nn.functional.softplus(raw) + _LEAST_STD)


class ImageDecoder(nn.Module):
    """Three transposed convolutions of stride 2, cut to the size of the images."""

    def __init__(self, inputs: int, shape: tuple[int, int, int], channels: int):
        super().__init__()
        depth, self.height, self.width = shape
        rows, columns = -(-self.height // 8), -(-self.width // 8)
        self.layers = nn.Sequential(
            nn.Linear(inputs, channels * rows * columns),
            nn.LeakyReLU(),
            nn.Unflatten(1, (channels, rows, columns)),
            nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1),
            nn.LeakyReLU(),
            nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1),
            nn.LeakyReLU(),
            nn.ConvTranspose2d(channels, depth, 4, stride=2, padding=1),
        )

    def forward(self, latents: th.Tensor) -> th.Tensor:
        return self.layers(latents)[..., : self.height, : self.width]


class SampledLatents(nn.Module):
    """What the critic sees in place of embeddings: latents drawn from their posterior, through which no gradient goes.

    Noise is torch's own, as that of the actor's actions is.
    """

    def __init__(self) -> None:
        super().__init__()
        self.of: tuple[SLAC, ...] = ()  # in a tuple, or its networks would be the policy's too

    def forward(self, embedding: th.Tensor) -> th.Tensor:
        with th.no_grad():
            return th.cat(self.of[0].first_latents(embedding)[1:], dim=1)


class SLAC(AuxiliaryTask):
    """The evidence lower bound of two observations and what is done in between, as a loss.

    Latents have as many numbers as an embedding has, in two layers. Of the second layer posterior and prior are one
    network, so that divergences are of the first.

    Args:
        first_dim: numbers of the first layer; ``None``: a ninth, the paper's 32 of 288.
        hidden: units of each network's two layers.
        decoder_channels: of the decoder's layers.
        image_std: standard deviation of a decoded number.
    """

    trains_next = True
    critic_input = SampledLatents

    def __init__(
        self,
        first_dim: int | None = None,
        hidden: int = 256,
        decoder_channels: int = 32,
        image_std: float = 0.1,
    ):
        super().__init__()
        check_sizes(first_dim=1 if first_dim is None else first_dim, hidden=hidden, decoder_channels=decoder_channels)
        if not image_std > 0:
            raise ValueError(f"image_std must be positive, got {image_std!r}")
        self.first_dim, self.hidden = first_dim, hidden
        self.decoder_channels, self.image_std = decoder_channels, image_std

    def build(self, latent_dim, action_dim, discount, make_encoder):
        super().build(latent_dim, action_dim, discount, make_encoder)
        encoder: Any = make_encoder()
        shape = tuple(encoder._observation_space.shape)
        if len(shape) != 3:
            raise ValueError(f"SLAC decodes images, got observations of shape {shape}")
        first = max(1, latent_dim // 9) if self.first_dim is None else self.first_dim
        second = latent_dim - first
        if second < 1:
            raise ValueError(f"first_dim must be below features_dim, which is {latent_dim}, got {first}")
        hidden = self.hidden
        self.posterior_first = LatentGaussian(latent_dim, first, hidden)
        self.second_first = LatentGaussian(first, second, hidden)
        self.prior_next = LatentGaussian(second + action_dim, first, hidden)
        self.posterior_next = LatentGaussian(latent_dim + second + action_dim, first, hidden)
        self.second_next = LatentGaussian(first + second + action_dim, second, hidden)
        self.decoder = ImageDecoder(latent_dim, (shape[0], shape[1], shape[2]), self.decoder_channels)

    def first_latents(
        self, embedding: th.Tensor, generator: th.Generator | None = None
    ) -> tuple[Gaussian, th.Tensor, th.Tensor]:
        """Return the posterior of the first layer, and both layers drawn, of observations that nothing precedes."""
        posterior = self.posterior_first(embedding)
        one = drawn(posterior, generator)
        return posterior, one, drawn(self.second_first(one), generator)

    def next_latents(
        self, next_embedding: th.Tensor, two: th.Tensor, actions: th.Tensor, generator: th.Generator | None = None
    ) -> tuple[Gaussian, th.Tensor, th.Tensor]:
        """Return the same of the observations after, given the second layer before and the actions."""
        posterior = self.posterior_next(next_embedding, two, actions)
        one = drawn(posterior, generator)
        return posterior, one, drawn(self.second_next(one, two, actions), generator)

    def forward(self, batch, permutation, model, generator):
        first, one, two = self.first_latents(batch.z, generator)
        then, next_one, next_two = self.next_latents(batch.trained_next_z, two, batch.actions, generator)
        start = Gaussian(th.zeros_like(first.mean), th.ones_like(first.std))
        divergences = divergence(*first, *start) + divergence(*then, *self.prior_next(two, batch.actions))
        errors = sum(
            reconstruction_loss(image, self.decoder(th.cat(latents, dim=1)), self.image_std)
            for image, latents in (
                (batch.observations, (one, two)),
                (batch.next_observations, (next_one, next_two)),
            )
        )
        return (divergences + errors).mean(), {}


def drawn(latent: Gaussian, generator: th.Generator | None = None) -> th.Tensor:
    """Return a sample of Gaussians, ``float[B, D]``, with gradients; ``None`` is torch's own generator."""
    device = latent.mean.device if generator is None else generator.device
    noise = th.randn(latent.mean.shape, generator=generator, device=device).to(latent.mean.device)
    return latent.mean + noise * latent.std


class SLACSAC(MetricSAC):
    """SAC whose critic sees latents of :class:`SLAC`, and whose encoder that model's loss alone trains."""

    defaults = {
        "metric": SLAC,
        "metric_weight": 1.0,
        "features_dim": 288,
        "learning_rate": 3e-4,
        "batch_size": 256,
        "tau": 0.005,
        "ent_coef": "auto",
    }

    def _setup_model(self) -> None:
        super()._setup_model()
        latents = self.representation.metric
        if not isinstance(latents, SLAC):
            raise ValueError(f"SLACSAC needs the metric SLAC or a subclass, got {self.metric!r}")
        self.policy.critic_input.of = self.policy.critic_input_target.of = (latents,)

    def _next_inputs(self, data: Any, batch: LatentBatch | None) -> list[tuple[Any, Any]]:
        assert batch is not None  # policies with an encoder alone are taken
        latents: Any = self.representation.metric
        two = latents.first_latents(batch.z)[2]
        seen = latents.next_latents(batch.next_z, two, batch.actions)[1:]
        return [(self.policy.actor_head(batch.next_features), th.cat(seen, dim=1))]
