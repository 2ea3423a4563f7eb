"""The denoising factor: how much of a distraction an encoder removes.

Source: Luo, Ni, Bacon, Precup and Si (2025), the study of metric learning under noise, arXiv 2506.00563. There,
the positives may come from another distribution of noise than anchors and negatives do; here all three come from that
of the environment that is given.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from tqdm import tqdm

from bisimgym.envs.distractions.protocol import Redistractable


@dataclass(frozen=True)
class DenoisingFactor:
    """How far noise moves an embedding, against how far a change of state moves it.

    Attributes:
        value: ``(negative - positive) / (negative + positive)`` in [-1, 1], 0 if both are 0. 1: the embedding does not
            depend on the noise at all; 0: noise moves it as much as a change of state does.
        positive: mean Euclidean distance of two embeddings of the same state under independent noise.
        negative: mean Euclidean distance of embeddings of observations of two visited states.
        anchors: N, number of observations that the means are over.
        standard_error: of ``value``, by the jackknife that leaves out one episode at a time, both as anchors and as
            negatives (observations within an episode depend on each other); NaN with a single episode.
    """

    value: float
    positive: float
    negative: float
    anchors: int
    standard_error: float


def denoising_factor(
    encoder: Any,
    env: gym.Env,
    *,
    policy: Any = None,
    episodes: int = 10,
    positives: int = 16,
    negatives: int = 16,
    max_anchors: int | None = None,
    seed: int = 0,
    block: int = 125,
    progress: bool = False,
) -> DenoisingFactor:
    """Return the denoising factor of an encoder in a distracting environment.

    Anchors are the observations on which the policy acts. Each is compared with ``positives`` new observations of the
    same clean state, drawn by the environment's sampler, and with ``negatives`` anchors drawn uniformly with
    replacement (the anchor itself included, as in the study, which shortens the mean by the fraction 1/N).

    The factor is blind to what else the encoder loses: one clean number that survives gives 1, whether or not the task
    can be solved from it. Report it beside a score of how well the state can be decoded, never alone.

    Args:
        encoder: maps a batch of observations, an array ``[B, *observation_space.shape]`` of the space's dtype, to
            ``float[B, D]``, an array or a torch tensor; or an object whose method ``embed`` does. Each row must depend
            on its observation alone: no dropout, and batch normalization in evaluation mode.
        env: one Gymnasium environment, not a vector, whose episodes end and which is a
            :class:`~bisimgym.envs.distractions.protocol.Redistractable`, below other wrappers or not. It is reset with
            ``seed``, stepped and left open.
        policy: an agent with Stable-Baselines3's ``predict``, asked for deterministic actions on batches of one; or a
            function from an observation to an action; or None for random actions.
        episodes: at least 1.
        positives: for each anchor, at least 1.
        negatives: for each anchor, at least 1.
        max_anchors: at least 2: keep only that many of the visited observations, drawn uniformly without replacement.
            It bounds the memory, which holds all anchors; None keeps all.
        seed: at least 0. The result is a function of it, up to rounding in the encoder.
        block: anchors that are encoded at once, at least 1; memory holds ``block * positives`` observations.
        progress: whether to show progress bars.

    Raises:
        ValueError: for a number out of range, an environment without a sampler or whose sampler does not sample what it
            shows, fewer than two anchors, or embeddings of a wrong shape or that are not finite.

    Example:
        >>> import gymnasium as gym
        >>> from bisimgym.benchmarks.measures.denoising import denoising_factor
        >>> from bisimgym.wrappers import GaussianNoise
        >>> env = GaussianNoise(gym.make("Pendulum-v1"), dimensions=32)
        >>> denoising_factor(lambda observations: observations[:, :3], env).value
        1.0
    """
    for name, number, least in (
        ("episodes", episodes, 1),
        ("positives", positives, 1),
        ("negatives", negatives, 1),
        ("max_anchors", 2 if max_anchors is None else max_anchors, 2),
        ("seed", seed, 0),
        ("block", block, 1),
    ):
        if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or number < least:
            raise ValueError(f"{name} must be an integer of at least {least}, got {number!r}")
    sampler = _sampler(env)
    encode = _Encoder(encoder)
    action_rng, anchor_rng, positive_rng, negative_rng = map(
        np.random.default_rng, np.random.SeedSequence(int(seed)).spawn(4)
    )
    anchors = _Reservoir(max_anchors, anchor_rng)
    act = _acting(policy, env.action_space, action_rng)
    for episode in tqdm(range(episodes), "episodes", leave=False, disable=not progress):
        observation, _ = env.reset(seed=int(seed) if episode == 0 else None)
        first, ended = True, False
        while not ended:
            if anchors.takes_next():
                anchors.put((np.array(observation), sampler.clean_state(), episode))
            observation, _, terminated, truncated, _ = env.step(act(observation, first))
            first, ended = False, terminated or truncated
    count = len(anchors.items)
    if count < 2:
        raise ValueError(f"the denoising factor needs at least 2 anchors, but {episodes} episodes gave {count}")
    observations, states, episode_of = zip(*anchors.items, strict=True)

    shape = (positives, *observations[0].shape)
    blocks = [slice(start, min(start + block, count)) for start in range(0, count, block)]
    embedding = np.concatenate([encode(np.stack(observations[rows])) for rows in blocks])
    partner = negative_rng.integers(count, size=(count, negatives))
    positive, negative = np.empty((count, positives)), np.empty((count, negatives))
    for rows in tqdm(blocks, "blocks of anchors", leave=False, disable=not progress):
        drawn = [sampler.redistract(state, positives, positive_rng) for state in states[rows]]
        for new in drawn:
            if new.shape != shape:
                raise ValueError(f"redistract of {sampler} must return an array of shape {shape}, got {new.shape}")
        fresh, anchor = encode(np.concatenate(drawn)), embedding[rows, None]
        positive[rows] = np.linalg.norm(fresh.reshape(-1, positives, embedding.shape[1]) - anchor, axis=2)
        negative[rows] = np.linalg.norm(embedding[partner[rows]] - anchor, axis=2)
    mean_positive, mean_negative = float(positive.mean()), float(negative.mean())
    return DenoisingFactor(
        value=float(_factor(mean_positive, mean_negative)),
        positive=mean_positive,
        negative=mean_negative,
        anchors=count,
        standard_error=_jackknife(positive, negative, np.array(episode_of), partner),
    )


def _factor(positive: Any, negative: Any) -> Any:
    """Return ``(negative - positive) / (negative + positive)``, 0 where both are 0, of numbers or arrays."""
    total = np.add(negative, positive)
    return np.divide(np.subtract(negative, positive), np.where(total > 0, total, 1.0))


def _jackknife(positive: np.ndarray, negative: np.ndarray, episode: np.ndarray, partner: np.ndarray) -> float:
    """Return the standard error of the factor from leaving out one episode at a time.

    ``negative``, ``float[N, K]``, are distances to the anchors ``partner``, ``int[N, K]``; ``episode`` is ``int[N]``.
    """
    groups, group = np.unique(episode, return_inverse=True)
    size = len(groups)
    if size < 2:
        return math.nan
    positive_sum = np.bincount(group, positive.sum(axis=1))
    positive_count = np.bincount(group) * positive.shape[1]
    # Negatives that touch an episode from either side go with it.
    pair = (group[:, None] * size + group[partner]).ravel()
    negative_sum = np.bincount(pair, negative.ravel(), minlength=size**2).reshape(size, size)
    negative_count = np.bincount(pair, minlength=size**2).reshape(size, size)
    counts = _without_each(negative_count)
    if (counts == 0).any():
        return math.nan
    values = _factor(
        (positive_sum.sum() - positive_sum) / (positive_count.sum() - positive_count),
        _without_each(negative_sum) / counts,
    )
    return float(np.sqrt((size - 1) / size * np.square(values - values.mean()).sum()))


def _without_each(matrix: np.ndarray) -> np.ndarray:
    """Return ``[n]``: the sum of a matrix ``[n, n]`` without row i and column i."""
    return matrix.sum() - matrix.sum(axis=0) - matrix.sum(axis=1) + np.diagonal(matrix)


class _Reservoir:
    """A uniform sample without replacement of a stream of unknown length (algorithm R, Vitter 1985)."""

    def __init__(self, capacity: int | None, rng: np.random.Generator):
        self.items: list[Any] = []
        self._capacity, self._rng, self._seen, self._slot = capacity, rng, 0, 0

    def takes_next(self) -> bool:
        """Return whether the stream's next item has a place, which :meth:`put` fills."""
        self._seen += 1
        self._slot = len(self.items)
        if self._slot == self._capacity:
            self._slot = int(self._rng.integers(self._seen))
        return self._capacity is None or self._slot < self._capacity

    def put(self, item: Any) -> None:
        self.items[self._slot : self._slot + 1] = [item]


class _Encoder:
    """The user's encoder, with its output checked."""

    def __init__(self, encoder: Any):
        self._embed = getattr(encoder, "embed", encoder)
        self._width: int | None = None
        if not callable(self._embed):
            raise ValueError(
                f"encoder must be a function of a batch of observations or have a method embed, got {encoder!r}"
            )

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Return ``float64[B, D]``."""
        output = self._embed(batch)
        if hasattr(output, "detach"):  # a torch tensor, of any floating type and on any device
            output = output.detach().cpu().double().numpy()
        embedding = np.asarray(output, dtype=np.float64)
        width = embedding.shape[-1] if embedding.ndim == 2 else 0
        if width == 0 or len(embedding) != len(batch) or self._width not in (None, width):
            raise ValueError(
                f"encoder must map a batch of shape {batch.shape} to float[{len(batch)}, {self._width or 'D'}], "
                f"got shape {embedding.shape}"
            )
        self._width = width
        if not np.isfinite(embedding).all():
            wrong = int((~np.isfinite(embedding)).sum())
            raise ValueError(f"encoder returned {wrong} of {embedding.size} numbers that are not finite")
        return embedding


def _sampler(env: gym.Env) -> Redistractable:
    """Return the part of an environment that draws its observations, or raise ``ValueError``."""
    if not isinstance(env, gym.Env):
        raise ValueError(f"env must be one Gymnasium environment, not a vector or anything else, got {env!r}")
    layer, changed_by = env, None
    while not isinstance(layer, Redistractable):
        if not isinstance(layer, gym.Wrapper):
            raise ValueError(
                f"{env} cannot draw other observations of its state: it needs clean_state() and redistract() of "
                "bisimgym.envs.distractions.protocol.Redistractable, as an environment in "
                "bisimgym.wrappers.GaussianNoise, RandomProjection or PixelBackground has"
            )
        changed_by = layer if isinstance(layer, gym.ObservationWrapper) else changed_by
        layer = layer.env
    drawn, shown = layer.observation_space, env.observation_space
    if changed_by is not None or drawn.shape != shown.shape or drawn.dtype != shown.dtype:
        what = f"{changed_by.class_name()} changes" if changed_by else f"wrappers change {drawn} to {shown}:"
        raise ValueError(
            f"the sampler of {env} draws other observations than it shows, because {what} them after the distraction: "
            "put such wrappers below the distraction, or their function into the encoder"
        )
    return layer


def _acting(policy: Any, space: gym.Space, rng: np.random.Generator) -> Callable[[np.ndarray, bool], Any]:
    """Return a function from an observation, and whether it is an episode's first, to an action."""
    if policy is None:
        space = copy.deepcopy(space)
        space.seed(int(rng.integers(2**31)))
        return lambda observation, first: space.sample()
    if not callable(getattr(policy, "predict", None)):
        if not callable(policy):
            raise ValueError(f"policy must be None, a function of an observation or have predict(), got {policy!r}")
        return lambda observation, first: policy(observation)
    state: Any = None

    def act(observation: np.ndarray, first: bool) -> Any:
        nonlocal state
        action, state = policy.predict(
            observation[None], state=None if first else state, episode_start=np.array([first]), deterministic=True
        )
        return action[0]

    return act
