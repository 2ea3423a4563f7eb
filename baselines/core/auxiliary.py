"""What SB3's off-policy algorithms need to minimize auxiliary losses beside their own."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.preprocessing import preprocess_obs
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import PyTorchObs, ReplayBufferSamples, RolloutReturn
from stable_baselines3.common.utils import polyak_update
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

from bisimgym.baselines.core.actions import action_features
from bisimgym.baselines.core.device_steps import device_actions, on_device, with_last_observations
from bisimgym.baselines.core.env_checks import (
    check_action_space,
    check_finite,
    check_observation_space,
    check_replay,
    check_step,
)
from bisimgym.baselines.core.latents import LatentBatch
from bisimgym.baselines.core.loss_log import DivergedError, LossLog
from bisimgym.baselines.core.precision import (
    autocast,
    check_compiler,
    resolve_precision,
    unchecked_distributions,
)
from bisimgym.baselines.core.random_stream import RandomStream
from bisimgym.envs.checks import integer, number
from bisimgym.envs.files import atomic_write, replaceable_archive

#: Updates between statistics that are expensive to compute.
STATISTICS_EVERY = 100

#: Who steps the encoder for auxiliary losses: the optimizer of the algorithm's loss, or one of their own.
ENCODER_OPTIMIZERS = ("shared", "separate")

#: A function of ``float[B, C, H, W]`` images in [0, 1] and a generator on their device.
Augmentation = Callable[[th.Tensor, th.Generator], th.Tensor]


def fused_where_possible(
    optimizer_class: type[th.optim.Optimizer], optimizer_kwargs: dict[str, Any] | None
) -> dict[str, Any]:
    """Return an optimizer's arguments, with its fused implementation where it has one and no other is asked for."""
    asked = dict(optimizer_kwargs or {})
    has_fused = "fused" in inspect.signature(optimizer_class).parameters
    if has_fused and not asked.get("foreach") and not asked.get("differentiable"):
        asked.setdefault("fused", True)
    return asked


def soft_update(online: nn.Module, target: nn.Module, tau: float) -> None:
    """Move a target network's parameters a part of the way to the online network's, and its statistics all of it."""
    polyak_update(online.parameters(), target.parameters(), tau)
    for statistic, kept in zip(online.buffers(), target.buffers(), strict=True):  # of BatchNorm, as SB3 does
        kept.copy_(statistic)


class AuxiliaryLosses(OffPolicyAlgorithm):
    """Mixin for an off-policy algorithm of SB3; list it before the algorithm.

    The algorithm says what one update is (:meth:`update`) and which its encoders are (:meth:`encoders`); a method says
    what its auxiliary losses are (:meth:`auxiliary_losses`).

    Args:
        encoder_tau: soft-update rate of the target encoder; ``None``: it follows the rest of its network.
        augmentation: of preprocessed observations; observations and next observations are drawn independently.
        encoder_optimizer: who steps the encoder for auxiliary losses. "shared": the algorithm's optimizer, in one
            backward pass with the algorithm's loss. "separate": after the algorithm's step, an optimizer of their own,
            of the same class and settings, on the losses of the encoder that has moved. Adam scales a shared gradient
            as a whole, so that large auxiliary losses leave the algorithm's little; two optimizers step in full each.
        precision: of the encoder's passes, "float32", "bfloat16" or "auto"; everything else is float32.
        compile: whether ``torch.compile`` makes the encoder's passes in updates; results then differ by rounding. It
            takes a compiler, which is tried at once, and time at the start.
    """

    #: The class of action spaces that the algorithm takes.
    action_space_class: type[gym.Space]

    def __init__(
        self,
        *args: Any,
        encoder_tau: float | None = None,
        augmentation: Augmentation | None = None,
        encoder_optimizer: str = "shared",
        precision: str = "float32",
        compile: bool = False,
        _init_setup_model: bool = True,
        **kwargs: Any,
    ):
        if encoder_tau is not None and not 0 < encoder_tau <= 1:
            raise ValueError(f"encoder_tau must be in (0, 1] or None, got {encoder_tau!r}")
        if encoder_optimizer not in ENCODER_OPTIMIZERS:
            raise ValueError(f"encoder_optimizer must be one of {list(ENCODER_OPTIMIZERS)}, got {encoder_optimizer!r}")
        if not isinstance(compile, bool):
            raise ValueError(f"compile must be True or False, got {compile!r}")
        super().__init__(*args, **{**kwargs, "_init_setup_model": False})
        self.encoder_tau, self.augmentation = encoder_tau, augmentation
        self.encoder_optimizer = encoder_optimizer
        self._asked_precision, self.compile = precision, compile
        self._compiled: dict[tuple[str, bool], Callable[..., th.Tensor]] = {}
        # Files of this package fill it in, those of SB3 do not.
        self._saved_by = type(self).__name__ if _init_setup_model else "another algorithm"
        self._losses = LossLog()
        #: Whether statistics of this update are recorded.
        self.record_statistics = False
        if _init_setup_model:
            self._setup_model()

    @classmethod
    def _wrap_env(cls, env: Any, verbose: int = 0, monitor_wrapper: bool = True) -> VecEnv:
        if isinstance(env, gym.vector.VectorEnv):
            raise ValueError(
                "a vector environment of Gymnasium must be wrapped: bisimgym.wrappers.sb3_vec_env.SB3VecEnv(envs)"
            )
        check_observation_space(cls.__name__, env.observation_space)
        check_action_space(cls.__name__, env.action_space, cls.action_space_class)
        return super()._wrap_env(env, verbose, monitor_wrapper)

    def _setup_model(self) -> None:
        if self._saved_by != type(self).__name__:  # SB3 would fill this class with the other one's attributes
            raise ValueError(
                f"the file was saved by {self._saved_by}: load it with that class, not {type(self).__name__}"
            )
        integer("batch_size", self.batch_size, 1)
        number("gamma", self.gamma, 0, 1)
        # Here, so that a model that is loaded on another device takes what is fast there.
        self.precision = resolve_precision(self._asked_precision, self.device)
        if self.augmentation is not None and not callable(self.augmentation):
            raise ValueError(f"augmentation must be a function such as random_shift or None, got {self.augmentation!r}")
        if self.augmentation is not None and isinstance(self.observation_space, spaces.Dict):
            raise ValueError(
                "augmentation is for observations of one array, got a dictionary: leave it out, or augment in a wrapper"
            )
        shape = self.observation_space.shape
        if self.augmentation is not None and (shape is None or len(shape) != 3):
            raise ValueError(f"augmentation is for images, got observations of shape {shape}: leave it out")
        if self.compile:
            check_compiler(self.device)
        super()._setup_model()
        self.augmentation_stream = RandomStream(0 if self.seed is None else int(self.seed))
        self.own_encoder_optimizer: th.optim.Optimizer | None = None
        if self.encoder_optimizer == "separate":
            parameters = list(self.encoders()[0].parameters())
            if not parameters:
                raise ValueError("encoder_optimizer='separate' needs an encoder with parameters to train, got none")
            policy: Any = self.policy
            self.own_encoder_optimizer = policy.optimizer_class(
                parameters, lr=self.lr_schedule(1), **policy.optimizer_kwargs
            )

    def encoders(self) -> tuple[BaseFeaturesExtractor, BaseFeaturesExtractor]:
        """Return the encoder and its slowly moving copy."""
        raise NotImplementedError

    def encoder_pass(self, part: str, inputs: PyTorchObs, target: bool = False) -> th.Tensor:
        """Return what the encoder or its copy gives, ``float32``, in the precision of passes.

        Args:
            part: name of the encoder's method, or "" for all of it.
            inputs: of it.
            target: whether of the slowly moving copy.
        """
        encoder: Any = self.encoders()[int(target)]
        call = getattr(encoder, part) if part else encoder
        if self.compile:
            if (part, target) not in self._compiled:
                self._compiled[part, target] = th.compile(call)
            call = self._compiled[part, target]
        with autocast(self.precision, self.device):
            return call(inputs).float()

    def update(self, data: ReplayBufferSamples, number: int) -> dict[str, th.Tensor]:
        """Do one gradient update and return its losses, by name, without waiting for the device."""
        raise NotImplementedError

    def main_optimizers(self) -> list[th.optim.Optimizer]:
        """Return the optimizers of the algorithm itself."""
        raise NotImplementedError

    def auxiliary_losses(self, batch: LatentBatch) -> dict[str, th.Tensor]:
        """Return losses, by name and weighted, that are minimized beside the critic's: a method's place to add some."""
        return {}

    def auxiliary_optimizers(self) -> list[th.optim.Optimizer]:
        """Return the optimizers of what auxiliary losses train beside the encoder."""
        return []

    def minimize(
        self,
        loss: th.Tensor,
        optimizer: th.optim.Optimizer,
        batch: LatentBatch | None,
        max_grad_norm: float | None = None,
    ) -> dict[str, th.Tensor]:
        """Take the steps of the algorithm's loss and of the auxiliary losses, and return the latter by name.

        Args:
            loss: of the algorithm, computed from the batch.
            optimizer: of what the loss trains, the encoder among it.
            batch: of the auxiliary losses; ``None``: there are none.
            max_grad_norm: largest norm of the gradients of each optimizer, or ``None``.
        """
        if self.own_encoder_optimizer is None or batch is None:
            auxiliary = {} if batch is None else self.auxiliary_losses(batch)
            total = sum(auxiliary.values(), start=loss)
            self.optimize(total, [optimizer, *self.auxiliary_optimizers()], max_grad_norm)
            return auxiliary
        self.optimize(loss, [optimizer], max_grad_norm)
        auxiliary = self.auxiliary_losses(batch.encoded_again())
        if auxiliary:
            total = th.stack(list(auxiliary.values())).sum()
            self.optimize(total, [self.own_encoder_optimizer, *self.auxiliary_optimizers()], max_grad_norm)
        return auxiliary

    def learn(self, *args: Any, **kwargs: Any) -> Any:
        """As SB3's; losses of the last updates are recorded at the end."""
        learned = super().learn(*args, **kwargs)
        self.record_losses()
        return learned

    def record_losses(self, cause: Exception | None = None) -> None:
        """Record losses; one that is not finite is blamed on the training only if the replay is sound."""
        try:
            self._losses.flush(self.logger, cause)
        except DivergedError:
            if self.replay_buffer is not None:
                check_replay(self.replay_buffer)
            raise

    def _setup_learn(self, *args: Any, **kwargs: Any) -> Any:
        prepared = super()._setup_learn(*args, **kwargs)
        check_finite("observation", self._last_obs, "at the reset")
        replay: Any = self.replay_buffer
        if on_device(self._last_obs) and not (getattr(replay, "on_device", False) and replay.samples_there):
            raise ValueError(
                'environments of tensors need a replay on the device: set replay_device="device" ("auto" is that on a '
                "GPU with room for it), and leave out replay_buffer_class"
            )
        return prepared

    def _store_transition(
        self, replay_buffer: Any, buffer_action: Any, new_obs: Any, reward: Any, dones: Any, infos: Any
    ) -> None:
        normalizer = self._vec_normalize_env  # which may clip what is infinite
        observation, given = new_obs, reward
        if normalizer is not None:
            observation, given = normalizer.get_original_obs(), normalizer.get_original_reward()
        check_step(observation, given, dones, infos, self.num_timesteps)
        if not on_device(new_obs):
            super()._store_transition(replay_buffer, buffer_action, new_obs, reward, dones, infos)
            return
        replay_buffer.add(
            self._last_obs, with_last_observations(new_obs, dones, infos), buffer_action, reward, dones, infos
        )
        self._last_obs = new_obs

    def _sample_action(self, learning_starts: int, action_noise: Any = None, n_envs: int = 1) -> Any:
        """As SB3's; of observations on the device, without a copy to the host."""
        observations: Any = self._last_obs
        if not on_device(observations):
            return super()._sample_action(learning_starts, action_noise, n_envs)
        if action_noise is not None:
            raise ValueError("environments of tensors go without action_noise, which numpy draws: leave it out")
        if self.num_timesteps < learning_starts or self.explores_by_chance():
            actions = np.array([self.action_space.sample() for _ in range(n_envs)])
            return device_actions(self.policy, actions)
        with th.no_grad():
            return device_actions(self.policy, self.policy._predict(observations, deterministic=False))

    def explores_by_chance(self) -> bool:
        """Return whether the next actions are drawn uniformly instead of from the policy."""
        return False

    def train(self, gradient_steps: int, batch_size: int = 64) -> None:
        """Do some gradient updates.

        Losses are recorded, and looked at for divergence, every 100 updates, in :meth:`dump_logs` and at the end of
        :meth:`learn`. In between they stay on the device.

        Raises:
            DivergedError: if a loss is not finite.
        """
        self.policy.set_training_mode(True)
        own = [] if self.own_encoder_optimizer is None else [self.own_encoder_optimizer]
        self._update_learning_rate([*self.main_optimizers(), *self.auxiliary_optimizers(), *own])
        for update_number in range(self._n_updates, self._n_updates + gradient_steps):
            assert self.replay_buffer is not None
            data = self.replay_buffer.sample(batch_size, env=self._vec_normalize_env)
            self.record_statistics = update_number % STATISTICS_EVERY == 0
            try:
                with unchecked_distributions(self.device):
                    losses = self.update(data, update_number)
            except ValueError as error:
                # PyTorch's distributions refuse parameters that are not finite: say which loss was the first.
                self.record_losses(error)
                raise
            if self.record_statistics:
                losses |= self.statistics()
            self._losses.add(update_number, losses)
            if self._losses.is_due():
                self.record_losses()
        self._n_updates += gradient_steps
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")

    def statistics(self) -> dict[str, th.Tensor]:
        """Return what is recorded of some updates only, by name: here the norm of the encoder's gradient."""
        gradients = [p.grad for p in self.encoders()[0].parameters() if p.grad is not None]
        return {"encoder_gradient_norm": th.nn.utils.get_total_norm(gradients)} if gradients else {}

    def dump_logs(self) -> None:
        self.record_losses()
        super().dump_logs()

    def collect_rollouts(self, *args: Any, **kwargs: Any) -> RolloutReturn:
        """As SB3's; an actor that a loss has led astray is reported by the name of that loss."""
        try:
            return super().collect_rollouts(*args, **kwargs)
        except ValueError as error:
            self.record_losses(error)
            raise

    def encoded(self, data: ReplayBufferSamples) -> LatentBatch:
        """Return a sample of the replay with its embeddings."""
        space, scaled = self.policy.observation_space, self.policy.normalize_images
        clean: Any = tuple(preprocess_obs(o, space, scaled) for o in (data.observations, data.next_observations))
        augmentation, rng = self.augmentation, self.augmentation_stream.on(self.device)

        def view() -> Any:  # a pair of observations and next observations
            return clean if augmentation is None else tuple(augmentation(o, rng) for o in clean)

        observations, next_observations = view()
        return LatentBatch(
            observations,
            next_observations,
            actions=action_features(self.action_space, data.actions),
            rewards=data.rewards.reshape(-1),
            dones=data.dones.reshape(-1),
            discounts=self.discounts_of(data),
            encode=partial(self.encoder_pass, ""),
            make_second_view=None if augmentation is None else view,
        )

    def discounts_of(self, data: ReplayBufferSamples) -> float | th.Tensor:
        """Return the discount of the next values: ``float[B, 1]`` for n-step returns."""
        return data.discounts if data.discounts is not None else self.gamma

    def optimize(
        self, loss: th.Tensor, optimizers: list[th.optim.Optimizer], max_grad_norm: float | None = None
    ) -> None:
        """Take a step of all optimizers on one loss, with the gradients of each clipped to a norm if one is given."""
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            if max_grad_norm is not None:
                parameters = [p for group in optimizer.param_groups for p in group["params"]]
                th.nn.utils.clip_grad_norm_(parameters, max_grad_norm)
            optimizer.step()

    def save(self, path: Any, *args: Any, **kwargs: Any) -> None:
        """As SB3's, but what is there is replaced only if it is a model.

        Raises:
            FileExistsError: for anything else that is there.
        """
        if not isinstance(path, str | os.PathLike):
            return super().save(path, *args, **kwargs)
        target = replaceable_archive(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(target) as temporary:
            super().save(temporary, *args, **kwargs)

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_losses", "_compiled", "own_encoder_optimizer"]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        state_dicts, variables = super()._get_torch_save_params()
        own = [] if self.own_encoder_optimizer is None else ["own_encoder_optimizer"]
        return [*state_dicts, "augmentation_stream", *own], variables
