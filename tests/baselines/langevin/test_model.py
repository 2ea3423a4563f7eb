"""The model: it encodes online, its loss is what it says, training repeats and resumes exactly, and it learns."""

import json

import numpy as np
import pytest
import torch as th
from langevin_models import SHORT, SMALL, assert_same, small
from scipy.cluster.vq import kmeans2
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from bisimgym.baselines.langevin.energy import NetworkEnergy, TanhEnergy
from bisimgym.baselines.langevin.model import DYNAMICS, NeuralLangevinDynamics
from bisimgym.baselines.langevin.segmentation import best_permutation, matched_states
from bisimgym.envs.markov_signal import sample_signals, signal_law


@pytest.mark.parametrize("dynamics", DYNAMICS)
@pytest.mark.parametrize("sample", [False, True])
def test_positions_depend_on_the_past_only(dynamics, sample, signals):
    model = small(dynamics, substeps=2)
    seed = 3 if sample else None
    paths = model.encode(signals, sample, seed)
    changed = signals.copy()
    changed[:, 7] += 1
    other = model.encode(changed, sample, seed)
    assert paths.positions.shape == (5, 12, 2)
    assert paths.positions.dtype == np.float32
    assert np.array_equal(other.positions[:, :7], paths.positions[:, :7])
    # The step to frame 7 knows frame 7 already: that is what the context's index is for.
    assert (other.positions[:, 7:] != paths.positions[:, 7:]).all()
    assert (paths.momenta is not None) == (dynamics == "underdamped")


def test_sampled_paths(signals):
    model = small()
    first, again, other = (model.encode(signals, sample=True, seed=s).positions for s in (1, 1, 2))
    assert np.array_equal(first, again)
    assert (first != other).all()
    assert (first != model.encode(signals).positions).all()
    # The increments' noise is that of the prior.
    still = small(control_scale=1e-9, confinement=1e-6)
    with th.no_grad():
        still.energy.a.zero_()
    many = still.encode(np.repeat(signals, 200, axis=0), sample=True, seed=1).positions
    np.testing.assert_allclose(np.diff(many, axis=1).var(axis=(0, 1)), 2 * 0.1 / still.beta, rtol=0.05)


@pytest.mark.parametrize("dynamics", DYNAMICS)
def test_loss_is_the_evidence_lower_bound_of_the_chain(dynamics, signals):
    """Against an independent sum of log densities and divergences of one-step Gaussian kernels, along the same path."""
    model = small(dynamics, substeps=2).double()
    y = th.as_tensor(signals, dtype=th.float64)
    generator = th.Generator().manual_seed(3)
    noises = model._noise(5, 12, th.Generator().manual_seed(3))
    with th.no_grad():
        terms = model.terms(y, generator)
        contexts = model.encoder(y.transpose(0, 1))
        mean, log_std = model.initial(contexts[0]).chunk(2, dim=1)
        q0, p0 = Normal(mean, log_std.exp()), Normal(model.prior_mean, model.prior_log_std.exp())
        kl = kl_divergence(q0, p0).sum(dim=1)
        state = mean + log_std.exp() * noises[0]
        log_likelihood = th.zeros(5, dtype=th.float64)
        axes = th.eye(2, dtype=th.float64)
        kernel = model.dynamics.kernel(0.05)
        for n in range(12):
            if n > 0:
                for k in range(2):
                    control = model.control(state, model.control.context(contexts[n]))
                    moving = slice(-2, None)  # the coordinates that noise enters: momenta, or positions
                    still = kernel.advance(state, th.zeros_like(control))[:, moving]
                    pushed = kernel.advance(state, kernel.control_gain * control)[:, moving]
                    factor = th.stack([kernel.advance(state, a.expand(5, 2))[:, moving] - still for a in axes], dim=2)
                    covariance = factor @ factor.transpose(1, 2)
                    kl += kl_divergence(MultivariateNormal(pushed, covariance), MultivariateNormal(still, covariance))
                    noise = noises[1][2 * (n - 1) + k]
                    state = kernel.advance(state, noise + kernel.control_gain * control)
            log_likelihood += Normal(model.decoder(state[:, :2]), model.log_std.exp()).log_prob(y[:, n]).sum(dim=1)
            th.testing.assert_close(terms.positions[n], state[:, :2])
    th.testing.assert_close(terms.kl, kl)
    th.testing.assert_close(terms.reconstruction, -log_likelihood)


def test_evidence_is_bounded():
    """Of a model whose evidence is known: no energy but a bowl, one channel, one step. Importance sampling says it."""
    model = NeuralLangevinDynamics(1, latent_dim=1, **{**SMALL, "control_scale": 1.0}, seed=1)
    with th.no_grad():
        model.energy.a.zero_()
        y = np.array([[[0.3], [-0.8]]], dtype=np.float32)
        slope, offset, noise = (float(v) for v in (model.decoder.weight, model.decoder.bias, model.std()))
        curvature, beta = 2 * float(model.energy.confinement), model.beta
    keep, spread = 1 - 0.1 * curvature, 2 * 0.1 / beta
    mean = np.full(2, offset)
    latent = np.array([[1.0, keep], [keep, keep**2 + spread]])
    covariance = slope**2 * latent + noise**2 * np.eye(2)
    exact = float(MultivariateNormal(th.tensor(mean), th.tensor(covariance)).log_prob(th.tensor(y[0, :, 0]).double()))
    with th.no_grad():
        terms = model.terms(th.as_tensor(np.repeat(y, 4000, axis=0)), th.Generator().manual_seed(0))
    bounds = -(terms.reconstruction + terms.kl).numpy().astype(np.float64)
    assert bounds.mean() < exact
    assert np.log(np.mean(np.exp(bounds - exact))) < 0.5  # not an importance weight, but not far from one


@pytest.mark.parametrize("dynamics", DYNAMICS)
def test_gradients_reach_every_parameter(dynamics, signals):
    model = small(dynamics)
    terms = model.terms(th.as_tensor(signals), th.Generator().manual_seed(0))
    (terms.reconstruction + terms.kl).sum().backward()
    idle = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert idle == []


@pytest.mark.parametrize("dynamics", DYNAMICS)
def test_save_and_load(dynamics, signals, tmp_path):
    model = small(dynamics, substeps=2, seed=5)
    model.fit(signals, updates=4, **SHORT)
    path = tmp_path / "new folder" / "model.pt"
    model.save(path)
    loaded = NeuralLangevinDynamics.load(path)
    assert loaded.settings == model.settings
    assert_same(loaded, model)
    assert np.array_equal(loaded.encode(signals).positions, model.encode(signals).positions)
    assert json.loads(th.load(path, weights_only=True)["settings"]) == model.settings  # the file holds no code


def test_an_energy_of_ones_own(signals, tmp_path):
    def network():
        return th.nn.Sequential(th.nn.Linear(2, 5), th.nn.Tanh(), th.nn.Linear(5, 1))

    energy = NetworkEnergy(network(), 2)
    model = small("underdamped", energy=energy)
    before = energy.network[0].weight.detach().clone()
    model.fit(signals, updates=4, **SHORT)
    assert model.energy is energy
    assert not th.equal(energy.network[0].weight, before)
    model.save(tmp_path / "model.pt")
    with pytest.raises(ValueError, match="made with an energy given"):
        NeuralLangevinDynamics.load(tmp_path / "model.pt")
    assert_same(NeuralLangevinDynamics.load(tmp_path / "model.pt", energy=NetworkEnergy(network(), 2)), model)


def test_numbers_of_the_dynamics():
    over, under, general = (small(d) for d in DYNAMICS)
    assert over.beta == pytest.approx(1)
    assert over.friction.tolist() == [1, 1]
    assert over.mass is None
    np.testing.assert_allclose(over.diffusion, 2**0.5, rtol=1e-6)
    np.testing.assert_allclose(under.friction, 3, rtol=1e-6)
    np.testing.assert_allclose(under.mass, 1 / 4, rtol=1e-6)
    np.testing.assert_allclose(under.diffusion, 6**0.5, rtol=1e-6)
    np.testing.assert_allclose(general.diffusion, 2**0.5, rtol=1e-6)
    assert general.beta is general.friction is general.mass is general.energy is None
    z = np.random.default_rng(0).standard_normal((3, 5, 2))
    with th.no_grad():
        gradient = under.energy.gradient(th.as_tensor(z, dtype=th.float32)).numpy()
    np.testing.assert_allclose(under.drift(z), -gradient / 3, rtol=1e-5, atol=1e-6)
    assert over.drift(z).shape == general.drift(z).shape == (3, 5, 2)
    decoded = over.decode(z)
    weight, bias = over.decoder.weight.detach().numpy(), over.decoder.bias.detach().numpy()
    np.testing.assert_allclose(decoded, z @ weight.T + bias, rtol=1e-4, atol=1e-5)


def test_samples_of_the_prior():
    model = small("underdamped", beta=2.0, friction=1.0, inverse_mass=2.0, confinement=0.5)
    with th.no_grad():
        model.energy.a.zero_()  # E = |q|^2 / 2
    start = np.full((400, 2), 3.0)
    paths = model.sample(400, 300, seed=0, start=start, substeps=2, integrator="baoab")
    assert paths.positions.shape == paths.momenta.shape == (400, 300, 2)
    assert (paths.positions[:, 0] == 3).all()
    np.testing.assert_allclose(paths.momenta[:, 0].var(), 0.5 / 2, rtol=0.15)
    np.testing.assert_allclose(paths.positions[:, 150:].var(axis=(0, 1)), 1 / 2, rtol=0.06)
    np.testing.assert_allclose(paths.momenta[:, 150:].var(axis=(0, 1)), 0.5 / 2, rtol=0.06)
    again = model.sample(400, 300, seed=0, start=start, substeps=2, integrator="baoab")
    assert np.array_equal(paths.positions, again.positions)
    learned = model.sample(2000, 1, seed=1).positions[:, 0]
    np.testing.assert_allclose([learned.mean(), learned.std()], [0, 1], atol=0.05)
    with pytest.raises(ValueError, match=r"start must be \[3, 2\], got shape \[400, 2\]"):
        model.sample(3, 5, seed=0, start=start)
    with pytest.raises(ValueError, match="integrator='baoab' is for underdamped dynamics only"):
        small().sample(3, 5, seed=0, integrator="baoab")


def test_values_out_of_range(signals):
    for settings, message in (
        ({"hiden": 4}, "hiden"),
        ({"dynamics": "smooth"}, r"dynamics must be one of \['overdamped', 'underdamped', 'general'\], got 'smooth'"),
        ({"substeps": 0}, "substeps must be an integer of at least 1, got 0"),
        ({"step": -0.1}, "step must be finite and above 0"),
        ({"inverse_mass": 2.0}, "inverse_mass means nothing for dynamics='overdamped'"),
        ({"dynamics": "general", "friction": 2.0}, "friction means nothing for dynamics='general'"),
        ({"dynamics": "general", "energy": TanhEnergy(2)}, "energy means nothing for dynamics='general'"),
        ({"energy": TanhEnergy(3)}, "the energy is one of 3 dimensions, but latent_dim is 2"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            NeuralLangevinDynamics(4, **settings)
    model = small()
    for settings, message in (
        ({"learning_rat": 1e-3}, "learning_rat"),
        ({"updates": 0}, "updates must be an integer of at least 1, got 0"),
        ({"window": 13}, "window must be at most 12, the frames of a signal, got 13"),
        ({"long_updates": 9}, "long_updates must be at most updates=8, got 9"),
        ({"weight_average": 1.0}, r"weight_average must be in \[0, 1\), got 1.0"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            model.fit(signals, **{"updates": 8, **SHORT, **settings})
    spoiled = signals.copy()
    spoiled[1, 2, 3] = np.nan
    for given, sample, message in (
        (spoiled, False, "signals must be finite float32: number 1, frame 2, channel 3 is not"),
        (signals[..., :3], False, r"signals must be \[N, T, 4\], got shape \(5, 12, 3\)"),
        (signals, True, "sampled paths need a seed"),
    ):
        with pytest.raises(ValueError, match=message):
            model.encode(given, sample)


def test_it_learns_the_hidden_states():
    """Some seconds of training on signals that are easier than the default ones."""
    law = signal_law(separation=4.0)
    train, _ = sample_signals(law, 100, 60, 0)
    model = NeuralLangevinDynamics(hidden=32, context=16, control_units=32, energy_units=32)
    history = model.fit(train, updates=120, window=25, long_updates=0, kl_warm_up=60, learning_rate=0.01)
    assert history.loss[-10:].mean() < history.loss[:10].mean() - 4
    signals, hidden = sample_signals(law, 50, 60, 1)
    z = model.encode(signals).positions
    centers, _ = kmeans2(z.reshape(-1, 2), 3, minit="++", seed=0)
    near = np.square(z[..., None, :] - centers).sum(axis=-1).argmin(axis=-1)
    assert (matched_states(near, best_permutation(near, hidden, 3, 3)) == hidden).mean() > 0.9


@pytest.mark.parametrize("start", [[[np.nan, 0.0]], [["a", "b"]], [[1j, 0]]])
def test_paths_do_not_start_where_there_is_no_place(start):
    with pytest.raises(ValueError, match="positions must be"):
        NeuralLangevinDynamics(4, latent_dim=2, hidden=4, context=4).sample(1, 5, seed=0, start=start)
