"""Noise on states: independent Gaussian dimensions beside the state, and a random projection that mixes the two.

Source: Luo, Ni, Bacon, Precup and Si (2025), the study of metric learning under noise, arXiv 2506.00563. Its
published code draws the noise from the global generator; here it is drawn from the generator that is given.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bisimgym.envs.checks import integer, number

#: Largest standard deviation and largest absolute mean: far below where float32 overflows.
MAX_SCALE = 1e30
#: Child of the projection's seed, so that the matrix shares no numbers with an environment of the same seed.
_PROJECTION_STREAM = 0x70726F6A


@dataclass(frozen=True, eq=False)
class ObservationNoise:
    """The law of an observation given the clean state s: ``o = [s ; n]``, or ``o = A [s ; n]`` with a projection A.

    n ~ N(mean, std^2 I) has ``dimensions`` entries and is drawn for every observation. Without noise dimensions
    and without a projection the observation is the state. :func:`dataclasses.replace` makes shifted laws, for tests out
    of distribution: ``replace(law, mean=1.0)``.

    Attributes:
        dimensions: k, number of noise entries, at least 0.
        std: standard deviation of each, in [0, 1e30].
        mean: of each, in [-1e30, 1e30].
        projection: A, ``float64[m, d + k]`` of rank d + k, so that the state can be recovered. It is copied
            and cannot be written to.

    Raises:
        ValueError: outside these ranges.
    """

    dimensions: int
    std: float = 1.0
    mean: float = 0.0
    projection: np.ndarray | None = None

    def __post_init__(self) -> None:
        # Python numbers, which JSON takes, from numpy's.
        object.__setattr__(self, "dimensions", integer("dimensions", self.dimensions, 0))
        object.__setattr__(self, "std", number("std", self.std, 0, MAX_SCALE))
        object.__setattr__(self, "mean", number("mean", self.mean, -MAX_SCALE, MAX_SCALE))
        if self.projection is not None:
            object.__setattr__(self, "projection", _checked_projection(self.projection, self.dimensions))

    def output_size(self, size: int) -> int:
        """Return the number of entries of an observation of a state with ``size`` entries.

        Raises:
            ValueError: if the projection is for states of another size.
        """
        if self.projection is None:
            return size + self.dimensions
        rows, columns = self.projection.shape
        if columns != size + self.dimensions:
            raise ValueError(
                f"projection has {columns} columns, which is for states of {columns - self.dimensions} entries and "
                f"{self.dimensions} of noise, but the state has {size}"
            )
        return rows

    def projected(self, size: int, rows: int | None, seed: int) -> ObservationNoise:
        """Return this noise mixed with states of ``size`` entries by :func:`random_projection_matrix`.

        Args:
            rows: size of the observation, at least ``size + dimensions`` (None: that number).
            seed: of the matrix, at least 0.
        """
        columns = size + self.dimensions
        matrix = random_projection_matrix(columns if rows is None else rows, columns, seed)
        return replace(self, projection=matrix)

    def apply(self, clean: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return ``float32[..., m]``: an observation of each state, computed in float64.

        Args:
            clean: ``float[..., d]``, the states.
            rng: draws the noise, ``dimensions`` numbers for each state in order.
        """
        clean = np.asarray(clean)
        if clean.ndim == 0:
            raise ValueError(f"clean must be float[..., d], got the scalar {clean!r}")
        *batch, size = clean.shape
        self.output_size(size)
        joint = np.empty((*batch, size + self.dimensions))
        joint[..., :size] = clean
        joint[..., size:] = self.mean + self.std * rng.standard_normal((*batch, self.dimensions))
        if self.projection is not None:
            joint = joint @ self.projection.T
        return joint.astype(np.float32)


def random_projection_matrix(rows: int, columns: int, seed: int) -> np.ndarray:
    """Return ``float64[rows, columns]`` with entries from N(0, 1), drawn until the columns are independent.

    It is a function of its arguments alone: training and evaluation environments with one seed share the matrix. It is
    neither scaled nor orthogonal, as in the published study.

    Args:
        rows: at least ``columns``; fewer would lose part of the state.
        columns: at least 1.
        seed: at least 0.

    Raises:
        ValueError: outside these ranges.
    """
    integer("columns", columns, 1)
    integer("seed of the projection", seed, 0)
    hint = ", the entries of state and noise together: fewer would lose part of the state"
    integer("rows", rows, columns, hint=hint)
    rng = np.random.default_rng(np.random.SeedSequence(int(seed), spawn_key=(_PROJECTION_STREAM,)))
    while True:
        matrix = rng.standard_normal((rows, columns))
        if np.linalg.matrix_rank(matrix) == columns:
            return matrix


def _checked_projection(projection: np.ndarray, dimensions: int) -> np.ndarray:
    matrix = np.array(projection, dtype=np.float64)
    if matrix.ndim != 2 or not np.isfinite(matrix).all():
        raise ValueError(f"projection must be a finite float[m, d + {dimensions}], got shape {matrix.shape}")
    rows, columns = matrix.shape
    if columns <= dimensions or rows < columns:
        raise ValueError(
            f"projection must have more than {dimensions} columns (the noise entries; the rest are the state's) and at "
            f"least as many rows as columns, got shape {matrix.shape}"
        )
    rank = int(np.linalg.matrix_rank(matrix))
    if rank < columns:
        raise ValueError(f"projection must have independent columns, got rank {rank} with {columns} columns")
    matrix.setflags(write=False)
    return matrix
