"""Training of Langevin models: schedules, checkpoints, averages, penalties."""

import dataclasses

import numpy as np
import pytest
import torch as th
from langevin_models import SHORT, assert_same, small

from bisimgym.baselines.core.loss_log import DivergedError
from bisimgym.baselines.langevin.model import DYNAMICS
from bisimgym.baselines.langevin.settings import TrainingSettings
from bisimgym.baselines.langevin.training import _Training, excess_curvature, kl_weight, learning_rate_factor


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


def test_numbers_that_are_read_later_are_the_same(signals):
    records, weights = [], []
    for every in (1, 3):
        model = small()
        training = _Training(model, th.as_tensor(signals), TrainingSettings(updates=6, **SHORT))
        for done in range(1, 7):
            training.update()
            if done % every == 0:
                training.read()
        records.append(training.records)
        weights.append(model)
    assert records[0] == records[1]
    assert len(records[0]) == 6
    assert_same(*weights)
    with th.no_grad():
        model.log_std.fill_(float("nan"))
    for _ in range(8):
        training.update()
    with pytest.raises(DivergedError, match=r"6 updates in a row, up to update 12, "):
        training.read()


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
