import numpy as np
import pytest
import torch as th
from energies import FunctionEnergy, mixture_energy

from bisimgym.baselines.langevin.energy import TanhEnergy
from bisimgym.baselines.langevin.landscape import assign_wells, find_wells, gradient_flow

pytestmark = pytest.mark.usefixtures("without_gradients")
MEANS = np.array([[0.0, 1.6], [1.4, -0.8], [-1.4, -0.8]])
ORDER = [2, 0, 1]  # by the first coordinate


@pytest.fixture
def without_gradients():
    with th.no_grad():
        yield


def gaussians(variances=(0.15, 0.15, 0.15), weights=(0.45, 0.35, 0.2), beta=1.0):
    return mixture_energy(weights, MEANS, np.array(variances)[:, None, None] * np.eye(2), beta)


def starts(n=600, sd=0.6, seed=0):
    rng = np.random.default_rng(seed)
    return MEANS[rng.integers(3, size=n)] + sd * rng.standard_normal((n, 2))


def quadratic(hessian, center=0.0):
    hessian = th.as_tensor(hessian, dtype=th.float64)
    return FunctionEnergy(lambda z: (((z - center) @ hessian) * (z - center)).sum(dim=-1) / 2, len(hessian))


def random_energy(seed, dim=2):
    energy = TanhEnergy(dim, generator=th.Generator().manual_seed(seed))
    with th.no_grad():
        energy.a *= 10
    return energy


def test_a_quadratic_has_one_well_and_its_exact_hessian():
    hessian = np.array([[3.0, 1.0, 0.0], [1.0, 2.0, 0.5], [0.0, 0.5, 1.0]])
    points = np.random.default_rng(0).standard_normal((50, 3))
    wells = find_wells(quadratic(hessian, 0.7), points)
    np.testing.assert_allclose(wells.minima, [[0.7, 0.7, 0.7]], atol=1e-12)
    np.testing.assert_allclose(wells.hessians, [hessian], atol=1e-12)
    np.testing.assert_array_equal(wells.shares, [1])
    assert (wells.dropped, wells.unconverged, len(wells), wells.dim) == (0, 0, 1, 3)


def test_wells_of_a_mixture():
    energy = gaussians(variances=(0.05, 0.1, 0.15))
    wells = find_wells(energy, starts(sd=0.2))
    # Far apart, each Gaussian is alone at its mean.
    np.testing.assert_allclose(wells.minima, MEANS[ORDER], atol=1e-3)
    inverse = np.array([1 / 0.15, 1 / 0.05, 1 / 0.1])
    np.testing.assert_allclose(wells.hessians, inverse[:, None, None] * np.eye(2), rtol=0.01, atol=0.02)
    np.testing.assert_allclose(wells.energies, energy(th.tensor(wells.minima)), rtol=1e-12)
    assert np.linalg.norm(energy.gradient(th.tensor(wells.minima)), axis=1).max() < 1e-10
    counts = np.bincount(assign_wells(energy, wells, starts(sd=0.2)), minlength=3)
    np.testing.assert_allclose(wells.shares, counts / 600, atol=1e-15)


def test_three_stiff_wells_are_not_six():
    # 25 log cosh has curvature 25: a fixed step of 0.1 ends in a cycle of two places around each minimum.
    centers = th.tensor([-4.0, 0.0, 4.0], dtype=th.float64)
    energy = FunctionEnergy(lambda z: 25 * (z - centers).cosh().log().min(dim=-1).values, 1)
    points = (centers[:, None] + th.linspace(-0.5, 0.4, 20, dtype=th.float64)).reshape(-1, 1)
    z = points
    for _ in range(500):
        z = z - 0.1 * energy.gradient(z)
    assert len(z.round(decimals=6).unique()) == 6
    wells = find_wells(energy, points)
    np.testing.assert_allclose(wells.minima[:, 0], centers, atol=1e-9)
    np.testing.assert_allclose(wells.hessians, 25, atol=1e-9)


def test_one_stiff_well_among_soft_ones():
    wells = find_wells(gaussians(variances=(0.15, 0.15, 0.002)), starts(sd=0.3))
    curvatures = np.linalg.eigvalsh(wells.hessians)[:, -1]
    assert curvatures[0] > 400 > 40 > curvatures[1:].max()
    assert len(wells) == 3


def test_neither_a_stiff_direction_nor_a_far_start_is_a_trap():
    points = np.random.default_rng(0).standard_normal((20, 2))
    quartic = FunctionEnergy(lambda z: (z**4).sum(dim=-1) / 4 + (z**2).sum(dim=-1) / 2, 2)
    for energy, from_points in ((quadratic(np.diag([300.0, 1.0])), points), (quartic, [[1e3, -1e3], [0.1, 0.0]])):
        flow = gradient_flow(energy, from_points)
        assert flow.converged.all()
        assert np.abs(flow.end_points).max() < 1e-5
    # Too stiff for the steps allowed: said for the flow, and Newton steps make the well exact all the same.
    wells = find_wells(quadratic(np.diag([1e5, 1.0])), points, max_steps=1000)
    assert wells.unconverged == 1
    np.testing.assert_allclose(wells.minima, [[0, 0]], atol=1e-12)
    np.testing.assert_array_equal(wells.shares, [1])


def test_what_has_not_converged_is_said():
    energy, points = gaussians(), starts(50)
    flow = gradient_flow(energy, points, max_steps=5)
    assert flow.steps == 5
    assert not flow.converged.all()
    assert find_wells(energy, points, max_steps=5).unconverged == pytest.approx(1 - flow.converged.mean())
    flow = gradient_flow(energy, points)
    assert flow.converged.all()
    assert np.linalg.norm(energy.gradient(th.tensor(flow.end_points)), axis=1).max() < 1e-5


def test_flow_is_the_flow_of_the_differential_equation():
    energy = gaussians()
    points = starts(200, sd=1.0, seed=3)
    wells = find_wells(energy, points)
    z = th.tensor(points)
    for _ in range(3000):
        z = z - 2e-3 * energy.gradient(z)  # so small a step that it is the flow
    nearest = np.linalg.norm(z.numpy()[:, None] - wells.minima, axis=2)
    assert nearest.min(axis=1).max() < 1e-2
    np.testing.assert_array_equal(assign_wells(energy, wells, points), nearest.argmin(axis=1))


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_labels_are_where_the_flow_ends(seed, dim):
    # Labels stop early, in a ball around the minimum. Points that follow the flow to its very end must agree.
    energy = random_energy(seed, dim)
    points = 2 * np.random.default_rng(seed).standard_normal((400, dim))
    wells = find_wells(energy, points, min_share=0)
    labels = assign_wells(energy, wells, points)
    flow = gradient_flow(energy, points, max_move=2 * wells.tolerance)
    distances = np.linalg.norm(flow.end_points[:, None] - wells.minima, axis=2)
    settled = flow.converged & (distances.min(axis=1) < wells.tolerance)
    assert settled.mean() > 0.99
    np.testing.assert_array_equal(labels[settled], distances.argmin(axis=1)[settled])


def test_points_do_not_depend_on_their_company_or_order():
    energy, points = gaussians(), starts(9000, sd=1.0)  # more than flow at once
    some = points[-300:]
    wells = find_wells(energy, some)
    labels, flow = assign_wells(energy, wells, points)[-300:], gradient_flow(energy, points, max_move=0.1)
    np.testing.assert_array_equal(assign_wells(energy, wells, some), labels)
    again = gradient_flow(energy, some, max_move=0.1)
    np.testing.assert_allclose(again.end_points, flow.end_points[-300:], atol=1e-9)
    assert again.steps <= flow.steps
    shuffled = np.random.default_rng(1).permutation(300)
    np.testing.assert_array_equal(assign_wells(energy, wells, some[shuffled]), labels[shuffled])
    np.testing.assert_allclose(find_wells(energy, some[::-1]).minima, wells.minima, atol=1e-10)
    assert (np.diff(wells.minima[:, 0]) > 0).all()


def test_small_wells_are_dropped_and_counted():
    energy = gaussians(variances=(0.05, 0.05, 0.05))
    points = np.concatenate([np.repeat(MEANS[:2], 99, axis=0), np.repeat(MEANS[2:], 2, axis=0)])
    wells = find_wells(energy, points)
    np.testing.assert_allclose(wells.minima, MEANS[:2], atol=1e-3)
    np.testing.assert_allclose([*wells.shares, wells.dropped], [0.495, 0.495, 0.01])
    np.testing.assert_array_equal(assign_wells(energy, wells, MEANS), [0, 1, -1])
    assert len(find_wells(energy, points, min_share=0.005)) == 3


def test_minima_that_are_close_merge_into_the_deepest():
    double = FunctionEnergy(lambda z: ((z**2 - 0.01) ** 2 * 1e3 + 0.1 * z).sum(dim=-1), 1)  # minima at about -0.1, 0.1
    far = FunctionEnergy(lambda z: th.minimum(double(z), double(z - 5) + 1), 1)
    points = np.array([[-0.11], [0.09], [4.9], [5.1]])
    wells = find_wells(far, points)
    np.testing.assert_allclose(wells.minima, [[-0.1], [4.9]], atol=2e-3)
    np.testing.assert_array_equal(wells.shares, [0.5, 0.5])
    np.testing.assert_array_equal(assign_wells(far, wells, points), [0, 0, 1, 1])
    assert len(find_wells(far, points, merge=0.01)) == 4


def test_saddles_and_maxima_are_no_wells():
    double = FunctionEnergy(lambda z: (z[..., 0] ** 2 - 1) ** 2 + z[..., 1] ** 2, 2)
    wells = find_wells(double, [[0.0, 0.5], [0.0, 0.0], [-0.5, 0.0], [0.5, 0.1]])  # the first two end on the saddle
    np.testing.assert_allclose(wells.minima, [[-1, 0], [1, 0]], atol=1e-9)
    np.testing.assert_array_equal(wells.shares, [0.25, 0.25])
    assert wells.dropped == 0.5
    nothing = find_wells(double, [[0.0, 0.0]])
    assert (len(nothing), nothing.dropped, nothing.minima.shape) == (0, 1, (0, 2))
    np.testing.assert_array_equal(assign_wells(double, nothing, [[1.0, 1.0]]), [-1])


def test_a_model_is_not_touched_and_tensors_are_taken():
    energy = random_energy(0)
    before = {name: value.clone() for name, value in energy.state_dict().items()}
    points = th.tensor(starts(50), dtype=th.float32, requires_grad=True)
    assert assign_wells(energy, find_wells(energy, points), points).dtype == np.int64
    assert all(th.equal(before[name], value) for name, value in energy.state_dict().items())
    assert all(p.requires_grad and p.grad is None and p.dtype == th.float32 for p in energy.parameters())


def test_bad_input_is_refused():
    energy = gaussians()
    wells = find_wells(energy, starts(20))
    for call, message in (
        (lambda: find_wells(energy, np.zeros((3, 4))), r"starts must be \[N, 2\]"),
        (lambda: gradient_flow(energy, starts(3), max_move=0), "max_move must be finite and above 0"),
        (lambda: find_wells(energy, starts(3), min_share=1), "min_share must be at least 0 and below 1"),
        (lambda: assign_wells(random_energy(0, 3), wells, np.zeros((1, 3))), "of 2 dimensions, this one has 3"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
