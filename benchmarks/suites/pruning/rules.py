"""Which channels methods keep, as rules of the network's forward pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch as th

from bisimgym.envs.channel_pruning.budgets import Backbone
from bisimgym.envs.channel_pruning.masks import inference_keep, kept_count, permanent_keep, trade_off_keep
from bisimgym.envs.channel_pruning.network import GatedNetwork, inputs_read
from bisimgym.envs.channel_pruning.states import group_means, observation, ratio_of


class RuntimeRatios:
    """The runtime agent's ratio of each layer for each picture: one for all, or an agent's.

    Args:
        backbone: of the network before removal.
        cap: the budget of MACs, a fraction.
        agent: a ratio, or an object with ``predict`` for batches that are at one layer, as
            :class:`~bisimgym.baselines.layerwise_ppo.LayerwiseAgent`.
        minimum_ratio: the least.
    """

    def __init__(self, backbone: Backbone, cap: float, agent: Any, minimum_ratio: float = 0.1):
        self.backbone, self.cap, self.agent, self.minimum_ratio = backbone, cap, agent, minimum_ratio
        self._kept = self._read = np.zeros((0, len(backbone.layers)))
        self._keeps: list[th.Tensor] = []
        self._widest = max(backbone.image[0], *backbone.channels)

    @property
    def reads(self) -> bool:
        """Whether ratios depend on the picture."""
        return not isinstance(self.agent, float)

    def __call__(self, layer: int, features: th.Tensor, importance: th.Tensor, seen: th.Tensor | None) -> th.Tensor:
        """Return ``float64[N]``; call :meth:`note` with what is kept before the next layer.

        Args:
            layer: from 0, where a batch begins.
            features: ``float[N, C_in, H, W]``, input of the layer.
            importance: ``float[N, C]``, of the channels that are there.
            seen: ``bool[C]``, of which of them the importance is known; None: of all.
        """
        count = len(features)
        if not self.reads:
            return th.full((count,), self.agent, dtype=th.float64)
        if layer == 0:
            self._kept = np.tile(self.backbone.channels, (count, 1))
            self._read = np.tile([kind.in_channels for kind in self.backbone.layers], (count, 1))
            self._keeps = []
        pooled, known = np.zeros((count, self._widest)), np.zeros((count, self._widest))
        pooled[:, : features.shape[1]] = features.mean(dim=(2, 3)).numpy()
        known[:, : importance.shape[1]] = (importance if seen is None else importance * seen).numpy()
        spent = self.backbone.fraction("macs", self._kept, self._read)
        step = np.full(count, layer)
        observed = observation(self.backbone, "runtime", self.cap, step, spent, self._kept, pooled, known)
        action, _ = self.agent.predict(observed)
        return th.from_numpy(ratio_of(np.clip(action, -1, 1), self.minimum_ratio))

    def note(self, layer: int, keep: th.Tensor) -> None:
        """Take ``bool[N, C]``, what is kept of a layer."""
        if self.reads:
            self._keeps.append(keep)
            self._kept[:, layer] = keep.sum(dim=1).numpy()
            if layer + 1 < len(self.backbone.layers):
                self._read[:, layer + 1] = inputs_read(self.backbone, layer + 1, self._keeps).sum(dim=1).numpy()


class TradeOff:
    """The masks of training: the trade-off of both agents.

    Args:
        runtime: the runtime agent's ratios.
        static: ``float64[T]``, the static agent's.
        trust: R.
        scores: ``float[C]`` for each layer, in place of static importance.
        ranking: by which importance the runtime agent's channels are ranked, "runtime" or "static".
    """

    def __init__(
        self,
        runtime: RuntimeRatios,
        static: np.ndarray,
        trust: float,
        scores: list[th.Tensor] | None = None,
        ranking: str = "runtime",
    ):
        self.runtime, self.static, self.trust, self.scores, self.ranking = runtime, static, trust, scores, ranking

    def __call__(self, layer: int, features: th.Tensor, runtime: th.Tensor, static: th.Tensor) -> th.Tensor:
        of_runtime = self.runtime(layer, features, runtime, None)
        of_static = th.full_like(of_runtime, float(self.static[layer]))
        scores = static if self.scores is None else self.scores[layer]
        ranked = runtime if self.ranking == "runtime" else static.expand_as(runtime)
        keep = trade_off_keep(ranked, scores, of_runtime, of_static, self.trust)
        self.runtime.note(layer, keep)
        return keep


class AfterRemoval:
    """The masks of a network whose channels are removed for good, on the indices of the whole network.

    Args:
        runtime: the runtime agent's ratios.
        permanent: ``bool[C]`` for each layer: what is left.
        trust: R.
        ranking: as of :class:`TradeOff`.
    """

    def __init__(self, runtime: RuntimeRatios, permanent: list[th.Tensor], trust: float, ranking: str = "runtime"):
        self.runtime, self.permanent, self.trust, self.ranking = runtime, permanent, trust, ranking

    def __call__(self, layer: int, features: th.Tensor, runtime: th.Tensor, static: th.Tensor) -> th.Tensor:
        permanent = self.permanent[layer]
        ratio = self.runtime(layer, features, runtime, permanent)
        ranked = runtime if self.ranking == "runtime" else static.expand_as(runtime)
        keep = inference_keep(ranked, permanent, ratio, self.trust)
        self.runtime.note(layer, keep)
        return keep


def permanent_masks(
    network: GatedNetwork, static: np.ndarray, trust: float, scores: list[th.Tensor] | None
) -> list[th.Tensor]:
    """Return ``bool[C]`` for each layer: what is left once the static agent's share is removed.

    Layers whose outputs are added together lose the same channels, by the means of their ratios and importances.
    """
    with th.no_grad():
        of_layers = scores or [network.static_importance(i) for i in range(len(network.convs))]
    shared = group_means(network.backbone, static)
    masks = list(of_layers)
    for group in network.backbone.groups():
        score = th.stack([of_layers[layer] for layer in group]).mean(dim=0)
        for layer in group:
            masks[layer] = permanent_keep(score, float(shared[layer]), trust)
    return masks


def uniform_ratio(backbone: Backbone, resource: str, cap: float) -> float:
    """Return the largest ratio for all layers, a multiple of 1/96, whose channels meet a budget.

    Raises:
        ValueError: for a budget that one channel per layer exceeds.
    """
    for step in range(96, 0, -1):
        ratio = th.tensor(step / 96)
        kept = np.array([int(kept_count(ratio, int(channels))) for channels in backbone.channels])
        if backbone.fraction(resource, kept) <= cap + 1e-9:
            return step / 96
    raise ValueError(f"a budget of {cap:.3g} of the {resource} cannot be met: one channel per layer costs more")
