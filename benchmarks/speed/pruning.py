"""Speed of pruned networks beside their MAC counts: channels are left out here, and not masked.

Times do not depend on what networks and agents have learned, so none is trained here: plans are uniform, and the agent
is the one that training begins with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from torch import nn
from torch.nn import functional as F

from bisimgym.baselines.layerwise_ppo import LayerEncoder, LayerwiseAgent, LayerwisePolicy
from bisimgym.benchmarks.report.tables import FigureTable
from bisimgym.benchmarks.speed.harness import Figures, Part, medians, table, torch_threads
from bisimgym.benchmarks.suites.pruning.rules import RuntimeRatios, permanent_masks, uniform_ratio
from bisimgym.envs.channel_pruning.backbones import BACKBONES
from bisimgym.envs.channel_pruning.budgets import Backbone
from bisimgym.envs.channel_pruning.masks import inference_keep, unified_importance
from bisimgym.envs.channel_pruning.network import GatedNetwork, removed
from bisimgym.envs.channel_pruning.stored import stored_network

DENSITIES = (0.5, 0.7)
#: A picture, and a batch of each backbone.
BATCHES = {"digits-4": (1, 256), "m-cifarnet": (1, 16)}
#: Outputs of the agent's encoders, as in the suite.
_FEATURES = 32
#: Name, R, and whether ratios at run time are an agent's.
KINDS = (
    ("removed for good (R = 0)", 0.0, False),
    ("one ratio at run time (R = 1)", 1.0, False),
    ("runtime agent (R = 1)", 1.0, True),
    ("both agents (R = 0.5)", 0.5, True),
)


class RealNetwork:
    """A network without the channels that were removed; of one picture it computes only the channels that it keeps.

    In a larger batch every picture keeps other channels, so all that are left are computed, and masked.

    Args:
        small: of :func:`~bisimgym.envs.channel_pruning.network.removed`.
        permanent: ``bool[C]`` for each layer of the whole network: what ``small`` has.
        runtime: the runtime agent's ratios; None: what is left is computed for every picture.
        trust: R.
    """

    def __init__(self, small: GatedNetwork, permanent: list[th.Tensor], runtime: RuntimeRatios | None, trust: float):
        self.small, self.permanent, self.runtime, self.trust = small, permanent, runtime, trust
        self._places = [th.where(mask)[0] for mask in permanent]
        self._static = [small.static_importance(i).detach() for i in range(len(permanent))]

    @th.no_grad()
    def __call__(self, images: th.Tensor) -> th.Tensor:
        """Return ``float[N, classes]`` from ``float[N, C, H, W]``."""
        features, inputs = images, None  # of one picture, the input channels that there are; None: all
        for layer in range(len(self._places)):
            features, inputs = self._layer(layer, features, inputs)
        classifier = self.small.classifier
        weight = classifier.weight if inputs is None else classifier.weight[:, inputs]
        return F.linear(features.mean(dim=(2, 3)), weight, classifier.bias)

    def _layer(self, layer: int, features: th.Tensor, inputs: th.Tensor | None) -> tuple[th.Tensor, th.Tensor | None]:
        conv, predictor, norm = self.small.conv(layer), self.small.predictor(layer), self.small.norms[layer]
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        seen = predictor.weight if inputs is None else predictor.weight[:, inputs]
        importance = F.linear(features.mean(dim=(2, 3)), seen, predictor.bias)
        unified, shift = unified_importance(importance, self._static[layer]), self.small.shifts[layer][None]
        stride, padding = self.small.backbone.layers[layer][2:4]
        kernel = conv.weight if inputs is None else conv.weight[:, inputs]
        keep = self._keep(layer, features, importance, inputs)
        if keep is not None and len(features) > 1:
            unified, shift, keep = unified * keep, shift * keep, None
        mean, variance, kept = norm.running_mean, norm.running_var, None
        if keep is not None:
            kept = th.where(keep[0])[0]
            kernel, mean, variance = kernel[kept], mean[kept], variance[kept]
            unified, shift = unified[:, kept], shift[:, kept]
        out = F.conv2d(features, kernel, None, stride, padding)
        out = F.batch_norm(out, mean, variance, eps=norm.eps)
        return F.relu(out * unified[:, :, None, None] + shift[:, :, None, None]), kept

    def _keep(
        self, layer: int, features: th.Tensor, importance: th.Tensor, inputs: th.Tensor | None
    ) -> th.Tensor | None:
        """Return ``bool[N, C]`` of the channels that are left, or None where all are computed."""
        if self.runtime is None:
            return None
        mask, places = self.permanent[layer], self._places[layer]
        whole = importance.new_zeros(len(features), len(mask))
        whole[:, places] = importance
        if layer and self.runtime.reads:
            before = self._places[layer - 1] if inputs is None else self._places[layer - 1][inputs]
            wide = features.new_zeros(len(features), len(self.permanent[layer - 1]), *features.shape[2:])
            wide[:, before] = features
            features = wide
        keep = inference_keep(whole, mask, self.runtime(layer, features, whole, mask), self.trust)
        self.runtime.note(layer, keep)
        return keep[:, places]


def real_network(backbone: str, density: float, trust: float, agent: bool) -> RealNetwork:
    """Return a network pruned to a density: a uniform plan, and one ratio or an agent at run time.

    Args:
        backbone: one of :data:`BACKBONES`.
        density: of the budgets.
        trust: R.
        agent: whether ratios at run time are those of an agent, and not one for all.
    """
    network = _network(backbone)
    layers = network.backbone
    ratio = {name: uniform_ratio(layers, name, layers.cap(name, density)) for name in ("macs", "parameters")}
    permanent = permanent_masks(network, np.full(len(layers.layers), ratio["parameters"]), trust, None)
    chooser = _agent(layers, density) if agent else ratio["macs"]
    runtime = RuntimeRatios(layers, layers.cap("macs", density), chooser) if trust > 0 else None
    return RealNetwork(removed(network, permanent), permanent, runtime, trust)


def _network(backbone: str) -> GatedNetwork:
    """Return the network that comes with the package, or one that was never trained."""
    if backbone == "digits-4":
        return stored_network(backbone)
    with th.random.fork_rng(devices=[]):
        th.manual_seed(0)
        return GatedNetwork(BACKBONES[backbone]).eval()


def _agent(backbone: Backbone, density: float) -> LayerwiseAgent:
    layers = len(backbone.layers)
    entries = layers + 3 + 2 * max(backbone.image[0], *backbone.channels)
    with th.random.fork_rng(devices=[]):
        th.manual_seed(0)
        policy = LayerwisePolicy(
            spaces.Box(-np.inf, np.inf, (int(entries),)),
            spaces.Box(-1, 1, (1,)),
            lambda _: 1e-3,
            first_mean=2 * density - 1,
            net_arch=[],
            features_extractor_class=LayerEncoder,
            features_extractor_kwargs={"num_layers": layers, "features_dim": _FEATURES},
        )
    return LayerwiseAgent(policy)


def parts(
    seconds: float, densities: Sequence[float] = DENSITIES, batches: Mapping[str, Sequence[int]] = BATCHES
) -> Iterator[Part]:
    """Yield what is measured, each in ``seconds``."""
    for backbone, sizes in batches.items():
        for density in densities:
            yield Part("networks", networks, (seconds, backbone, density, sizes))


def networks(seconds: float, backbone: str, density: float, batches: Sequence[int]) -> Iterator[Figures]:
    """Measure milliseconds of each kind of network for a picture and for a batch, in turns with the whole one."""
    layers = BACKBONES[backbone]
    of_kinds = {name: real_network(backbone, density, trust, agent) for name, trust, agent in KINDS}
    everything = [th.ones(int(channels), dtype=th.bool) for channels in layers.channels]
    whole = RealNetwork(_network(backbone), everything, None, 0.0)
    rows: dict[str, Figures] = {name: {} for name in of_kinds}
    for what, batch in zip(("one", "many"), batches, strict=True):
        images = th.randn(batch, *layers.image, generator=th.Generator().manual_seed(0))
        calls: dict[str, Callable[[], Any]] = {name: partial(made, images) for name, made in of_kinds.items()}
        with torch_threads(1):
            took = medians({"whole": partial(whole, images), **calls}, seconds, work=1e-3)
        for name, row in rows.items():
            row |= {what: batch, f"ms_{what}": took[name], f"whole_ms_{what}": took["whole"]}
            row[f"times_{what}"] = took["whole"] / took[name]
    for name, row in rows.items():
        yield {
            "backbone": backbone,
            "density": density,
            "network": name,
            "by_macs": 1 / layers.cap("macs", density),
            **row,
        }


def tables(figures: Mapping[str, Any]) -> Iterator[FigureTable]:
    """Yield the table of the figures."""
    yield table(
        "Milliseconds on one thread, and how many times as fast as the whole network that is",
        "backbone | density | pruned | by MACs | one picture, ms | times | a batch | ms | times",
        "{backbone} | {density} | {network} | {by_macs:.2f} | {ms_one:~3} | {times_one:.2f} | {many} | {ms_many:~3} | "
        "{times_many:.2f}",
        figures["networks"],
        texts=3,
        marker="pruning speed",
    )
