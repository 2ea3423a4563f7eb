import dataclasses

import numpy as np
import pytest
import torch as th
from energies import FunctionEnergy, mixture_energy

from bisimgym.baselines.langevin.energy import TanhEnergy
from bisimgym.baselines.langevin.landscape import Wells, find_wells
from bisimgym.baselines.langevin.occupancy import (
    empirical_weights,
    laplace_weights,
    matched_l1,
    matched_weights,
    quadrature_weights,
    sampled_weights,
)

MEANS = np.array([[0.0, 1.6], [1.4, -0.8], [-1.4, -0.8]])
COVARIANCES = np.array([[[0.16, 0.02], [0.02, 0.1]], [[0.2, 0.0], [0.0, 0.12]], [[0.08, -0.02], [-0.02, 0.12]]])
WEIGHTS = np.array([0.45, 0.35, 0.2])
ORDER = [2, 0, 1]  # wells are sorted by the first coordinate
BETA = 1.3


@pytest.fixture(scope="module")
def mixture():
    return known()


def known(width=1.0):
    """Return an energy with known weights, data that do not have them, and its wells."""
    energy = mixture_energy(WEIGHTS, MEANS, width * COVARIANCES, BETA)
    rng = np.random.default_rng(0)
    starts = MEANS[rng.choice(3, size=500, p=[0.1, 0.2, 0.7])] + 0.2 * rng.standard_normal((500, 2))
    return energy, starts, find_wells(energy, starts)


def test_quadrature_and_laplace_find_the_weights_of_a_mixture(mixture):
    energy, _, wells = mixture
    truth = WEIGHTS[ORDER]
    quadrature = quadrature_weights(energy, BETA, wells)
    np.testing.assert_allclose(quadrature.weights, truth, atol=0.005)  # the Gaussians overlap a little
    assert abs(quadrature.log_partition) < 1e-4
    assert quadrature.unassigned < 1e-6
    np.testing.assert_allclose(laplace_weights(wells, BETA), truth, atol=0.01)
    # Depths alone are wrong where wells differ in width: the known ratio of the peaks of the Gaussians.
    peaks = (WEIGHTS / np.sqrt(np.linalg.det(COVARIANCES)))[ORDER]
    np.testing.assert_allclose(laplace_weights(wells, BETA, order=0), peaks / peaks.sum(), atol=0.01)
    assert np.abs(peaks / peaks.sum() - truth).max() > 0.05


def test_sampling_finds_the_weights_of_a_mixture_and_forgets_the_starts():
    energy, starts, wells = known(width=2.5)
    sampled = sampled_weights(energy, BETA, wells, starts, seed=1, num_chains=500)
    np.testing.assert_allclose(sampled.weights, WEIGHTS[ORDER], atol=0.05)  # the Gaussians overlap a little
    np.testing.assert_allclose(sampled.weights, quadrature_weights(energy, BETA, wells).weights, atol=0.03)
    assert np.abs(wells.shares - WEIGHTS[ORDER]).max() > 0.3  # the starts said something else
    assert sampled.mixed
    assert 0.5 < sampled.acceptance < 0.8
    assert sampled.unassigned == 0
    assert (sampled.crossings + np.eye(3) > 0).all()
    assert sampled.samples.shape == (500 * 25, 2)
    np.testing.assert_array_equal(empirical_weights(sampled.labels, 3), sampled.weights)


def test_laplace_is_the_formula():
    wells = Wells(
        minima=np.array([[0.0, 0.0], [5.0, 0.0]]),
        energies=np.array([1000.0, 1000.0 + np.log(2) / 0.5]),
        hessians=np.array([np.eye(2), np.diag([9.0, 4.0])]),
        shares=np.array([0.5, 0.5]),
        dropped=0.0,
        unconverged=0.0,
        tolerance=0.1,
    )
    np.testing.assert_allclose(laplace_weights(wells, 0.5, order=0), [2 / 3, 1 / 3])
    # The narrow well weighs six times less: 1 : 1/2 * 1/6.
    np.testing.assert_allclose(laplace_weights(wells, 0.5), [12 / 13, 1 / 13])
    none = {name: getattr(wells, name)[:0] for name in ("minima", "energies", "hessians", "shares")}
    assert laplace_weights(dataclasses.replace(wells, **none), 1.0).shape == (0,)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_quadrature_knows_partition_functions(dim):
    curvatures = th.arange(1, dim + 1, dtype=th.float64)
    energy = FunctionEnergy(lambda z: (curvatures * z * z).sum(dim=-1) / 2 - 7, dim)
    wells = find_wells(energy, np.random.default_rng(0).standard_normal((20, dim)))
    found = quadrature_weights(energy, 2.0, wells)
    expected = 14 + dim / 2 * np.log(2 * np.pi / 2.0) - np.log(curvatures.prod().item()) / 2
    np.testing.assert_allclose(found.log_partition, expected, atol=1e-8)
    np.testing.assert_allclose(found.weights, [1])


def test_quadrature_of_an_asymmetric_double_well():
    # In one dimension, weights are integrals on both sides of the maximum between.
    energy = FunctionEnergy(lambda z: ((z * z - 1) ** 2 + 0.3 * z).sum(dim=-1), 1)
    wells = find_wells(energy, np.linspace(-2, 2, 41)[:, None])
    top = np.sort(np.roots([4, 0, -4, 0.3]).real)[1]
    x = np.linspace(-4, 4, 800001)
    density = np.exp(-1.5 * ((x * x - 1) ** 2 + 0.3 * x))
    left = density[x < top].sum() / density.sum()
    np.testing.assert_allclose(quadrature_weights(energy, 1.5, wells).weights, [left, 1 - left], atol=1e-3)


def test_chains_that_do_not_cross_are_reported():
    energy = mixture_energy([0.9, 0.1], [[-5.0, 0.0], [5.0, 0.0]], np.stack([0.1 * np.eye(2)] * 2))
    starts = np.repeat([[-5.0, 0.0], [5.0, 0.0]], 20, axis=0)
    wells = find_wells(energy, starts)
    with pytest.warns(RuntimeWarning, match="have not mixed: 100.0% of the starting distribution"):
        found = sampled_weights(energy, 1.0, wells, starts, seed=0, num_chains=100, num_steps=100)
    assert not found.mixed
    assert found.memory == 1
    assert not found.crossings.any()
    np.testing.assert_allclose(found.weights, [0.5, 0.5], atol=0.15)  # of the starts, and not of the law
    # A well that no chain started in is as much a reason for doubt.
    with pytest.warns(RuntimeWarning, match="have not mixed"):
        assert sampled_weights(energy, 1.0, wells, starts[:1], 0, num_chains=10, num_steps=100).memory == 1


def test_samples_have_the_moments_of_the_law():
    covariance = np.array([[1.0, 0.6], [0.6, 0.5]])
    energy = mixture_energy([1.0], [[3.0, -1.0]], covariance[None], beta=0.7)
    wells = find_wells(energy, np.zeros((1, 2)))
    found = sampled_weights(energy, 0.7, wells, np.zeros((1, 2)), seed=3, num_chains=1000, num_steps=500)
    np.testing.assert_allclose(found.samples.mean(axis=0), [3, -1], atol=0.04)
    np.testing.assert_allclose(np.cov(found.samples.T), covariance, atol=0.05)
    np.testing.assert_array_equal(found.weights, [1])


def test_sampling_is_reproducible_and_leaves_the_global_generator_alone(mixture):
    energy, starts, wells = mixture
    th.manual_seed(0)
    before = th.random.get_rng_state()
    with pytest.warns(RuntimeWarning):
        one, two, other = (
            sampled_weights(energy, BETA, wells, starts, seed, num_chains=20, num_steps=20, num_records=10)
            for seed in (1, 1, 2)
        )
    assert th.equal(before, th.random.get_rng_state())
    np.testing.assert_array_equal(one.samples, two.samples)
    assert (one.samples != other.samples).any()


def test_weights_of_labels():
    np.testing.assert_allclose(empirical_weights([[0, 0, 2], [-1, 2, 2]], 4), [0.4, 0, 0.6, 0])
    assert np.isnan(empirical_weights([-1, -1], 2)).all()
    with pytest.raises(ValueError, match="labels must be from -1 to 1, got 0 to 2"):
        empirical_weights([0, 2], 2)


def test_weights_of_wells_as_those_of_states():
    np.testing.assert_array_equal(matched_weights([0.2, 0.45, 0.35], [1, 2, 0]), [0.45, 0.35, 0.2])
    np.testing.assert_array_equal(matched_weights([0.4, 0.6], [1, -1, 0]), [0.6, 0, 0.4])
    with pytest.raises(ValueError, match="matching must name wells from 0 to 1 once"):
        matched_weights([0.4, 0.6], [0, 0, 1])


def test_error_of_matched_weights():
    pi = [0.45, 0.35, 0.2]
    assert matched_l1([0.2, 0.45, 0.35], pi, [1, 2, 0]) == 0
    assert matched_l1([1 / 3] * 3, pi, [0, 1, 2]) == pytest.approx(4 / 15)
    assert matched_l1([0, 0, 1], [1, 0, 0], [0, 1, 2]) == 2
    # A fourth well that belongs to no state, and a state without a well.
    assert matched_l1([0.4, 0.3, 0.2, 0.1], pi, [0, 1, 2]) == pytest.approx(0.05 + 0.05 + 0.1)
    assert matched_l1([0.5, 0.5], pi, [0, 1, -1]) == pytest.approx(0.05 + 0.15 + 0.2)
    for matching in ([0, 0, 1], [0, 1, 3], [0, 1, -2]):
        with pytest.raises(ValueError, match="matching must name wells"):
            matched_l1([0.2, 0.3, 0.5], pi, matching)
    with pytest.raises(ValueError, match=r"both be \[S\]"):
        matched_l1([0.5, 0.5], pi, [0, 1])


def test_bad_input_is_refused(mixture):
    energy, starts, wells = mixture
    for beta, order, message in ((1.0, 1, "order must be 0"), (0.0, 2, "beta must be finite and above 0")):
        with pytest.raises(ValueError, match=message):
            laplace_weights(wells, beta, order)
    for setting, message in (({"num_records": 3}, "must be 4 or more"), ({"num_steps": 10}, "at least num_records")):
        with pytest.raises(ValueError, match=message):
            sampled_weights(energy, 1.0, wells, starts, 0, **setting)
    with pytest.raises(ValueError, match="up to 3 dimensions"):
        quadrature_weights(TanhEnergy(4), 1.0, wells)
    flat = FunctionEnergy(lambda z: -th.exp(-(z * z).sum(dim=-1)), 2)
    with pytest.raises(ValueError, match="does not rise on all sides"):
        quadrature_weights(flat, 1.0, find_wells(flat, [[0.1, 0.1]]))
    with pytest.raises(ValueError, match="one well at least"):
        quadrature_weights(flat, 1.0, find_wells(FunctionEnergy(lambda z: -z.square().sum(-1), 2), [[0.0, 0.0]]))
