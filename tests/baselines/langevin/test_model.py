"""The model: it encodes online, its loss is what it says, training repeats and resumes exactly, and it learns."""

import dataclasses
import json

import numpy as np
import pytest
import torch as th
from scipy.cluster.vq import kmeans2
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from bisimgym.baselines.core.loss_log import DivergedError
from bisimgym.baselines.langevin.energy import NetworkEnergy, TanhEnergy
from bisimgym.baselines.langevin.model import DYNAMICS, NeuralLangevinDynamics
from bisimgym.baselines.langevin.segmentation import best_permutation, matched_states
from bisimgym.baselines.langevin.training import excess_curvature, kl_weight, learning_rate_factor
from bisimgym.envs.markov_signal import sample_signals, signal_law

SMALL = {"energy_units": 8, "drift_units": 8, "hidden": 8, "context": 6, "control_units": 8}
SHORT = {"batch_size": 4, "window": 6, "long_window": 9, "long_updates": 3, "warm_up": 2, "kl_warm_up": 4}


def small(dynamics="overdamped", **settings):
    return NeuralLangevinDynamics(4, dynamics, **{**SMALL, "control_scale": 3.0, **settings})


@pytest.fixture(scope="module")
def signals():
    return np.random.default_rng(0).standard_normal((5, 12, 4)).astype(np.float32)


def assert_same(first, second):
    for name, value in first.state_dict().items():
        assert th.equal(value, second.state_dict()[name]), name


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


def test_learning_rate_and_kl_weight():
    factors = [learning_rate_factor(n, 800, 50) for n in range(800)]
    assert [factors[0], factors[425]] == pytest.approx([1 / 50, (1 + 0.05) / 2])
    assert factors[49] == max(factors) == 1
    assert factors[-1] == pytest.approx(0.05, abs=1e-4)
    assert [kl_weight(n, 200) for n in (0, 100, 200)] == pytest.approx([0.02, 0.51, 1])
    assert kl_weight(0, 0) == 1
    assert [learning_rate_factor(n, 800, 2, decay=0.9) for n in (0, 2, 5)] == pytest.approx([0.5, 1, 0.9**3])


def test_the_path_weight_counts_paths_and_not_their_starts(signals):
    """The first update sees the same paths whatever the weight; of the second one on the weight has its effect."""
    histories = [
        small().fit(signals, updates=40, **{**SHORT, "kl_warm_up": 0}, path_weight=w) for w in (1.0, 2.0, 20.0)
    ]
    assert np.array_equal(histories[0].loss, small().fit(signals, updates=40, **{**SHORT, "kl_warm_up": 0}).loss)
    first = np.array([(h.loss - h.reconstruction)[0] for h in histories])
    path = first[1] - first[0]
    assert 0 < path < first[0]  # of which the rest is the start's
    assert first[2] == pytest.approx(first[0] + 19 * path, rel=1e-4)
    assert histories[2].kl[-1] < histories[0].kl[-1]
    assert histories[0].kl[0] == histories[2].kl[0]
    for wrong in (0.0, -1.0, np.inf):
        with pytest.raises(ValueError, match="path_weight must be positive"):
            small().fit(signals, updates=4, **SHORT, path_weight=wrong)


def test_noise_of_the_decoder_that_is_not_learned(signals):
    model = small(learn_std=False, log_std=-0.5)
    model.fit(signals, updates=4, **{**SHORT, "clip": None}, rate_decay=0.99)
    np.testing.assert_allclose(model.std().detach(), np.exp(-0.5), rtol=1e-6)
    assert small(learn_std=True).log_std.requires_grad
    for wrong in ({"rate_decay": 0.0}, {"rate_decay": 1.5}, {"clip": 0.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            model.fit(signals, updates=4, **{**SHORT, **wrong})
    with pytest.raises(ValueError, match="learn_std must be true or false"):
        small(learn_std=1)


@pytest.mark.parametrize("dynamics", DYNAMICS)
def test_training_repeats_and_leaves_global_generators_alone(dynamics, signals):
    before = th.get_rng_state()
    models = [small(dynamics, seed=seed) for seed in (1, 1, 2)]
    histories = [model.fit(signals, updates=8, **SHORT) for model in models]
    assert th.equal(th.get_rng_state(), before)
    assert_same(models[0], models[1])
    assert np.array_equal(histories[0].loss, histories[1].loss)
    assert not np.array_equal(histories[0].loss, histories[2].loss)
    assert np.isfinite(histories[0].loss).all()
    assert not histories[0].skipped.any()
    assert np.isnan(histories[0].beta).all() == (dynamics == "general")
    total = histories[0].reconstruction + histories[0].kl_weight * histories[0].kl
    np.testing.assert_allclose(histories[0].loss, total, rtol=1e-6)


class Cut(Exception):
    """Raised by a callback."""


@pytest.mark.parametrize("average", [0.0, 0.5])
@pytest.mark.parametrize("cut", [5, 10])
def test_a_training_that_was_cut_goes_on_as_if_it_had_not_been(average, cut, signals, tmp_path):
    settings = {"updates": 12, "weight_average": average, **SHORT}
    unbroken = small("underdamped")
    expected = unbroken.fit(signals, **settings, log_path=tmp_path / "unbroken.jsonl")
    files = {"checkpoint_path": tmp_path / "state.pt", "log_path": tmp_path / "cut.jsonl", "checkpoint_every": 3}

    def stop(done, record):
        if done == cut:
            raise Cut

    with pytest.raises(Cut):
        small("underdamped").fit(signals, **settings, **files, callback=stop)
    resumed = small("underdamped")
    history = resumed.fit(signals, **settings, **files)
    assert_same(resumed, unbroken)
    for field in dataclasses.fields(history):
        if field.name != "seconds":
            assert np.array_equal(getattr(history, field.name), getattr(expected, field.name)), field.name
    assert (tmp_path / "cut.jsonl").read_text() == (tmp_path / "unbroken.jsonl").read_text()
    assert len((tmp_path / "cut.jsonl").read_text().splitlines()) == 12
    again = small("underdamped")
    again.fit(signals, **settings, **files)  # it is over: nothing is left to do
    assert_same(again, unbroken)


def test_checkpoints_of_another_training_are_refused(signals, tmp_path):
    path = tmp_path / "state.pt"
    small().fit(signals, updates=4, **SHORT, checkpoint_path=path)
    for model, data, updates, name in (
        (small(), signals, 5, "settings of fit"),
        (small(seed=1), signals, 4, "model settings"),
        (small(), signals + 1, 4, "signals"),
    ):
        with pytest.raises(ValueError, match=f"its {name} differ"):
            model.fit(data, updates=updates, **SHORT, seed=0, checkpoint_path=path)


def kept_weights(model):
    """Return a list, and a callback that appends the decoder's weights to it after every update."""
    weights = []
    return weights, lambda done, record: weights.append(model.decoder.weight.detach().clone())


@pytest.mark.parametrize(("decay", "wanted"), [(0.25, [1 / 64, 3 / 64, 12 / 64, 48 / 64]), (0.99, [1 / 4] * 4)])
def test_averaged_weights_are_those_of_the_second_half(decay, wanted, signals):
    model = small()
    weights, keep = kept_weights(model)
    model.fit(signals, updates=8, weight_average=decay, **SHORT, callback=keep)
    average = sum(share * weight for share, weight in zip(wanted, weights[4:], strict=True))
    th.testing.assert_close(model.decoder.weight.detach(), average)


def test_updates_that_are_not_finite_are_skipped_then_stopped(signals):
    model = small()
    spoiled = iter([False, True, True, False, True, False])

    def terms(batch, generator, own=model.terms):
        found = own(batch, generator)
        return found._replace(path_kl=found.path_kl * float("nan")) if next(spoiled) else found

    weights, keep = kept_weights(model)
    model.terms = terms
    history = model.fit(signals, updates=6, **SHORT, callback=keep)
    assert history.skipped.tolist() == [False, True, True, False, True, False]
    assert th.equal(weights[0], weights[2])
    assert not th.equal(weights[2], weights[3])
    assert all(th.isfinite(p).all() for p in model.parameters())

    diverging = small()
    with th.no_grad():
        diverging.log_std.fill_(float("nan"))
    with pytest.raises(DivergedError, match=r"6 updates in a row, up to update 6, .*Lower learning_rate"):
        diverging.fit(signals, updates=8, **SHORT)


def test_gradient_norms_are_those_before_clipping(signals):
    assert small().fit(30 * signals, updates=4, **SHORT).gradient_norm.min() > 1


def test_curvature_penalty(signals):
    points = th.randn(7, 100, 2, generator=th.Generator().manual_seed(0))
    for substeps, excess in ((1, (2.4 - 1) ** 2), (4, 0)):  # the Hessian is 24 I everywhere, and a frame 0.1 long
        model = small(confinement=12.0, substeps=substeps)
        with th.no_grad():
            model.energy.a.zero_()
        assert excess_curvature(model, points).item() == pytest.approx(excess, rel=1e-5)
    histories, after = [], []
    for penalty in (0.0, 1000.0):
        model = small(confinement=12.0, energy_units=1)
        histories.append(
            model.fit(signals, updates=60, learning_rate=0.1, clip=np.inf, curvature_penalty=penalty, **SHORT)
        )
        after.append(excess_curvature(model, points).item())
    assert after[1] < 0.5 * after[0]
    first = histories[1]
    penalty = first.loss - first.reconstruction - first.kl_weight * first.kl
    assert penalty[0] == pytest.approx(1000 * (2.4 - 1) ** 2, rel=0.1)
    with pytest.raises(ValueError, match="curvature_penalty is for an energy"):
        small("general").fit(signals, updates=4, curvature_penalty=1.0, **SHORT)


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
        (spoiled, False, "signals must be finite: number 1, frame 2, channel 3 is not"),
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
