"""Losses that predict instead of comparing: the next embedding (self-prediction, ZP) and the reward (RP).

They define no metric, but tell which states may share an embedding: where both are zero under every action, states with
equal embeddings are bisimilar (DeepMDP). Self-prediction alone is content with an embedding that is constant.

Source: Ni et al. (2024), "Bridging state and history representations"; Gelada et al. (2019), "DeepMDP", with a Gaussian
likelihood in place of the Wasserstein distance, as Luo et al. (2025).
"""

from __future__ import annotations

import torch as th

from bisimgym.baselines.losses.distances import check_shape, full_precision


@full_precision
def gaussian_nll(mean: th.Tensor, std: th.Tensor, target: th.Tensor) -> th.Tensor:
    """Return the negative log-likelihood of a target under diagonal Gaussians, a scalar: the mean of all elements.

    Of the next embedding it is the loss of self-prediction. No gradient flows into the target, or all embeddings could
    meet in a point.

    ``0.5 ((mean - target) / std)^2 + log std``, without the constant; of a point mass, where ``std`` is 0, it is ``0.5
    (mean - target)^2``. Printed versions without the logarithm drive ``std`` to its upper bound.

    Args:
        mean, std, target: floats of one shape. Gradients flow into ``mean`` and ``std``, not into ``target``.
    """
    for name, tensor in (("std", std), ("target", target)):
        check_shape(name, tensor, tuple(mean.shape))
    scale = th.where(std == 0, 1.0, std)
    return (0.5 * ((mean - target.detach()) / scale).square() + scale.log()).mean()


@full_precision
def reward_prediction_loss(predicted: th.Tensor, reward: th.Tensor) -> th.Tensor:
    """Return the mean squared error of predicted rewards (RP), a scalar.

    Args:
        predicted: ``float[B]``, with gradients; ``reward``: ``float[B]``, without.
    """
    if predicted.ndim != 1:
        raise ValueError(f"predicted must be float[B], got shape {tuple(predicted.shape)}")
    check_shape("reward", reward, tuple(predicted.shape))
    return (predicted - reward.detach()).square().mean()
