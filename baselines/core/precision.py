"""Numerical precision of network passes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch as th
from torch.distributions import Distribution

PRECISIONS = ("auto", "float32", "bfloat16")


def has_fast_bfloat16(device: th.device) -> bool:
    """Return whether the device multiplies bfloat16 matrices in hardware."""
    if device.type == "cuda":
        return th.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        # Emulated bfloat16 (AVX-512 without BF16) is slower than float32.
        return th.cpu._is_avx512_bf16_supported() or th.cpu._is_amx_tile_supported()
    return False


def resolve_precision(precision: str, device: th.device) -> str:
    """Return "float32" or "bfloat16"; "auto" takes bfloat16 where it is fast.

    Raises:
        ValueError: for an unknown name.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {list(PRECISIONS)}, got {precision!r}")
    if precision != "auto":
        return precision
    return "bfloat16" if has_fast_bfloat16(device) else "float32"


def autocast(precision: str, device: th.device) -> contextlib.AbstractContextManager:
    """Return the context in which network passes run with a resolved precision (weights stay float32)."""
    if precision == "float32":
        return contextlib.nullcontext()
    return th.autocast(device.type, th.bfloat16)


@contextlib.contextmanager
def unchecked_distributions(device: th.device) -> Iterator[None]:
    """Leave out PyTorch's checks of distributions' parameters inside the block, on devices that the host waits for.

    On a GPU each check waits for all that was computed before it. A divergence is seen where losses are looked at.
    """
    before = Distribution._validate_args
    if device.type != "cpu":
        Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(before)
