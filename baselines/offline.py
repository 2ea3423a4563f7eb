"""Offline learning of representations: an encoder that a metric's loss trains on stored data, without an agent.

Two uses. *Pre-training*: an encoder is trained before the agent that will use it, see
:mod:`~bisimgym.baselines.pretrained`. *Isolated metric estimation*: an agent's encoder is shaped by its critic and by a
metric at once, on data that the metric has helped to collect; here all metrics see the same transitions, and what an
encoder has learned, it has learned from its metric.

Sources: Black, Chuck and Niekum (2021), recursive state similarity, section V-B, for pre-training. Luo, Ni, Bacon,
Precup and Si (2025), the study of metric learning under noise, arXiv 2506.00563, for isolated evaluation; three things
differ from its code: next embeddings of MICo are those of its target encoder, the models of SimSR are trained (there
both ask a model that is never trained), and data are stored first, so that they are the same for all metrics.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

from bisimgym.baselines import core  # noqa: F401

# isort: split
import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.preprocessing import preprocess_obs
from stable_baselines3.common.save_util import load_from_zip_file, save_to_zip_file
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.common.utils import get_device
from torch import nn
from tqdm import tqdm

from bisimgym.baselines.core.actions import action_features
from bisimgym.baselines.core.auxiliary import soft_update
from bisimgym.baselines.core.encoder_pair import EncoderPair, extractor_for
from bisimgym.baselines.core.env_checks import check_action_space, check_observation_space
from bisimgym.baselines.core.frame_replay import sample_as_on_host
from bisimgym.baselines.core.latents import LatentBatch, embeddings_of
from bisimgym.baselines.core.loss_log import DivergedError, LossLog
from bisimgym.baselines.core.placement import check_place, placed_rows
from bisimgym.baselines.core.precision import autocast, resolve_precision
from bisimgym.baselines.core.representation import Representation
from bisimgym.baselines.core.settings import MetricChoice, check_extractor, encoder_settings, make_metric
from bisimgym.baselines.losses.distances import l2_distance
from bisimgym.baselines.transitions import (
    Transitions,
    check_data,
    check_numbers,
    count_of,
    global_stream_of,
    moved,
    read_rows,
    rows_of_epoch,
)
from bisimgym.envs.checks import integer, number
from bisimgym.envs.files import atomic_write, replaceable_archive
from bisimgym.wrappers.image_channels import channels_first
from bisimgym.wrappers.offline import OfflineData


class OfflineRepresentation:
    """An encoder with its slowly moving copy, trained on stored data by a metric's loss and by predictions.

    Transition models learn from detached embeddings; networks that belong to a metric learn as its class says (of these
    only Robust DBC's inverse dynamics reach the encoder). Rewards are those of the data, without Robust DBC's bonus.
    AMBS's balance is learned by a critic: here both halves count the same, and nothing keeps the dynamics half from
    collapsing.

    The metrics' losses take no notice of an episode's end: the last next observation is compared as any other, and no
    stored transition starts from it, so that its embedding is free. Exact metrics have terminal states lead back to
    themselves, without reward. Data for comparison with them should hold such transitions (:class:`Transitions`).

    The same settings, seed and data give the same weights, and the same seed the same first ones whatever the metric.

    Args:
        observation_space: of the environment; images may have their channels first or last.
        action_space: boxes or ``Discrete``.
        metric: a name of :data:`~bisimgym.baselines.learners.METRIC_LOSSES`; a
            :class:`~bisimgym.baselines.core.metric_loss.MetricLoss`, as a class or as an object, which is copied; or
            ``None``, for encoders that only predictions train.
        metric_settings: arguments of the class.
        metric_weight: of the metric's loss.
        self_prediction: weight of predicting the next embedding; above 0 it trains the encoder too.
        reward_prediction: weight of predicting the reward; above 0 it trains the encoder too.
        reward_from, model_kind: see :class:`~bisimgym.baselines.core.representation.Representation`.
        norm: of the embedding, "layer", "l2" (SimSR's own), "cap" (Robust DBC's own) or "none".
        features_dim: numbers in the embedding; ``None`` is what the convolutions of an encoder of images give.
        extractor_class: of the encoder; ``None`` chooses by space as the policies do.
        extractor_kwargs: further arguments of the encoder, such as ``architecture`` of images.
        discount: of the metric, in [0, 1).
        learning_rate: of encoder and models.
        model_weight_decay: of the models.
        encoder_tau: soft-update rate of the target encoder, in (0, 1].
        precision: of the encoder's passes, "float32", "bfloat16" or "auto".
        tandem: whether networks that only the metric has take their step on a batch before the metric's loss is
            computed from them, as those of recursive state similarity do; else all losses are of the same weights.
        seed: of initial weights, samples of the data, and pairs; at least 0. Global random streams stay untouched.
        device: of the networks.
        replay_device: where data sets and arrays live in :meth:`fit`: "cpu" (the host's memory), "device", or "auto":
            on a device other than the host, if at most half of its free memory is needed. Batches are the same.

    Raises:
        ValueError: for an unknown metric, or a number out of range.

    Example:
        >>> import gymnasium as gym
        >>> from bisimgym.baselines.offline import OfflineRepresentation
        >>> from bisimgym.baselines.self_prediction import SelfPredictionSAC
        >>> agent = SelfPredictionSAC("MlpPolicy", gym.make("Pendulum-v1"), seed=1).learn(1200)
        >>> isolated = OfflineRepresentation(agent.observation_space, agent.action_space, "mico", seed=1)
        >>> sorted(isolated.fit(agent.replay_buffer, updates=10))
        ['metric_loss']
    """

    _PARTS = ("encoders", "representation", "optimizer")

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        metric: MetricChoice = None,
        *,
        metric_settings: Mapping[str, Any] | None = None,
        metric_weight: float = 0.5,
        self_prediction: float = 0.0,
        reward_prediction: float = 0.0,
        reward_from: str = "next",
        model_kind: str | None = None,
        norm: str = "layer",
        features_dim: int | None = 50,
        extractor_class: type[BaseFeaturesExtractor] | None = None,
        extractor_kwargs: Mapping[str, Any] | None = None,
        discount: float = 0.99,
        learning_rate: float = 1e-3,
        model_weight_decay: float = 1e-7,
        encoder_tau: float = 0.05,
        precision: str = "float32",
        tandem: bool = False,
        seed: int = 0,
        device: th.device | str = "auto",
        replay_device: str = "auto",
    ):
        check_observation_space(type(self).__name__, observation_space)
        if isinstance(action_space, spaces.Discrete):  # others need no bounds: nothing here acts
            check_action_space(type(self).__name__, action_space, spaces.Discrete)
        #: What makes an object like this one, untrained.
        self.settings = {
            "observation_space": observation_space,
            "action_space": action_space,
            "metric": metric,
            "metric_settings": dict(metric_settings or {}),
            "metric_weight": metric_weight,
            "self_prediction": self_prediction,
            "reward_prediction": reward_prediction,
            "reward_from": reward_from,
            "model_kind": model_kind,
            "norm": norm,
            "features_dim": features_dim,
            "extractor_class": extractor_class,
            "extractor_kwargs": dict(extractor_kwargs or {}),
            "discount": discount,
            "learning_rate": learning_rate,
            "model_weight_decay": model_weight_decay,
            "encoder_tau": encoder_tau,
            "precision": precision,
            "tandem": tandem,
            "seed": seed,
        }
        number("discount", discount, 0, 1 - 1e-9, ", below 1 by at least 1e-9")
        number("encoder_tau", encoder_tau, 1e-9, 1)
        number("learning_rate", learning_rate, 1e-12, 1e300)
        self.seed = integer("seed", seed, 0, 2**63 - 1)
        self.device = get_device(device)
        check_place("replay_device", replay_device)
        self.replay_device = replay_device
        self._placed: tuple[Any, Any] = (None, None)  # a data set there (arrays may change), and what reads its rows
        self.precision = resolve_precision(precision, self.device)
        self.discount, self.encoder_tau = discount, encoder_tau
        space = channels_first(observation_space)
        check_extractor(extractor_class, norm)
        made = make_metric(metric, metric_settings)
        kwargs = {**encoder_settings(norm, features_dim, discount, made), **(extractor_kwargs or {})}
        with th.random.fork_rng(devices=[]):
            # Not th.manual_seed: it would seed the generators of other devices for good.
            th.default_generator.manual_seed(self.seed)
            self.encoders = EncoderPair(space, action_space, extractor_class or extractor_for(space), kwargs)
            self.representation = Representation(
                self.encoders.encoder.features_dim,
                action_space,
                discount,
                self.encoders.make_features_extractor,
                metric=made,
                metric_weight=metric_weight,
                self_prediction=self_prediction,
                reward_prediction=reward_prediction,
                reward_from=reward_from,
                model_kind=model_kind,
                seed=self.seed,
            )
        self.encoders.to(self.device)
        self.representation.to(self.device)
        self.critic_input = nn.Identity() if made is None else made.critic_input().to(self.device)
        self.tandem = tandem
        self.optimizer = th.optim.Adam(self._groups(learning_rate, model_weight_decay), lr=learning_rate, fused=True)
        #: Of samples. A Mersenne twister, because SB3's replays draw from the global one, which takes its state.
        self.rng = np.random.Generator(np.random.MT19937(self.seed))
        self.num_updates = 0

    def _groups(self, learning_rate: float, model_weight_decay: float) -> list[dict[str, Any]]:
        """Return the optimizer's groups: the encoder, models, and what a metric wants another rate for."""
        groups: list[dict[str, Any]] = [{"params": list(self.encoders.encoder.parameters())}]
        models = list(self.representation.parameters())
        metric = self.representation.metric
        for module, factor in (metric.rate_factors() if metric is not None else {}).items():
            own = list(module.parameters())
            models = [parameter for parameter in models if all(parameter is not other for other in own)]
            groups.append({"params": own, "lr": factor * learning_rate, "weight_decay": model_weight_decay})
        if models:
            groups.append({"params": models, "weight_decay": model_weight_decay})
        return groups

    def fit(
        self,
        data: OfflineData | ReplayBuffer | Transitions,
        updates: int,
        batch_size: int = 128,
        progress_bar: bool = False,
        logger: Logger | None = None,
    ) -> dict[str, float]:
        """Do some gradient updates on samples of stored data, which stay as they are, and return the last losses.

        Two calls do what one with the sum of their updates does. A data set is gone through in epochs, each in a
        permutation of its own, with the last short batch kept; from replays and arrays rows are drawn with replacement.

        Args:
            data: a data set, a replay of SB3 or of :mod:`~bisimgym.baselines.core.frame_replay`, or arrays.
            updates: at least 1.
            batch_size: transitions per update, at least 2.
            progress_bar: whether to show one.
            logger: of SB3 (``stable_baselines3.common.logger.configure``), which gets the mean losses of every 100
                updates as ``train/``; None: nothing is logged.

        Returns:
            The weighted losses of the last update by name: "metric_loss" and what the settings add.

        Raises:
            ValueError: for numbers out of range, data of other spaces, too few or of several steps each, or if nothing
                trains the encoder.
            MemoryError: if the data are to live on the device and do not fit.
            DivergedError: if a loss is not finite. Losses are looked at every 100 updates and at the end.
        """
        updates, batch_size = integer("updates", updates, 1), integer("batch_size", batch_size, 2)
        of = self.representation
        if of.shaping is None and of.self_prediction == of.reward_prediction == 0:
            raise ValueError(
                "nothing trains this encoder: give a metric with metric_weight above 0, self_prediction or "
                "reward_prediction"
            )
        sample = self._sampler(data, batch_size)
        # Without formats the log is here for its look at divergence.
        log, logger = LossLog(), logger or Logger(folder=None, output_formats=[])
        self.encoders.set_training_mode(True)
        try:
            for _ in tqdm(range(updates), desc="updates", leave=False, disable=not progress_bar):
                losses = self._update(sample())
                log.add(self.num_updates, losses)
                self.num_updates += 1
                if log.is_due():
                    log.flush(logger)
                    logger.dump(self.num_updates)
            log.flush(logger)
        except DivergedError:
            check_numbers(data)  # which are to blame if they are not sound
            raise
        logger.dump(self.num_updates)
        return {name: loss.item() for name, loss in losses.items()}

    def embed(self, observation: Any) -> np.ndarray:
        """Return the embeddings of a batch of observations, ``float32[B, features_dim]``.

        Args:
            observation: as the environment gives them, with a leading batch axis.

        Raises:
            ValueError: for a single observation.
        """
        return embeddings_of(self.encoders, self._encode, observation)

    def distance(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the distances that the metric's loss gives embeddings, ``float[P]``; without a metric, Euclidean ones.

        Args:
            x, y: ``float[P, features_dim]``, of :meth:`embed`.
        """
        with th.no_grad():
            first, second = (th.as_tensor(z, device=self.device) for z in (x, y))
            metric = self.representation.metric
            return (l2_distance if metric is None else metric.distance)(first, second).cpu().numpy()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything to a zip file: :meth:`fit` of what :meth:`load` returns goes on as it would have here.

        Raises:
            FileExistsError: if something is there that is no model.
        """
        twister = self.rng.bit_generator.state["state"]
        key, position = th.from_numpy(twister["key"].astype(np.int64)), int(twister["pos"])
        with atomic_write(replaceable_archive(path)) as temporary:
            save_to_zip_file(
                os.fspath(temporary),
                data=self.settings,
                params={name: getattr(self, name).state_dict() for name in self._PARTS},
                pytorch_variables={"num_updates": self.num_updates, "key": key, "position": position},
            )

    @classmethod
    def load(cls, path: str | os.PathLike[str], device: th.device | str = "auto") -> OfflineRepresentation:
        """Return what :meth:`save` has written. Only load files that you trust: they can run any code.

        Args:
            path: of the file.
            device: to put the networks on.
        """
        settings, parts, variables = cast(Any, load_from_zip_file(os.fspath(path), device=device))
        if not isinstance(settings, dict) or "extractor_class" not in settings or "policy_class" in settings:
            raise ValueError(f"{os.fspath(path)} was not saved by {cls.__name__}: load it with the class that saved it")
        loaded = cls(**settings, device=device)
        for name in cls._PARTS:
            getattr(loaded, name).load_state_dict(parts[name])
        loaded.num_updates = variables["num_updates"]
        twister = {"key": variables["key"].cpu().numpy().astype(np.uint32), "pos": variables["position"]}
        loaded.rng.bit_generator.state = {"bit_generator": "MT19937", "state": twister}
        return loaded

    def _update(self, batch: LatentBatch) -> dict[str, th.Tensor]:
        first: dict[str, th.Tensor] = {}
        metric = self.representation.shaping
        if self.tandem and metric is not None and (first := dict(metric.own_losses(batch))):
            self._step(first)  # these losses reach no weight of the encoder
            batch.in_tandem = True
        losses = self.representation(batch)
        self._step(losses)
        losses |= first
        soft_update(self.encoders.encoder, self.encoders.encoder_target, self.encoder_tau)
        return losses

    def _step(self, losses: Mapping[str, th.Tensor]) -> None:
        self.optimizer.zero_grad()
        th.stack(list(losses.values())).sum().backward()
        self.optimizer.step()

    def _encode(self, observations: PyTorchObs, target: bool = False) -> th.Tensor:
        with autocast(self.precision, self.device):
            z = (self.encoders.encoder_target if target else self.encoders.encoder)(observations)
        return z.float()

    def _sampler(self, data: OfflineData | ReplayBuffer | Transitions, batch_size: int) -> Callable[[], LatentBatch]:
        """Return a function that draws a batch, after a look at whether the data fit."""
        check_data(data, self.encoders.observation_space, self.encoders.action_space)
        if isinstance(data, ReplayBuffer):
            return lambda: self._batch_of_replay(data, batch_size)
        count = count_of(data) if isinstance(data, Transitions) else len(data)

        def draw() -> np.ndarray:
            if isinstance(data, Transitions):
                return self.rng.integers(count, size=batch_size)
            return rows_of_epoch(self.seed, self.num_updates, count, batch_size)

        if (rows := self._placed[1]) is None or self._placed[0] is not data:
            read = partial(read_rows, data, self.encoders.obs_to_tensor)
            rows = placed_rows(read, count, self.replay_device, self.device)
            self._placed = (data, rows) if isinstance(data, OfflineData) and rows is not read else (None, None)
        return lambda: self._batch(*rows(draw()))

    def _batch_of_replay(self, replay: Any, batch_size: int) -> LatentBatch:
        with global_stream_of(self.rng):
            data = sample_as_on_host(replay, batch_size)
        return self._batch(data.observations, data.next_observations, data.actions, data.rewards, data.dones)

    def _batch(self, observations: PyTorchObs, next_observations: PyTorchObs, *rest: th.Tensor) -> LatentBatch:
        actions, rewards, dones = (column.to(self.device) for column in rest)
        net, both = self.encoders, (observations, next_observations)
        seen = [preprocess_obs(moved(o, self.device), net.observation_space, net.normalize_images) for o in both]
        return LatentBatch(
            observations=seen[0],
            next_observations=seen[1],
            actions=action_features(net.action_space, actions),
            rewards=rewards.reshape(-1).float(),
            dones=dones.reshape(-1).float(),
            discounts=self.discount,
            encode=self._encode,
            critic_input=self.critic_input,
            trains_next=self.representation.trains_next,
        )
