"""The fidelity suite: what is scored, how runs go on, and the page that tells of it."""

import re
from pathlib import Path

import numpy as np
import pytest

from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.measures.metric_fidelity import fidelity
from bisimgym.benchmarks.measures.processes import fidelity_metrics, fidelity_process
from bisimgym.benchmarks.running.run_folder import read_run
from bisimgym.benchmarks.running.runner import evaluate_agent
from bisimgym.benchmarks.suites import load_suite
from bisimgym.benchmarks.suites.base import make_spec
from bisimgym.benchmarks.suites.fidelity import suite as suite_module
from bisimgym.benchmarks.suites.fidelity.pictures import FILES
from bisimgym.wrappers.sb3_vec_env import SB3VecEnv

SUITE = load_suite("fidelity").under(suite_module.Protocol(pictures=False))
PAGE = Path(__file__).parents[3] / "docs" / "fidelity.md"


def spec_of(method="mico", task="nav2d-8x8", **variant):
    if SUITE.methods[method].trains:
        variant = {"updates": 4, "evaluations": 2, "batch_size": 16, **variant}
    return make_spec(SUITE, task, method, "smoke", 1, variant)


class Predicts:
    def predict(self, observation, state=None, episode_start=None, deterministic=True):
        return np.zeros(len(observation), dtype=int), None


class Knows(Predicts):
    """Embeds a picture as its number, and looks distances up in a table."""

    def __init__(self, task, metric):
        observations, exact, *_ = fidelity_process(task, [metric])
        self.number = {picture.tobytes(): i for i, picture in enumerate(observations)}
        self.table = exact[metric]

    def embed(self, observation):
        return np.array([[self.number[picture.tobytes()]] for picture in observation], dtype=float)

    def distance(self, x, y):
        return self.table[x[:, 0].astype(int), y[:, 0].astype(int)]


class ReadsOff(Predicts):
    """Embeds a picture as some factors of its state."""

    def __init__(self, task, *names):
        process = fidelity_process(task, [])
        values = np.stack([process.factors[name] for name in names], axis=1)
        self.of = {picture.tobytes(): row for picture, row in zip(process.observations, values, strict=True)}

    def embed(self, observation):
        return np.array([self.of[picture.tobytes()] for picture in observation])


def test_runs_draw(folder_of):
    folder = folder_of(spec := spec_of("pixels"))
    load_suite("fidelity").train(spec, folder, "cpu")
    assert {path.name for path in folder.pictures.iterdir()} == {f"{name}.png" for name in FILES}


def test_readouts_are_means_over_the_parts_of_states_and_of_distractors():
    phase = SUITE.evaluate(ReadsOff("dial-relevant", "phase, cosine", "phase, sine"), "dial-relevant", 1).scores
    assert phase["distractor_linear"] > 0.99
    assert phase["distractor_nearest"] == phase["lit_nearest"] == 1.0
    assert phase["state_linear"] == phase["state_nearest"] == 0.0
    place = SUITE.evaluate(ReadsOff("dial-relevant", "row", "column"), "dial-relevant", 1).scores
    assert place["state_linear"] > 0.99
    assert place["state_nearest"] == 1.0
    assert place["distractor_linear"] == place["lit_linear"] == 0.0
    row = SUITE.evaluate(ReadsOff("nav2d-8x8", "row"), "nav2d-8x8", 1).scores
    assert 0.4 < row["state_linear"] < 0.6  # all of one of two factors
    assert not {"distractor_linear", "lit_linear"} & set(row)


def test_every_factor_of_a_distractor_is_one_of_some_task():
    factors = {name for task in SUITE.tasks if "20x20" not in task for name in fidelity_process(task, []).factors}
    assert set().union(*suite_module.DISTRACTORS.values()) <= factors


def test_every_method_trains_and_is_scored(folder_of, rows_of):
    of_geometry = {"effective_rank", "control"}
    of_geometry |= {f"{part}_{kind}" for part in ("value", "state") for kind in ("linear", "nearest")}
    for method in SUITE.methods:
        folder = folder_of(spec := spec_of(method))
        outcome = SUITE.train(spec, folder, "cpu")
        again = SUITE.rescore(spec.task, 1, outcome.outcomes)
        assert again == {
            "score": outcome.score,
            **{k: v for k, v in outcome.scores.items() if k not in of_geometry},
        }
        claimed = suite_module.CLAIMS.get(spec.settings.get("metric"))
        assert ("own_metric" in outcome.scores) == (claimed is not None)
        if claimed is not None:
            place = outcome.outcomes["metric"].index(claimed)
            assert outcome.scores["own_metric"] == outcome.outcomes["rank_correlation"][place]
        rows = rows_of(folder)
        assert [row["updates"] for row in rows] == ([0, 2, 4] if SUITE.methods[method].trains else [0])
        assert rows[-1] == {"updates": rows[-1]["updates"], "score": outcome.score, **outcome.scores}
        assert not SUITE.methods[method].trains or rows[0]["score"] != outcome.score


def test_training_leads_to_the_metric(folder_of, rows_of):
    spec = spec_of("mico", updates=300, evaluations=1, batch_size=128)
    folder = folder_of(spec)
    outcome = SUITE.train(spec, folder, "cpu")
    untrained = rows_of(folder)[0]
    assert untrained["own_metric"] < 0.4
    assert outcome.scores["own_metric"] > 0.6
    assert outcome.score > untrained["score"] + 0.2


def test_methods_start_from_the_untrained_encoder(folder_of, rows_of):
    """The floor is what the others start from, where they compare embeddings as it does."""
    folder = folder_of(spec := spec_of("random"))
    outcome = SUITE.train(spec, folder, "cpu")
    for method in ("self-prediction", "deepmdp"):
        trained = folder_of(spec := spec_of(method, precision="float32"))
        SUITE.train(spec, trained, "cpu")
        assert rows_of(trained)[0] == {"updates": 0, "score": outcome.score, **outcome.scores}


@pytest.mark.parametrize("method", ["rss", "simsr"])  # which draw random numbers in their losses, too
def test_a_killed_run_goes_on_to_the_same_numbers(method, check_resumed):
    rows = check_resumed(SUITE, spec_of(method, updates=9, evaluations=3), at=6)
    assert [row["updates"] for row in rows] == [0, 3, 6, 9]


def test_a_run_killed_before_its_first_checkpoint_starts_over(folder_of, rows_of, train_until):
    folder = folder_of(spec := spec_of())
    train_until(SUITE, spec, folder, 0)
    SUITE.train(spec, folder, "cpu")
    assert [row["updates"] for row in rows_of(folder)] == [0, 2, 4]


def test_a_damaged_checkpoint_is_named(folder_of):
    folder = folder_of(spec := spec_of())
    folder.checkpoint.mkdir()
    (folder.checkpoint / "model.zip").write_bytes(b"nothing")
    with pytest.raises(UserError, match="is damaged"):
        SUITE.train(spec, folder, "cpu")


def test_rewards_are_learned_in_units_of_the_largest(monkeypatch, folder_of):
    """Ten times the rewards are the same data."""
    spec = spec_of("mico", "jumping-25")
    scores = [SUITE.train(spec, folder_of(spec, "one"), "cpu")]
    processes = suite_module.processes
    data = processes.fidelity_transitions("jumping-25")
    monkeypatch.setattr(processes, "fidelity_transitions", lambda task: data._replace(rewards=10 * data.rewards))
    scores.append(SUITE.train(spec, folder_of(spec, "ten"), "cpu"))
    assert scores[0] == scores[1]


def test_the_exact_metric_has_the_best_score():
    found = SUITE.evaluate(Knows("nav2d-8x8", "bisimulation-random"), "nav2d-8x8", 1)
    assert found.score == pytest.approx(1)
    assert found.scores["distortion"] == pytest.approx(0)
    assert found.scores["neighbour_recall"] == pytest.approx(1)
    assert "own_metric" not in found.scores
    other = SUITE.evaluate(Knows("nav2d-8x8", "mico-random"), "nav2d-8x8", 1)
    assert other.scores["rank_mico-random"] == pytest.approx(1)
    assert 0.5 < other.score < 0.9  # the metrics differ, so the suite can tell them apart
    assert other.score == pytest.approx(found.scores["rank_mico-random"])


def test_agents_without_a_distance_are_compared_by_the_euclidean(tmp_path):
    class Places(Predicts):
        def embed(self, observation):
            return np.array([np.argwhere(picture[..., 1])[0] for picture in observation], dtype=np.float32)

    observations, exact, *_ = fidelity_process("nav2d-8x8")
    outcome = evaluate_agent(Places(), SUITE, "nav2d-8x8", "places", tmp_path)
    for row, metric in enumerate(fidelity_metrics("nav2d-8x8")):
        expected = fidelity(Places(), observations, exact[metric])
        for column in ("rank_correlation", "distortion", "neighbour_recall", "scale"):
            assert outcome.outcomes[column][row] == pytest.approx(getattr(expected, column))
    assert 1.5 < outcome.scores["effective_rank"] <= 2
    stored = read_run(next(tmp_path.rglob("run.json")).parent)
    assert (stored.score, stored.scores) == (outcome.score, outcome.scores)


def test_agents_without_embeddings_are_told_so():
    with pytest.raises(UserError, match=r"Predicts has no method embed\(observation\)"):
        evaluate_agent(Predicts(), SUITE, "nav2d-8x8", "blind")


def test_a_process_without_an_end_is_learned_from(folder_of):
    spec = spec_of("mico", "dial-controllable")
    outcome = SUITE.train(spec, folder_of(spec), "cpu")
    assert outcome.outcomes["claimed"].count(True) == 1
    assert -1 <= outcome.scores["control"] <= 1


@pytest.mark.parametrize("task", ["markov-signal", "lqr"])
@pytest.mark.parametrize("method", ["pse", "interaction", "vae", "pca"])
def test_processes_with_infinitely_many_states_are_learned_from(task, method, folder_of):
    outcome = SUITE.train(spec := spec_of(method, task), folder_of(spec), "cpu")
    assert outcome.outcomes["metric"] == list(fidelity_metrics(task))
    assert "control" not in outcome.scores
    assert ("own_metric" in outcome.scores) == (method == "pse" and task == "lqr")


def test_a_constant_added_to_all_rewards_changes_nothing_where_no_episode_ends(monkeypatch, folder_of):
    spec = spec_of("value", "dial-relevant", updates=20, evaluations=1)
    scores = [SUITE.train(spec, folder_of(spec, "one"), "cpu")]
    processes = suite_module.processes
    data = processes.fidelity_transitions("dial-relevant")
    monkeypatch.setattr(processes, "fidelity_transitions", lambda task: data._replace(rewards=data.rewards + 8))
    scores.append(SUITE.train(spec, folder_of(spec, "shifted"), "cpu"))
    assert scores[0].score == pytest.approx(scores[1].score, abs=1e-4)


def test_recursive_similarity_has_no_metric_of_its_own_on_the_jumping_task(folder_of):
    spec = spec_of("rss", "jumping-25", updates=1, evaluations=1)
    outcome = SUITE.train(spec, folder_of(spec), "cpu")
    assert not any(outcome.outcomes["claimed"])
    assert "recursive-similarity" not in outcome.outcomes["metric"]
    assert "own_metric" not in outcome.scores


def test_outcomes_of_another_task_are_refused():
    outcomes = SUITE.evaluate(Knows("jumping-25", "mico-random"), "jumping-25", 1).outcomes
    with pytest.raises(ValueError, match="nav2d-8x8 have one row for each"):
        SUITE.rescore("nav2d-8x8", 1, outcomes)
    with pytest.raises(ValueError, match="one row for each"):
        SUITE.rescore("jumping-25", 1, {**outcomes, "distortion": [0.5]})


@pytest.mark.parametrize(
    ("method", "variant", "message"),
    [
        ("mico", {"updates": 0}, "updates must be at least 1"),
        ("mico", {"batch_size": 1}, "batch_size must be at least 2"),
        ("mico", {"encoder": "transformer"}, "encoder of mico must be one of"),
        ("mico", {"encoder": "pca"}, "encoder of mico must be one of"),
        ("pixels", {"encoder": "pca"}, "encoder of pixels must be one of"),
        ("mico", {"norm": "batch"}, "norm must be one of"),
        ("ambs", {"features_dim": 7}, "must be even"),
        ("mico", {"discount": 0.9}, "unknown setting"),
    ],
)
def test_settings_that_cannot_be_trained_with_are_refused(method, variant, message):
    with pytest.raises(UserError, match=message):
        spec_of(method, **variant)


@pytest.mark.parametrize("encoder", ["mlp", "convolutions"])
def test_encoders(encoder, folder_of):
    spec = spec_of("mico", encoder=encoder, updates=1, evaluations=1)
    assert ("encoder" in spec.variant) == (encoder != "mlp")
    assert np.isfinite(SUITE.train(spec, folder_of(spec), "cpu").score)


@pytest.mark.parametrize("task", ["markov-signal", "lqr"])
def test_episodes_of_processes_with_infinitely_many_states_differ_and_end_by_time(task):
    envs = SB3VecEnv(SUITE.training_envs(task, 1))
    assert envs.observation_space.shape == fidelity_process(task, []).observations.shape[1:]
    envs.action_space.seed(0)
    envs.seed(0)
    first = envs.reset()
    assert len({row.tobytes() for row in first}) == len(first)
    steps = 15 if task == "markov-signal" else 100
    for step in range(1, steps + 1):
        seen, _, ended, _ = envs.step(np.array([envs.action_space.sample() for _ in range(envs.num_envs)]))
        assert ended.all() == ended.any() == (step == steps)
    assert not (seen == first).all(axis=1).any()
    if task == "markov-signal":  # of which one frame is seen at first
        assert (seen[:, :-4] == 0).all()


@pytest.mark.parametrize("task", ["nav2d-8x8", "jumping-25-45"])
def test_agents_can_learn_in_the_process(task):
    envs = SB3VecEnv(SUITE.training_envs(task, 1))
    known = {picture.tobytes() for picture in fidelity_process(task, []).observations}
    rng = np.random.default_rng(0)
    seen = [*envs.reset()]
    for _ in range(60):
        seen += [*envs.step(rng.integers(envs.action_space.n, size=envs.num_envs))[0]]
    assert {picture.tobytes() for picture in seen} <= known
    starts = {picture.tobytes() for picture in seen[: envs.num_envs]}
    assert len(starts) == (2 if task == "jumping-25-45" else 1)


def test_the_code_of_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert blocks
    names = {}
    for number, block in enumerate(blocks):
        exec(compile(block, f"{PAGE.name}, block {number}", "exec"), names)
    assert -1 <= names["outcome"].score <= 1


def test_the_page_names_every_method_and_task_and_its_links_lead_somewhere():
    text = PAGE.read_text(encoding="utf-8")
    for name in [*SUITE.methods, *SUITE.tasks, *fidelity_metrics("nav2d-8x8")]:
        assert f"`{name}`" in text, name
    for name, method in SUITE.methods.items():
        metric = suite_module.CLAIMS.get(method.settings.get("metric"))
        assert metric is None or re.search(rf"^\| `{name}`.*`{metric}`", text, re.MULTILINE), name
    targets = re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", text)
    assert [target for target in targets if not (PAGE.parent / target).exists()] == []


@pytest.mark.parametrize("task", ["nav2d-8x8", "jumping-25", "dial-irrelevant", "lqr"])
def test_the_page_says_how_the_exact_metrics_agree(task):
    rows = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in PAGE.read_text("utf-8").splitlines()]
    head = next(i for i, row in enumerate(rows) if row[:1] == ["exact metric"])
    column = rows[head].index(task)
    shown = {row[0]: row[column] for row in rows[head + 2 : head + 6]}
    expected = {
        metric: f"{SUITE.evaluate(Knows(task, metric), task, 1).score:.2f}"
        for metric in fidelity_metrics(task)
        if metric != suite_module.REFERENCE
    }
    assert {metric: value for metric, value in shown.items() if value} == expected
