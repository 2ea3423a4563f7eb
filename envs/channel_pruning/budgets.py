"""What a convolutional network costs: layers, multiply-accumulates (MACs), parameters, their caps, and the rewards.

Only convolutions count, as in chapter 6 of the thesis, depthwise ones too: the classifier, batch normalization and
predictors of importance do not. Arrays are numpy's; nothing here needs torch.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from bisimgym.envs.checks import choice, number

#: The two budgets: MACs are the runtime agent's, parameters the static agent's.
RESOURCES = ("macs", "parameters")
#: What a layer does in a residual block.
RESIDUAL = ("", "hold", "project", "add")
_SCALE, _WEIGHT, _BONUS = 0.03, 1.2, 0.1
#: Where the penalty goes on as its tangent, in units of its scale: the exponential itself reaches 1e10.
_TANGENT_FROM = 2.0
_ENCODER = 128  # width of the agents' encoders and recurrence


class ConvLayer(NamedTuple):
    """A square convolution without bias whose output channels are weighted and pruned, and what comes with it.

    Attributes:
        in_channels: channels that it reads.
        out_channels: C.
        stride: of the convolution.
        padding: on each side.
        kernel: its side.
        residual: what it does in a residual block, one of :data:`RESIDUAL`. "hold" keeps its input for the sum;
            "project" puts its output in that place, without ReLU, and leaves its input to the next layer; "add" adds
            what is kept before its ReLU.
        depthwise: stride of a 3 x 3 depthwise convolution with batch normalization and ReLU that follows; 0 is none.
        pool: whether a 3 x 3 max pool of stride 2 follows.
    """

    in_channels: int
    out_channels: int
    stride: int = 1
    padding: int = 1
    kernel: int = 3
    residual: str = ""
    depthwise: int = 0
    pool: bool = False


@dataclass(frozen=True)
class Backbone:
    """Convolutions with batch normalization and ReLU, in a chain or in residual blocks, and a pool and a classifier.

    Attributes:
        image: channels, height and width of what it sees.
        layers: its convolutions, first to last.
        classes: outputs of the classifier.
        dropout_after: layers (from 0) that a channel dropout of 0.5 follows in training.

    Raises:
        ValueError: for a sum without a summand or of other shapes, or with a pool or depthwise convolution after it.
    """

    image: tuple[int, int, int]
    layers: tuple[ConvLayer, ...]
    classes: int = 10
    dropout_after: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _ = self.flow  # says what is wrong with it

    @property
    def channels(self) -> np.ndarray:
        """``int64[T]``: output channels of each layer."""
        return np.array([layer.out_channels for layer in self.layers])

    def output_sizes(self) -> list[tuple[int, int]]:
        """Return height and width of each convolution's output."""
        return [_size(layer, self.flow[index].shape[1:]) for index, layer in enumerate(self.layers)]

    @functools.cached_property
    def flow(self) -> list[Flow]:
        """What there is before each layer, and before the classifier: T + 1 entries."""
        found = [Flow(self.image, (), None, ())]
        for index, layer in enumerate(self.layers):
            choice("residual", layer.residual, RESIDUAL)
            if layer.residual in ("project", "add") and (layer.depthwise or layer.pool):
                raise ValueError(f"layer {index} has {layer.residual!r}, after which no depthwise or pool can follow")
            shape, reads, held, held_reads = found[-1]
            size = _size(layer, shape[1:])
            if layer.residual == "project":
                found.append(Flow(shape, reads, (layer.out_channels, *size), (index,)))
                continue
            if layer.residual == "hold":
                held, held_reads = shape, reads
            summed: tuple[int, ...] = (index,)
            if layer.residual == "add":
                if held != (layer.out_channels, *size):
                    raise ValueError(
                        f"layer {index} adds {held or 'nothing that is kept'} to {(layer.out_channels, *size)}: both "
                        "must have one shape; let the block begin with a layer that holds or projects"
                    )
                summed, held, held_reads = (*held_reads, index), None, ()
            for stride in ((layer.depthwise,) if layer.depthwise else ()) + ((2,) if layer.pool else ()):
                size = ((size[0] - 1) // stride + 1, (size[1] - 1) // stride + 1)
            found.append(Flow((layer.out_channels, *size), summed, held, held_reads))
        return found

    def groups(self) -> list[tuple[int, ...]]:
        """Return the layers whose outputs are added together, T layers in all: their channels go together or stay."""
        group = {index: {index} for index in range(len(self.layers))}
        for before in self.flow:
            merged = set().union(*(group[index] for index in before.reads)) if before.reads else set()
            for index in merged:
                group[index] = merged
        return sorted({tuple(sorted(members)) for members in group.values()})

    def unit_costs(self, resource: str) -> np.ndarray:
        """Return ``int64[T]``: what each pair of an input and an output channel costs, MACs or parameters."""
        choice("resource", resource, RESOURCES)
        areas = [height * width if resource == "macs" else 1 for height, width in self.output_sizes()]
        return np.array([layer.kernel**2 * area for layer, area in zip(self.layers, areas, strict=True)])

    def depthwise_costs(self, resource: str) -> np.ndarray:
        """Return ``int64[T]``: what each output channel of a layer costs in the depthwise convolution that follows."""
        choice("resource", resource, RESOURCES)
        after = [before.shape for before in self.flow[1:]]
        return np.array(
            [
                (9 * (shape[1] * shape[2] if resource == "macs" else 1) if layer.depthwise else 0)
                for layer, shape in zip(self.layers, after, strict=True)
            ]
        )

    def inputs(self, kept: np.ndarray) -> np.ndarray:
        """Return ``float64[..., T]``: input channels of each layer, if sums have no more than their widest summand.

        Args:
            kept: ``float[..., T]``, output channels that are kept.
        """
        columns = [kept[..., list(before.reads)].max(axis=-1) for before in self.flow[1:-1]]
        return np.stack([np.full(kept.shape[:-1], float(self.image[0])), *columns], axis=-1)

    def cost(self, resource: str, kept: np.ndarray | None = None, read: np.ndarray | None = None) -> np.ndarray:
        """Return ``float64[...]``: MACs or parameters with some output channels kept, ``[..., T]``, or with all.

        Args:
            resource: "macs" or "parameters".
            kept: output channels of each layer.
            read: input channels of each layer, ``[..., T]``; None: those of :meth:`inputs`. Where masks of summands
                differ, a sum has more.
        """
        kept = np.asarray(self.channels if kept is None else kept, dtype=np.float64)
        read = self.inputs(kept) if read is None else np.asarray(read, dtype=np.float64)
        return (read * kept) @ self.unit_costs(resource) + kept @ self.depthwise_costs(resource)

    def fraction(self, resource: str, kept: np.ndarray, read: np.ndarray | None = None) -> np.ndarray:
        """Return ``float64[...]``: the same as a fraction of the whole network's."""
        return self.cost(resource, kept, read) / self.cost(resource)

    def cap(self, resource: str, density: float) -> float:
        """Return the budget of a density: the fraction that is left where every layer keeps that share of channels."""
        return float(self.fraction(resource, number("density", density, 0.01, 1) * self.channels))

    def with_channels(self, kept: np.ndarray) -> Backbone:
        """Return the same network with other numbers of output channels, ``int[T]``, equal within each group."""
        inputs = self.inputs(np.asarray(kept, dtype=np.float64))
        layers = (
            layer._replace(in_channels=int(before), out_channels=int(k))
            for layer, before, k in zip(self.layers, inputs, kept, strict=True)
        )
        return replace(self, layers=tuple(layers))


class Flow(NamedTuple):
    """What there is before a layer: its input and what is held for a sum, their shapes and whose outputs they are."""

    shape: tuple[int, ...]
    reads: tuple[int, ...]
    held: tuple[int, ...] | None
    held_reads: tuple[int, ...]


def _size(layer: ConvLayer, size: tuple[int, ...]) -> tuple[int, int]:
    height, width = ((side + 2 * layer.padding - layer.kernel) // layer.stride + 1 for side in size)
    return height, width


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
    before = backbone.inputs(out)
    classifier = (out[-1] + 1) * backbone.classes
    norms = 2 * (out.sum() + out[[layer.depthwise > 0 for layer in backbone.layers]].sum())
    return {
        "network": float(backbone.cost("parameters", out) + norms + classifier),
        "predictors": float((before * out + out).sum()),
        "encoders": float(((before + out) * _ENCODER + _ENCODER).sum()),
        "recurrence": float((_ENCODER + 1 + _ENCODER + 2) * _ENCODER),
        "heads": float(3 * (_ENCODER + 1)),
    }
