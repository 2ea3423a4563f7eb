"""What an agent sees: images under both kinds of distractions, and the pixels that its value hangs on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from matplotlib.figure import Figure

from bisimgym.benchmarks.suites.figures import new_figure

_SHOWN = 4


def seen(agent: Any, env: gym.Env, seed: int, count: int = _SHOWN) -> np.ndarray:
    """Return what an agent sees in one episode at equal distances, ``uint8[count, H, W, C]``."""
    observation, _ = env.reset(seed=seed)
    found, ended = [], False
    while not ended:
        found.append(observation)
        action, _ = agent.predict(observation[None], deterministic=True)
        observation, _, terminated, truncated, _ = env.step(action[0])
        ended = terminated or truncated
    return np.stack([found[i] for i in np.linspace(0, len(found) - 1, count).astype(int)])


def saliency(model: Any, observations: np.ndarray) -> np.ndarray:
    """Return how much the value of the action taken hangs on each pixel, ``float32[B, H, W]``, at most 1 in an image.

    It is the sum over the channels of the gradient's absolute values, as in Simonyan, Vedaldi and Zisserman (2014),
    "Deep inside convolutional networks".

    Args:
        model: an agent of this package whose policy has an encoder.
        observations: ``uint8[B, H, W, C]``, as environments give them.
    """
    import torch as th

    policy = model.policy
    policy.set_training_mode(False)
    actions = th.as_tensor(policy.scale_action(model.predict(observations, deterministic=True)[0])).to(model.device)
    images = th.as_tensor(observations.transpose(0, 3, 1, 2), dtype=th.float32, device=model.device)
    images.requires_grad_(True)
    values = th.cat(policy.critic(policy.critic_input(policy.encoder(images)), actions), dim=1).amin(dim=1)
    (gradient,) = th.autograd.grad(values.sum(), images)
    found = gradient.abs().sum(dim=1).cpu().numpy()
    return found / np.maximum(found.max(axis=(1, 2), keepdims=True), 1e-12)


def figures_of(model: Any, envs: Mapping[str, gym.Env], seed: int) -> dict[str, Figure]:
    """Return the picture of an agent by the name of its file.

    Args:
        model: the agent.
        envs: by what their distractions are.
        seed: of the episodes that are shown.
    """
    figure = new_figure("What the agent sees, and the pixels that its value hangs on", (8.0, 2.3 * len(envs) + 0.4))
    parts: Any = figure.subfigures(len(envs), 1)
    for part, (name, env) in zip(np.atleast_1d(parts), envs.items(), strict=True):
        observations = seen(model, env, seed)
        _rows(part, name, observations[..., -3:], saliency(model, observations))
    return {"1_saliency": figure}


def _rows(part: Any, name: str, images: Sequence[np.ndarray] | np.ndarray, maps: np.ndarray) -> None:
    axes = part.subplots(2, len(images))
    for column, (image, found) in enumerate(zip(images, maps, strict=True)):
        axes[0, column].imshow(image)
        axes[1, column].imshow(found, cmap="magma", vmin=0, vmax=1)
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
    axes[0, 0].set_ylabel(name, fontsize=8)
