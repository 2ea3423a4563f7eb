"""Policy similarity embeddings of single states, for offline learning where the exact metric is at hand."""

from __future__ import annotations

from bisimgym.baselines import needs_torch  # noqa: F401

# isort: split
import numpy as np
import torch as th

from bisimgym.baselines.core.metric_loss import MetricLoss
from bisimgym.baselines.losses.distances import cosine_distance
from bisimgym.baselines.pse.losses import contrastive_metric_loss, coupling

#: How far apart the numbers by which observations are known may be at most and still be the same; and what rounding of
#: float64 may come to.
_SAME, _ROUNDING = 1e-6, 1e-11


class StateEmbeddings(MetricLoss):
    """Contrastive embeddings of a given metric: half of a batch is compared with the other half.

    Source: Agarwal et al. (2021), Equation 4, between the states of two trajectories, with a projection that is left
    out here. As there, distances are given: of the methods that learn a metric this one alone is told it. Observations
    whose distances are not given take no part.

    Args:
        observations: ``float[N, *shape]``, all different, as the encoder takes them.
        distances: ``float[N, N]``, non-negative; or points, ``float[N, K]``.
        are_points: whether the distances are the Euclidean ones of points.
        temperature, beta: see :func:`~bisimgym.baselines.pse.losses.contrastive_metric_loss` and
            :func:`~bisimgym.baselines.pse.losses.coupling`; above 0.

    Raises:
        ValueError: for a number out of range, other shapes, or observations that are alike.
    """

    def __init__(
        self,
        observations: th.Tensor,
        distances: np.ndarray,
        temperature: float = 0.5,
        beta: float = 0.01,
        are_points: bool = False,
    ) -> None:
        super().__init__()
        for name, value in (("temperature", temperature), ("beta", beta)):
            if not value > 0:
                raise ValueError(f"{name} must be positive, got {value!r}")
        shape, count = np.shape(distances), len(observations)
        if len(shape) != 2 or shape[0] != count or (shape[1] != count and not are_points):
            wanted = f"points must be float[{count}, K]" if are_points else f"distances must be float[{count}, {count}]"
            raise ValueError(f"{wanted}, got shape {shape}")
        self.temperature, self.beta, self.are_points = temperature, beta, are_points
        direction = np.random.default_rng(0).standard_normal(observations[0].numel())
        self.direction: th.Tensor
        self.register_buffer("direction", th.from_numpy(direction), persistent=False)
        keys, order = self._keys(observations).sort()
        gap = float(keys.diff().min()) if count > 1 else np.inf
        if gap <= 2 * _ROUNDING:
            raise ValueError("observations must differ: two of those given are alike")
        self.same = min(_SAME, gap / 4)
        self.keys: th.Tensor
        self.distances: th.Tensor
        self.register_buffer("keys", keys, persistent=False)
        ordered = th.as_tensor(np.asarray(distances, dtype=np.float32))[order]
        ordered = ordered if are_points else ordered[:, order]
        self.register_buffer("distances", ordered, persistent=False)

    def _keys(self, observations: th.Tensor) -> th.Tensor:
        """Return one number for each observation, ``float64[B]``, by which it is known."""
        return observations.flatten(1).double() @ self.direction

    def forward(self, batch, permutation, model, generator):
        keys = self._keys(batch.observations)
        place = th.searchsorted(self.keys, keys - self.same).clamp(max=len(self.keys) - 1)
        known = (self.keys[place] - keys).abs() <= self.same
        z, place = batch.z[known], place[known]
        half = len(z) // 2
        if half == 0:
            return batch.z.sum() * 0, {}
        one, other = self.distances[place[:half]], place[half:]
        if self.are_points:  # not by a matrix product, whose rounding is of the size of beta
            apart = th.cdist(one, self.distances[other], compute_mode="donot_use_mm_for_euclid_dist")
        else:
            apart = one[:, other]
        coupled = coupling(apart, self.beta)
        return contrastive_metric_loss(z[:half], z[half:], coupled, self.temperature), {}

    def distance(self, x: th.Tensor, y: th.Tensor) -> th.Tensor:
        return cosine_distance(x, y)
