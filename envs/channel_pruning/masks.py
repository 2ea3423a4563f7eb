"""Which channels a layer keeps: importances, the trade-off between two agents, and removal for good.

Pure functions of tensors. Importances of channels are ``float[N, C]`` at run time, one row per image, and ``float[C]``
where they do not depend on the image. Sources: chapter 6 of the thesis (NeurIPS 2020, "Storage Efficient and Dynamic
Flexible Runtime Channel Pruning via Deep Reinforcement Learning"), sections 6.3.1 to 6.3.3, and the authors' code where
the text is silent.
"""

from __future__ import annotations

import torch as th

from bisimgym.envs.checks import choice

#: How many channels a ratio keeps: ceil(a C), or the authors' code, which keeps one more where a C is an integer.
KEPT_COUNTS = ("ceil", "floor_plus_one")
#: Products of ratios and channels within this of an integer are that integer: 0.7 * 10 is 7, in any precision.
_ROUNDING = 1e-5


def kept_count(ratio: th.Tensor, channels: int, rule: str = "ceil") -> th.Tensor:
    """Return ``int64[...]``: how many of a layer's channels a ratio keeps, at least one.

    Args:
        ratio: ``float[...]`` in (0, 1].
        channels: C.
        rule: one of :data:`KEPT_COUNTS`.
    """
    product = ratio.double() * channels
    if choice("kept_count", rule, KEPT_COUNTS) == "ceil":
        count = th.ceil(product - _ROUNDING)
    else:
        count = th.floor(product + _ROUNDING) + 1
    return count.long().clamp(1, channels)


def ranks(importance: th.Tensor) -> th.Tensor:
    """Return ``int64[..., C]``: 0 for the least important channel; of equal ones the first has the lower rank."""
    return importance.argsort(dim=-1, stable=True).argsort(dim=-1)


def lowest_within(importance: th.Tensor, members: th.Tensor, count: th.Tensor) -> th.Tensor:
    """Return ``bool[N, C]``: the ``count`` (``int64[N]``) least important of ``members`` (``bool[N, C]``)."""
    return ranks(importance.masked_fill(~members, th.inf)) < count[:, None]


def trade_off_keep(
    runtime: th.Tensor,
    static: th.Tensor,
    runtime_ratio: th.Tensor,
    static_ratio: th.Tensor,
    trust: float,
    rule: str = "ceil",
) -> th.Tensor:
    """Return ``bool[N, C]``: the channels that the trade-off between both agents keeps (section 6.3.3).

    Channels that both mark are pruned, and of those that one agent alone marks the least important: a share ``trust``
    of the runtime agent's and 1 - trust of the static agent's. Up to rounding a fraction
    ``trust * runtime_ratio + (1 - trust) * static_ratio`` is kept, whatever both mark; at least one channel always is.

    Args:
        runtime: ``float[N, C]``, importance at run time.
        static: ``float[C]``, static importance.
        runtime_ratio: ``float[N]``, the fraction that the runtime agent preserves.
        static_ratio: ``float[N]``, the same of the static agent.
        trust: R in [0, 1].
        rule: one of :data:`KEPT_COUNTS`.
    """
    channels = runtime.shape[1]
    static = static.expand_as(runtime)
    everything = th.ones_like(runtime, dtype=th.bool)
    of_runtime = lowest_within(runtime, everything, channels - kept_count(runtime_ratio, channels, rule))
    of_static = lowest_within(static, everything, channels - kept_count(static_ratio, channels, rule))
    both = of_runtime & of_static
    alone_runtime, alone_static = of_runtime & ~both, of_static & ~both
    pruned = both | lowest_within(runtime, alone_runtime, share(trust, alone_runtime.sum(dim=1)))
    pruned |= lowest_within(static, alone_static, share(1 - trust, alone_static.sum(dim=1)))
    return ~pruned


def share(fraction: float, count: th.Tensor) -> th.Tensor:
    """Return ``int64[...]``: the floor of a fraction of some counts."""
    return th.floor(fraction * count.double() + _ROUNDING).long()


def permanent_keep(static: th.Tensor, static_ratio: float, trust: float) -> th.Tensor:
    """Return ``bool[C]``: what stays once floor((1 - ratio)(1 - trust) C) channels are removed for good.

    The least important by static importance go (section 6.3.5). Training prunes other channels: of those that both
    agents mark it removes all, so others of the static agent's stay alive. Accuracy is to be measured after removal.
    """
    channels = len(static)
    removed = share((1 - static_ratio) * (1 - trust), th.tensor(channels)).clamp(max=channels - 1)
    return ranks(static) >= removed


def inference_keep(
    runtime: th.Tensor, permanent: th.Tensor, runtime_ratio: th.Tensor, trust: float, rule: str = "ceil"
) -> th.Tensor:
    """Return ``bool[N, C]``: what a network whose channels were removed for good computes for each image.

    Of the channels that are there, floor(trust * (C - kept)) are pruned at run time, where C counts the channels before
    removal: together with the removed ones that is the fraction of :func:`trade_off_keep`. At least one is left.

    Args:
        runtime: ``float[N, C]``.
        permanent: ``bool[C]``, of :func:`permanent_keep`.
        runtime_ratio: ``float[N]``.
        trust: R in [0, 1].
        rule: one of :data:`KEPT_COUNTS`.
    """
    channels, left = runtime.shape[1], int(permanent.sum())
    count = share(trust, channels - kept_count(runtime_ratio, channels, rule)).clamp(max=left - 1)
    there = permanent.expand_as(runtime)
    return there & ~lowest_within(runtime, there, count)


def unified_importance(runtime: th.Tensor, static: th.Tensor) -> th.Tensor:
    """Return ``float[N, C]``: the product of both importances, negative where both are (as in the authors' code)."""
    both_negative = (runtime.detach() < 0) & (static.detach() < 0)
    return runtime * static * th.where(both_negative, -1.0, 1.0)


def filter_features(weight: th.Tensor, gradient: th.Tensor) -> th.Tensor:
    """Return ``float[C, 3]``: norm, distance from the mean filter, and sensitivity of each filter (section 6.3.1).

    The sensitivity is ||gradient * weight||_F^2, divided by its norm over the layer plus 1e-3.

    Args:
        weight: ``float[C, C_in, k, k]``.
        gradient: of the loss over the training set, of the same shape.
    """
    flat, slope = weight.detach().flatten(1), gradient.detach().flatten(1)
    sensitivity = (slope * flat).square().sum(dim=1)
    return th.stack(
        [
            flat.norm(dim=1),
            (flat - flat.mean(dim=0)).norm(dim=1),
            sensitivity / (sensitivity.norm() + 1e-3),
        ],
        dim=1,
    )


def median_distances(weight: th.Tensor) -> th.Tensor:
    """Return ``float[C]``: the sum of each filter's distances to all of its layer (He et al. 2019, FPGM).

    The smallest belongs to the filter next to the geometric median, which the others can stand for.
    """
    flat = weight.detach().flatten(1)
    return th.cdist(flat, flat, compute_mode="donot_use_mm_for_euclid_dist").sum(dim=1)
