"""Losses that predict instead of comparing: the next embedding (ZP), the reward (RP), and DeepMDP, which is both.

They define no metric, but tell which states may share an embedding: with zero DeepMDP loss under every action, states
with equal embeddings are bisimilar. Self-prediction alone is content with an embedding that is constant.
"""

from __future__ import annotations

import torch as th

from bisimgym.baselines.losses.distances import check_shape, full_precision


@full_precision
def gaussian_nll(mean: th.Tensor, std: th.Tensor, target: th.Tensor) -> th.Tensor:
    """Return the negative log-likelihood of a target under diagonal Gaussians, a scalar: the mean of all elements.

    ``0.5 ((mean - target) / std)^2 + log std``, without the constant; of a point mass, where ``std`` is 0, it is ``0.5
    (mean - target)^2``. Printed versions without the logarithm drive ``std`` to its upper bound.

    Args:
        mean, std, target: floats of one shape. Gradients flow into ``mean`` and ``std``, not into ``target``.
    """
    for name, tensor in (("std", std), ("target", target)):
        check_shape(name, tensor, tuple(mean.shape))
    scale = th.where(std == 0, 1.0, std)
    return (0.5 * ((mean - target.detach()) / scale).square() + scale.log()).mean()


def self_prediction_loss(mean: th.Tensor, std: th.Tensor, next_z: th.Tensor) -> th.Tensor:
    """Return the loss of predicting the next embedding (ZP), a scalar.

    :func:`gaussian_nll` of the next embedding, whose encoder is the online one in the study this follows; no gradient
    flows into it, or all embeddings could meet in a point.

    Source: Ni et al. (2024), "Bridging state and history representations"; Luo et al. (2025).

    Args:
        mean, std: ``float[B, D]``, as a :class:`~bisimgym.baselines.losses.TransitionModel` predicts them. Gradients
            flow into them, and into the embedding they were predicted from unless that was detached.
        next_z: ``float[B, D]``, detached here.
    """
    return gaussian_nll(mean, std, next_z)


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


def deepmdp_loss(
    predicted: th.Tensor, reward: th.Tensor, mean: th.Tensor, std: th.Tensor, next_z: th.Tensor
) -> th.Tensor:
    """Return the DeepMDP loss, a scalar: :func:`reward_prediction_loss` plus :func:`self_prediction_loss`.

    Source: Gelada et al. (2019), "DeepMDP: Learning continuous latent space models for representation learning", with a
    Gaussian likelihood in place of the Wasserstein distance, as Luo et al. (2025). Rewards are predicted from the
    embedding and the action. A deterministic model gives the squared form of the paper's deterministic experiments.

    Args:
        predicted, reward: ``float[B]``.
        mean, std, next_z: ``float[B, D]``; no gradient flows into ``reward`` and ``next_z``.
    """
    return reward_prediction_loss(predicted, reward) + self_prediction_loss(mean, std, next_z)
