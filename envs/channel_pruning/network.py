"""A convolutional network whose channels are weighted by their importance and can be switched off or removed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch as th
from torch import nn
from torch.nn import functional as F

from bisimgym.envs.channel_pruning.budgets import Backbone, ConvLayer
from bisimgym.envs.channel_pruning.masks import filter_features, unified_importance

#: ``rule(layer, input, runtime, static) -> keep``: which channels of a layer (from 0) are kept, ``bool[N, C]``, from
#: its input ``float[N, C_in, H, W]``, runtime importance ``float[N, C]`` and static importance ``float[C]``.
KeepRule = Callable[[int, th.Tensor, th.Tensor, th.Tensor], th.Tensor]
_STATIC_WIDTH = 100
_AT_ONCE = 512  # images


class GatedNetwork(nn.Module):
    """The network that is pruned: a layer is ``ReLU(BN(conv(F)) * u * keep + beta * keep)``.

    ``u`` is the unified importance: a linear map of the layer's pooled input times ``h`` of what is known of the
    filters (:func:`~bisimgym.envs.channel_pruning.masks.filter_features`) and a learned number per channel. Batch
    normalization has no affine part: its scale is the bias of the linear map, its shift is beta. Where a layer ends a
    residual block, what the block holds is added before the ReLU; depthwise convolutions between layers are not gated.
    """

    static_released: th.Tensor

    def __init__(self, backbone: Backbone):
        super().__init__()
        self.backbone = backbone
        layers = backbone.layers
        self.convs = nn.ModuleList(
            nn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel, layer.stride, layer.padding, bias=False)
            for layer in layers
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(layer.out_channels, affine=False) for layer in layers)
        self.predictors = nn.ModuleList(nn.Linear(layer.in_channels, layer.out_channels) for layer in layers)
        self.shifts = nn.ParameterList(nn.Parameter(th.zeros(layer.out_channels)) for layer in layers)
        self.latents = nn.ParameterList(nn.Parameter(th.zeros(layer.out_channels)) for layer in layers)
        self.static = nn.Sequential(nn.Linear(4, _STATIC_WIDTH), nn.SELU(), nn.Linear(_STATIC_WIDTH, 1))
        self.classifier = nn.Linear(layers[-1].out_channels, backbone.classes)
        self.depthwise = nn.ModuleDict(
            {str(index): _depthwise(layer) for index, layer in enumerate(layers) if layer.depthwise}
        )
        last = self.static[2]
        assert isinstance(last, nn.Linear)
        nn.init.ones_(last.bias)
        for index, layer in enumerate(layers):
            nn.init.normal_(self.predictor(index).weight, std=0.05)
            nn.init.ones_(self.predictor(index).bias)
            self.register_buffer(f"features_{index}", th.zeros(layer.out_channels, 3))
        self.register_buffer("static_released", th.tensor(False))

    def conv(self, layer: int) -> nn.Conv2d:
        """Return a layer's convolution."""
        found = self.convs[layer]
        assert isinstance(found, nn.Conv2d)
        return found

    def predictor(self, layer: int) -> nn.Linear:
        """Return the linear map of a layer's runtime importance."""
        found = self.predictors[layer]
        assert isinstance(found, nn.Linear)
        return found

    def filters(self, layer: int) -> th.Tensor:
        """Return ``float[C, 3]``: what is known of a layer's filters, fixed by :meth:`release_static`."""
        return self.get_buffer(f"features_{layer}")

    def runtime_importance(self, layer: int, features: th.Tensor) -> th.Tensor:
        """Return ``float[N, C]`` from a layer's input, ``float[N, C_in, H, W]``."""
        return self.predictor(layer)(_pooled(features, self.classifier))

    def static_importance(self, layer: int) -> th.Tensor:
        """Return ``float[C]``: ones until :meth:`release_static`."""
        if not self.static_released:
            return th.ones_like(self.shifts[layer]).detach()
        return self.static(th.cat([self.filters(layer), self.latents[layer][:, None]], dim=1))[:, 0]

    def layer(
        self, layer: int, features: th.Tensor, runtime: th.Tensor, keep: th.Tensor, held: th.Tensor | None = None
    ) -> th.Tensor:
        """Return a layer's output, ``float[N, C, H', W']``: zero for channels that ``keep``, ``bool[N, C]``, misses.

        Args:
            layer: from 0.
            features: ``float[N, C_in, H, W]``.
            runtime: ``float[N, C]``.
            keep: what is computed.
            held: what a layer adds that ends a residual block: its channels are there whatever ``keep`` says.
        """
        weight = unified_importance(runtime, self.static_importance(layer)) * keep
        shift = self.shifts[layer] * keep
        normed = self.norms[layer](self.conv(layer)(features))
        weight, shift = (values[:, :, None, None].to(normed.dtype) for values in (weight, shift))
        out = normed * weight + shift
        kind = self.backbone.layers[layer]
        if kind.residual == "project":
            return out
        out = F.relu(out if held is None else out + held)
        out = F.dropout2d(out, 0.5, self.training) if layer in self.backbone.dropout_after else out
        if kind.depthwise:  # its normalization would bring channels back that are not there
            out = self.depthwise[str(layer)](out) * keep[:, :, None, None]
        return F.max_pool2d(out, 3, 2, 1) if kind.pool else out

    def after(
        self, layer: int, features: th.Tensor, held: th.Tensor | None, runtime: th.Tensor, keep: th.Tensor
    ) -> tuple[th.Tensor, th.Tensor | None]:
        """Return the next layer's input and what is held for a sum, given both before a layer."""
        kind = self.backbone.layers[layer].residual
        out = self.layer(layer, features, runtime, keep, held if kind == "add" else None)
        if kind == "project":
            return features, out
        return out, {"hold": features, "add": None}.get(kind, held)

    def logits(self, features: th.Tensor) -> th.Tensor:
        """Return ``float[N, classes]`` from the last layer's output."""
        return self.classifier(_pooled(features, self.classifier))

    def forward(self, images: th.Tensor, rule: KeepRule | None = None) -> tuple[th.Tensor, th.Tensor]:
        """Return logits, ``float[N, classes]``, and how many channels each layer kept, ``int64[N, T]``.

        Args:
            images: ``float[N, C, H, W]``.
            rule: which channels are kept; None keeps all.
        """
        logits, keeps = self.passed(images, rule)
        return logits, th.stack([keep.sum(dim=1) for keep in keeps], dim=1)

    def passed(self, images: th.Tensor, rule: KeepRule | None = None) -> tuple[th.Tensor, list[th.Tensor]]:
        """Return logits, and what each layer kept, ``bool[N, C]``; arguments are those of :meth:`forward`."""
        features, held, keeps = images, None, []
        for index in range(len(self.convs)):
            runtime = self.runtime_importance(index, features)
            if rule is None:
                keep = th.ones_like(runtime, dtype=th.bool)
            else:
                keep = rule(index, features.detach(), runtime.detach(), self.static_importance(index).detach())
            keeps.append(keep)
            features, held = self.after(index, features, held, runtime, keep)
        return self.logits(features), keeps

    def release_static(self, images: Any, labels: np.ndarray) -> None:
        """Fix what is known of the filters from the loss over a training set, and let static importance count.

        Args:
            images: ``float32[N, C, H, W]``, or what is indexed like it.
            labels: ``int64[N]``.
        """
        weights = [self.conv(layer).weight for layer in range(len(self.convs))]
        gradients = [th.zeros_like(weight) for weight in weights]
        self.eval()
        for start in range(0, len(labels), _AT_ONCE):
            rows = slice(start, start + _AT_ONCE)
            logits, _ = self(th.from_numpy(images[rows]))
            loss = F.cross_entropy(logits, th.from_numpy(labels[rows]), reduction="sum") / len(labels)
            for total, gradient in zip(gradients, th.autograd.grad(loss, weights), strict=True):
                total += gradient
        for index, (weight, gradient) in enumerate(zip(weights, gradients, strict=True)):
            self.filters(index).copy_(filter_features(weight, gradient))
        self.static_released.fill_(True)


def _depthwise(layer: ConvLayer) -> nn.Sequential:
    channels = layer.out_channels
    conv = nn.Conv2d(channels, channels, 3, layer.depthwise, 1, groups=channels, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU())


def inputs_read(backbone: Backbone, layer: int, keeps: Sequence[th.Tensor]) -> th.Tensor:
    """Return ``bool[N, C_in]``: which channels there are in the input of a layer, from what layers before it kept.

    Args:
        backbone: the network's.
        layer: from 0; T is the classifier.
        keeps: ``bool[N, C]`` for each layer before.
    """
    reads = backbone.flow[layer].reads
    if not reads:
        return th.ones(1, backbone.image[0], dtype=th.bool)
    return th.stack([keeps[index] for index in reads]).any(dim=0)


def _pooled(features: th.Tensor, reader: nn.Linear) -> th.Tensor:
    return features.mean(dim=(2, 3), dtype=reader.weight.dtype)


def removed(network: GatedNetwork, keeps: Sequence[th.Tensor]) -> GatedNetwork:
    """Return a smaller network in evaluation mode, without the channels that are not kept: nothing is masked.

    It computes what ``network`` does where the same channels are masked for every image.

    Args:
        keeps: ``bool[C]`` for each layer, with at least one channel each; layers that are added together keep the same.

    Raises:
        ValueError: for a layer that would keep nothing, summands that keep different channels, or masks of other
            shapes.
    """
    channels = network.backbone.channels
    if [len(keep) for keep in keeps] != channels.tolist() or not all(bool(keep.any()) for keep in keeps):
        found = [f"{int(keep.sum())} of {len(keep)}" for keep in keeps]
        raise ValueError(f"every layer must keep one of its {channels.tolist()} channels or more, got {found}")
    for group in network.backbone.groups():
        if not all(th.equal(keeps[group[0]], keeps[index]) for index in group):
            raise ValueError(f"layers {list(group)} are added together and must keep the same channels")
    small = GatedNetwork(network.backbone.with_channels(np.array([int(keep.sum()) for keep in keeps])))
    state, last = network.state_dict(), len(keeps)
    masks = [keep[None] for keep in keeps]
    for index, keep in enumerate(keeps):
        inputs = inputs_read(network.backbone, index, masks)[0]
        for name in ("convs.{}.weight", "predictors.{}.weight"):
            state[name.format(index)] = state[name.format(index)][keep][:, inputs]
        for name in (
            *("norms.{}.running_mean", "norms.{}.running_var", "predictors.{}.bias"),
            *("shifts.{}", "latents.{}", "features_{}"),
        ):
            state[name.format(index)] = state[name.format(index)][keep]
        for name in [name for name in state if name.startswith(f"depthwise.{index}.") and state[name].dim()]:
            state[name] = state[name][keep]
    state["classifier.weight"] = state["classifier.weight"][:, inputs_read(network.backbone, last, masks)[0]]
    small.load_state_dict(state)
    return small.eval()
