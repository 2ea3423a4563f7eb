"""What a convolutional network costs: layers, multiply-accumulates (MACs), parameters, their caps, and the rewards.

Only convolutions count, as in chapter 6 of the thesis: the classifier, batch normalization and predictors of importance
do not. Arrays are numpy's; nothing here needs torch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from bisimgym.envs.checks import choice, number

#: The two budgets: MACs are the runtime agent's, parameters the static agent's.
RESOURCES = ("macs", "parameters")
_SCALE, _WEIGHT, _BONUS = 0.03, 1.2, 0.1
#: Where the penalty goes on as its tangent, in units of its scale: the exponential itself reaches 1e10.
_TANGENT_FROM = 2.0
_ENCODER = 128  # width of the agents' encoders and recurrence


class ConvLayer(NamedTuple):
    """A square convolution without bias."""

    in_channels: int
    out_channels: int
    stride: int = 1
    padding: int = 1
    kernel: int = 3


@dataclass(frozen=True)
class Backbone:
    """A chain of convolutions, each with batch normalization and ReLU, a global average pool and a classifier.

    Attributes:
        image: channels, height and width of what it sees.
        layers: its convolutions, first to last.
        classes: outputs of the classifier.
        dropout_after: layers (from 0) that a channel dropout of 0.5 follows in training.
    """

    image: tuple[int, int, int]
    layers: tuple[ConvLayer, ...]
    classes: int = 10
    dropout_after: tuple[int, ...] = ()

    @property
    def channels(self) -> np.ndarray:
        """``int64[T]``: output channels of each layer."""
        return np.array([layer.out_channels for layer in self.layers])

    def output_sizes(self) -> list[tuple[int, int]]:
        """Return height and width of each layer's output."""
        sizes, (height, width) = [], self.image[1:]
        for layer in self.layers:
            height, width = ((side + 2 * layer.padding - layer.kernel) // layer.stride + 1 for side in (height, width))
            sizes.append((height, width))
        return sizes

    def unit_costs(self, resource: str) -> np.ndarray:
        """Return ``int64[T]``: what each pair of an input and an output channel costs, MACs or parameters."""
        choice("resource", resource, RESOURCES)
        areas = [height * width if resource == "macs" else 1 for height, width in self.output_sizes()]
        return np.array([layer.kernel**2 * area for layer, area in zip(self.layers, areas, strict=True)])

    def cost(self, resource: str, kept: np.ndarray | None = None) -> np.ndarray:
        """Return ``float64[...]``: MACs or parameters with some output channels kept, ``[..., T]``, or with all.

        The input channels of a layer are those that the layer before keeps; those of the image are all kept.
        """
        kept = np.asarray(self.channels if kept is None else kept, dtype=np.float64)
        before = np.concatenate([np.full((*kept.shape[:-1], 1), float(self.image[0])), kept[..., :-1]], axis=-1)
        return (before * kept) @ self.unit_costs(resource)

    def fraction(self, resource: str, kept: np.ndarray) -> np.ndarray:
        """Return ``float64[...]``: the same as a fraction of the whole network's."""
        return self.cost(resource, kept) / self.cost(resource)

    def cap(self, resource: str, density: float) -> float:
        """Return the budget of a density: the fraction that is left where every layer keeps that share of channels."""
        return float(self.fraction(resource, number("density", density, 0.01, 1) * self.channels))

    def with_channels(self, kept: np.ndarray) -> Backbone:
        """Return the same network with other numbers of output channels, ``int[T]``."""
        before = [self.image[0], *(int(k) for k in kept[:-1])]
        layers = (
            layer._replace(in_channels=b, out_channels=int(k))
            for layer, b, k in zip(self.layers, before, kept, strict=True)
        )
        return replace(self, layers=tuple(layers))


#: 8 x 8 digits of scikit-learn; and M-CifarNet (Gao et al. 2019; deep-fry/mayo models/cifarnet.yaml).
BACKBONES = {
    "digits-4": Backbone((1, 8, 8), (ConvLayer(1, 16), ConvLayer(16, 16), ConvLayer(16, 32, 2), ConvLayer(32, 32))),
    "m-cifarnet": Backbone(
        (3, 32, 32),
        (
            ConvLayer(3, 64, padding=0),
            ConvLayer(64, 64),
            ConvLayer(64, 128, 2),
            ConvLayer(128, 128),
            ConvLayer(128, 128),
            ConvLayer(128, 192, 2),
            ConvLayer(192, 192),
            ConvLayer(192, 192),
        ),
        dropout_after=(3, 6),
    ),
}


def budget_reward(resource: str, spent: np.ndarray, cap: float) -> np.ndarray:
    """Return ``float64[...]``: the reward for spending a fraction of the network's MACs or parameters.

    Above the cap it is ``-1.2 (exp((spent - cap) / 0.03) - 1)``, below it 0.1 for each unit of MACs saved and nothing
    for parameters, as in the authors' code. Beyond 0.06 above the cap the exponential, which reaches 1e10, goes on as
    its tangent: returns of random actions are finite numbers then, and improve with every step towards the cap.

    Args:
        resource: "macs" or "parameters".
        spent: ``float64[...]``, fractions.
        cap: the budget, a fraction.
    """
    choice("resource", resource, RESOURCES)
    over = (np.asarray(spent, dtype=np.float64) - cap) / _SCALE
    near = np.minimum(over, _TANGENT_FROM)
    penalty = _WEIGHT * (np.exp(near) - 1 + np.exp(_TANGENT_FROM) * (over - near))
    saved = _BONUS * -over * _SCALE if resource == "macs" else np.zeros_like(over)
    return np.where(over > 0, -penalty, saved)


def stored_parameters(backbone: Backbone, kept: np.ndarray | None = None) -> dict[str, float]:
    """Return what is stored once channels are removed for good, by part, as numbers of parameters.

    "network": convolutions, batch normalization (scale and shift) and classifier; "predictors" of runtime importance;
    "encoders" of the runtime agent, one per layer; its "recurrence" (a tanh RNN of 128 units that also sees the
    budget) and three "heads". The thesis' column counts the first three.

    Args:
        kept: ``float[T]``, channels that are left, fractions too; None keeps all.
    """
    out = np.asarray(backbone.channels if kept is None else kept, dtype=np.float64)
    before = np.concatenate([[float(backbone.image[0])], out[:-1]])
    classifier = (out[-1] + 1) * backbone.classes
    return {
        "network": float(backbone.cost("parameters", out) + 2 * out.sum() + classifier),
        "predictors": float((before * out + out).sum()),
        "encoders": float(((before + out) * _ENCODER + _ENCODER).sum()),
        "recurrence": float((_ENCODER + 1 + _ENCODER + 2) * _ENCODER),
        "heads": float(3 * (_ENCODER + 1)),
    }
