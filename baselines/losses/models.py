"""The small networks that metric losses need beside the encoder.

Layers are initialized as torch does, from its global generator, which algorithms of Stable-Baselines3 seed. Results are
float32 under autocast too: standard deviations and losses need the digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import torch as th
from torch import nn
from torch.nn import functional as F

from bisimgym.baselines.losses.distances import check_option, check_shape
from bisimgym.baselines.losses.predictions import gaussian_nll

MODEL_KINDS = ("gaussian", "deterministic", "ensemble")


class Gaussian(NamedTuple):
    """A diagonal Gaussian per row; point masses have ``std`` 0.

    Attributes:
        mean, std: of the same shape.
    """

    mean: th.Tensor
    std: th.Tensor


class MemberLinear(nn.Module):
    """M linear layers side by side, each initialized as ``nn.Linear``: ``float[M, B, I]`` to ``float[M, B, O]``."""

    def __init__(self, members: int, in_features: int, out_features: int):
        super().__init__()
        bound = in_features**-0.5
        self.weight = nn.Parameter(th.empty(members, in_features, out_features).uniform_(-bound, bound))
        self.bias = nn.Parameter(th.empty(members, 1, out_features).uniform_(-bound, bound))

    def forward(self, x: th.Tensor, member: th.Tensor | None = None) -> th.Tensor:
        weight, bias = _of(self.weight, member), _of(self.bias, member)
        return th.baddbmm(bias, x.expand(len(weight), *x.shape[-2:]), weight)


class MemberLayerNorm(nn.Module):
    """M layer normalizations side by side, of ``float[M, B, features]``."""

    def __init__(self, members: int, features: int):
        super().__init__()
        self.weight = nn.Parameter(th.ones(members, 1, features))
        self.bias = nn.Parameter(th.zeros(members, 1, features))

    def forward(self, x: th.Tensor, member: th.Tensor | None = None) -> th.Tensor:
        return F.layer_norm(x, x.shape[-1:]) * _of(self.weight, member) + _of(self.bias, member)


def _of(parameter: th.Tensor, member: th.Tensor | None) -> th.Tensor:
    return parameter if member is None else parameter.index_select(0, member)


class TransitionModel(nn.Module):
    """Predicts the next embedding (itself, not its change) from an embedding and an action.

    A linear layer on both, LayerNorm, ReLU, and linear heads for the mean and, squashed into ``std_range`` by a
    sigmoid, the standard deviation. After Zhang et al. (2021), DBC. SimSR's own ensemble has one more layer per member
    and no LayerNorm; here the kinds differ in nothing but what they predict.

    Args:
        latent_dim: D, of embeddings.
        action_dim: A, of actions; the number of actions if they are one-hot.
        kind: "gaussian"; "deterministic", whose standard deviations are 0; or "ensemble", of Gaussian members that are
            initialized differently and trained on the same data.
        hidden: units.
        members: of the ensemble; of other kinds there is one.
        std_range: least and largest standard deviation.
        layer_norm: False leaves the LayerNorm out, as forward models of interaction-based representations do.
        trains_encoder: whether the model's losses on a batch of an agent reach the encoder; if not, it learns from
            detached embeddings.

    Raises:
        ValueError: for an unknown kind, sizes below 1, or a range that does not rise from above 0.
    """

    def __init__(
        self,
        latent_dim: int,
        action_dim: int,
        kind: Literal["gaussian", "deterministic", "ensemble"] = "gaussian",
        hidden: int = 512,
        members: int = 5,
        std_range: tuple[float, float] = (1e-4, 10.0),
        layer_norm: bool = True,
        trains_encoder: bool = False,
    ):
        super().__init__()
        check_option("kind", kind, MODEL_KINDS)
        check_sizes(latent_dim=latent_dim, action_dim=action_dim, hidden=hidden, members=members)
        self.latent_dim, self.action_dim, self.kind = latent_dim, action_dim, kind
        self.trains_encoder = trains_encoder
        self.std_range = checked_range(std_range)
        self.num_members = members if kind == "ensemble" else 1
        self.body = MemberLinear(self.num_members, latent_dim + action_dim, hidden)
        self.norm = MemberLayerNorm(self.num_members, hidden) if layer_norm else None
        self.mean = MemberLinear(self.num_members, hidden, latent_dim)
        self.std = None if kind == "deterministic" else MemberLinear(self.num_members, hidden, latent_dim)

    def members(self, z: th.Tensor, action: th.Tensor, member: th.Tensor | None = None) -> Gaussian:
        """Return what each member predicts, ``float[M, B, D]``, or what those do that ``int64[K]`` names."""
        x = self._hidden(z, action, member)
        mean = self.mean(x, member).float()
        std = th.zeros_like(mean) if self.std is None else squash(self.std(x, member), self.std_range)
        return Gaussian(mean, std)

    def _hidden(self, z: th.Tensor, action: th.Tensor, member: th.Tensor | None = None) -> th.Tensor:
        check_shape("z", z, (*z.shape[:1], self.latent_dim))
        _check_action(action, len(z), self.action_dim)
        x = self.body(th.cat([z, action.to(z.dtype)], dim=1), member)
        return (x if self.norm is None else self.norm(x, member)).relu()

    def expected(self, z: th.Tensor, action: th.Tensor) -> th.Tensor:
        """Return the mean of what :meth:`forward` predicts, ``float[B, D]``, and spare the standard deviation."""
        return self.mean(self._hidden(z, action)).float().mean(dim=0)

    def forward(self, z: th.Tensor, action: th.Tensor) -> Gaussian:
        """Return the predicted next embeddings, mean and standard deviation ``float[B, D]``.

        Of an ensemble they are those of the mixture of its members.

        Args:
            z: ``float[B, D]``; ``action``: ``float[B, A]``. Gradients flow into both.

        Raises:
            ValueError: for other shapes.
        """
        return self.mixture(self.members(z, action))

    def mixture(self, members: Gaussian) -> Gaussian:
        """Return mean and standard deviation, ``float[B, D]``, of what all members predict, ``float[M, B, D]``."""
        mean, std = members
        if self.num_members == 1:
            return Gaussian(mean[0], std[0])
        middle = mean.mean(dim=0)
        variance = (std.square() + (mean - middle).square()).mean(dim=0)
        return Gaussian(middle, variance.sqrt())

    def sample(self, z: th.Tensor, action: th.Tensor, generator: th.Generator) -> th.Tensor:
        """Return a draw of the next embeddings, ``float[B, D]``, differentiable with respect to the parameters.

        An ensemble draws one member for the whole batch, so that two rows differ by what they are and not by who
        predicts.

        Args:
            generator: best on the device of the parameters, which saves a copy.
        """
        member = self._draw_member(z.device, generator)
        return self._draw(self.members(z, action, member), generator)

    def sample_from(self, members: Gaussian, generator: th.Generator) -> th.Tensor:
        """Return what :meth:`sample` does, from what all members predict, ``float[M, B, D]``."""
        member = self._draw_member(members.mean.device, generator)
        return self._draw(Gaussian(*(_of(x, member) for x in members)), generator)

    def _draw_member(self, device: th.device, generator: th.Generator) -> th.Tensor | None:
        if self.num_members == 1:
            return None
        return th.randint(self.num_members, (1,), generator=generator, device=generator.device).to(device)

    def _draw(self, member: Gaussian, generator: th.Generator) -> th.Tensor:
        mean, std = (x[0] for x in member)
        if self.kind == "deterministic":
            return mean
        noise = th.randn(mean.shape, generator=generator, device=generator.device).to(mean.device)
        return mean + std * noise

    def negative_log_likelihood(self, members: Gaussian, next_z: th.Tensor) -> th.Tensor:
        """Return the loss of self-prediction, a scalar: the mean of :func:`gaussian_nll` over members.

        Args:
            members: what :meth:`members` predicts, ``float[M, B, D]``.
            next_z: ``float[B, D]``; gets no gradient.
        """
        check_shape("next_z", next_z, tuple(members.mean.shape[1:]))
        return gaussian_nll(*members, next_z.expand_as(members.mean))

    def under(self, z: th.Tensor, actions: th.Tensor) -> Gaussian:
        """Return the next embeddings of every row under each of K actions, mean and standard deviation [K, B, D].

        Args:
            z: ``float[B, D]``.
            actions: ``float[K, A]``.
        """
        rows = self(z.repeat(len(actions), 1), actions.to(z.dtype).repeat_interleave(len(z), dim=0))
        return Gaussian(*(part.view(len(actions), *z.shape) for part in rows))

    def each_action(self, z: th.Tensor) -> th.Tensor:
        """Return the mean next embeddings under every one-hot action, ``float[A, B, D]``."""
        actions = th.eye(self.action_dim, dtype=z.dtype, device=z.device)
        rows = z.repeat(self.action_dim, 1)
        return self.expected(rows, actions.repeat_interleave(len(z), dim=0)).view(self.action_dim, *z.shape)


class RewardModel(nn.Module):
    """Predicts rewards from embeddings, and actions if it is given their dimension.

    Linear, LayerNorm, ReLU, linear. Source: Zhang et al. (2021), DBC, on (samples of) next embeddings; on an embedding
    and an action it is that of DeepMDP.

    Args:
        latent_dim: D, of embeddings.
        action_dim: A, of actions; 0 for none.
        hidden: units.
    """

    def __init__(self, latent_dim: int, action_dim: int = 0, hidden: int = 512):
        super().__init__()
        check_sizes(latent_dim=latent_dim, action_dim=action_dim + 1, hidden=hidden)
        self.action_dim = action_dim
        self.net = linear_head(latent_dim + action_dim, hidden, 1)

    def forward(self, z: th.Tensor, action: th.Tensor | None = None) -> th.Tensor:
        """Return predicted rewards, ``float[B]``.

        Args:
            z: ``float[B, D]``; ``action``: ``float[B, A]``, or None if ``action_dim`` is 0.

        Raises:
            ValueError: for other shapes, or an action too many or too few.
        """
        if (action is None) != (self.action_dim == 0):
            given = "none" if action is None else "one"
            raise ValueError(f"the model was made with action_dim={self.action_dim}, but was given {given} action")
        if action is not None:
            _check_action(action, len(z), self.action_dim)
            z = th.cat([z, action.to(z.dtype)], dim=1)
        return self.net(z).float().squeeze(-1)


class InverseModel(nn.Sequential):
    """Predicts the action between two embeddings: its value, or logits of finitely many.

    Source: Kemertas and Aumentado-Armstrong (2021), robust DBC: hidden layers of 256 and 128, ELU. Interaction-based
    representations have one of 256 and ReLU.

    Args:
        latent_dim: D, of embeddings.
        action_dim: A, of actions, or their number.
        hidden: units of the hidden layers.
        activation: between layers.
    """

    def __init__(
        self,
        latent_dim: int,
        action_dim: int,
        hidden: Sequence[int] = (256, 128),
        activation: type[nn.Module] = nn.ELU,
    ):
        check_sizes(latent_dim=latent_dim, action_dim=action_dim, hidden=min(hidden, default=1))
        sizes = [2 * latent_dim, *hidden]
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), activation()]
        super().__init__(*layers, nn.Linear(sizes[-1], action_dim))

    def forward(self, z: th.Tensor, next_z: th.Tensor) -> th.Tensor:  # type: ignore[override]  # two inputs
        """Return ``float[B, A]`` from embeddings ``float[B, D]``; gradients flow into both."""
        return super().forward(th.cat([z, next_z], dim=1)).float()


def linear_head(in_features: int, hidden: int, out_features: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(in_features, hidden), nn.LayerNorm(hidden), nn.ReLU(), nn.Linear(hidden, out_features)
    )


def squash(raw: th.Tensor, std_range: tuple[float, float]) -> th.Tensor:
    low, high = std_range
    return low + (high - low) * raw.float().sigmoid()


def checked_range(std_range: tuple[float, float]) -> tuple[float, float]:
    low, high = std_range
    if not 0 < low < high < float("inf"):
        raise ValueError(f"std_range must rise from above 0, got {std_range}")
    return float(low), float(high)


def check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}")


def _check_action(action: th.Tensor, rows: int, action_dim: int) -> None:
    if action.shape != (rows, action_dim) or not action.is_floating_point():
        raise ValueError(
            f"action must be float[{rows}, {action_dim}], got {action.dtype} of shape {tuple(action.shape)}; one of "
            "finitely many actions must be one-hot (torch.nn.functional.one_hot(...).float())"
        )
