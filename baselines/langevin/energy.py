"""Energies of location: differentiable functions E from ``R^d`` to ``R``, whose minima are the states of the system."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch as th
from torch import nn

__all__ = ["Energy", "NetworkEnergy", "TanhEnergy"]

EnergyT = TypeVar("EnergyT", bound="Energy")


class Energy(nn.Module):
    """A function from ``R^d`` to ``R`` with its gradient and its Hessian. Subclasses define ``forward``.

    Gradient and Hessian come from autograd unless a subclass knows them in closed form. Where gradients are enabled,
    they can be differentiated again, by the parameters and by the points, so that they can be part of a loss. Where
    they are not, nothing is kept.

    Args:
        dim: d.

    Raises:
        ValueError: for a dimension below 1.
    """

    def __init__(self, dim: int):
        super().__init__()
        if isinstance(dim, bool) or not isinstance(dim, (int, np.integer)) or dim < 1:
            raise ValueError(f"dim must be an integer, 1 or more, got {dim!r}")
        self.dim = int(dim)

    def forward(self, z: th.Tensor) -> th.Tensor:
        """Return the energies of points ``float[..., d]``, ``float[...]``."""
        raise NotImplementedError

    def gradient(self, z: th.Tensor) -> th.Tensor:
        """Return the gradients at points ``float[..., d]``, ``float[..., d]``."""
        return self.value_and_gradient(z)[1]

    def value_and_gradient(self, z: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """Return energies ``float[...]`` and gradients ``float[..., d]``, which cost less together."""
        keep = th.is_grad_enabled()
        with _gradients():
            z = _differentiable(z, keep)
            value = self(z)
            (gradient,) = th.autograd.grad(value.sum(), z, create_graph=keep)
        return (value, gradient) if keep else (value.detach(), gradient)

    def hessian(self, z: th.Tensor) -> th.Tensor:
        """Return the Hessians at points ``float[..., d]``, ``float[..., d, d]``."""
        keep = th.is_grad_enabled()
        with _gradients():
            z = _differentiable(z, keep)
            gradient = self.value_and_gradient(z)[1]
            if not gradient.requires_grad:  # a function that is linear
                return th.zeros(*z.shape, self.dim, dtype=z.dtype, device=z.device)
            rows = [
                th.autograd.grad(
                    gradient[..., i].sum(), z, create_graph=keep, retain_graph=True, materialize_grads=True
                )[0]
                for i in range(self.dim)
            ]
        return th.stack(rows, dim=-2)


class TanhEnergy(Energy):
    """A layer of tanh units in a bowl: ``E(z) = softplus(c) |z|^2 + sum_j a_j tanh(w_j . z + b_j)``.

    The sum is bounded by ``sum_j |a_j|`` and the bowl grows without bound, so ``exp(-beta E)`` can be normalized for
    every value of the parameters, and the drift is at most linear. Gradient and Hessian are in closed form: training
    on the gradient takes no second pass of autograd.

    Args:
        dim: d.
        units: of the layer.
        confinement: initial ``softplus(c)``, above 0.
        generator: of the initial weights and biases ~ N(0, 1) and amplitudes ~ N(0, 0.01), drawn in this order. None:
            torch's own.

    Attributes:
        w: ``float[units, d]``, weights.
        b: ``float[units]``, biases.
        a: ``float[units]``, amplitudes.
        raw_confinement: ``float[]``, c.

    Raises:
        ValueError: for a dimension or a number of units below 1, or a confinement that is not above 0.
    """

    def __init__(
        self, dim: int, units: int = 64, confinement: float = 0.5, generator: th.Generator | None = None
    ) -> None:
        super().__init__(dim)
        if isinstance(units, bool) or not isinstance(units, (int, np.integer)) or units < 1:
            raise ValueError(f"units must be an integer, 1 or more, got {units!r}")
        self.w = nn.Parameter(th.randn(units, dim, generator=generator))
        self.b = nn.Parameter(th.randn(units, generator=generator))
        self.a = nn.Parameter(0.1 * th.randn(units, generator=generator))
        self.raw_confinement = nn.Parameter(inverse_softplus(confinement, "confinement"))

    @property
    def confinement(self) -> th.Tensor:
        """``softplus(c)``, the coefficient of ``|z|^2``, ``float[]``."""
        return nn.functional.softplus(self.raw_confinement)

    def forward(self, z: th.Tensor) -> th.Tensor:
        return self._value(z, self._units(z))

    def gradient(self, z: th.Tensor) -> th.Tensor:
        return self._gradient(z, self._units(z))

    def value_and_gradient(self, z: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        units = self._units(z)
        return self._value(z, units), self._gradient(z, units)

    def hessian(self, z: th.Tensor) -> th.Tensor:
        units = self._units(z)
        outer = (self.w[:, :, None] * self.w[:, None, :]).flatten(start_dim=1)
        bends = (-2 * self.a * units * (1 - units * units)) @ outer
        identity = th.eye(self.dim, dtype=z.dtype, device=z.device)
        return bends.unflatten(-1, (self.dim, self.dim)) + 2 * self.confinement * identity

    def _units(self, z: th.Tensor) -> th.Tensor:
        return th.tanh(nn.functional.linear(z, self.w, self.b))

    def _value(self, z: th.Tensor, units: th.Tensor) -> th.Tensor:
        return self.confinement * (z * z).sum(dim=-1) + units @ self.a

    def _gradient(self, z: th.Tensor, units: th.Tensor) -> th.Tensor:
        return 2 * self.confinement * z + (self.a * (1 - units * units)) @ self.w


class NetworkEnergy(Energy):
    """Any network in a bowl: ``E(z) = softplus(c) |z|^2 + network(z)``, differentiated by autograd.

    ``exp(-beta E)`` can be normalized if the network grows slower than ``|z|^2``, as all with tanh, ReLU or softplus
    between linear layers do. Activations must be smooth: the Hessian of a ReLU network says nothing of its shape.

    Args:
        network: maps ``float[..., d]`` to ``float[..., 1]`` or ``float[...]``.
        dim: d.
        confinement: initial ``softplus(c)``, above 0.

    Raises:
        ValueError: for a dimension below 1, or a confinement that is not above 0.
    """

    def __init__(self, network: nn.Module, dim: int, confinement: float = 0.5) -> None:
        super().__init__(dim)
        self.network = network
        self.raw_confinement = nn.Parameter(inverse_softplus(confinement, "confinement"))

    @property
    def confinement(self) -> th.Tensor:
        """``softplus(c)``, the coefficient of ``|z|^2``, ``float[]``."""
        return nn.functional.softplus(self.raw_confinement)

    def forward(self, z: th.Tensor) -> th.Tensor:
        output = self.network(z)
        if output.shape == (*z.shape[:-1], 1):
            output = output.squeeze(-1)
        if output.shape != z.shape[:-1]:
            raise ValueError(f"the network must map {list(z.shape)} to one number per point, got {list(output.shape)}")
        return self.confinement * (z * z).sum(dim=-1) + output


def inverse_softplus(value: float, name: str = "value") -> th.Tensor:
    """Return the number ``float[]`` whose softplus is a value above 0; ``name`` is for the error message."""
    value = positive(name, value)
    return th.tensor(value + np.log(-np.expm1(-value)), dtype=th.get_default_dtype())


def positive(name: str, value: float) -> float:
    """Return the value as a float.

    Raises:
        ValueError: unless it is finite and above 0.
    """
    number = float(value)
    if not (np.isfinite(number) and number > 0):
        raise ValueError(f"{name} must be finite and above 0, got {value!r}")
    return number


def diagonal(name: str, value: Any, dim: int) -> np.ndarray:
    """Return a number, or one for each coordinate, as ``float64[dim]``.

    Raises:
        ValueError: for another shape, or numbers that are not finite and above 0.
    """
    if isinstance(value, th.Tensor):
        value = value.detach().cpu().numpy()
    array = np.asarray(value, dtype=np.float64)
    if array.shape not in ((), (1,), (dim,)) or not (np.isfinite(array).all() and (array > 0).all()):
        raise ValueError(f"{name} must be a number or [{dim}], finite and above 0, got {array.tolist()}")
    return np.broadcast_to(array, (dim,))


def frozen(energy: EnergyT) -> EnergyT:
    """Return a copy for analyses: in float64, on the CPU, without gradients. The original is not touched."""
    return copy.deepcopy(energy).to(device="cpu", dtype=th.float64).requires_grad_(False).eval()


def as_points(points: Any, dim: int, name: str = "points") -> th.Tensor:
    """Return ``float[N, d]`` points, a tensor or an array, as a copy ``float64[N, d]`` on the CPU.

    Raises:
        ValueError: for another shape, no points at all, or numbers that are not finite.
    """
    if isinstance(points, th.Tensor):
        points = points.detach().cpu().numpy()
    array = np.array(points, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != dim or len(array) == 0:
        raise ValueError(f"{name} must be [N, {dim}] with at least one row, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, {int((~np.isfinite(array).all(axis=1)).sum())} rows are not")
    return th.from_numpy(array)


@contextmanager
def _gradients() -> Iterator[None]:
    """Gradients enabled, even inside ``torch.inference_mode``."""
    with th.inference_mode(False), th.enable_grad():
        yield


def _differentiable(z: th.Tensor, keep: bool) -> th.Tensor:
    """Return the points as what can be differentiated by: the same node of the graph if one is kept."""
    if keep and z.requires_grad:
        return z
    return (z.clone() if z.is_inference() else z).detach().requires_grad_()
