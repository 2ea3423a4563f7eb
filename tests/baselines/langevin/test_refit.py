import numpy as np
import pytest
import torch as th
from energies import FunctionEnergy, mixture_energy
from scipy.optimize import minimize
from scipy.special import logsumexp

from bisimgym.baselines.langevin.dynamics import Overdamped, Underdamped
from bisimgym.baselines.langevin.energy import TanhEnergy, frozen
from bisimgym.baselines.langevin.landscape import assign_wells, find_wells
from bisimgym.baselines.langevin.occupancy import empirical_weights, quadrature_weights
from bisimgym.baselines.langevin.refit import refit, refit_underdamped

MEANS = np.array([[0.0, 1.0], [0.9, -0.5], [-0.9, -0.5]])
BETA = 1.2


@pytest.fixture(scope="module")
def three_wells():
    """A TanhEnergy with three wells of weights near 0.45, 0.35 and 0.2: fitted to the gradients of a mixture."""
    mixture = mixture_energy([0.45, 0.35, 0.2], MEANS, np.stack([0.16 * np.eye(2)] * 3), BETA)
    energy = TanhEnergy(2, units=48, generator=th.Generator().manual_seed(0)).double()
    grid = th.linspace(-1.9, 1.9, 25, dtype=th.float64)
    points = th.cartesian_prod(grid, grid)
    with th.no_grad():
        energy.w *= 1.5
        slopes = 1 - th.tanh(points @ energy.w.T + energy.b).square()
        design = (slopes[:, :, None] * energy.w).permute(0, 2, 1).reshape(-1, 48)
        wanted = (mixture.gradient(points) - 2 * energy.confinement * points).reshape(-1)
        damped = th.cat([design, 0.05 * th.eye(48, dtype=th.float64)])
        energy.a.copy_(th.linalg.lstsq(damped, th.cat([wanted, wanted.new_zeros(48)])[:, None]).solution[:, 0])
    wells = find_wells(energy, MEANS)
    assert len(wells) == 3
    return energy, quadrature_weights(energy, BETA, wells).weights


def spoiled(energy):
    """The same features with other amplitudes and another confinement."""
    other = TanhEnergy(2, units=len(energy.a), confinement=1.5)
    other.load_state_dict({**other.state_dict(), "w": energy.w, "b": energy.b})
    return other


def simulated(dynamics, step, chains=400, steps=500):
    generator = th.Generator().manual_seed(0)
    starts = th.tensor(MEANS).repeat(chains // 3 + 1, 1)[:chains]
    dynamics = dynamics.double()
    with th.no_grad():
        kernel = dynamics.kernel(step)
        state, states = dynamics.at_rest(starts, generator), []
        for _ in range(steps):
            states.append(state)
            state = kernel.advance(state, th.randn(chains, 2, generator=generator, dtype=th.float64))
    return th.stack(states, dim=1)


def assert_recovered(found, beta, energy, weights, share=0.03):
    assert beta == pytest.approx(BETA, rel=0.02)
    wells = find_wells(found, MEANS)
    assert len(wells) == 3
    np.testing.assert_allclose(wells.minima, find_wells(energy, MEANS).minima, atol=0.1)
    assert np.abs(quadrature_weights(found, beta, wells).weights - weights).sum() < share
    differences = [np.diff(x) for x in (wells.energies, find_wells(energy, MEANS).energies)]
    np.testing.assert_allclose(*differences, atol=0.15)


@pytest.mark.parametrize("friction", [1.0, 2.5])
def test_overdamped_paths_tell_energy_and_temperature(three_wells, friction):
    energy, weights = three_wells
    paths = simulated(Overdamped(energy, BETA, friction), step=0.05 * friction)
    start = spoiled(energy)
    before = start.a.clone()
    found, beta = refit(start, paths, 0.05 * friction, friction)
    assert_recovered(found, beta, energy, weights, share=0.1)
    assert th.equal(start.a, before)
    assert found.w.dtype == th.float32
    assert found.a.requires_grad
    th.testing.assert_close(found.w, start.w)


def test_underdamped_paths_tell_energy_and_temperature(three_wells):
    energy, weights = three_wells
    dynamics = Underdamped(energy, BETA, friction=3.0, inverse_mass=4.0)
    states = simulated(dynamics, step=0.1)
    friction, mass = dynamics.friction.detach(), dynamics.mass.detach()
    found, beta = refit_underdamped(spoiled(energy), states[..., :2], states[..., 2:], 0.1, friction, mass)
    assert_recovered(found, beta, energy, weights, share=0.1)
    with pytest.raises(ValueError, match="positions must move by"):
        refit_underdamped(energy, states[..., :2], states[..., 2:], 0.2, friction, mass)
    other = simulated(Underdamped(energy, BETA, 3.0, 4.0, integrator="baoab"), step=0.1, steps=20)
    with pytest.raises(ValueError, match="positions must move by"):
        refit_underdamped(energy, other[..., :2], other[..., 2:], 0.1, friction, mass)


def test_frictions_of_each_coordinate(three_wells):
    energy, weights = three_wells
    friction = np.array([0.5, 2.0])
    generator, paths = np.random.default_rng(0), [np.repeat(MEANS, 100, axis=0)]
    exact = frozen(energy)
    for _ in range(600):
        gradient = exact.gradient(th.tensor(paths[-1])).numpy()
        noise = np.sqrt(2 * 0.03 / (BETA * friction)) * generator.standard_normal((300, 2))
        paths.append(paths[-1] - 0.03 * gradient / friction + noise)
    found, beta = refit(spoiled(energy), np.stack(paths, axis=1), 0.03, friction)
    assert_recovered(found, beta, energy, weights, share=0.15)


def test_it_is_the_ridge_regression_of_the_formula(three_wells):
    energy, _ = three_wells
    paths = simulated(Overdamped(energy, BETA), step=0.05, chains=20, steps=30).numpy()
    start = spoiled(energy).double()
    found, beta = refit(start, paths, 0.05, ridge=0.01)
    z, y = paths[:, :-1].reshape(-1, 2), -np.diff(paths, axis=1).reshape(-1, 2) / 0.05
    w, b, a = (x.detach().numpy() for x in (start.w, start.b, start.a))
    slopes = 1 - np.tanh(z @ w.T + b) ** 2
    design = np.concatenate([np.c_[2 * z[:, i], slopes * w[:, i]] for i in range(2)])
    trained = np.r_[start.confinement.item(), a]
    normal = design.T @ design
    pull = 0.01 * np.diagonal(normal).mean()
    expected = np.linalg.solve(normal + pull * np.eye(49), design.T @ y.T.ravel() + pull * trained)
    np.testing.assert_allclose(found.confinement.item(), expected[0], rtol=1e-6)
    np.testing.assert_allclose(found.a.detach(), expected[1:], rtol=1e-6, atol=1e-8)
    residuals = y.T.ravel() - design @ expected
    assert beta == pytest.approx(2 / (0.05 * np.mean(residuals**2)), rel=1e-6)
    # A strong ridge leaves the energy as it was.
    same, _ = refit(start, paths, 0.05, ridge=1e9)
    np.testing.assert_allclose(same.a.detach(), a, atol=1e-6)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_stationarity_adds_the_likelihood_of_the_law_at_rest(dim):
    rng = np.random.default_rng(dim)
    start = TanhEnergy(dim, units=5, generator=th.Generator().manual_seed(0)).double()
    paths = simulated_in_a_bowl(rng, dim)
    ridge, weight = 1e-3, 0.3
    found, beta = refit(start, paths, 0.1, ridge=ridge, stationarity=weight)

    z, y = paths[:, :-1].reshape(-1, dim), -np.diff(paths, axis=1).reshape(-1, dim) / 0.1
    w, b, a = (x.detach().numpy() for x in (start.w, start.b, start.a))
    trained = np.r_[start.confinement.item(), a]
    slopes = 1 - np.tanh(z @ w.T + b) ** 2
    design = np.concatenate([np.c_[2 * z[:, i], slopes * w[:, i]] for i in range(dim)])
    pull = ridge * np.diagonal(design.T @ design).mean()
    middles = (np.arange(45) + 0.5) / 45 * 12 - 6  # a box and a grid of its own
    grid = np.stack(np.meshgrid(*[middles] * dim), axis=-1).reshape(-1, dim)

    def features(x):
        return np.c_[(x**2).sum(axis=1), np.tanh(x @ w.T + b)]

    on_grid, mean = features(grid), features(z).mean(axis=0)

    def loss(x):
        theta, beta = x[:-1], x[-1]
        squares = ((y.T.ravel() - design @ theta) ** 2).sum() + pull * ((theta - trained) ** 2).sum()
        transitions = beta * 0.1 / 2 * squares / len(z) - dim * np.log(beta)
        return transitions / 2 + weight * (beta * theta @ mean + logsumexp(-beta * on_grid @ theta))

    best = minimize(loss, np.r_[trained, 1.0], method="BFGS", options={"gtol": 1e-7})
    np.testing.assert_allclose([found.confinement.item(), *found.a.detach()], best.x[:-1], rtol=2e-3, atol=2e-3)
    assert beta == pytest.approx(best.x[-1], rel=1e-3)


def simulated_in_a_bowl(rng, dim):
    """Paths in an energy |z|^2, whose noise is larger on one side: no Langevin model is right."""
    z = [0.7 * rng.standard_normal((60, dim))]
    for _ in range(40):
        noise = np.sqrt(0.2) * rng.standard_normal((60, dim)) * np.where(z[-1][:, :1] > 0, 1.2, 0.8)
        z.append(z[-1] - 0.1 * 2 * z[-1] + noise)
    return np.stack(z, axis=1)


def test_with_stationarity_frequencies_are_those_of_the_positions(three_wells):
    # Paths that have not forgotten where they started, most of them in the rarest well.
    energy, weights = three_wells
    paths = simulated(Overdamped(energy, BETA), step=0.05, chains=300, steps=80).numpy()
    kept = paths[np.r_[np.arange(2, 300, 3), np.arange(30)]]
    wells = find_wells(energy, MEANS)
    positions = kept[:, :-1].reshape(-1, 2)
    seen = empirical_weights(assign_wells(energy, wells, positions), 3)
    assert np.abs(seen - weights).sum() > 0.4

    def distance(stationarity):
        found, beta = refit(spoiled(energy), kept, 0.05, stationarity=stationarity)
        recut = find_wells(found, MEANS)
        assert len(recut) == 3
        return np.abs(quadrature_weights(found, beta, recut).weights - seen).sum()

    distances = [distance(x) for x in (0.0, 0.1, 100.0)]
    assert distances[0] > distances[1] > distances[2]
    assert distances[2] < 0.15 * distances[0]


def test_an_energy_always_confines():
    # Paths that run away from the center would be most likely in an inverted bowl.
    rng = np.random.default_rng(0)
    starts = rng.standard_normal((200, 1, 2))
    paths = starts * 1.2 ** np.arange(6)[:, None] + 0.01 * rng.standard_normal((200, 6, 2))
    energy = TanhEnergy(2, units=4, generator=th.Generator().manual_seed(0))
    found, _ = refit(energy, paths, 0.1)
    assert found.confinement.item() == pytest.approx(1e-3, rel=1e-4)
    # The same with a law at rest of points on the rim alone.
    found, beta = refit(energy, paths, 0.1, stationarity=10.0)
    assert beta * found.confinement.item() >= 1e-3 * (1 - 1e-6)


def test_bad_input_is_refused(three_wells):
    energy, _ = three_wells
    paths = np.random.default_rng(0).standard_normal((3, 5, 2))
    descent = [th.tensor(MEANS)]
    with th.no_grad():
        for _ in range(5):
            descent.append(descent[-1] - 0.1 * energy.gradient(descent[-1]))
    for change, message in (
        ({"paths": paths[0]}, r"positions must be \[N, T, 2\]"),
        ({"paths": paths[:, :1]}, "at least two steps"),
        ({"paths": paths * np.nan}, "must be finite"),
        ({"paths": th.stack(descent, dim=1)}, "no noise"),
        ({"step": 0.0}, "step must be finite and above 0"),
        ({"ridge": -1.0}, "ridge must be finite and 0 or more"),
        ({"stationarity": -1.0}, "stationarity must be finite and 0 or more, got -1"),
        ({"energy": TanhEnergy(4), "paths": np.tile(paths, 2), "stationarity": 0.1}, "this energy has 4: use 0"),
        ({"energy": FunctionEnergy(lambda z: z.square().sum(-1), 2)}, "only a TanhEnergy"),
    ):
        with pytest.raises(ValueError, match=message):
            refit(**{"energy": energy, "paths": paths, "step": 0.1, **change})
    with pytest.raises(ValueError, match="must have one shape"):
        refit_underdamped(energy, paths, paths[:, 1:], 0.1, 1.0, 1.0)
