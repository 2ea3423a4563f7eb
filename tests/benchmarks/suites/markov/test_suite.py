import dataclasses

import numpy as np
import pytest

from bisimgym.baselines.core.loss_log import DivergedError
from bisimgym.baselines.langevin.model import NeuralLangevinDynamics
from bisimgym.baselines.langevin.settings import TrainingSettings
from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.report.summary import number
from bisimgym.benchmarks.suites import load_suite
from bisimgym.benchmarks.suites.base import make_spec
from bisimgym.benchmarks.suites.markov import suite as markov
from bisimgym.benchmarks.suites.markov.settings import Detail, Protocol
from bisimgym.envs.markov_signal import signal_law
from bisimgym.envs.markov_signal.filters import ExactFilter, FrameMAP

SUITE = load_suite("markov")
#: Fewer and shorter signals and chains, and no pictures.
SMALL = Protocol(
    test_sequences=20,
    test_length=60,
    naming_sequences=20,
    chains=50,
    chain_length=30,
    chain_warm_up=10,
    chain_stride=5,
    sampler_chains=50,
    sampler_warm_up=50,
    sampler_steps=100,
    cells=50,
    pictures=None,
)
QUICK = SUITE.under(SMALL)
COARSE = Detail(sequences=12, length=80, landscape=41, flow=31, arrows=9, arrows_in_space=4)
#: Networks and batches of a few numbers.
TINY = {
    **{f"model.{part}": 8 for part in ("hidden", "context", "control_units", "energy_units", "drift_units")},
    **{"sequences": 16, "fit.batch_size": 8},
}


def spec_of(method, task="uniform", **variant):
    return make_spec(SUITE, task, method, "smoke", 1, variant)


@pytest.fixture
def run(folder_of):
    """Return a function that trains a method and gives the run's folder and outcome."""

    def train(method, task="uniform", suite=QUICK, **variant):
        folder = folder_of(spec := spec_of(method, task, **variant))
        return folder, suite.train(spec, folder, "cpu")

    return train


def test_the_references_stand_in_the_right_order(run):
    suite, scores = SUITE.under(Protocol(test_sequences=100, comparator_sequences=100)), {}
    for method in ("smoother", "exact-filter", "gmm-hmm", "frame-map", "k-means", "always-uniform"):
        _, outcome = run(method, suite=suite)
        scores[method] = outcome.score
        assert suite.rescore("uniform", 1, outcome.outcomes)["score"] == outcome.score
    # The numbers of a prototype: smoother 99.5, filter 98.5 (98.7 with these emissions), single frames 94.7 (95.4).
    assert scores["smoother"] == pytest.approx(0.995, abs=0.003)
    assert scores["exact-filter"] == pytest.approx(0.987, abs=0.003)
    assert scores["frame-map"] == pytest.approx(0.954, abs=0.003)
    assert scores["gmm-hmm"] == pytest.approx(scores["exact-filter"], abs=0.004)
    assert scores["k-means"] < scores["frame-map"]
    assert scores["always-uniform"] == pytest.approx(1 / 3, abs=0.01)


def test_the_uniform_answer_has_no_error_where_it_is_true(run):
    error = {task: run("always-uniform", task)[1].scores["l1_encoded"] for task in SUITE.tasks}
    assert error["uniform"] < 0.1
    assert error["skewed"] == pytest.approx(0.267, abs=0.1)


def test_agents_of_the_protocol_are_scored_as_the_references_are(run):
    for agent, method in ((ExactFilter, "exact-filter"), (FrameMAP, "frame-map")):
        assert QUICK.evaluate(agent(signal_law("skewed")), "skewed", 1) == run(method, "skewed")[1]
    with pytest.raises(ValueError, match="one action per row, integers from 0 to 2"):
        QUICK.evaluate(type("Bad", (), {"predict": lambda *a, **k: (np.zeros(3), None)})(), "uniform", 1)


@pytest.mark.parametrize("method", ["nld-overdamped", "nld-underdamped", "nsde"])
def test_models_train_and_are_scored(method, run, rows_of):
    folder, outcome = run(method, **TINY)
    assert (
        {"sampled", "wells", "failed", "lag", "l1_encoded", "l1_chain"}
        <= outcome.scores.keys()
        <= SUITE.measures.keys()
    )
    if method != "nsde":
        estimates = {name for name in SUITE.measures if name.startswith(("l1_", "share_"))}
        assert estimates | {"beta", "refit_beta", "stationary_beta"} <= outcome.scores.keys()
        assert all(0 <= outcome.scores[name] <= 2 for name in estimates)
        stationary = signal_law("uniform").stationary
        for name in ("sampling", "order0", "order2") if outcome.scores["wells"] == 3 else ():
            shares = np.array([outcome.scores[f"share_{name}_{state}"] for state in "abc"])
            assert shares.sum() == pytest.approx(1)
            assert np.abs(shares - stationary).sum() == pytest.approx(outcome.scores[f"l1_{name}"])
    assert outcome.scores["failed"] == float(outcome.scores["wells"] != 3)
    follow = QUICK.rescore("uniform", 1, outcome.outcomes)
    assert follow.keys() == {name + end for name in ("score", "sampled") for end in ("", "_sd", "_200", "_200_sd")}
    assert follow == {name: {"score": outcome.score, **outcome.scores}[name] for name in follow}
    assert [row["updates"] for row in rows_of(folder)] == [20]
    assert (folder.checkpoint / "model.pt").exists()
    assert not folder.pictures.exists()


def test_pictures_lie_beside_the_result(run):
    folder, _ = run("nsde", suite=SUITE.under(dataclasses.replace(SMALL, pictures=COARSE)), **TINY)
    drawn = sorted(path.stem for path in folder.pictures.iterdir())
    assert drawn == ["1_drift", "2_stream", "7_segmentation", "8_path"]


def test_a_model_without_pictures_has_scores(run):
    suite = SUITE.under(dataclasses.replace(SMALL, pictures=COARSE))
    with pytest.warns(RuntimeWarning, match="has no pictures: .* latent_dim of 2 or more"):
        folder, outcome = run("nld-overdamped", suite=suite, **{**TINY, "model.latent_dim": 1})
    assert outcome.scores["wells"] >= 0
    assert not folder.pictures.exists()


def test_a_killed_run_goes_on_to_the_same_numbers(check_resumed):
    rows = check_resumed(QUICK, spec_of("nld-overdamped", evaluations=4, **TINY), at=13)
    assert [row["updates"] for row in rows] == [5, 10, 15, 20]


def test_a_diverged_training_is_reported_as_failed(monkeypatch, run):
    def diverge(*args, **kwargs):
        raise DivergedError("the gradients are not finite")

    monkeypatch.setattr(NeuralLangevinDynamics, "fit", diverge)
    _, outcome = run("nld-overdamped", "skewed")
    assert outcome.scores["failed"] == 1
    states = markov.held_out_signals("skewed", SMALL)[1]
    assert outcome.score == pytest.approx((states == 0).mean())  # the most frequent state, always


def test_measures_have_units_of_their_own():
    assert [number(SUITE, 0.955), number(SUITE, 0.955, "sampled")] == ["95.5", "95.5"]
    assert [number(SUITE, 3.0, "wells"), number(SUITE, 0.0402, "l1_order2")] == ["3", "0.040"]


def test_accuracies_of_whole_sequences_and_of_their_first_200_frames():
    states = np.zeros((2, 500), dtype=np.int64)
    late, half = states.copy(), states.copy()
    late[:, 250:] = 1
    half[1, :100] = 2
    scores = markov._outcome("uniform", late, states, sampled=half)
    assert (scores.score, scores.scores["score_200"]) == (0.5, 1)
    assert (scores.scores["sampled"], scores.scores["sampled_200"]) == (0.9, 0.75)
    # Over two sequences with 100 % and 80 %, or 50 %, right.
    assert scores.scores["sampled_sd"] == pytest.approx(0.2 / 2**0.5)
    assert scores.scores["sampled_200_sd"] == pytest.approx(0.5 / 2**0.5)
    # Results of before the columns of 200 frames are read as they are.
    older = {name: scores.outcomes[name] for name in ("accuracy", "sampled_accuracy")}
    assert SUITE.under(Protocol(test_sequences=2)).rescore("uniform", 1, older) == {"score": 0.5, "sampled": 0.9}


def test_the_first_frames_are_encoded_as_a_shorter_sequence_is():
    signals, _ = markov.training_signals("skewed", 1, 3)
    model = NeuralLangevinDynamics(15, hidden=4, context=3, control_units=4)
    whole, part = model.encode(signals).positions, model.encode(signals[:, :50]).positions
    np.testing.assert_allclose(whole[:, :50], part, rtol=1e-5, atol=1e-6)


def test_the_path_weight_is_a_setting_that_standard_runs_do_not_have():
    standard = spec_of("nld-overdamped")
    assert "path_weight" not in standard.settings
    assert spec_of("nld-overdamped", path_weight=1) == spec_of("nld-overdamped", path_weight=1.0) == standard
    weighed = spec_of("nld-overdamped", path_weight=2)
    assert weighed.method_folder == "nld-overdamped@path_weight=2"
    assert {**weighed.settings, "path_weight": 1} == {**standard.settings, "path_weight": 1}
    assert markov._fitting(weighed) == {**markov._fitting(standard), "path_weight": 2}
    # So is all else of a model and of its training.
    friction = spec_of("nld-underdamped", **{"model.friction": 2.0, "fit.clip": 5.0})
    assert (friction.settings["model"]["friction"], friction.settings["fit"]["clip"]) == (2.0, 5.0)
    assert spec_of("nld-overdamped", **{"fit.clip": 1.0}) == standard
    with pytest.raises(UserError, match="path_weight must be positive"):
        spec_of("nsde", path_weight=0)
    with pytest.raises(UserError, match="path_weight"):
        spec_of("exact-filter", path_weight=2)


def test_the_paper_preset_is_what_the_authors_do():
    spec = make_spec(SUITE, "skewed", "nld-underdamped", "paper", 1)
    assert markov._fitting(spec) == {
        **spec.settings["fit"],
        **{"path_weight": 2, "window": 200, "batch_size": 128, "learning_rate": 0.01, "rate_decay": 0.9997},
        **{"kl_warm_up": 1000, "clip": None, "long_updates": 0, "weight_average": 0},
    }
    fitting = TrainingSettings(**markov._fitting(spec))
    fitting.check_frames(markov.training_signals("skewed", 1, 1)[0].shape[1])
    assert fitting.updates * fitting.batch_size / spec.settings["sequences"] == pytest.approx(60, abs=0.05)
    model = NeuralLangevinDynamics(**spec.settings["model"])
    learned = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {"dynamics.raw_beta", "dynamics.raw_friction", "dynamics.raw_inverse_mass"} <= learned
    assert "log_std" not in learned
    np.testing.assert_allclose(model.std().detach(), 0.5, rtol=1e-4)
    assert make_spec(SUITE, "skewed", "nld-underdamped", "paper", 1, {"path_weight": 1}).variant == {"path_weight": 1}
    for method in ("nld-overdamped", "nsde"):
        make_spec(SUITE, "uniform", method, "paper", 1)


def test_mistakes_are_named():
    with pytest.raises(UserError, match="sequences must be at least 1"):
        spec_of("nsde", sequences=0)
    with pytest.raises(UserError, match="latent_dim"):
        spec_of("nsde", **{"model.latent_dim": 0})
    with pytest.raises(ValueError, match="20 entries of each of .'accuracy'"):
        QUICK.rescore("uniform", 1, {"right": [1.0] * 20})
    with pytest.raises(ValueError, match="20 entries of each"):
        QUICK.rescore("uniform", 1, {"accuracy": [1.0]})
