import numpy as np
import pytest

from bisimgym.baselines.core.loss_log import DivergedError
from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.report.summary import number
from bisimgym.benchmarks.suites import load_suite
from bisimgym.benchmarks.suites.base import make_spec
from bisimgym.benchmarks.suites.markov import analysis
from bisimgym.benchmarks.suites.markov import suite as markov
from bisimgym.envs.markov_signal import signal_law
from bisimgym.envs.markov_signal.filters import ExactFilter, FrameMAP

SUITE = load_suite("markov")


@pytest.fixture
def small(monkeypatch):
    """Fewer and shorter signals and chains."""
    monkeypatch.setattr(markov, "TEST_SEQUENCES", 20)
    monkeypatch.setattr(markov.settings, "TEST_LENGTH", 60)
    for name, value in (("CHAINS", 50), ("CHAIN_LENGTH", 30), ("CHAIN_WARM_UP", 10), ("CHAIN_STRIDE", 5)):
        monkeypatch.setattr(analysis, name, value)
    monkeypatch.setattr(analysis, "NAMING_SEQUENCES", 20)
    monkeypatch.setattr(analysis, "SAMPLER", {"num_chains": 50, "warm_up": 50, "num_steps": 100})
    monkeypatch.setattr(analysis, "CELLS", 50)
    markov.test_signals.cache_clear()
    yield
    markov.test_signals.cache_clear()


def spec_of(method, task="uniform", **variant):
    return make_spec(SUITE, task, method, "smoke", 1, variant)


@pytest.fixture
def run(folder_of):
    """Return a function that trains a method and gives the run's folder and outcome."""

    def train(method, task="uniform", **variant):
        folder = folder_of(spec := spec_of(method, task, **variant))
        return folder, SUITE.train(spec, folder, "cpu")

    return train


def test_the_references_stand_in_the_right_order(run):
    scores = {}
    for method in ("smoother", "exact-filter", "gmm-hmm", "frame-map", "k-means", "always-uniform"):
        _, outcome = run(method)
        scores[method] = outcome.score
        assert SUITE.rescore("uniform", 1, outcome.outcomes)["score"] == outcome.score
    # The numbers of a prototype: smoother 99.5, filter 98.5 (98.7 with these emissions), single frames 94.7 (95.4).
    assert scores["smoother"] == pytest.approx(0.995, abs=0.003)
    assert scores["exact-filter"] == pytest.approx(0.987, abs=0.003)
    assert scores["frame-map"] == pytest.approx(0.954, abs=0.003)
    assert scores["gmm-hmm"] == pytest.approx(scores["exact-filter"], abs=0.002)
    assert scores["k-means"] < scores["frame-map"]
    assert scores["always-uniform"] == pytest.approx(1 / 3, abs=0.005)


def test_the_uniform_answer_has_no_error_where_it_is_true(small, run):
    error = {task: run("always-uniform", task)[1].scores["l1_encoded"] for task in SUITE.tasks}
    assert error["uniform"] < 0.1
    assert error["skewed"] == pytest.approx(0.267, abs=0.1)


def test_agents_of_the_protocol_are_scored_as_the_references_are(small, run):
    for agent, method in ((ExactFilter, "exact-filter"), (FrameMAP, "frame-map")):
        assert SUITE.evaluate(agent(signal_law("skewed")), "skewed", 1) == run(method, "skewed")[1]
    with pytest.raises(ValueError, match="one action per row, integers from 0 to 2"):
        SUITE.evaluate(type("Bad", (), {"predict": lambda *a, **k: (np.zeros(3), None)})(), "uniform", 1)


@pytest.mark.parametrize("method", ["nld-overdamped", "nld-underdamped", "nsde"])
def test_models_train_and_are_scored(small, method, run, rows_of):
    folder, outcome = run(method)
    assert (
        {"sampled", "wells", "failed", "lag", "l1_encoded", "l1_chain"}
        <= outcome.scores.keys()
        <= SUITE.measures.keys()
    )
    if method != "nsde":
        estimates = {name for name in SUITE.measures if name.startswith("l1_")}
        assert estimates | {"beta", "refit_beta", "stationary_beta"} <= outcome.scores.keys()
        assert all(0 <= outcome.scores[name] <= 2 for name in estimates)
    assert outcome.scores["failed"] == float(outcome.scores["wells"] != 3)
    assert SUITE.rescore("uniform", 1, outcome.outcomes) == {
        "score": outcome.score,
        "sampled": outcome.scores["sampled"],
    }
    assert [row["updates"] for row in rows_of(folder)] == [20]
    assert (folder.checkpoint / "model.pt").exists()
    of_energy = [] if method == "nsde" else ["3_surface", "4_contour"]
    drawn = sorted(path.stem for path in folder.pictures.iterdir())
    assert drawn == ["1_drift", "2_stream", *of_energy, "7_segmentation", "8_path"]


def test_a_model_without_pictures_has_scores(small, run):
    with pytest.warns(RuntimeWarning, match="has no pictures: .* latent_dim of 2 or more"):
        folder, outcome = run("nld-overdamped", **{"model.latent_dim": 1})
    assert outcome.scores["wells"] >= 0
    assert not folder.pictures.exists()


def test_a_killed_run_goes_on_to_the_same_numbers(small, check_resumed):
    rows = check_resumed(spec_of("nld-overdamped", evaluations=4), at=13)
    assert [row["updates"] for row in rows] == [5, 10, 15, 20]


def test_a_diverged_training_is_reported_as_failed(small, monkeypatch, run):
    from bisimgym.baselines.langevin.model import NeuralLangevinDynamics

    def diverge(*args, **kwargs):
        raise DivergedError("the gradients are not finite")

    monkeypatch.setattr(NeuralLangevinDynamics, "fit", diverge)
    _, outcome = run("nld-overdamped", "skewed")
    assert outcome.scores["failed"] == 1
    states = markov.test_signals("skewed")[1]
    assert outcome.score == pytest.approx((states == 0).mean())  # the most frequent state, always


def test_measures_have_units_of_their_own():
    assert [number(SUITE, 0.955), number(SUITE, 0.955, "sampled")] == ["95.5", "95.5"]
    assert [number(SUITE, 3.0, "wells"), number(SUITE, 0.0402, "l1_order2")] == ["3", "0.040"]


def test_mistakes_are_named(small):
    with pytest.raises(UserError, match="sequences must be at least 1"):
        spec_of("nsde", sequences=0)
    with pytest.raises(UserError, match="latent_dim"):
        spec_of("nsde", **{"model.latent_dim": 0})
    with pytest.raises(ValueError, match="20 entries of each of .'accuracy'"):
        SUITE.rescore("uniform", 1, {"right": [1.0] * 20})
    with pytest.raises(ValueError, match="20 entries of each"):
        SUITE.rescore("uniform", 1, {"accuracy": [1.0]})
