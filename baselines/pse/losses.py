"""Embeddings that match a given metric between the states of two trajectories.

Source: Agarwal et al. (2021), "Contrastive Behavioral Similarity Embeddings for Generalization in Reinforcement
Learning", Equation 4 (contrastive metric embeddings, CME) and appendix E (l2 embeddings), with the two-sided sum of the
authors' released code.
"""

from __future__ import annotations

from typing import NamedTuple

import torch as th
from torch.nn import functional as F

#: Keeps log(1 - G) finite where G = 1; such a pair then has no weight among the negatives.
_EPSILON = 1e-9


class Coupling(NamedTuple):
    """What the contrastive loss needs of the distances: data, no gradient flows through it.

    Attributes:
        log_weight_y: ``float[n, m]``, added to the logits of anchors y (columns).
        positive_y: ``int64[m]``, the nearest x of every y.
        log_weight_x: ``float[m, n]``, added to the logits of anchors x (columns again).
        positive_x: ``int64[n]``, the nearest y of every x.
    """

    log_weight_y: th.Tensor
    positive_y: th.Tensor
    log_weight_x: th.Tensor
    positive_x: th.Tensor


def coupling(distance: th.Tensor, beta: float = 0.01, weighted: bool = True) -> Coupling:
    """Return the positives and log weights of every anchor.

    The similarity is ``G = exp(-distance / beta)``. An anchor's positive is its nearest state (the first of equals),
    weighted by G; every other state is a negative, weighted by 1 - G. Weights stay in the log domain: G underflows.

    Args:
        distance: ``float[n, m]``, non-negative.
        beta: bandwidth, > 0.
        weighted: False gives every weight 1 (plain InfoNCE with the nearest state as the positive).

    Raises:
        ValueError: if ``distance`` is not a matrix or ``beta`` is not positive.
    """
    if distance.ndim != 2:
        raise ValueError(f"distance must be [n, m], got shape {tuple(distance.shape)}")
    if beta <= 0:
        raise ValueError(f"beta must be positive, got {beta}")
    return Coupling(*_one_sided(distance, beta, weighted), *_one_sided(distance.T, beta, weighted))


def _one_sided(distance: th.Tensor, beta: float, weighted: bool) -> tuple[th.Tensor, th.Tensor]:
    positive = distance.argmin(dim=0)
    if not weighted:
        return th.zeros_like(distance), positive
    log_similarity = -distance.double() / beta  # in single precision 1 - G + epsilon is 0 where G = 1
    log_weight = th.log(1 - log_similarity.exp() + _EPSILON)
    columns = th.arange(distance.shape[1], device=distance.device)
    log_weight[positive, columns] = log_similarity[positive, columns]
    return log_weight.to(distance.dtype), positive


def contrastive_metric_loss(
    embedding_x: th.Tensor, embedding_y: th.Tensor, coupled: Coupling, temperature: float = 1.0
) -> th.Tensor:
    """Return the contrastive metric embedding loss, a scalar: the sum of both directions, each a mean over its anchors.

    Agarwal et al. (2021), Equation 4, with cosine similarity over ``temperature`` as the logit.

    Args:
        embedding_x: ``float[n, D]``; ``embedding_y``: ``float[m, D]``. Gradients flow into both.
        coupled: of the distances between them, see :func:`coupling`.
        temperature: > 0 (the inverse of the paper's lambda).
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    logits = F.normalize(embedding_x, dim=1, eps=1e-9) @ F.normalize(embedding_y, dim=1, eps=1e-9).T / temperature
    return _info_nce(logits + coupled.log_weight_y, coupled.positive_y) + _info_nce(
        logits.T + coupled.log_weight_x, coupled.positive_x
    )


def anchored_contrastive_loss(
    anchors: th.Tensor, others: th.Tensor, distance: th.Tensor, temperature: float = 0.1, beta: float = 0.1
) -> th.Tensor:
    """Return one side of the contrastive metric embedding loss, a scalar: the mean over anchors.

    For anchor i with nearest state p, similarities ``G = exp(-distance / beta)`` and logits S, it is
    ``-log[ G_ip exp(S_ip) / ( G_ip exp(S_ip) + sum over j != p of (1 - G_ij) exp(S_ij) ) ]``; S is the cosine over
    ``temperature``. Source: Agarwal et al. (2021), Equation 4, as its code has it for control from images.

    Args:
        anchors: ``float[n, D]``; ``others``: ``float[m, D]``. Gradients flow into both.
        distance: ``float[n, m]``, non-negative.
        temperature, beta: > 0.

    Raises:
        ValueError: for other shapes, or a temperature or beta that is not positive.
    """
    if distance.shape != (len(anchors), len(others)):
        raise ValueError(f"distance must be float[{len(anchors)}, {len(others)}], got shape {tuple(distance.shape)}")
    for name, value in (("temperature", temperature), ("beta", beta)):
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")
    log_weight, positive = _one_sided(distance.T, beta, weighted=True)
    logits = F.normalize(others, dim=1, eps=1e-9) @ F.normalize(anchors, dim=1, eps=1e-9).T / temperature
    return _info_nce(logits + log_weight, positive)


def _info_nce(weighted_logits: th.Tensor, positive: th.Tensor) -> th.Tensor:
    return F.cross_entropy(weighted_logits.T, positive)


def metric_regression_loss(embedding_x: th.Tensor, embedding_y: th.Tensor, distance: th.Tensor) -> th.Tensor:
    """Return the mean squared error between Euclidean and given distances, a scalar (l2 embeddings).

    Agarwal et al. (2021), appendix E.

    Args:
        embedding_x: ``float[n, D]``; ``embedding_y``: ``float[m, D]``; ``distance``: ``float[n, m]``.
    """
    difference = embedding_x[:, None] - embedding_y[None]
    # The norm has no gradient at zero, where two embeddings coincide (rectified units can all be off).
    euclidean = (difference.square().sum(dim=2) + 1e-12).sqrt()
    return (euclidean - distance).square().mean()
