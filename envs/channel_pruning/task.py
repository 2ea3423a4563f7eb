"""The forward pass of a network as episodes: a layer is a step, a picture is an episode."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces

from bisimgym.envs.array_task import ArrayTask, put, select
from bisimgym.envs.channel_pruning.budgets import RESOURCES, budget_reward
from bisimgym.envs.channel_pruning.datasets import LabeledImages
from bisimgym.envs.channel_pruning.masks import KEPT_COUNTS, trade_off_keep
from bisimgym.envs.channel_pruning.network import GatedNetwork
from bisimgym.envs.channel_pruning.pictures import draw
from bisimgym.envs.channel_pruning.states import AGENTS, PruningState, observation, permanent_counts, ratio_of
from bisimgym.envs.checks import choice, integer, number, real_array
from bisimgym.envs.seeds import first_uniforms, uniforms

#: The action grid of the oracle, and the most plans that it enumerates.
GRID = (0.25, 0.5, 0.75, 1.0)
MOST_PLANS = 1000
#: Pictures that constants of a task are computed from, and random plans per picture of ``random_return``.
_CALIBRATION, _RANDOM_PLANS = 128, 8
#: A network that fits its pictures to the last leaves no scale of losses: theirs is at least this, nats.
_LEAST_LOSS = 0.1
_AT_ONCE = 64  # pictures whose plans are enumerated together


class ChannelPruningTask(ArrayTask[PruningState]):
    """The array task behind both environments; arguments are those of the environment, with network and data loaded.

    Convolutions compute in single precision and never for one picture alone, for which their library sums in another
    order; other sums are of doubles. So a picture has the same numbers alone and among others.
    """

    render_fps = 2

    def __init__(
        self,
        network: GatedNetwork,
        data: LabeledImages,
        agent: str,
        density: float,
        trust: float | None,
        minimum_ratio: float,
        partner: Any,
        kept_count: str,
        ranking: str = "runtime",
    ):
        self.agent = choice("agent", agent, AGENTS)
        self.density = number("density", density, 0.05, 1)
        self.minimum_ratio = number("minimum_ratio", minimum_ratio, 0.01, 1, " (the least fraction that a layer keeps)")
        if self.minimum_ratio > self.density:
            raise ValueError(
                f"density {self.density} cannot be met: no layer goes below minimum_ratio {self.minimum_ratio}; lower "
                "minimum_ratio"
            )
        alone = 1.0 if agent == "runtime" else 0.0
        self.trust = alone if trust is None else number("trust", trust, 0, 1, ", or None for this agent alone")
        self.kept_count = choice("kept_count", kept_count, KEPT_COUNTS)
        self.ranking = choice("ranking", ranking, AGENTS)
        self.backbone = network.backbone
        self.num_layers = len(self.backbone.layers)
        self.partner = self._checked_partner(partner)
        if (partner is None) != (self.trust == alone):
            raise ValueError(
                f"trust must be None (this agent alone) without a partner, and leave the partner a part of the "
                f"decision with one, got trust={trust!r} and partner={partner!r} for agent {agent!r}"
            )
        self.data = data
        self._images = data.images
        self._network = _frozen(network)
        with th.no_grad():
            self._static = [self._network.static_importance(i) for i in range(self.num_layers)]
        self._flow = self.backbone.flow
        self._widest = max(self.backbone.image[0], *self.backbone.channels)
        left = 1 - (1 - self.density) * (1 - self.trust)  # what the static agent's share leaves at that density
        self.caps = {
            "macs": self.backbone.cap("macs", self.density),
            "parameters": self.backbone.cap("parameters", left),
        }
        length = len(self._observation_of(self.agent, self._started(np.zeros(1, dtype=np.int64)))[0])
        bound = np.finfo(np.float32).max
        self.observation_space = spaces.Box(-bound, bound, (length,), np.float32)
        self.action_space = spaces.Box(-1, 1, (1,), np.float32)
        self.loss_scale = 1.0
        loss = self._played(self._calibration, self.constant_plan(density)).loss.mean()
        self.loss_scale = max(float(loss), _LEAST_LOSS)
        self._plan: np.ndarray | None = None
        self._returns = np.full((len(data.labels), 2), np.nan)  # of the oracle and of chance, where they are known

    def _checked_partner(self, partner: Any) -> Any:
        """Return a partner as None, ``float64[T]`` of ratios, or an object with ``predict``."""
        if partner is None or callable(getattr(partner, "predict", None)):
            return partner
        wanted = f"partner must be None, a ratio in (0, 1], {self.num_layers} of them, or an object with predict()"
        try:
            ratios = np.broadcast_to(real_array("partner", partner), self.num_layers)
        except ValueError:
            raise ValueError(f"{wanted}, got {partner!r}") from None
        if not ((ratios > 0) & (ratios <= 1)).all():
            raise ValueError(f"{wanted}, got {partner!r}")
        return ratios

    @property
    def _calibration(self) -> np.ndarray:
        return np.arange(min(_CALIBRATION, len(self.data.labels)))

    def ratio(self, action: np.ndarray) -> np.ndarray:
        """Return ``float64[N]``: the fraction that actions, ``float[N, 1]`` in [-1, 1], preserve."""
        return ratio_of(action, self.minimum_ratio)

    def action(self, ratio: Any) -> np.ndarray:
        """Return ``float32[N, 1]``: the actions that preserve some fractions, ``float[N]``."""
        low = self.minimum_ratio
        return ((np.asarray(ratio, np.float64) - low) / max(1 - low, 1e-9) * 2 - 1).astype(np.float32)[..., None]

    def initial(self, seeds: np.ndarray, options: Mapping[str, Any]) -> PruningState:
        count = len(self.data.labels)
        if unknown := set(options) - {"image"}:
            raise ValueError(f"unknown reset options {sorted(unknown)}: this task has 'image', a number of a picture")
        if "image" not in options:
            return self._started((first_uniforms(seeds) * count).astype(np.int64))
        chosen = np.broadcast_to(np.asarray(options["image"]), len(seeds)).tolist()
        images = [integer("options['image']", image, 0, count - 1) for image in chosen]
        return self._started(np.array(images, dtype=np.int64))

    def _started(self, image: np.ndarray) -> PruningState:
        count, none = len(image), np.zeros((len(image), self._widest))
        most = max(math.prod(before.shape) for before in self._flow)
        held = max(math.prod(before.held) if before.held else 0 for before in self._flow)
        state = PruningState(
            image=image,
            step=np.zeros(count, dtype=np.int64),
            features=np.zeros((count, most), dtype=np.float32),
            held=np.zeros((count, held), dtype=np.float32),
            pooled=none,
            importance=none,
            ratios=np.ones((count, 2, self.num_layers)),
            kept=np.tile(self.backbone.channels, (count, 1)),
            masks=np.ones((count, self.num_layers, self._widest), dtype=bool),
            read=np.tile([layer.in_channels for layer in self.backbone.layers], (count, 1)),
            loss=np.full(count, np.nan),
            correct=np.zeros(count, dtype=bool),
        )
        return self._entered(state, 0, th.from_numpy(self._images[image]), None)

    def _entered(self, state: PruningState, layer: int, features: th.Tensor, held: th.Tensor | None) -> PruningState:
        """Return states that have the input of a layer, ``float32[N, C, H, W]``, or of the classifier."""
        flat, kept_back = np.zeros_like(state.features), np.zeros_like(state.held)
        pooled, importance = np.zeros_like(state.pooled), np.zeros_like(state.importance)
        read = state.read.copy()
        with th.no_grad():
            flat[:, : features[0].numel()] = features.flatten(1).numpy()
            if held is not None:
                kept_back[:, : held[0].numel()] = held.flatten(1).numpy()
            pooled[:, : features.shape[1]] = features.mean(dim=(2, 3), dtype=th.float64).numpy()
            if layer < self.num_layers:
                found = self._network.runtime_importance(layer, features).numpy()
                importance[:, : found.shape[1]] = found
                if reads := list(self._flow[layer].reads):
                    there = state.masks[:, reads, : features.shape[1]].any(axis=1)
                    read[:, layer] = there.sum(axis=1)
        return dataclasses.replace(
            state,
            step=np.full(len(state.step), layer),
            features=flat,
            held=kept_back,
            pooled=pooled,
            importance=importance,
            read=read,
        )

    def transition(self, state: PruningState, action: np.ndarray):
        done = np.minimum(state.step, self.num_layers - 1)  # an ended episode stays where it is
        ended_before = state.step >= self.num_layers
        ratios = state.ratios.copy()
        own = AGENTS.index(self.agent)
        rows = np.flatnonzero(~ended_before)
        ratios[rows, own, done[rows]] = self.ratio(action)[rows]
        if self.partner is not None and len(rows):
            ratios[rows, 1 - own, done[rows]] = self._partner_ratio(select(state, rows))
        state = dataclasses.replace(state, ratios=ratios)
        # Episodes are in step unless some were reset on their own.
        layers = state.step[rows]
        for layer in np.unique(layers).tolist():
            members = rows[layers == layer]
            whole = len(members) == len(state.step)
            after = self._computed(state if whole else select(state, members), layer)
            state = after if whole else put(state, members, after)
        terminated = state.step >= self.num_layers
        reward = np.where(terminated & ~ended_before, self._reward(state), 0.0)
        return state, reward, terminated, np.zeros(len(reward), dtype=bool)

    def _partner_ratio(self, state: PruningState) -> np.ndarray:
        if isinstance(self.partner, np.ndarray):
            return self.partner[state.step]
        other = AGENTS[1 - AGENTS.index(self.agent)]
        action, _ = self.partner.predict(self._observation_of(other, state), deterministic=True)
        return self.ratio(np.clip(action, -1, 1))

    def _computed(self, state: PruningState, layer: int) -> PruningState:
        """Return states whose layer is computed, as their ratios say."""
        if len(state.step) == 1:
            return select(self._computed(select(state, np.zeros(2, dtype=np.int64)), layer), np.zeros(1, np.int64))
        before, channels = self._flow[layer], int(self.backbone.channels[layer])
        with th.no_grad():
            features, held = (_unflattened(*of) for of in ((state.features, before.shape), (state.held, before.held)))
            assert features is not None
            runtime = th.from_numpy(np.ascontiguousarray(state.importance[:, :channels]))
            ranked = runtime if self.ranking == "runtime" else self._static[layer].expand_as(runtime)
            of_runtime, of_static = (th.from_numpy(state.ratios[:, agent, layer]) for agent in (0, 1))
            keep = trade_off_keep(ranked, self._static[layer], of_runtime, of_static, self.trust, self.kept_count)
            features, held = self._network.after(layer, features, held, runtime, keep)
            kept, masks = state.kept.copy(), state.masks.copy()
            kept[:, layer], masks[:, layer, :channels] = keep.sum(dim=1).numpy(), keep.numpy()
            state = self._entered(dataclasses.replace(state, kept=kept, masks=masks), layer + 1, features, held)
            if layer + 1 < self.num_layers:
                return state
            logits = self._network.logits(features)
            labels = th.from_numpy(self.data.labels[state.image])
            loss = th.nn.functional.cross_entropy(logits, labels, reduction="none").numpy()
            return dataclasses.replace(state, loss=loss, correct=(logits.argmax(dim=1) == labels).numpy())

    def spent(self, state: PruningState) -> dict[str, np.ndarray]:
        """Return ``float64[N]`` fractions of the network's MACs and parameters; layers to come count whole.

        MACs are those of the channels that were computed, parameters those that are left once the static agent's share
        is removed for good.
        """
        left = permanent_counts(self.backbone, state.ratios[:, 1], self.trust)
        return {
            "macs": self.backbone.fraction("macs", state.kept, state.read),
            "parameters": self.backbone.fraction("parameters", left),
        }

    def _reward(self, state: PruningState) -> np.ndarray:
        resource = RESOURCES[AGENTS.index(self.agent)]
        budget = budget_reward(resource, self.spent(state)[resource], self.caps[resource])
        return -np.nan_to_num(state.loss) / self.loss_scale + budget

    def observe(self, state: PruningState) -> np.ndarray:
        return self._observation_of(self.agent, state)

    def _observation_of(self, agent: str, state: PruningState) -> np.ndarray:
        resource = RESOURCES[AGENTS.index(agent)]
        return observation(
            self.backbone,
            agent,
            self.caps[resource],
            state.step,
            self.spent(state)[resource],
            state.kept if agent == "runtime" else state.ratios[:, 1] * self.backbone.channels,
            state.pooled,
            state.importance,
        )

    def reset_info(self, state: PruningState) -> dict[str, np.ndarray]:
        return {"image": state.image}

    def final_info(self, state: PruningState) -> dict[str, np.ndarray]:
        return {"correct": state.correct, "loss": state.loss, "kept": state.kept, **self.spent(state)}

    def constant_plan(self, ratio: float) -> np.ndarray:
        """Return ``float64[T]``: one ratio for all layers, not below the least."""
        return np.full(self.num_layers, max(ratio, self.minimum_ratio))

    def _played(self, image: np.ndarray, plan: np.ndarray) -> PruningState:
        """Return the last states of some pictures, ``int64[N]``, under ratios ``float64[T]`` or ``float64[N, T]``."""
        state = self._started(image)
        for ratio in np.broadcast_to(plan, (len(image), self.num_layers)).T:
            state = self.transition(state, self.action(ratio))[0]
        return state

    def mean_return(self, plan: np.ndarray) -> float:
        """Return the mean return of a plan, ratios ``float64[T]``, over the pictures that plans are compared on."""
        return float(self._reward(self._played(self._calibration, plan)).mean())

    def grid(self) -> np.ndarray:
        """Return ``float64[G]``: the ratios that the oracle chooses from.

        Raises:
            ValueError: for a network that has too many plans to enumerate.
        """
        levels = np.unique(np.maximum(GRID, self.minimum_ratio))
        if len(levels) ** self.num_layers > MOST_PLANS:
            raise ValueError(
                f"no oracle: {len(levels)} ratios in {self.num_layers} layers are "
                f"{len(levels) ** self.num_layers} plans, and {MOST_PLANS} can be enumerated: take backbone 'digits-4'"
            )
        return levels

    def plan_returns(self, state: PruningState) -> np.ndarray:
        """Return ``float64[N, P]``: what every plan on the grid for the layers to come would earn.

        Args:
            state: of which all are at one layer; plans are in lexicographic order of their ratios.
        """
        levels, count = self.grid(), len(state.step)
        found = []
        for rows in np.array_split(np.arange(count), max(-(-count // _AT_ONCE), 1)):
            part, reward = select(state, rows), np.zeros(len(rows))
            for _ in range(self.num_layers - int(state.step[0])):
                repeated = np.repeat(np.arange(len(part.step)), len(levels))
                actions = self.action(np.tile(levels, len(part.step)))
                part, reward, *_ = self.transition(select(part, repeated), actions)
            found.append(reward.reshape(len(rows), -1))
        return np.concatenate(found)

    def best_plan(self) -> np.ndarray:
        """Return ``float64[T]``: the plan on the grid that earns most on average over the first pictures."""
        if self._plan is None:
            mean = self.plan_returns(self._started(self._calibration)).mean(axis=0)
            levels = self.grid()
            index = np.unravel_index(mean.argmax(), (len(levels),) * self.num_layers)
            self._plan = levels[list(index)]
        return self._plan

    def optimal_action(self, state: PruningState) -> np.ndarray:
        step = np.minimum(state.step, self.num_layers - 1)
        if self.agent == "static":
            return self.action(self.best_plan()[step])
        levels, ratio = self.grid(), np.ones(len(step))
        for layer in np.unique(state.step[state.step < self.num_layers]).tolist():
            rows = np.flatnonzero(state.step == layer)
            plans = self.plan_returns(select(state, rows)).argmax(axis=1)
            ratio[rows] = levels[plans // len(levels) ** (self.num_layers - layer - 1)]
        return self.action(ratio)

    def optimal_return(self, state: PruningState, limit: int | None = None) -> np.ndarray:
        def best(images: np.ndarray) -> np.ndarray:
            if self.agent == "static":
                return self._reward(self._played(images, self.best_plan()))
            return self.plan_returns(self._started(images)).max(axis=1)

        return self._known(0, state.image, best, limit)

    def random_return(self, state: PruningState, limit: int | None = None) -> np.ndarray:
        def mean(images: np.ndarray) -> np.ndarray:
            plans = uniforms(images.astype(np.uint64), _RANDOM_PLANS * self.num_layers)
            ratios = self.minimum_ratio + plans.reshape(-1, self.num_layers) * (1 - self.minimum_ratio)
            rewards = self._reward(self._played(np.repeat(images, _RANDOM_PLANS), ratios))
            return rewards.reshape(len(images), -1).mean(axis=1)

        return self._known(1, state.image, mean, limit)

    def _known(self, column: int, image: np.ndarray, compute: Any, limit: int | None) -> np.ndarray:
        """Return returns of pictures, which are computed once; 0 where a time limit comes before the one reward."""
        if limit is not None and limit < self.num_layers:
            return np.zeros(len(image))
        missing = np.unique(image[np.isnan(self._returns[image, column])])
        if len(missing):
            self._returns[missing, column] = compute(missing)
        return self._returns[image, column]

    def frame(self, state: PruningState, index: int) -> np.ndarray:
        step, resource = int(state.step[index]), RESOURCES[AGENTS.index(self.agent)]
        channels = self.backbone.channels
        return draw(
            self.data.shown[state.image[index]],
            state.kept[index] / channels,
            step,
            state.importance[index, : channels[min(step, self.num_layers - 1)]],
            {name: values[index] for name, values in self.spent(state).items()},
            {resource: self.caps[resource]},
        )

    def caption(self, state: PruningState, index: int) -> str:
        if state.step[index] < self.num_layers:
            return f"Channel pruning: layer {int(state.step[index]) + 1} of {self.num_layers}"
        word = "right" if state.correct[index] else "wrong"
        return f"Channel pruning: {word}, {self.spent(state)['macs'][index]:.0%} of the MACs"


def _unflattened(flat: np.ndarray, shape: tuple[int, ...] | None) -> th.Tensor | None:
    return None if shape is None else th.from_numpy(flat[:, : math.prod(shape)].reshape(-1, *shape))


def _frozen(network: GatedNetwork) -> GatedNetwork:
    """Return a copy in evaluation mode that needs no gradient; in double precision, but for convolutions and norms."""
    copy = GatedNetwork(network.backbone)
    copy.load_state_dict(network.state_dict())
    copy.double()
    for part in (copy.convs, copy.norms, copy.depthwise):
        part.float()
    return copy.eval().requires_grad_(False)
