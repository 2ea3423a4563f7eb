"""The lqr suite: exact scores, seeds that are trained together, agents that play."""

import re
from pathlib import Path

import numpy as np
import pytest

from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.running.run_folder import RunFolder, read_run
from bisimgym.benchmarks.running.runner import evaluate_agent, run_one, run_together, together
from bisimgym.benchmarks.suites import load_suite
from bisimgym.benchmarks.suites import lqr as suite_module
from bisimgym.benchmarks.suites.base import make_spec
from bisimgym.benchmarks.suites.lqr_systems import Protocol, oracle_cost, systems, training_envs
from bisimgym.envs.lqr import infinite_horizon_cost, riccati

SUITE = load_suite("lqr")
PAGE = Path(__file__).parents[3] / "docs" / "lqr.md"
TRAINED = [name for name, method in SUITE.methods.items() if method.trains]


def spec_of(method="psm", seed=1, **variant):
    if method in TRAINED:
        variant = {"iterations": 6, "evaluations": 3, **variant}
    return make_spec(SUITE, "500", method, "smoke", seed, variant)


def comparable(run):
    """A run's numbers without what depends on the clock and on company."""
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in run.curve]
    return run.score, run.scores, run.outcomes, rows


class Gain:
    """An agent that plays f = -K o."""

    def __init__(self, gain):
        self.gain = gain

    def predict(self, observation, state=None, episode_start=None, deterministic=True):
        return -observation @ self.gain.T / 10, state


def systems_of(seed):
    return systems("500", seed)


def oracle_gain(seed=1):
    system = systems_of(seed)[0]
    gain = np.zeros((20, 520))
    gain[:, :20] = riccati(system)[1] @ np.linalg.inv(system.Wc)
    return gain


@pytest.mark.parametrize("method", SUITE.methods)
def test_every_method_trains_and_is_scored(method, folder_of, rows_of):
    folder = folder_of(spec := spec_of(method))
    outcome = SUITE.train(spec, folder, "cpu")
    again = SUITE.rescore("500", 1, outcome.outcomes)
    assert again == {"score": outcome.score, **{k: outcome.scores[k] for k in ("train_error", "unstable")}}
    rows = rows_of(folder)
    assert [row["iterations"] for row in rows] == ([0, 2, 4, 6] if method in TRAINED else [0])
    assert rows[-1] == {"iterations": rows[-1]["iterations"], "score": outcome.score, **outcome.scores}
    assert method not in TRAINED or 0 < abs(rows[0]["score"] - outcome.score) < 1


def test_references(folder_of):
    zero, oracle = (SUITE.train(spec_of(method), folder_of(spec_of(method)), "cpu") for method in ("zero", "oracle"))
    assert zero.score == zero.scores["train_error"] == pytest.approx(28.1565, abs=1e-4)
    assert oracle.score == pytest.approx(0, abs=1e-10)
    assert oracle.scores["invariant_norm"] == pytest.approx(20.68, abs=0.01)
    assert oracle_cost() == pytest.approx(np.trace(riccati(systems_of(1)[0])[0]), abs=1e-12)


def test_the_unseen_system_shares_all_but_its_distractors():
    seen, other, unseen = systems_of(7)
    for name in ("A", "Wc"):
        assert (getattr(seen, name) == getattr(unseen, name)).all()
        assert (getattr(other, name) == getattr(unseen, name)).all()
    every = [system.Wd for seed in (7, 8) for system in systems_of(seed)]
    assert len({matrix.tobytes() for matrix in every}) == 6


def test_costs_that_are_infinite_or_unknown_count_as_the_most():
    of = systems_of(1)
    gain = oracle_gain()
    for bad in (-5 * gain, np.full_like(gain, np.nan)):
        outcome = suite_module._scored("500", of, bad)
        assert outcome.outcomes["cost"] == [suite_module.MOST_COST] * 3
        assert outcome.scores["unstable"] == 1
        assert outcome.score == pytest.approx(suite_module.MOST_COST - 27.399, abs=0.01)


@pytest.mark.parametrize("method", ["psm", "ipo"])
def test_a_killed_run_goes_on_to_the_same_numbers(method, check_resumed):
    rows = check_resumed(SUITE, spec_of(method), at=4)
    assert [row["iterations"] for row in rows] == [0, 2, 4, 6]


class TestSeedsTogether:
    def test_runs_are_grouped_by_all_but_their_seed(self):
        specs = [
            spec_of(method, seed, **variant)
            for seed in range(1, 26)
            for method, variant in (("psm", {}), ("psm", {"psm_coefficient": 1.0}), ("zero", {}))
        ]
        parts = together(specs)
        assert sorted(place for part in parts for place in part) == list(range(75))
        assert sorted(map(len, parts)) == [1] * 25 + [5, 5, 20, 20]
        for part in parts:
            assert len({specs[place].folder.parent for place in part}) == 1
        assert parts == sorted(parts)
        assert sorted(len(part) for part in together(specs[::3], jobs=2)) == [12, 13]
        large = [make_spec(SUITE, "10000", method, "smoke", seed) for method in ("psm", "ipo") for seed in range(5)]
        assert sorted(map(len, together(large))) == [1] * 5 + [5]

    @pytest.mark.parametrize("method", ["psm", "ipo"])
    def test_results_are_those_of_seeds_alone(self, method, tmp_path):
        specs = [spec_of(method, seed) for seed in (1, 2, 3)]
        done = []
        results = run_together(tmp_path / "together", specs, "cpu", 1, lambda *progress: done.append(progress))
        assert {(i, 6, 6) for i in range(3)} <= set(done)
        for spec, result in zip(specs, results, strict=True):
            alone = run_one(tmp_path / "alone", spec, "cpu", 1)
            assert result.result["seeds_together"] == 3
            assert "seeds_together" not in alone.result
            assert result.spec == alone.spec
            assert result.score == pytest.approx(alone.score, rel=1e-6)
            for ours, theirs in zip(comparable(result)[3], comparable(alone)[3], strict=True):
                assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-8)
        assert len({result.score for result in results}) == 3

    def test_each_goes_on_from_its_own_checkpoint(self, tmp_path):
        specs = [spec_of("psm", seed) for seed in (1, 2, 3)]
        expected = [comparable(result) for result in run_together(tmp_path / "whole", specs, "cpu", 1)]

        class Killed(Exception):
            pass

        def kill_at(at):
            def report(index, done, total):
                if done == at:
                    raise Killed

            return report

        parted = tmp_path / "parted"
        run_together(parted, specs[:1], "cpu", 1)  # the first is finished, the others stand at 2 and at 4
        for spec, at in zip(specs[1:], (2, 4), strict=True):
            (failure,) = run_together(parted, [spec], "cpu", 1, kill_at(at))
            assert isinstance(failure, Killed)
            assert (parted / spec.folder / "error.log").exists()
        results = run_together(parted, specs, "cpu", 1)
        for result, (score, _, _, rows) in zip(results, expected, strict=True):
            assert result.score == pytest.approx(score, rel=1e-6)
            assert [row["iterations"] for row in result.curve] == [row["iterations"] for row in rows]
            assert read_run(result.path).score == result.score
            assert not (result.path / "error.log").exists()

    def test_one_that_cannot_be_run_does_not_keep_the_others(self, tmp_path):
        specs = [spec_of("psm", seed) for seed in (1, 2, 3)]
        run_one(tmp_path, specs[0], "cpu", 1)
        path = tmp_path / specs[0].folder
        (path / "result.json").unlink()
        (path / "checkpoint" / "policy.pt").write_bytes(b"nothing")
        with RunFolder(tmp_path, specs[1]).lock():
            damaged, locked, done = run_together(tmp_path, specs, "cpu", 1)
        assert isinstance(damaged, UserError)
        assert "policy.pt is damaged" in str(damaged)
        assert isinstance(locked, UserError)
        assert "another process is running" in str(locked)
        assert done.spec == specs[2]
        assert done.score == pytest.approx(run_one(tmp_path / "alone", specs[2], "cpu", 1).score, rel=1e-6)


class TestAgents:
    def test_linear_agents_get_their_exact_cost(self):
        outcome = evaluate_agent(Gain(oracle_gain()), SUITE, "500", "oracle-agent")
        assert outcome.score == pytest.approx(0, abs=1e-4)
        gain = 0.8 * oracle_gain()
        gain[:, 20:] = 0.3 * np.linalg.pinv(systems_of(1)[0].Wd)
        outcome = evaluate_agent(Gain(gain), SUITE, "500", "linear-agent")
        costs = [infinite_horizon_cost(system, gain) for system in systems_of(1)]
        assert outcome.outcomes == {"trained": [True, True, False], "cost": pytest.approx(costs, rel=1e-4)}
        assert outcome.score == pytest.approx(abs(costs[2] - 27.399), rel=1e-3)

    def test_what_agents_learn_from_are_the_two_training_systems(self):
        protocol = Protocol(num_envs=4, horizon=7)
        envs = training_envs("500", 3, protocol)
        observation, info = envs.reset(seed=0)
        for i, system in enumerate(systems_of(3)[:2] * 2):
            np.testing.assert_allclose(
                observation[i], system.observation_matrix @ info["state"][i], rtol=1e-4, atol=1e-5
            )
        for step in range(7):
            assert not envs.step(np.zeros((4, 20), dtype=np.float32))[3].any() or step == 6

    def test_a_result_is_stored_and_a_horizon_can_be_shorter(self, tmp_path):
        outcome = evaluate_agent(Gain(np.zeros((20, 520))), SUITE, "500", "still", tmp_path, seed=2)
        assert outcome.score == pytest.approx(28.1565, abs=1e-4)
        assert read_run(next(tmp_path.rglob("run.json")).parent).score == outcome.score
        brief = suite_module.evaluate(Gain(np.zeros((20, 520))), "500", 2, Protocol(horizon=2, bases=1))
        assert brief.outcomes["cost"] == pytest.approx([20 * 1.64] * 3)  # 1 + 0.8^2

    @pytest.mark.parametrize(
        ("action", "message"),
        [
            (np.zeros((100, 3)), r"finite actions of shape \(100, 20\), got shape \(100, 3\)"),
            (np.zeros(20), r"finite actions of shape \(100, 20\), got shape \(20,\)"),
            (np.full((100, 20), np.nan), "must return finite actions of shape .*, got NaN or infinity"),
        ],
    )
    def test_wrong_actions_are_told(self, action, message):
        class Wrong:
            def predict(self, observation, state=None, episode_start=None, deterministic=True):
                return action, state

        with pytest.raises(UserError, match=message):
            evaluate_agent(Wrong(), SUITE, "500", "wrong")


def test_outcomes_of_another_kind_are_refused():
    with pytest.raises(ValueError, match="outcomes of 500 are 3 entries"):
        SUITE.rescore("500", 1, {"trained": [True, False], "cost": [1.0, 2.0]})
    with pytest.raises(ValueError, match="column 'trained' of 500"):
        SUITE.rescore("500", 1, {"trained": [True, False, False], "cost": [30.0, 30.0, 30.0]})


@pytest.mark.parametrize(
    ("method", "variant", "message"),
    [
        ("psm", {"iterations": 0}, "iterations must be at least 1"),
        ("psm", {"width": 0}, "width must be at least 1"),
        ("psm", {"optimizer": "lion"}, r"optimizer must be one of \['adam', 'sgd'\]"),
        ("ipo", {"entries": "normal"}, r"entries must be one of \['gaussian', 'uniform'\]"),
        ("ipo", {"learning_rate": 0}, "learning_rate must be above 0"),
        ("l1", {"l1_coefficient": -1}, "l1_coefficient must not be negative"),
        ("ipo", {"width": 10}, "unknown setting"),
        ("ipo", {"distractor_rate": 0.1}, "unknown setting"),
        ("psm", {"distractor_rate": -0.1}, "distractor_rate must not be negative"),
    ],
)
def test_settings_that_cannot_be_trained_with_are_refused(method, variant, message):
    with pytest.raises(UserError, match=message):
        spec_of(method, **variant)


def test_the_page_names_every_method_and_task_and_its_links_lead_somewhere():
    text = PAGE.read_text(encoding="utf-8")
    for name in [*SUITE.methods, *SUITE.tasks]:
        assert f"`{name}`" in text, name
    targets = re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", text)
    assert [target for target in targets if not (PAGE.parent / target).exists()] == []


def test_the_code_of_the_page_makes_the_training_systems():
    (block,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    names = {}
    exec(compile(block, PAGE.name, "exec"), names)
    for env, system in zip(names["envs"], systems_of(1)[:2], strict=True):
        np.testing.assert_array_equal(env.unwrapped.system.Wd, system.Wd)
