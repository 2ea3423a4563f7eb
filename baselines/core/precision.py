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


def check_compiler(device: th.device) -> None:
    """Raise ``ValueError`` if ``torch.compile`` does not work on a device."""
    try:
        th.compile(_tried)(th.ones(2, device=device))
    except Exception as error:  # whatever a compiler that is not there, or does not work, ends in
        raise ValueError(
            f"compile=True needs what torch.compile needs on {device.type!r}, such as a C++ compiler, and a try of it "
            f"ended in {type(error).__name__}: {str(error).strip().splitlines()[0]}; leave compile out"
        ) from error


def _tried(x: th.Tensor) -> th.Tensor:
    return x.sin() + 1


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
