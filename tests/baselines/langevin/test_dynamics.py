"""One step of each dynamics: its exact divergence, its stationary law, and where it becomes unstable."""

import numpy as np
import pytest
import torch as th
from energies import FunctionEnergy
from scipy.linalg import solve_discrete_lyapunov
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from bisimgym.baselines.langevin.dynamics import (
    INTEGRATORS,
    GeneralDrift,
    Overdamped,
    Underdamped,
    gaussian_kl,
    path_kl,
)
from bisimgym.baselines.langevin.encoder import drift_network
from bisimgym.baselines.langevin.energy import TanhEnergy


@pytest.fixture(autouse=True)
def _float64():
    th.set_default_dtype(th.float64)
    yield
    th.set_default_dtype(th.float32)


def seeded(seed=0):
    return th.Generator().manual_seed(seed)


def bowl(*curvatures):
    """``E = sum_i k_i z_i^2 / 2``."""
    k = th.tensor(curvatures)
    return FunctionEnergy(lambda z: (k * z * z).sum(dim=-1) / 2, len(curvatures))


def energy():
    return TanhEnergy(2, units=8, generator=seeded())


def stationary_covariance(dynamics, step, **kernel):
    """``float64[S, S]`` of the chain in a quadratic energy, exactly: there the step is linear."""
    with th.no_grad():
        advance = dynamics.kernel(step, **kernel).advance
        states, noises = th.eye(dynamics.state_dim), th.eye(dynamics.dim)
        matrix = advance(states, th.zeros(dynamics.state_dim, dynamics.dim)).numpy().T
        factor = advance(th.zeros(dynamics.dim, dynamics.state_dim), noises).numpy().T
    return solve_discrete_lyapunov(matrix, factor @ factor.T)


@pytest.mark.parametrize("name", ["overdamped", "general"])
def test_a_step_is_euler_maruyama_and_its_divergence_that_of_the_kernels(name):
    step, z, f = 0.1, th.randn(5, 2, generator=seeded(1)), th.randn(5, 2, generator=seeded(2))
    if name == "overdamped":
        dynamics = Overdamped(energy(), beta=1.7, friction=0.6)
        prior = z - step / 0.6 * dynamics.energy.gradient(z)
        std = np.sqrt(2 * step / (1.7 * 0.6))
    else:
        dynamics = GeneralDrift(drift_network(2, 8, 1.0, seeded()), 2, diffusion=0.7)
        prior, std = z + step * dynamics.drift(z), 0.7 * step**0.5
    kernel = dynamics.kernel(step)
    u, noise = kernel.control_gain * f, th.randn(5, 2, generator=seeded(3))
    th.testing.assert_close(kernel.advance(z, u + noise), prior + step * f + std * noise)
    wanted = kl_divergence(Normal(prior + step * f, std), Normal(prior, std)).sum(dim=1)
    th.testing.assert_close(path_kl(u[None]), wanted)
    if name == "overdamped":  # the rate of the paper, (beta gamma / 4) |f|^2
        th.testing.assert_close(wanted, step * 1.7 * 0.6 / 4 * f.square().sum(dim=1))


@pytest.mark.parametrize("integrator", INTEGRATORS)
def test_underdamped_divergence_is_that_of_the_kernels(integrator):
    """The next state is one function of the noise in prior and posterior, and one to one on its image.

    The divergence is then that of the coordinates that the noise enters linearly, whose law is read off the step: the
    momenta, or the positions of baoab.
    """
    dynamics = Underdamped(energy(), beta=1.7, friction=0.6, inverse_mass=2.5, integrator=integrator)
    kernel = dynamics.kernel(0.1)
    state, f = th.randn(5, 4, generator=seeded(1)), th.randn(5, 2, generator=seeded(2))
    linear = slice(0, 2) if integrator == "baoab" else slice(2, 4)
    u = kernel.control_gain * f
    prior, posterior = (kernel.advance(state, mean)[:, linear] for mean in (th.zeros_like(u), u))
    jacobian = th.stack([kernel.advance(state, axis.expand(5, 2))[:, linear] - prior for axis in th.eye(2)], dim=-1)
    covariance = jacobian @ jacobian.transpose(1, 2)
    wanted = kl_divergence(MultivariateNormal(posterior, covariance), MultivariateNormal(prior, covariance))
    th.testing.assert_close(path_kl(u[None]), wanted)


@pytest.mark.parametrize("integrator", INTEGRATORS)
def test_underdamped_divergence_tends_to_that_of_the_equation(integrator):
    """``beta |f|^2 / (4 gamma)`` per time unit, and the control pushes the momenta at the rate f."""
    dynamics = Underdamped(energy(), beta=1.7, friction=0.6, inverse_mass=2.5, integrator=integrator)
    step, f = 1e-6, th.randn(5, 2, generator=seeded(2))
    kernel, state = dynamics.kernel(step), th.randn(5, 4, generator=seeded(1))
    u = kernel.control_gain * f
    th.testing.assert_close(path_kl(u[None]) / step, 1.7 * f.square().sum(dim=1) / (4 * 0.6), rtol=1e-5, atol=0)
    pushed = kernel.advance(state, u) - kernel.advance(state, th.zeros_like(u))
    th.testing.assert_close(pushed[:, 2:] / step, f, rtol=1e-4, atol=1e-6)
    moved = (kernel.advance(state, th.zeros_like(u)) - state) / step
    q, p = state.chunk(2, dim=1)
    wanted = th.cat([2.5 * p, -dynamics.energy.gradient(q) - 0.6 * 2.5 * p], dim=1)
    th.testing.assert_close(moved, wanted, rtol=1e-4, atol=1e-4)


def test_friction_step_is_exact():
    """Without a force, momenta after any time step have the law of the Ornstein-Uhlenbeck process."""
    dynamics = Underdamped(bowl(0.0), beta=2.0, friction=3.0, inverse_mass=4.0)
    kernel, step = dynamics.kernel(0.5), 0.5
    start = th.tensor([[0.0, 1.0]])
    mean, std = (kernel.advance(start, th.tensor([[x]]))[0, 1].item() for x in (0.0, 1.0))
    rate = 3.0 * 4.0
    assert mean == pytest.approx(np.exp(-rate * step))
    assert (std - mean) ** 2 == pytest.approx((1 - np.exp(-2 * rate * step)) / (4.0 * 2.0))


@pytest.mark.parametrize("integrator", INTEGRATORS)
def test_underdamped_stationary_law(integrator):
    """For E = k |q|^2 / 2: positions of variance 1 / (beta k), momenta of variance M / beta, which is not 1 / M."""
    dynamics = Underdamped(bowl(1.0, 3.0), beta=2.0, friction=1.5, inverse_mass=0.5, integrator=integrator)
    wanted = np.diag([1 / 2.0, 1 / (2.0 * 3.0), 2.0 / 2.0, 2.0 / 2.0])
    np.testing.assert_allclose(stationary_covariance(dynamics, 1e-4), wanted, rtol=0, atol=5e-4)


def test_underdamped_chain_simulated():
    """The same of a simulated chain, with the step of the training."""
    dynamics = Underdamped(bowl(1.0), beta=2.0, friction=1.5, inverse_mass=0.5)
    kernel, generator, kept = dynamics.kernel(0.1), seeded(), []
    with th.no_grad():
        state = dynamics.at_rest(th.randn(4000, 1, generator=generator) / 2**0.5, generator)
        for _ in range(400):
            state = kernel.advance(state, th.randn(4000, 1, generator=generator))
            kept.append(state)
    wanted = stationary_covariance(dynamics, 0.1)
    np.testing.assert_allclose(np.cov(th.cat(kept[100:]).T), wanted, atol=0.02)
    np.testing.assert_allclose(np.diag(wanted), [1 / 2.0, 2.0 / 2.0], rtol=0.05)


def test_baoab_has_no_bias_in_a_quadratic_energy_where_ou_has():
    """Positions only. Of ou, as friction grows, the effective inverse temperature tends to 2 beta / (r step)."""
    dynamics = Underdamped(bowl(0.01), beta=2.0, friction=30.0, inverse_mass=4.0)
    variance = {i: stationary_covariance(dynamics, 0.5, integrator=i)[0, 0] for i in ("ou", "baoab")}
    assert variance["baoab"] == pytest.approx(1 / (2.0 * 0.01), rel=1e-9)
    assert variance["ou"] == pytest.approx(30.0 * 4.0 * 0.5 / 2 / (2.0 * 0.01), rel=0.02)


def test_overdamped_stationary_law_has_the_known_bias():
    """The variance of the Euler chain in a well of curvature H is ``1 / (beta H) / (1 - step H / (2 gamma))``."""
    dynamics, curvature = Overdamped(bowl(1.0, 4.0), beta=2.0, friction=1.5), np.array([1.0, 4.0])
    wanted = np.diag(1 / (2 * curvature) / (1 - 0.3 * curvature / 3.0))
    np.testing.assert_allclose(stationary_covariance(dynamics, 0.3), wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["overdamped", *INTEGRATORS])
def test_curvature_gain_tells_where_the_chain_becomes_unstable(name):
    def spectral_radius(curvature):
        well = bowl(curvature)
        if name == "overdamped":
            dynamics = Overdamped(well, friction=1.5)
        else:
            dynamics = Underdamped(well, friction=1.5, inverse_mass=2.0, integrator=name)
        kernel = dynamics.kernel(0.3)
        still = th.zeros(dynamics.state_dim, 1)
        matrix = kernel.advance(th.eye(dynamics.state_dim), still)
        return np.abs(np.linalg.eigvals(matrix.detach().numpy())).max(), kernel.curvature_gain.item()

    limit = 2 / spectral_radius(1.0)[1]
    assert spectral_radius(0.99 * limit)[0] < 1 < spectral_radius(1.01 * limit)[0]


def test_gaussian_kl():
    generator = seeded()
    mean, log_std = th.randn(3, 4, generator=generator), th.randn(3, 4, generator=generator)
    prior_mean, prior_log_std = th.randn(4, generator=generator), th.randn(4, generator=generator)
    wanted = kl_divergence(Normal(mean, log_std.exp()), Normal(prior_mean, prior_log_std.exp())).sum(dim=1)
    th.testing.assert_close(gaussian_kl(mean, log_std, prior_mean, prior_log_std), wanted)


def test_momenta_at_rest():
    dynamics = Underdamped(bowl(1.0, 1.0), beta=2.0, inverse_mass=0.25)
    states = dynamics.at_rest(th.ones(20000, 2), seeded())
    assert th.equal(states[:, :2], th.ones(20000, 2))
    np.testing.assert_allclose(states[:, 2:].var(dim=0).detach(), 4 / 2, rtol=0.03)


def test_values_out_of_range():
    with pytest.raises(ValueError, match="beta must be finite and above 0, got -1"):
        Overdamped(energy(), beta=-1)
    with pytest.raises(ValueError, match=r"integrator must be one of \['ou', 'baoab'\], got 'verlet'"):
        Underdamped(energy(), integrator="verlet")
