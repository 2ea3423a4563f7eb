"""Imitation from demonstrations, with representations aligned by a behavioral metric (PSE).

Source: Agarwal et al. (2021), "Contrastive Behavioral Similarity Embeddings for Generalization in Reinforcement
Learning", sections 4 and 5 and appendices G and J.
"""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass
from typing import Any

from bisimgym.baselines import core  # noqa: F401

# isort: split
import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback
from stable_baselines3.common.utils import configure_logger
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv
from torch.nn import functional as F

from bisimgym.baselines.core.precision import resolve_precision
from bisimgym.baselines.pse.alignment import Alignment
from bisimgym.baselines.pse.augmentation import convolve_frames, random_kernel
from bisimgym.baselines.pse.policy import ImitationPolicy, RandConvVoter
from bisimgym.baselines.pse.repeated_windows import RepeatedWindows
from bisimgym.baselines.pse.sampling import ShuffledStream
from bisimgym.baselines.pse.settings import ImitationSettings
from bisimgym.wrappers.demonstrations import Demonstrations

__all__ = ["Alignment", "ImitationLearner", "ImitationPolicy", "RandConvVoter"]


def check_settings(**settings: Any) -> None:
    """Raise ``ValueError`` or ``TypeError`` for settings that :class:`ImitationLearner` does not take."""
    ImitationSettings(**settings)


class ImitationLearner(BaseAlgorithm):
    """Learns actions from demonstrations. One timestep of ``learn`` is one gradient update.

    Every update adds up to three losses: cross-entropy on a batch in which each action has the same probability; an l2
    penalty; and, with ``alignment``, the alignment loss of two random demonstrations, each seen through a random
    filter of its own when ``augmentation="randconv"``.

    The behavior is SB3's: ``learn``, ``predict``, ``save``, ``load``, ``set_logger``, callbacks, seeds. After
    ``ImitationLearner.load(path, demonstrations=...)``, ``learn`` goes on exactly as the unbroken run would.

    Args:
        policy: "CnnPolicy" or an :class:`ImitationPolicy` subclass.
        demonstrations: what to imitate; their images, actions and rewards. Not saved with the model.
        env: not learned from; for callbacks that look at the model's environment, such as ``EvalCallback``.
        tensorboard_log, verbose, device, seed: as in SB3.
        **settings: fields of :class:`~.settings.ImitationSettings`: ``learning_rate``, ``batch_size``, ``alignment``
            and so on. Each is an attribute of the learner.

    Raises:
        ValueError: for a value out of range, or no demonstrations.
        TypeError: for a setting that does not exist.
    """

    policy_aliases = {"CnnPolicy": ImitationPolicy}
    policy: ImitationPolicy
    policy_class: type[ImitationPolicy]
    observation_space: spaces.Box
    action_space: spaces.Discrete
    learning_rate: float
    lr_decay: float
    batch_size: int
    l2_coefficient: float
    dropout: float
    augmentation: str | None
    frame_channels: int
    clean_probability: float
    alignment: Alignment | None
    precision: str

    def __init__(
        self,
        policy: str | type[ImitationPolicy] = "CnnPolicy",
        demonstrations: Demonstrations | None = None,
        *,
        tensorboard_log: str | None = None,
        verbose: int = 0,
        device: th.device | str = "auto",
        seed: int | None = None,
        env: Any = None,
        _init_setup_model: bool = True,
        **settings: Any,
    ):
        checked = ImitationSettings(**settings)
        super().__init__(
            policy,
            env=None,
            learning_rate=checked.learning_rate,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            device=device,
            seed=seed,
        )
        # One by one, as SB3 saves and loads attributes.
        vars(self).update(vars(checked))
        if env is not None:
            self.env = self._wrap_env(env)
            self.n_envs = self.env.num_envs
        self.demonstrations = demonstrations
        self._n_updates = 0
        self._data: _Data | None = None
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        if not hasattr(self, "_rng"):
            demonstrations = self._require_demonstrations()
            shape = demonstrations.observations.shape[1:]
            self.observation_space = spaces.Box(0, 255, shape, np.uint8)
            self.action_space = spaces.Discrete(int(demonstrations.actions.max()) + 1)
            self._rng = np.random.default_rng(self.seed)
            self._streams: list[ShuffledStream] | None = None
            initial = th.Generator().manual_seed(int(self._rng.integers(2**62)))
        else:
            initial = th.Generator()  # load() puts the saved parameters in place of these
        if self.observation_space.shape[2] % self.frame_channels:
            raise ValueError(
                f"frame_channels={self.frame_channels} does not divide the {self.observation_space.shape[2]} channels"
            )
        contrastive = self.alignment is not None and self.alignment.loss == "contrastive"
        self.policy = self.policy_class(
            self.observation_space,
            self.action_space,
            projection_dim=64 if contrastive else None,
            precision=resolve_precision(self.precision, self.device),
            generator=initial,
        ).to(self.device)
        # Keras's epsilon, as in the authors' code. The fused update is about a third of the time of a loop of updates.
        fused = self.device.type in ("cpu", "cuda")
        self.policy.optimizer = th.optim.Adam(self.policy.parameters(), lr=self.learning_rate, eps=1e-7, fused=fused)

    @staticmethod
    def _wrap_env(env: GymEnv, verbose: int = 0, monitor_wrapper: bool = True) -> VecEnv:
        """As SB3's, but images stay channel last: the policy takes them as environments give them."""
        return env if isinstance(env, VecEnv) else DummyVecEnv([lambda: Monitor(env)])

    def set_random_seed(self, seed: int | None = None) -> None:
        """Seed what the learner draws from now on. Global generators are left alone: none is used."""
        self.seed = seed
        self._rng = np.random.default_rng(seed)
        self._streams = None

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 100,
        tb_log_name: str = "imitation",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> ImitationLearner:
        """Make ``total_timesteps`` gradient updates (more of them, with ``reset_num_timesteps=False``)."""
        data = self._prepare()
        total_timesteps, callback = self._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )
        callback.on_training_start(locals(), globals())
        while self.num_timesteps < total_timesteps:
            logs = self._update(data)
            self.num_timesteps += 1
            self._update_current_progress_remaining(self.num_timesteps, total_timesteps)
            callback.update_locals(locals())
            if not callback.on_step():
                break
            if log_interval is not None and self.num_timesteps % log_interval == 0:
                for name, value in logs.items():
                    self.logger.record(f"train/{name}", float(value))
                self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
                self.logger.dump(step=self.num_timesteps)
        callback.on_training_end()
        return self

    def _setup_learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        reset_num_timesteps: bool = True,
        tb_log_name: str = "run",
        progress_bar: bool = False,
    ) -> tuple[int, BaseCallback]:
        """As SB3's, without an environment to reset."""
        if reset_num_timesteps:
            self.num_timesteps = 0
        self.start_time = time.time_ns()
        self._num_timesteps_at_start = self.num_timesteps
        self._total_timesteps = self.num_timesteps + total_timesteps
        if not self._custom_logger:
            self._logger = configure_logger(self.verbose, self.tensorboard_log, tb_log_name, reset_num_timesteps)
        hybrid = self._init_callback(callback)
        if progress_bar:
            hybrid = CallbackList([hybrid, _ProgressBar()])
            hybrid.init_callback(self)
        return self._total_timesteps, hybrid

    @property
    def updates_per_epoch(self) -> int:
        return len(self._require_demonstrations().actions) // self.batch_size + 1

    def losses(self) -> dict[str, th.Tensor]:
        """Draw one batch and return its losses, weighted, as scalars whose sum an update minimizes.

        imitation: trains encoder and actor. l2: every parameter. alignment: encoder, and projection if there is one.
        """
        data = self._prepare()
        batch = self._sample_actions()
        kernels = [self._filter()]
        wanted = [batch]
        if self.alignment is not None:
            pair = self._rng.choice(len(data.aligned), size=2, replace=False)
            wanted += [np.arange(data.aligned[i].start, data.aligned[i].stop) for i in pair]
            kernels += [self._filter() for _ in pair]
        imitated, *aligned = self._represent(data, wanted, kernels)
        imitated = self._drop(imitated)
        actions = data.actions[th.from_numpy(batch).to(self.device)]
        losses = {"imitation": F.cross_entropy(self.policy.actor(imitated), actions)}
        if self.l2_coefficient > 0:
            squares = [parameter.square().sum() for parameter in self.policy.parameters()]
            losses["l2"] = self.l2_coefficient * 0.5 * th.stack(squares).mean()
        if self.alignment is not None:
            target = data.targets[pair[0], pair[1]]
            x, y = aligned
            losses["alignment"] = self.alignment.loss_of(x, y, target, self.policy.projection)
        return losses

    def _update(self, data: _Data) -> dict[str, Any]:
        learning_rate = self.learning_rate * self.lr_decay ** (self._n_updates // self.updates_per_epoch)
        self.policy.optimizer.param_groups[0]["lr"] = learning_rate
        losses = self.losses()
        self.policy.optimizer.zero_grad()
        functools.reduce(th.add, losses.values()).backward()
        self.policy.optimizer.step()
        self._n_updates += 1
        detached = {f"{name}_loss": loss.detach() for name, loss in losses.items()}
        return {"learning_rate": learning_rate, **detached}

    def _filter(self) -> th.Tensor | None:
        if self.augmentation is None:
            return None
        return th.from_numpy(random_kernel(self.frame_channels, self.clean_probability, self._rng)).to(self.device)

    def _represent(
        self, data: _Data, wanted: list[np.ndarray], kernels: list[th.Tensor | None]
    ) -> tuple[th.Tensor, ...]:
        """Return the representations of images, by index, that are seen through filters, ``float32[n, 256]`` each.

        A batch repeats its few rare actions many times: each image passes the encoder once with each filter.
        """
        sizes = [len(indices) for indices in wanted]
        if self.augmentation is None:
            wanted, kernels = [np.concatenate(wanted)], [None]
        parts, rows, total = [], [], 0
        for indices, kernel in zip(wanted, kernels, strict=True):
            distinct, inverse = np.unique(indices, return_inverse=True)
            parts.append((distinct, kernel))
            rows.append(inverse + total)
            total += len(distinct)
        if data.windows is not None:
            representation = data.windows.represent(self.policy.encoder, parts)
        else:
            representation = self.policy.represent(th.cat([_seen(data.images, *part) for part in parts]))
        # index_select, because the gradient of plain indexing is summed in no fixed order.
        return representation.index_select(0, th.from_numpy(np.concatenate(rows)).to(self.device)).split(sizes)

    def _drop(self, representation: th.Tensor) -> th.Tensor:
        if self.dropout == 0:
            return representation
        kept = self._rng.random(tuple(representation.shape), dtype=np.float32) >= self.dropout
        return representation * th.from_numpy(kept).to(self.device) / (1 - self.dropout)

    def _sample_actions(self) -> np.ndarray:
        """Return a batch of step indices in which every action of the demonstrations has the same probability."""
        if self._streams is None:
            actions = self._require_demonstrations().actions
            self._streams = [ShuffledStream(np.flatnonzero(actions == a)) for a in np.unique(actions)]
        counts = self._rng.multinomial(self.batch_size, np.full(len(self._streams), 1 / len(self._streams)))
        return np.concatenate([s.take(n, self._rng) for s, n in zip(self._streams, counts, strict=True)])

    def _require_demonstrations(self) -> Demonstrations:
        if self.demonstrations is None:
            raise ValueError("learning needs demonstrations: pass demonstrations=... to the constructor or to load()")
        return self.demonstrations

    def _prepare(self) -> _Data:
        if self._data is None:
            demonstrations = self._require_demonstrations()
            if demonstrations.observations.shape[1:] != self.observation_space.shape:
                raise ValueError(
                    f"demonstrations show images of shape {demonstrations.observations.shape[1:]}, the model was made "
                    f"for {self.observation_space.shape}"
                )
            observations = th.from_numpy(np.ascontiguousarray(demonstrations.observations)).to(self.device)
            assert demonstrations.aligned is not None  # all by default
            slices = [s for s, a in zip(demonstrations.slices(), demonstrations.aligned, strict=True) if a]
            if self.alignment is not None and len(slices) < 2:
                raise ValueError(f"alignment needs at least two aligned demonstrations, got {len(slices)}")
            self._data = _Data(
                images=self.policy.images(observations),
                windows=self._repeated_windows(demonstrations),
                actions=th.from_numpy(demonstrations.actions).to(self.device),
                aligned=slices,
                targets=self.alignment.targets(demonstrations, slices, self.device) if self.alignment else {},
            )
        return self._data

    def _repeated_windows(self, demonstrations: Demonstrations) -> RepeatedWindows | None:
        """Return which windows look alike, on a processor: a GPU is faster without the detour."""
        if self.device.type != "cpu" or self.policy.precision != "float32":
            return None
        return RepeatedWindows.of(demonstrations.observations, self.policy.encoder)

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "demonstrations", "_data"]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "policy.optimizer"], []


@dataclass
class _Data:
    """The demonstrations on the device."""

    images: th.Tensor
    windows: RepeatedWindows | None
    actions: th.Tensor
    aligned: list[slice]
    targets: dict[tuple[int, int], Any]


def _seen(images: th.Tensor, indices: np.ndarray, kernel: th.Tensor | None) -> th.Tensor:
    """Return some images, seen through a filter."""
    chosen = images[th.from_numpy(indices).to(images.device)]
    return chosen if kernel is None else convolve_frames(chosen, kernel)


class _ProgressBar(BaseCallback):
    """Shows the updates done; SB3's own bar counts environments, which imitation has none of."""

    def _on_training_start(self) -> None:
        from tqdm import tqdm

        self._bar = tqdm(total=self.locals["total_timesteps"], initial=self.num_timesteps, unit="update")

    def _on_step(self) -> bool:
        self._bar.update()
        return True

    def _on_training_end(self) -> None:
        self._bar.close()
