"""Linear policies f = -K o for linear-quadratic systems with distractors, trained by the gradient of their exact cost.

Policies of many seeds are trained side by side: all tensors have a leading axis of seeds, nothing is summed over it but
losses, and each seed learns what it would learn alone.

Source: Agarwal et al. (2021), "Contrastive behavioral similarity embeddings for generalization in reinforcement
learning", section 6.1 and appendix H; invariant policy optimization is Sonar et al. (2020), arXiv:2006.01096.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from bisimgym.baselines import needs_torch  # noqa: F401

# isort: split
import numpy as np
import torch as th

# First entry of the seed sequence of initial weights.
_WEIGHTS_STREAM = 2
#: 2^7 steps of the closed loop. At a spectral norm of 0.8, that of a system left alone, 0.8^256 is left.
_DOUBLINGS = 7
OPTIMIZERS = {
    "adam": lambda parameters, rate: th.optim.Adam(parameters, lr=rate, fused=True),
    "sgd": lambda parameters, rate: th.optim.SGD(parameters, lr=rate),
}


class System(Protocol):
    """s' = A s + B f, o = W s, cost per step s'Qs + f'Rf, with n states, m forces and d observations, all float64."""

    @property
    def A(self) -> np.ndarray: ...  # [n, n]
    @property
    def B(self) -> np.ndarray: ...  # [n, m]
    @property
    def Q(self) -> np.ndarray: ...  # [n, n]
    @property
    def R(self) -> np.ndarray: ...  # [m, m]
    @property
    def observation_matrix(self) -> np.ndarray: ...  # W, [d, n]


class Dynamics:
    """A, B, Q and R of systems, for :meth:`costs`.

    Args:
        systems: the leading axes of all tensors here.
    """

    def __init__(self, systems: Sequence[Any], device: th.device | str):
        matrices = (np.array(_nested(systems, name), dtype=np.float32) for name in "ABQR")
        self.A, self.B, self.Q, self.R = (th.as_tensor(matrix, device=device) for matrix in matrices)

    def __getitem__(self, index: Any) -> Dynamics:
        part = object.__new__(Dynamics)
        part.A, part.B, part.Q, part.R = (matrix[index] for matrix in (self.A, self.B, self.Q, self.R))
        return part

    def costs(self, state_gain: th.Tensor) -> th.Tensor:
        """Return the expected costs of f = -F s over infinitely many steps from s ~ N(0, I), ``float32[...]``.

        They are summed over 128 steps by doubling, which is exact in float32 for closed loops that are no slower than
        the system left alone. The gradient is the exact one too: -2 (B'P(A - BF) - RF) V, with V the sum of E[s s'].

        Args:
            state_gain: F = K W, ``float32[..., m, n]``.
        """
        return _Costs.apply(state_gain, self)


class _Costs(th.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gain: th.Tensor, of: Dynamics) -> th.Tensor:
        step = of.A - of.B @ gain
        cost_matrix = _power_sum(step, of.Q + gain.mT @ of.R @ gain)
        ctx.save_for_backward(gain, step, cost_matrix)
        ctx.dynamics = of
        return cost_matrix.diagonal(dim1=-2, dim2=-1).sum(-1)

    @staticmethod
    def backward(ctx: Any, above: th.Tensor) -> tuple[th.Tensor, None]:
        gain, step, cost_matrix = ctx.saved_tensors
        of = ctx.dynamics
        visits = _power_sum(step.mT, th.eye(step.shape[-1], dtype=step.dtype, device=step.device).expand_as(step))
        return 2 * above[..., None, None] * ((of.R @ gain - of.B.mT @ cost_matrix @ step) @ visits), None


def _power_sum(step: th.Tensor, weight: th.Tensor) -> th.Tensor:
    """Return the sum over t from 0 to 127 of (step^T)^t weight step^t."""
    total, power = weight, step
    for _ in range(_DOUBLINGS - 1):
        total = total + power.mT @ total @ power
        power = power @ power
    return total + power.mT @ total @ power


class LinearPolicies:
    """Policies in training, one for each of S seeds, on E systems each that differ in what is observed.

    Args:
        systems: S sequences of E systems, all of the same sizes.
        seeds: S seeds of initial weights.
        optimizer: "adam" (PyTorch's defaults) or "sgd".
        learning_rate: of the optimizer.
        device: of all tensors.

    Attributes:
        iterations: how many were done.
    """

    def __init__(
        self,
        systems: Sequence[Sequence[System]],
        seeds: Sequence[int],
        optimizer: str,
        learning_rate: float,
        device: th.device | str = "cpu",
    ):
        self.iterations = 0
        self._dynamics = Dynamics(systems, device)
        # W of the E systems side by side, float32[S, d, E * n]: one product gives the features of all.
        side_by_side = [np.concatenate([system.observation_matrix for system in each], axis=1) for each in systems]
        self._features = th.as_tensor(np.array(side_by_side, dtype=np.float32), device=device)
        self._seeds = seeds
        self._num_systems = len(systems[0])
        self._groups = [
            [part.requires_grad_() for part in group] for group in self._initial(systems[0][0].B.shape[1], device)
        ]
        self._optimizers = [OPTIMIZERS[optimizer](group, learning_rate) for group in self._groups]

    def fit(self, iterations: int) -> None:
        """Do so many iterations."""
        for _ in range(iterations):
            self._update()
        self.iterations += iterations

    def gains(self) -> np.ndarray:
        """Return K of each seed, ``float64[S, m, d]``."""
        raise NotImplementedError

    def state(self, index: int) -> dict[str, Any]:
        """Return what training of one seed goes on from."""
        parts = []
        for group, optimizer in zip(self._groups, self._optimizers, strict=True):
            for part in group:
                moments = {name: _row(value, index) for name, value in optimizer.state[part].items()}
                parts.append({"value": _row(part.detach(), index), "moments": moments})
        return {"iterations": self.iterations, "parts": parts}

    def restore(self, states: Sequence[dict[str, Any]]) -> None:
        """Go on from states of all seeds, which have done as many iterations as each other."""
        self.iterations = states[0]["iterations"]
        number = 0
        for group, optimizer in zip(self._groups, self._optimizers, strict=True):
            for part in group:
                rows = [state["parts"][number] for state in states]
                with th.no_grad():
                    part.copy_(th.stack([row["value"] for row in rows]))
                for name, value in rows[0]["moments"].items():
                    values = [row["moments"][name] for row in rows]
                    optimizer.state[part][name] = th.stack(values).to(part.device) if value.dim() else value
                number += 1

    def _initial(self, num_forces: int, device: th.device | str) -> list[list[th.Tensor]]:
        """Return initial weights by the optimizer that they get."""
        raise NotImplementedError

    def _update(self) -> None:
        raise NotImplementedError


class TwoLayerPolicies(LinearPolicies):
    """K = K2 K1, trained by the mean cost over the systems and penalties.

    The loss of a seed is ``mean_e J_e(K2 K1) + l1_coefficient |K2 K1|_1 + psm_coefficient E_s |K1 (W_x - W_y) s|^2``,
    with s ~ N(0, I) and summed over pairs x < y of systems. Observations W_x s and W_y s of one state have a policy
    similarity distance of 0, under which the last term aggregates the outputs of the first layer. How the paper chose
    coefficients and states is not published.

    Args:
        width: outputs of the first layer; the paper has ten for each force.
        init_scale: of the orthogonal matrices that both layers start as.
        l1_coefficient, psm_coefficient: see above.
        distractor_rate: steps of the first layer's weights on distractors, all observations but the first n, are this
            many times those of the optimizer. Adam takes small ones there by itself if the coefficient of the
            aggregation is large: its estimate of the gradient's size grows there, and only there.
    """

    def __init__(
        self,
        systems: Sequence[Sequence[System]],
        seeds: Sequence[int],
        optimizer: str = "adam",
        learning_rate: float = 1e-3,
        width: int = 200,
        init_scale: float = 1e-3,
        l1_coefficient: float = 0.0,
        psm_coefficient: float = 0.0,
        distractor_rate: float = 1.0,
        device: th.device | str = "cpu",
    ):
        self._distractor_rate = distractor_rate
        self._width, self._init_scale = width, init_scale
        self._l1_coefficient, self._psm_coefficient = l1_coefficient, psm_coefficient
        super().__init__(systems, seeds, optimizer, learning_rate, device)

    def gains(self) -> np.ndarray:
        (first, second) = self._groups[0]
        return (second.detach().double() @ first.detach().double()).cpu().numpy()

    def losses(self) -> th.Tensor:
        """Return the loss of each seed, ``float32[S]``."""
        (first, second) = self._groups[0]
        outputs = (first @ self._features).unflatten(-1, (self._num_systems, -1)).transpose(1, 2)  # [S, E, width, n]
        loss = self._dynamics.costs(second[:, None] @ outputs).mean(dim=1)
        if self._l1_coefficient:
            loss = loss + self._l1_coefficient * (second @ first).abs().sum(dim=(1, 2))
        if self._psm_coefficient:
            for x in range(self._num_systems):
                apart = outputs[:, x, None] - outputs[:, x + 1 :]
                loss = loss + self._psm_coefficient * apart.square().sum(dim=(1, 2, 3))
        return loss

    def _initial(self, num_forces: int, device: th.device | str) -> list[list[th.Tensor]]:
        layers: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        for seed in self._seeds:
            rng = np.random.default_rng([_WEIGHTS_STREAM, seed])
            for layer, shape in zip(
                layers, ((self._width, self._features.shape[1]), (num_forces, self._width)), strict=True
            ):
                layer.append(self._init_scale * _orthogonal(rng, *shape))
        return [[th.as_tensor(np.array(layer, dtype=np.float32), device=device) for layer in layers]]

    def _update(self) -> None:
        (optimizer,) = self._optimizers
        optimizer.zero_grad()
        self.losses().sum().backward()
        if self._distractor_rate == 1:
            optimizer.step()
            return
        on_distractors = self._groups[0][0].detach()[:, :, self._dynamics.A.shape[-1] :]
        before = on_distractors.clone()
        optimizer.step()
        on_distractors.copy_(before.lerp(on_distractors, self._distractor_rate))


class InvariantPolicies(LinearPolicies):
    """Invariant policy optimization: K is the mean of one K_e per system, and each is trained on its system alone.

    In an iteration, every K_e in turn takes one step of its own optimizer down the cost of the mean on system e. All
    start at zero.
    """

    def gains(self) -> np.ndarray:
        return self._mean().detach().double().cpu().numpy()

    def _mean(self) -> th.Tensor:
        gains = [gain for (gain,) in self._groups]
        return th.stack(gains).mean(dim=0)

    def _initial(self, num_forces: int, device: th.device | str) -> list[list[th.Tensor]]:
        shape = len(self._seeds), num_forces, self._features.shape[1]
        return [[th.zeros(shape, device=device)] for _ in range(self._num_systems)]

    def _update(self) -> None:
        features = self._features.unflatten(-1, (self._num_systems, -1))
        for e, ((gain,), optimizer) in enumerate(zip(self._groups, self._optimizers, strict=True)):
            optimizer.zero_grad()
            cost = self._dynamics[:, e].costs(self._mean() @ features[:, :, e])
            cost.sum().backward(inputs=[gain])
            optimizer.step()


def _orthogonal(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Return a random matrix with orthonormal rows or columns, whichever are fewer."""
    q, r = np.linalg.qr(rng.standard_normal((max(rows, columns), min(rows, columns))))
    q = q * np.where(np.diag(r) < 0, -1.0, 1.0)
    return q if rows > columns else q.T


def _nested(systems: Sequence[Any], name: str) -> list[Any]:
    return [_nested(part, name) if isinstance(part, Sequence) else getattr(part, name) for part in systems]


def _row(value: th.Tensor, index: int) -> th.Tensor:
    """Return a seed's part of a tensor, or the tensor where it is a number that all seeds share."""
    return (value[index] if value.dim() else value).cpu().clone()
