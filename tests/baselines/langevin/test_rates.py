import numpy as np
import pytest
import torch as th
from energies import FunctionEnergy, mixture_energy
from scipy.linalg import eigh_tridiagonal

from bisimgym.baselines.langevin.landscape import find_wells
from bisimgym.baselines.langevin.occupancy import laplace_weights
from bisimgym.baselines.langevin.rates import Saddle, eyring_kramers, minimum_energy_path, rate_matrix

HEIGHT, BOWL = 3.0, 5.0


def double_well(bend=0.0):
    """Minima at (+-1, bend), the saddle at 0, a barrier of HEIGHT; the way between bends with ``bend``."""

    def function(z):
        x, y = z[..., 0], z[..., 1]
        return HEIGHT * (x * x - 1) ** 2 + BOWL / 2 * (y - bend * x * x) ** 2

    return FunctionEnergy(function, 2)


def mueller_brown():
    """The standard potential of the field (Mueller and Brown 1979): three minima in a row, two saddles."""
    amplitudes = th.tensor([-200.0, -100.0, -170.0, 15.0], dtype=th.float64)
    a, b, c = th.tensor([[-1, -1, -6.5, 0.7], [0, 0, 11, 0.6], [-10, -10, -6.5, 0.7]], dtype=th.float64)
    x0, y0 = th.tensor([[1, 0, -0.5, -1], [0, 0.5, 1.5, 1]], dtype=th.float64)

    def function(z):
        x, y = z[..., :1] - x0, z[..., 1:] - y0
        return (amplitudes * th.exp(a * x * x + b * x * y + c * y * y)).sum(dim=-1)

    return FunctionEnergy(function, 2)


@pytest.mark.parametrize("bend", [0.0, 1.5])
def test_saddle_and_barrier_of_a_double_well(bend):
    path = minimum_energy_path(double_well(bend), [-1, bend], [1, bend])
    assert path.converged
    assert path.direct
    assert len(path.intermediate) == 0
    np.testing.assert_allclose(path.saddle.position, [0, 0], atol=1e-8)
    assert path.saddle.energy == pytest.approx(HEIGHT, abs=1e-9)
    np.testing.assert_allclose(path.saddle.hessian, np.diag([-4 * HEIGHT, BOWL]), atol=1e-8)
    # On a path of least energy the gradient is along the path everywhere.
    with th.no_grad():
        gradients = double_well(bend).gradient(th.tensor(path.images)).numpy()[1:-1]
    tangents = path.images[2:] - path.images[:-2]
    across = (tangents[:, 0] * gradients[:, 1] - tangents[:, 1] * gradients[:, 0]) / np.linalg.norm(tangents, axis=1)
    assert np.abs(across).max() < 0.1 * np.linalg.norm(gradients, axis=1).max()
    assert path.straight_top == pytest.approx(HEIGHT + BOWL / 2 * bend**2)
    np.testing.assert_allclose(path.images[[0, -1]], [[-1, bend], [1, bend]])
    spacings = np.linalg.norm(np.diff(path.images, axis=0), axis=1)
    np.testing.assert_allclose(spacings, spacings.mean(), rtol=0.02)
    np.testing.assert_allclose(path.energies, double_well(bend)(th.tensor(path.images)), atol=1e-12)


def test_the_mueller_brown_potential():
    energy = mueller_brown()
    starts = np.array([[-0.5, 1.4], [0.6, 0.0], [-0.05, 0.45]])
    wells = find_wells(energy, starts)
    np.testing.assert_allclose(wells.minima, [[-0.558, 1.442], [-0.050, 0.467], [0.623, 0.028]], atol=1e-3)
    np.testing.assert_allclose(wells.energies, [-146.700, -80.768, -108.167], atol=1e-3)
    one = minimum_energy_path(energy, wells.minima[0], wells.minima[1])
    np.testing.assert_allclose([*one.saddle.position, one.saddle.energy], [-0.822, 0.624, -40.665], atol=1e-3)
    two = minimum_energy_path(energy, wells.minima[1], wells.minima[2])
    np.testing.assert_allclose([*two.saddle.position, two.saddle.energy], [0.212, 0.293, -72.249], atol=1e-3)
    assert one.straight_top > one.saddle.energy
    # From the first to the last the way leads through the one in the middle.
    through = minimum_energy_path(energy, wells.minima[0], wells.minima[2])
    assert not through.direct
    np.testing.assert_allclose(through.intermediate, wells.minima[1:2], atol=1e-6)
    found = rate_matrix(energy, wells, beta=0.1, friction=1.0)
    assert sorted(found.saddles) == [(0, 1), (1, 2)]
    assert found.rates[0, 2] == found.rates[2, 0] == 0
    assert found.barriers[0, 2] == np.inf
    assert found.barriers[0, 1] == pytest.approx(-40.665 + 146.700, abs=2e-3)
    assert found.unresolved == ()


def test_rates_are_the_spectrum_of_the_diffusion():
    # In one dimension the generator of the overdamped dynamics is a tridiagonal matrix, symmetric in sqrt(density).
    # Its first eigenvalue above 0 is the sum of the two rates.
    beta, friction = 2.5, 3.0
    energy = FunctionEnergy(lambda z: (HEIGHT * (z * z - 1) ** 2 + 0.3 * z).sum(dim=-1), 1)
    x = np.linspace(-2.2, 2.2, 2001)
    h = x[1] - x[0]
    values = energy(th.tensor(x[:, None])).numpy()
    hop = np.exp(-beta * np.diff(values) / 2) / (beta * friction * h * h)  # from i to i + 1
    back = np.exp(beta * np.diff(values) / 2) / (beta * friction * h * h)
    out = np.append(hop, 0) + np.insert(back, 0, 0)
    gap = eigh_tridiagonal(out, -np.sqrt(hop * back), eigvals_only=True, select="i", select_range=(0, 1))
    assert abs(gap[0]) < 1e-6
    wells = find_wells(energy, [[-1.0], [1.0]])
    rates = rate_matrix(energy, wells, beta, friction).rates
    assert rates[0, 1] + rates[1, 0] == pytest.approx(gap[1], rel=0.1)
    # The deep well is left less often.
    assert rates[1, 0] / rates[0, 1] > 2


def test_kramers_prefactors():
    wells = find_wells(double_well(), [[-1.0, 0.1], [1.0, 0.1]])
    saddle = minimum_energy_path(double_well(), *wells.minima).saddle
    beta, lowest = 1.7, 4 * HEIGHT
    # det H = 8 HEIGHT BOWL at the minima, -4 HEIGHT BOWL at the saddle.
    common = np.sqrt(2) * np.exp(-beta * HEIGHT) / (2 * np.pi)
    np.testing.assert_allclose(eyring_kramers(wells, saddle, beta, 2.5), common * lowest / 2.5, rtol=1e-8)
    # Of a diagonal friction only that along the way counts, for this saddle.
    np.testing.assert_allclose(eyring_kramers(wells, saddle, beta, [4.0, 9.0]), common * lowest / 4, rtol=1e-8)
    for friction, mass in ((3.0, 0.25), (0.01, 2.0)):
        r = friction / mass
        growth = np.sqrt(r * r / 4 + lowest / mass) - r / 2
        np.testing.assert_allclose(eyring_kramers(wells, saddle, beta, friction, mass), common * growth, rtol=1e-8)
    heavy = eyring_kramers(wells, saddle, beta, th.tensor([1e4, 1e4]), [1.0, 1.0])
    np.testing.assert_allclose(heavy, eyring_kramers(wells, saddle, beta, 1e4), rtol=1e-4)


@pytest.mark.parametrize(("friction", "mass"), [(1.0, None), ([1.0, 3.0], None), ([5.0, 3.0], [0.2, 0.5])])
def test_detailed_balance(friction, mass):
    means = np.array([[0.0, 1.6], [1.4, -0.8], [-1.4, -0.8]])
    covariances = np.array([[[0.2, 0.05], [0.05, 0.3]], [[0.4, 0.0], [0.0, 0.2]], [[0.2, -0.1], [-0.1, 0.3]]])
    beta = 1.3
    energy = mixture_energy([0.45, 0.35, 0.2], means, covariances, beta)
    wells = find_wells(energy, means)
    found = rate_matrix(energy, wells, beta, friction, mass)
    assert len(found.saddles) == 3
    weights = laplace_weights(wells, beta)
    flux = weights[:, None] * found.rates
    np.testing.assert_allclose(flux, flux.T, rtol=1e-10)
    np.testing.assert_allclose(weights @ found.rates, 0, atol=1e-12)
    np.testing.assert_allclose(found.rates.sum(axis=1), 0, atol=1e-12)
    off = ~np.eye(3, dtype=bool)
    assert (found.rates[off] > 0).all()
    assert (found.barriers[off] > 0).all()
    height = found.barriers + wells.energies[:, None]
    np.testing.assert_allclose(height[off], height.T[off])
    for saddle in found.saddles.values():
        assert (np.linalg.eigvalsh(saddle.hessian) < 0).sum() == 1
        assert energy.gradient(th.tensor(saddle.position)).abs().max() < 1e-9


def test_bad_input_is_refused():
    energy = double_well()
    wells = find_wells(energy, [[-1.0, 0.1], [1.0, 0.1]])
    for start, end, images, message in (
        ([-1, 0], [0, 0], 41, "end must be a minimum"),
        ([-1.2, 0], [1, 0], 41, "start must be a minimum"),
        ([1, 0], [1, 0], 41, "the same point"),
        ([-1, 0], [1, 0], 2, "images must be 5 or more"),
    ):
        with pytest.raises(ValueError, match=message):
            minimum_energy_path(energy, start, end, images)
    for hessian, friction, mass, message in (
        ([1.0, 1.0], 1.0, None, "one negative eigenvalue"),
        ([-1.0, 1.0], [1.0, -1.0], None, r"friction must be a number or \[2\]"),
        ([-1.0, 1.0], 1.0, [1.0, 1.0, 1.0], r"mass must be a number or \[2\]"),
    ):
        with pytest.raises(ValueError, match=message):
            eyring_kramers(wells, Saddle(np.zeros(2), 3.0, np.diag(hessian)), 1.0, friction, mass)
