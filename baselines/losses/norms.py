"""Embeddings of bounded norm.

Source: Kemertas and Aumentado-Armstrong (2021), "Towards robust bisimulation metric learning".
"""

from __future__ import annotations

from typing import Literal

import torch as th

from bisimgym.baselines.losses.distances import check_discount, full_precision


def norm_radius(discount: float, reward_weight: float = 1.0) -> float:
    """Return ``0.5 reward_weight / (1 - discount)``, half the largest distance, for rewards in [0, 1].

    Two embeddings within this radius are no farther apart than two states can be.

    Raises:
        ValueError: if ``discount`` is not in [0, 1).
    """
    check_discount(discount)
    if discount == 1:
        raise ValueError("discount must be below 1: without discount distances are not bounded")
    return 0.5 * reward_weight / (1 - discount)


@full_precision
def cap_norm(z: th.Tensor, radius: float, order: Literal[1, 2] = 2) -> th.Tensor:
    """Return ``z / max(1, ||z|| / radius)``, embeddings scaled into a ball; those inside stay.

    It is meant for embeddings and for predicted means alike.

    Args:
        z: ``float[..., D]``; gradients flow through the scale too.
        radius: > 0, see :func:`norm_radius`.
        order: of the norm: 2 (Kemertas and Aumentado-Armstrong 2021) or 1 (Luo et al. 2025).

    Raises:
        ValueError: for a radius that is not positive, or another norm.
    """
    if not radius > 0:
        raise ValueError(f"radius must be positive, got {radius}")
    if order not in (1, 2):
        raise ValueError(f"order must be 1 or 2, got {order}")
    norm = th.linalg.vector_norm(z, ord=order, dim=-1, keepdim=True)
    return z * (radius / norm.clamp_min(radius))
