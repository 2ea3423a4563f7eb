"""A convolutional network whose channels are weighted by their importance and can be switched off or removed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch as th
from torch import nn
from torch.nn import functional as F

from bisimgym.envs.channel_pruning.budgets import Backbone
from bisimgym.envs.channel_pruning.masks import filter_features, unified_importance

#: ``rule(layer, input, runtime, static) -> keep``: which channels of a layer (from 0) are kept, ``bool[N, C]``, from
#: its input ``float[N, C_in, H, W]``, runtime importance ``float[N, C]`` and static importance ``float[C]``.
KeepRule = Callable[[int, th.Tensor, th.Tensor, th.Tensor], th.Tensor]
_STATIC_WIDTH = 100


class GatedNetwork(nn.Module):
    """The network that is pruned: a layer is ``ReLU(BN(conv(F)) * u * keep + beta * keep)``.

    ``u`` is the unified importance: a linear map of the layer's pooled input times ``h`` of what is known of the
    filters (:func:`~bisimgym.envs.channel_pruning.masks.filter_features`) and a learned number per channel. Batch
    normalization has no affine part: its scale is the bias of the linear map, its shift is beta.
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

    def layer(self, layer: int, features: th.Tensor, runtime: th.Tensor, keep: th.Tensor) -> th.Tensor:
        """Return a layer's output, ``float[N, C, H', W']``: zero for channels that ``keep``, ``bool[N, C]``, misses."""
        weight = unified_importance(runtime, self.static_importance(layer)) * keep
        shift = self.shifts[layer] * keep
        normed = self.norms[layer](self.conv(layer)(features))
        weight, shift = (values[:, :, None, None].to(normed.dtype) for values in (weight, shift))
        out = F.relu(normed * weight + shift)
        return F.dropout2d(out, 0.5, self.training) if layer in self.backbone.dropout_after else out

    def logits(self, features: th.Tensor) -> th.Tensor:
        """Return ``float[N, classes]`` from the last layer's output."""
        return self.classifier(_pooled(features, self.classifier))

    def forward(self, images: th.Tensor, rule: KeepRule | None = None) -> tuple[th.Tensor, th.Tensor]:
        """Return logits, ``float[N, classes]``, and how many channels each layer kept, ``int64[N, T]``.

        Args:
            images: ``float[N, C, H, W]``.
            rule: which channels are kept; None keeps all.
        """
        features, counts = images, []
        for index in range(len(self.convs)):
            runtime = self.runtime_importance(index, features)
            if rule is None:
                keep = th.ones_like(runtime, dtype=th.bool)
            else:
                keep = rule(index, features.detach(), runtime.detach(), self.static_importance(index).detach())
            counts.append(keep.sum(dim=1))
            features = self.layer(index, features, runtime, keep)
        return self.logits(features), th.stack(counts, dim=1)

    def release_static(self, images: th.Tensor, labels: th.Tensor) -> None:
        """Fix what is known of the filters from the loss over a training set, and let static importance count.

        Args:
            images: ``float[N, C, H, W]``.
            labels: ``int64[N]``.
        """
        weights = [self.conv(layer).weight for layer in range(len(self.convs))]
        loss = F.cross_entropy(self.eval()(images)[0], labels)
        for index, (weight, gradient) in enumerate(zip(weights, th.autograd.grad(loss, weights), strict=True)):
            self.filters(index).copy_(filter_features(weight, gradient))
        self.static_released.fill_(True)


def _pooled(features: th.Tensor, reader: nn.Linear) -> th.Tensor:
    return features.mean(dim=(2, 3), dtype=reader.weight.dtype)


def removed(network: GatedNetwork, keeps: Sequence[th.Tensor]) -> GatedNetwork:
    """Return a smaller network in evaluation mode, without the channels that are not kept: nothing is masked.

    It computes what ``network`` does where the same channels are masked for every image.

    Args:
        keeps: ``bool[C]`` for each layer, with at least one channel each.

    Raises:
        ValueError: for a layer that would keep nothing, or masks of other shapes.
    """
    channels = network.backbone.channels
    if [len(keep) for keep in keeps] != channels.tolist() or not all(bool(keep.any()) for keep in keeps):
        found = [f"{int(keep.sum())} of {len(keep)}" for keep in keeps]
        raise ValueError(f"every layer must keep one of its {channels.tolist()} channels or more, got {found}")
    small = GatedNetwork(network.backbone.with_channels(np.array([int(keep.sum()) for keep in keeps])))
    state, inputs = network.state_dict(), th.ones(network.backbone.image[0], dtype=th.bool)
    for index, keep in enumerate(keeps):
        for name in ("convs.{}.weight", "predictors.{}.weight"):
            state[name.format(index)] = state[name.format(index)][keep][:, inputs]
        for name in (
            *("norms.{}.running_mean", "norms.{}.running_var", "predictors.{}.bias"),
            *("shifts.{}", "latents.{}", "features_{}"),
        ):
            state[name.format(index)] = state[name.format(index)][keep]
        inputs = keep
    state["classifier.weight"] = state["classifier.weight"][:, inputs]
    small.load_state_dict(state)
    return small.eval()
