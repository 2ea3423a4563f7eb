import numpy as np
import pytest
import torch as th
from energies import FunctionEnergy, mixture_energy
from torch import nn

from bisimgym.baselines.langevin.energy import Energy, NetworkEnergy, TanhEnergy, as_points, frozen


def generator(seed=0):
    return th.Generator().manual_seed(seed)


def tanh_energy(dim, **settings):
    return TanhEnergy(dim, generator=generator(), **settings).double()


def network_energy(dim):
    th.manual_seed(0)
    return NetworkEnergy(nn.Sequential(nn.Linear(dim, 16), nn.Tanh(), nn.Linear(16, 1)), dim).double()


def points(*shape):
    return th.randn(*shape, generator=generator(1), dtype=th.float64)


@pytest.mark.parametrize("dim", [1, 2, 5])
@pytest.mark.parametrize("shape", [(), (7,), (3, 4)])
def test_closed_forms_are_those_of_autograd(dim, shape):
    energy, z = tanh_energy(dim), points(*shape, dim)
    value, gradient = energy.value_and_gradient(z)
    th.testing.assert_close(value, energy(z), rtol=0, atol=0)
    th.testing.assert_close(gradient, energy.gradient(z), rtol=0, atol=0)
    assert value.shape == shape
    assert energy.hessian(z).shape == (*shape, dim, dim)
    th.testing.assert_close(gradient, Energy.gradient(FunctionEnergy(energy, dim), z), rtol=1e-12, atol=1e-13)
    th.testing.assert_close(energy.hessian(z), FunctionEnergy(energy, dim).hessian(z), rtol=1e-12, atol=1e-13)


def test_energies_are_the_formulas():
    energy, z = tanh_energy(2, units=3, confinement=0.7), points(2)
    w, b, a = (x.detach().numpy() for x in (energy.w, energy.b, energy.a))
    expected = 0.7 * (z.numpy() ** 2).sum() + (a * np.tanh(w @ z.numpy() + b)).sum()
    np.testing.assert_allclose(energy(z).item(), expected, rtol=1e-7)  # the confinement was drawn up in float32
    network = network_energy(2)
    expected = 0.5 * (z * z).sum() + network.network(z)[0]
    np.testing.assert_allclose(network(z).item(), expected.item(), rtol=1e-7)


@pytest.mark.parametrize("make", [tanh_energy, network_energy])
def test_gradients_can_be_trained_on(make):
    energy = make(2)
    z = points(5, 2).requires_grad_()
    penalty = energy.gradient(z).square().sum() + energy.hessian(z).square().sum()
    from_points, *from_parameters = th.autograd.grad(penalty, [z, *energy.parameters()], allow_unused=True)
    hessians = energy.hessian(z)
    # Curvature by the points: of the gradient part alone it is 2 H g.
    (alone,) = th.autograd.grad(energy.gradient(z).square().sum(), z)
    th.testing.assert_close(alone, 2 * (hessians @ energy.gradient(z)[..., None])[..., 0])
    assert from_points.abs().max() > 0
    pairs = zip(energy.named_parameters(), from_parameters, strict=True)
    unused = {name for (name, _), g in pairs if g is None or not g.any()}
    assert unused <= {"network.2.bias"}  # a constant has no gradient


@pytest.mark.parametrize("make", [tanh_energy, network_energy])
@pytest.mark.parametrize("mode", [th.no_grad, th.inference_mode])
def test_gradients_without_gradients(make, mode):
    energy, z = make(2), points(5, 2)
    expected = energy.gradient(z).detach(), energy.hessian(z).detach()
    with mode():
        inside = points(5, 2)
        found = energy.gradient(inside), energy.hessian(inside)
    for a, b in zip(found, expected, strict=True):
        assert not a.requires_grad
        th.testing.assert_close(a, b, rtol=0, atol=0)


def test_functions_are_energies_even_if_they_are_linear():
    quadratic = FunctionEnergy(lambda z: 1.5 * z[..., 0] ** 2 + z[..., 0] * z[..., 1], 2)
    z = points(4, 2)
    expected = th.tensor([[3.0, 1.0], [1.0, 0.0]], dtype=th.float64).expand(4, 2, 2)
    th.testing.assert_close(quadratic.hessian(z), expected, rtol=0, atol=1e-15)
    with th.no_grad():
        assert not FunctionEnergy(lambda z: z.sum(dim=-1), 2).hessian(z).any()


def test_a_mixture_has_its_density():
    weights, means = np.array([0.3, 0.7]), np.array([[0.0, 1.0], [2.0, -1.0]])
    covariances = np.array([[[1.0, 0.5], [0.5, 2.0]], [[0.3, 0.0], [0.0, 0.2]]])
    energy = mixture_energy(2 * weights, means, covariances, beta=1.7)
    z = points(6, 2)
    normals = th.distributions.MultivariateNormal(th.tensor(means), th.tensor(covariances))
    density = normals.log_prob(z[:, None]).exp() @ th.tensor(weights)
    th.testing.assert_close(energy(z), -density.log() / 1.7)
    assert energy(z.float()).dtype == th.float32


def test_a_generator_fixes_the_weights_and_leaves_the_global_one_alone():
    before = th.random.get_rng_state()
    one, two, other = (TanhEnergy(3, generator=generator(s)) for s in (1, 1, 2))
    assert th.equal(before, th.random.get_rng_state())
    assert all(th.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not th.equal(one.w, other.w)
    assert one.a.std() < 0.2 < one.w.std()


def test_a_frozen_copy_is_a_copy():
    energy = TanhEnergy(2, generator=generator())
    copied = frozen(energy)
    assert (energy.w.dtype, energy.w.requires_grad) == (th.float32, True)
    assert (copied.w.dtype, copied.w.requires_grad) == (th.float64, False)
    th.testing.assert_close(copied(points(4, 2)).float(), energy(points(4, 2).float()))


def test_bad_input_is_refused():
    for dim, units, confinement, message in (
        *((dim, units, 0.5, "1 or more") for dim, units in ((0, 64), (2, 0), (True, 64))),
        *((2, 64, value, "confinement must be finite and above 0") for value in (0.0, -1.0, np.nan, np.inf)),
    ):
        with pytest.raises(ValueError, match=message):
            TanhEnergy(dim, units, confinement)
    with pytest.raises(ValueError, match="one number per point"):
        NetworkEnergy(nn.Linear(2, 3), 2)(th.zeros(5, 2))
    for bad, match in ((np.zeros(3), r"\[N, 2\]"), (np.zeros((0, 2)), "one row"), ([[0, np.nan]], "finite, 1 rows")):
        with pytest.raises(ValueError, match=match):
            as_points(bad, 2)
