"""The recognition network: a context of each time step from the signal up to it, and the control that follows from it.

Source: Koop et al. (2022), arXiv:2211.09537. The GRU runs forward in time, so that a path can be encoded online.
"""

from __future__ import annotations

from typing import TypeVar

import torch as th
from torch import nn
from torch.nn import functional as F

ModuleT = TypeVar("ModuleT", bound=nn.Module)


class Encoder(nn.Module):
    """Contexts of signals: a GRU forward in time, and a linear map of its output and the frame itself.

    Args:
        data_dim: D.
        hidden: units of the GRU.
        context: C, size of a context.
        generator: of the weights.
    """

    def __init__(self, data_dim: int, hidden: int, context: int, generator: th.Generator):
        super().__init__()
        self.gru = drawn(nn.GRU(data_dim, hidden, device="meta"), generator, hidden)
        self.output = linear(hidden + data_dim, context, generator)

    def forward(self, signals: th.Tensor) -> th.Tensor:
        """Return contexts ``float[T, B, C]`` of signals ``float[T, B, D]``, time first."""
        outputs, _ = self.gru(signals)
        return self.output(th.cat([outputs, signals], dim=-1))


class Control(nn.Module):
    """The control f of a state and a context: a network with two hidden layers of softplus units.

    Its first layer is a sum of two parts. That of the contexts, :attr:`context`, is computed for all time steps at
    once; :meth:`forward` takes what it gives.

    Args:
        state_dim: S.
        context_dim: C.
        dim: d, of the control.
        units: of each hidden layer.
        scale: factor of the initial weights of the output layer, whose biases start at 0: a posterior that starts near
            the prior.
        generator: of the weights.
    """

    def __init__(self, state_dim: int, context_dim: int, dim: int, units: int, scale: float, generator: th.Generator):
        super().__init__()
        inputs = state_dim + context_dim
        self.context = drawn(nn.Linear(context_dim, units, device="meta"), generator, inputs)
        self.state = drawn(nn.Linear(state_dim, units, bias=False, device="meta"), generator, inputs)
        self.middle = linear(units, units, generator)
        self.output = small_output(linear(units, dim, generator), scale)

    def forward(self, state: th.Tensor, driven: th.Tensor) -> th.Tensor:
        """Return ``float[B, d]`` for states ``float[B, S]`` and ``context(c)``, ``float[B, units]``."""
        first = F.softplus(self.state(state) + driven)
        return self.output(F.softplus(self.middle(first)))


def drift_network(dim: int, units: int, scale: float, generator: th.Generator) -> nn.Sequential:
    """Return a network ``float[..., d] -> float[..., d]`` with two hidden layers of softplus units."""
    layers = [linear(dim, units, generator), nn.Softplus(), linear(units, units, generator), nn.Softplus()]
    return nn.Sequential(*layers, small_output(linear(units, dim, generator), scale))


def linear(inputs: int, outputs: int, generator: th.Generator) -> nn.Linear:
    """Return a linear layer with torch's initial law, drawn from a generator of its own."""
    return drawn(nn.Linear(inputs, outputs, device="meta"), generator, inputs)


def drawn(module: ModuleT, generator: th.Generator, fan: int) -> ModuleT:
    """Bring a module from the device "meta", where nothing is drawn, to the CPU.

    All parameters are drawn uniformly from ``+- 1 / sqrt(fan)``, torch's own law for these layers.
    """
    module = module.to_empty(device="cpu")
    for parameter in module.parameters():
        nn.init.uniform_(parameter, -(fan**-0.5), fan**-0.5, generator=generator)
    return module


def small_output(layer: nn.Linear, scale: float) -> nn.Linear:
    """Scale the weights of a layer and set its biases to 0."""
    with th.no_grad():
        layer.weight.mul_(scale)
        layer.bias.zero_()
    return layer
