"""Distances between embeddings, and the pairs of a batch that losses compare.

Distances take tensors ``float[..., D]`` that broadcast against each other and return ``float[...]``: row by row for
``x`` and ``y`` of ``[P, D]``, all N x M pairs for ``x[:, None]`` and ``y[None]``. All have finite gradients everywhere,
zero where the distance has a kink: embeddings that coincide, point the same way, or are zero.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from numbers import Real
from typing import Any, Literal, NamedTuple, ParamSpec, TypeVar

import torch as th
from torch.nn import functional as F

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

#: Products of norms below this count as those of zero vectors, whose angle is undefined.
_TINY = 1e-9


class PairLoss(NamedTuple):
    """What every metric loss returns. Make it with :meth:`of`.

    Attributes:
        loss: a scalar, the mean over pairs.
        distance: ``float[P]``, the distances of the embeddings of each pair; detached, for logs.
        target: ``float[P]``, what they should be; detached.
    """

    loss: th.Tensor
    distance: th.Tensor
    target: th.Tensor

    @classmethod
    def of(cls, loss: th.Tensor, distance: th.Tensor, target: th.Tensor) -> PairLoss:
        """Return the loss with its distances and targets, which may have any one shape."""
        return cls(loss, distance.detach().flatten(), target.detach().flatten())


def full_precision(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Make a function of tensors compute in float32 at least, whatever autocast says.

    Differences of distances lose all their digits in half precision. Floating tensors among the arguments are widened;
    float64 stays.
    """

    @wraps(function)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        wide = tuple(map(_widened, args)), {name: _widened(value) for name, value in kwargs.items()}
        device = next(a.device.type for a in (*args, *kwargs.values()) if isinstance(a, th.Tensor))
        if not th.amp.is_autocast_available(device):
            return function(*wide[0], **wide[1])
        with th.autocast(device, enabled=False):
            return function(*wide[0], **wide[1])

    return run


def _widened(value: Any) -> Any:
    if isinstance(value, th.Tensor) and value.dtype in (th.bfloat16, th.float16):
        return value.float()
    return value


def pairs(x: th.Tensor, permutation: th.Tensor | None, dim: int = 0) -> tuple[th.Tensor, th.Tensor]:
    """Return both sides of the pairs of a batch, tensors that broadcast against each other.

    Args:
        x: any tensor with the batch as dimension ``dim``.
        permutation: ``int64[B]``: row i is compared with row ``permutation[i]``. Fixed points stay in: pairs of a row
            with itself are part of all published losses. ``None`` compares all B x B ordered pairs, those of rows with
            themselves included.
    """
    if permutation is None:
        return x.unsqueeze(dim + 1), x.unsqueeze(dim)
    return x, x.index_select(dim, permutation)


def check_batch(
    z: th.Tensor,
    permutation: th.Tensor | None,
    discount: float,
    reward: th.Tensor | None = None,
    **like_z: th.Tensor,
) -> None:
    """Check what a loss is computed from.

    Args:
        z: ``float[B, D]``.
        permutation: ``None`` or ``int64[B]``.
        discount: in [0, 1].
        reward: ``None`` or ``float[B]``.
        **like_z: further tensors, ``float[B, D]``, by name.

    Raises:
        ValueError: for other shapes or types, or a discount out of range.
    """
    if z.ndim != 2 or not z.is_floating_point():
        raise ValueError(f"z must be float[B, D], got {z.dtype} of shape {tuple(z.shape)}")
    if permutation is not None and (permutation.dtype != th.int64 or permutation.shape != z.shape[:1]):
        raise ValueError(
            f"permutation must be int64[{len(z)}], the row that each row is compared with (th.randperm), or None for "
            f"all pairs; got {permutation.dtype} of shape {tuple(permutation.shape)}"
        )
    check_discount(discount)
    if reward is not None:
        check_shape("reward", reward, tuple(z.shape[:1]))
    for name, tensor in like_z.items():
        check_shape(name, tensor, tuple(z.shape))


def check_discount(discount: float) -> None:
    """Raise ``ValueError`` unless the discount is a number in [0, 1]: one per row is ambiguous for a pair of rows."""
    if not isinstance(discount, Real) or not 0 <= discount <= 1:
        raise ValueError(f"discount must be a number in [0, 1], the same for all rows, got {discount!r}")


def check_clamp(clamp: float) -> None:
    """Raise ``ValueError`` unless the largest distance is positive."""
    if not clamp > 0:
        raise ValueError(f"clamp must be positive, or None not to clamp, got {clamp}")


def check_shape(name: str, tensor: th.Tensor, shape: tuple[int, ...]) -> None:
    """Raise ``ValueError`` unless a tensor is floating and has a shape.

    A reward of shape [B, 1] beside distances [B] would broadcast to B x B differences without a word.
    """
    if tensor.shape == shape and tensor.is_floating_point():
        return
    hint = ""
    if tuple(tensor.shape) == (*shape, 1):
        hint = f": use {name}.squeeze(-1)"
    elif tensor.shape == shape:
        hint = f": use {name}.float()"
    raise ValueError(f"{name} must be float{list(shape)}, got {tensor.dtype} of shape {tuple(tensor.shape)}{hint}")


def check_option(name: str, value: str, options: tuple[str, ...]) -> None:
    """Raise ``ValueError`` unless a value is among the options."""
    if value not in options:
        raise ValueError(f"{name} must be one of {list(options)}, got {value!r}")


def safe_sqrt(x: th.Tensor) -> th.Tensor:
    """Return the square root, with 0 and zero gradient where ``x`` is not positive."""
    positive = x > 0
    return th.where(positive, th.where(positive, x, 1).sqrt(), 0)


@full_precision
def huber(x: th.Tensor) -> th.Tensor:
    """Return ``0.5 x^2`` where ``|x| < 1`` and ``|x| - 0.5`` elsewhere, element by element."""
    return F.smooth_l1_loss(x, th.zeros_like(x), reduction="none")


def deviation(difference: th.Tensor, outer: Literal["huber", "square"]) -> th.Tensor:
    """Return the mean of :func:`huber` or of the square of differences, a scalar."""
    check_option("outer", outer, ("huber", "square"))
    return (huber(difference) if outer == "huber" else difference.square()).mean()


@full_precision
def l1_distance(x: th.Tensor, y: th.Tensor) -> th.Tensor:
    """Return ``||x - y||_1``."""
    if x.ndim == y.ndim >= 3 and x.shape[-2] == 1 and y.shape[-3] == 1:
        return th.cdist(x.squeeze(-2), y.squeeze(-3), p=1)  # all pairs, without a tensor [N, M, D]
    return (x - y).abs().sum(dim=-1)


@full_precision
def l2_distance(x: th.Tensor, y: th.Tensor) -> th.Tensor:
    """Return ``||x - y||_2``."""
    return safe_sqrt((x - y).square().sum(dim=-1))


@full_precision
def gaussian_w2(
    mean: th.Tensor,
    std: th.Tensor,
    other_mean: th.Tensor,
    other_std: th.Tensor,
    reduction: Literal["norm", "rms", "mean"] = "norm",
) -> th.Tensor:
    """Return the 2-Wasserstein distance of diagonal Gaussians.

    ``sqrt(||mean - mean'||^2 + ||std - std'||^2)``, exactly. For point masses (``std`` 0) it is the Euclidean distance.

    Args:
        mean, std, other_mean, other_std: ``float[..., D]`` that broadcast; standard deviations, not variances.
        reduction: "norm" is the distance; "rms" divides it by sqrt(D); "mean" is the mean of the D one-dimensional
            distances, which published code uses and which is no distance of the D-dimensional Gaussians.
    """
    check_option("reduction", reduction, ("norm", "rms", "mean"))
    square = (mean - other_mean).square() + (std - other_std).square()
    if reduction == "mean":
        return safe_sqrt(square).mean(dim=-1)
    norm = safe_sqrt(square.sum(dim=-1))
    return norm if reduction == "norm" else norm / square.shape[-1] ** 0.5


@full_precision
def gaussian_w1(mean: th.Tensor, std: th.Tensor, other_mean: th.Tensor, other_std: th.Tensor) -> th.Tensor:
    """Return the 1-Wasserstein distance of diagonal Gaussians under the L1 distance, exactly.

    Coordinates are independent and the L1 distance is a sum over them, so that it is the sum of the distances of the
    coordinates. These are the means of folded Gaussians, for the best coupling of two Gaussians on a line maps one onto
    the other by the same quantiles: ``E |m + s n|`` with m and s the differences of mean and standard deviation and n
    standard normal. For point masses it is the L1 distance.

    Args:
        mean, std, other_mean, other_std: ``float[..., D]`` that broadcast.
    """
    m, s = mean - other_mean, (std - other_std).abs()
    ratio = m / s.clamp_min(1e-12)
    folded = s * (2 / th.pi) ** 0.5 * th.exp(-ratio.square() / 2) + m * th.erf(ratio / 2**0.5)
    return th.where(s > 1e-12, folded, m.abs()).sum(dim=-1)


def _inner(x: th.Tensor, y: th.Tensor) -> th.Tensor:
    return th.einsum("...d,...d->...", x, y)  # a matrix product for all pairs


def _cosine(x: th.Tensor, y: th.Tensor) -> th.Tensor:
    norms = safe_sqrt(x.square().sum(dim=-1)) * safe_sqrt(y.square().sum(dim=-1))
    defined = norms > _TINY
    return th.where(defined, _inner(x, y) / th.where(defined, norms, 1), 0)


@full_precision
def safe_angle(x: th.Tensor, y: th.Tensor) -> th.Tensor:
    """Return the angle between vectors in radians, in [0, pi].

    ``atan2(sqrt(1 - c^2), c)`` of the cosine c, after Castro et al. (2021). Where ``1 - c^2`` is not above rounding
    (angles within about 2e-3 of 0 or pi in float32) it is exactly 0 or pi with zero gradient, as the square root has
    none there. Next to a zero vector it is pi/2, as in the authors' code, with zero gradient.
    """
    cosine = _cosine(x, y)
    sine_squared = 1 - cosine.square()
    sine = safe_sqrt(th.where(sine_squared > 32 * th.finfo(cosine.dtype).eps, sine_squared, 0))
    angle = th.atan2(sine, cosine)
    # Within rounding of parallel, atan2(0, c) still has a gradient along c's rounding: none is right.
    return th.where(sine > 0, angle, angle.detach())


@full_precision
def mico_distance(x: th.Tensor, y: th.Tensor, beta: float = 0.1, norm_factor: float = 0.5) -> th.Tensor:
    """Return MICo's parametrized distance, ``norm_factor (||x||^2 + ||y||^2) + beta angle(x, y)``.

    From x to itself it is ``2 norm_factor ||x||^2``, not 0: states that lead to differing futures are apart from
    themselves.

    Source: Castro, Kastner, Panangaden and Rowland (2021), section 5, with the averaged squared norms and beta = 0.1 of
    the authors' code (the equation prints unsquared norms).
    """
    norms = x.square().sum(dim=-1) + y.square().sum(dim=-1)
    return norm_factor * norms + beta * safe_angle(x, y)


def rap_distance(x: th.Tensor, y: th.Tensor, beta: float = 1e-5) -> th.Tensor:
    """Return RAP's parametrized distance, ``||x||^2 + ||y||^2 + beta angle(x, y)``.

    Source: Chen and Pan (2022), whose k = 1e-5 is ``beta`` (1e-6 in the released code). With so small a beta it is the
    sum of a number per state: see :func:`~bisimgym.baselines.rap.rap_loss`.
    """
    return mico_distance(x, y, beta, norm_factor=1.0)


@full_precision
def cosine_distance(x: th.Tensor, y: th.Tensor) -> th.Tensor:
    """Return ``1 - cos(x, y)``, in [0, 2]; 1 next to a zero vector."""
    return 1 - _cosine(x, y)
