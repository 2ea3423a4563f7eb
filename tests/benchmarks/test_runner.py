"""Runs: resumed, skipped, verified; and the one-line errors of the command."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from bisimgym.benchmarks import runner
from bisimgym.benchmarks.cli import main
from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.run_folder import RunFolder, find_runs, read_run, write_json
from bisimgym.benchmarks.suites import jumping, load_suite
from bisimgym.benchmarks.suites.base import Outcome, make_spec
from bisimgym.benchmarks.summary import summarize

SUITE = load_suite("jumping")
# One thread: tests run side by side, and threads that wait for each other on busy cores crawl.
SMOKE = ["run", "jumping", "--task", "wide", "--preset", "smoke", "--seeds", "1", "--jobs", "1", "--threads", "1"]


def comparable(path):
    """Return a run's result without what depends on the clock."""
    result = json.loads((path / "result.json").read_text())
    curve = [json.loads(line) for line in (path / "curve.jsonl").read_text().splitlines()]
    for row in [result, *curve]:
        for key in ("train_seconds", "seconds", "finished", "digest"):
            row.pop(key, None)
    return result, curve


def fake_run(out, method="pse", task="wide", seed=1, solved=0.5, preset="smoke", **variant):
    spec = make_spec(SUITE, task, method, preset, seed, variant)
    folder = RunFolder(out, spec)
    with folder.lock():
        folder.start({"versions": {}, "machine": {}})
        rng = np.random.default_rng(seed)
        outcomes = jumping._columns(task, seed, rng.random(286 * (2 if task == "colors" else 1)) < solved)
        folder.log({"updates": 1, "score": 0.5, "seconds": 1.0})
        return folder.finish(Outcome(jumping.score_of(outcomes), {}, outcomes), False, {"train_seconds": 1.0})


def error_of(capsys, *arguments):
    """Run the command, check that it fails as a mistake of the user should, and return its line."""
    assert main([str(a) for a in arguments]) == 2
    captured = capsys.readouterr()
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1, captured.err
    assert lines[0].startswith("error: ")
    return lines[0]


class TestRuns:
    def test_a_killed_run_goes_on_and_ends_like_an_unbroken_one(self, tmp_path):
        command = [sys.executable, "-m", "bisimgym.benchmarks", *SMOKE, "--method", "randconv-pse"]
        command += ["--set", "epochs=8", "--set", "evaluations=8"]
        broken, unbroken = tmp_path / "broken", tmp_path / "unbroken"
        process = subprocess.Popen([*command, "--out", str(broken)], stderr=subprocess.DEVNULL)
        checkpoint = None
        for _ in range(1200):
            checkpoint = next(broken.rglob("model.zip"), None)
            if checkpoint and len((checkpoint.parents[1] / "curve.jsonl").read_text().splitlines()) >= 3:
                break
            assert process.poll() is None, "the run ended before it could be killed"
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        folder = checkpoint.parents[1]
        assert not (folder / "result.json").exists()
        # A row written just before the kill, and one cut in half: both lie beyond the checkpoint.
        with (folder / "curve.jsonl").open("a") as file:
            file.write('{"updates": 31, "score": 0.9, "trained": 1.0, "seconds": 9}\n{"updates": 32, "sc')
        for out in (broken, unbroken):
            subprocess.run([*command, "--out", str(out)], check=True, capture_output=True)
        assert comparable(folder) == comparable(unbroken / folder.relative_to(broken))
        assert [row["updates"] for row in comparable(folder)[1]] == [4, 8, 12, 16, 20, 24, 28, 32]

    def test_finished_runs_are_skipped(self, tmp_path, capsys):
        arguments = [*SMOKE, "--method", "dropout-l2", "--out", str(tmp_path)]
        assert main(arguments) == 0
        path = next(tmp_path.rglob("result.json"))
        before = path.read_bytes(), path.stat().st_mtime_ns
        assert main(arguments) == 0
        assert (path.read_bytes(), path.stat().st_mtime_ns) == before
        assert "17.8 ± 2.2" in capsys.readouterr().out

    def test_parallel_runs_equal_runs_one_by_one(self, tmp_path):
        for name, jobs in (("parallel", "2"), ("serial", "1")):
            arguments = [*SMOKE, "--method", "dropout-l2", "--method", "randconv", "--jobs", jobs]
            command = [sys.executable, "-m", "bisimgym.benchmarks", *arguments, "--out", str(tmp_path / name)]
            subprocess.run(command, check=True, capture_output=True)
        parallel = sorted((tmp_path / "parallel").rglob("seed-1"))
        assert len(parallel) == 2
        for path in parallel:
            assert comparable(path) == comparable(tmp_path / "serial" / path.relative_to(tmp_path / "parallel"))

    def test_a_variant_is_stored_apart_and_shows_its_settings(self, tmp_path, capsys):
        arguments = [*SMOKE, "--method", "pse", "--out", str(tmp_path)]
        assert main([*arguments, "--set", "alignment.weighted=false", "--set", "epochs=2"]) == 0
        folder = next(tmp_path.rglob("result.json")).parent
        assert folder.parts[-3] == "pse@alignment.weighted=false,epochs=2"
        assert read_run(folder).spec.settings["alignment"]["weighted"] is False
        assert "weighted=false" in capsys.readouterr().out.replace("\n", "").replace(" ", "")

    def test_a_setting_at_its_standard_value_is_no_variant(self):
        assert make_spec(SUITE, "wide", "pse", "smoke", 1, {"alignment.weighted": True}).method_folder == "pse"

    def test_two_processes_do_not_share_a_run(self, tmp_path):
        spec = make_spec(SUITE, "wide", "pse", "smoke", 1)
        with RunFolder(tmp_path, spec).lock(), pytest.raises(UserError, match="another process is running"):
            runner.run_one(tmp_path, spec, "cpu", 1)

    def test_a_failing_run_is_reported_with_its_traceback_on_disk(self, tmp_path, capsys, monkeypatch):
        def explode(*_):
            raise ZeroDivisionError("no luck")

        monkeypatch.setattr(jumping, "demonstrations", explode)
        assert main([*SMOKE, "--method", "pse", "--out", str(tmp_path)]) == 1
        assert "wide pse seed 1 failed: ZeroDivisionError: no luck" in capsys.readouterr().err
        assert "in explode" in next(tmp_path.rglob("error.log")).read_text()

    def test_results_hold_what_other_programs_rely_on(self, tmp_path):
        run = fake_run(tmp_path, seed=3)
        result = json.loads((tmp_path / "jumping/wide/pse/smoke/seed-3/result.json").read_text())
        expected = {"suite": "jumping", "task": "wide", "method": "pse", "preset": "smoke", "seed": 3}
        assert {key: result[key] for key in expected} == expected
        assert result["lower_is_better"] is False
        assert len(result["outcomes"]["solved"]) == 286
        solved = np.array(result["outcomes"]["solved"])[~np.array(result["outcomes"]["trained"])]
        assert len(solved) == 268
        assert result["score"] == run.score == solved.mean()


class TestScoring:
    class Oracle:
        """Reads the task from the picture and jumps at the right moment."""

        def predict(self, observation, state=None, episode_start=None, deterministic=True):
            frame = observation[..., -3:].max(axis=3) if observation.shape[-1] == 6 else observation[..., -1]
            obstacle = (frame == 128).any(axis=1).argmax(axis=1)
            floor = (frame[:, :, 1:-1] == 255).all(axis=2)
            row = 59 - floor[:, 1:-1].argmax(axis=1) - 1
            x = np.array([(f[59 - r - 1, 1:] == 255).argmax() + 1 for f, r in zip(frame, row, strict=True)])
            x = np.where(frame[np.arange(len(frame)), 58 - row, 4] == 255, 0, x)
            green = observation.shape[-1] == 6 and (observation[..., 4] == 128).any(axis=(1, 2))
            return ((x == obstacle - 14) & ~np.asarray(green)).astype(int), state

    class Always:
        def __init__(self, action):
            self.action = action

        def predict(self, observation, state=None, episode_start=None, deterministic=True):
            return np.full(len(observation), self.action), state

    @pytest.mark.parametrize("task", ["wide", "narrow", "random", "colors"])
    def test_an_agent_that_sees_the_rule_solves_everything(self, task):
        outcome = jumping.evaluate(self.Oracle(), task, 1)
        assert outcome.score == 1
        assert outcome.scores["trained"] == 1

    def test_constant_agents(self):
        assert jumping.evaluate(self.Always(0), "wide", 1).score == 0
        right = jumping.evaluate(self.Always(0), "colors", 1)
        assert (right.scores["red"], right.scores["green"], right.score) == (0, 1, 0.5)
        assert jumping.evaluate(self.Always(1), "colors", 1).score == 0

    def test_solved_means_what_a_played_episode_shows(self):
        import gymnasium as gym

        class Near:
            """Jumps when the obstacle is some pixels ahead: right on some rows of the grid, wrong on others."""

            def predict(self, observation, state=None, episode_start=None, deterministic=True):
                oracle, _ = TestScoring.Oracle().predict(observation)
                frame = observation[..., -1]
                floor = (frame[:, 1:-1, 1:-1] == 255).all(axis=2).argmax(axis=1)
                early = (frame[:, :, 8] == 255).sum(axis=1) > 8
                return np.where(floor % 3 == 0, early.astype(int), oracle), state

        tasks = np.array(jumping.ALL_TASKS)
        envs = gym.make_vec("bisimgym/JumpingTask-v0", num_envs=286, autoreset_mode="Disabled")
        observation, _ = envs.reset(options={"obstacle_position": tasks[:, 0], "floor_height": tasks[:, 1]})
        success, ended = np.zeros(286, dtype=bool), np.zeros(286, dtype=bool)
        agent = Near()
        for _ in range(56):
            observation, _, terminated, _, infos = envs.step(agent.predict(observation)[0])
            if terminated.any():
                success |= ~ended & terminated & infos["is_success"]
                ended |= terminated
                if not ended.all():
                    observation, _ = envs.reset(options={"reset_mask": terminated})
        solved = jumping.solved_tasks(agent, "wide")
        assert 0 < solved.sum() < 286
        np.testing.assert_array_equal(solved, success)

    def test_random_grids_differ_by_seed(self):
        outcomes = [jumping._columns("random", seed, np.zeros(286, dtype=bool)) for seed in (1, 2)]
        assert outcomes[0]["trained"] != outcomes[1]["trained"]
        assert sum(outcomes[0]["trained"]) == len(set(jumping.seen_tasks("random", 1)))

    def test_published_numbers_name_tasks_methods_and_measures_that_exist(self):
        for task, method, measure in SUITE.published:
            assert task in SUITE.tasks
            assert method in SUITE.methods
            assert measure == "score" or measure in SUITE.measures


class TestSummary:
    def test_rows_group_seeds_and_keep_presets_and_variants_apart(self, tmp_path):
        for seed in (1, 2, 3):
            fake_run(tmp_path, seed=seed)
        fake_run(tmp_path, preset="short")
        fake_run(tmp_path, epochs=2)
        fake_run(tmp_path, method="randconv")
        rows = {(row.method, row.preset): row for row in summarize(find_runs([tmp_path]))}
        assert set(rows) == {("pse", "smoke"), ("pse", "short"), ("pse@epochs=2", "smoke"), ("randconv", "smoke")}
        row = rows["pse", "smoke"]
        scores = [run.score for run in row.runs]
        assert row.mean == pytest.approx(np.mean(scores))
        assert row.std == pytest.approx(np.std(scores, ddof=1))
        assert row.interval[0] <= row.mean <= row.interval[1]
        assert row.published["score"].score == 0.336
        assert rows["pse", "short"].interval is None

    def test_the_same_run_given_twice_counts_once_and_two_versions_of_it_are_refused(self, tmp_path):
        fake_run(tmp_path / "a")
        assert len(find_runs([tmp_path / "a", tmp_path])) == 1
        fake_run(tmp_path / "b", solved=0.9)
        with pytest.raises(UserError, match="two results of the same run"):
            find_runs([tmp_path])


class TestErrors:
    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            (["run", "leaping"], "unknown suite 'leaping': choose from jumping"),
            (["run", "jumping", "--task", "square"], "unknown task 'square': choose from wide"),
            (["run", "jumping", "--method", "dqn"], "unknown method 'dqn': choose from dropout-l2"),
            (["run", "jumping", "--preset", "huge"], "unknown preset 'huge': choose from smoke"),
            (["run", "jumping", "--seeds", "0"], "--seeds must be at least 1, got 0"),
            (["run", "jumping", "--threads", "0"], "--threads must be at least 1, got 0"),
            (["run", "jumping", "--jobs", "0"], "--jobs must be at least 1, got 0"),
            (["run", "jumping", "--device", "tpu"], "unknown device 'tpu'"),
            (["run", "jumping", "--set", "epochs"], "--set takes KEY=VALUE, got 'epochs'"),
            (["run", "jumping", "--set", "speed=3"], "unknown setting 'speed': choose from alignment"),
            (["run", "jumping", "--set", "epochs=many"], "setting epochs takes a value like 4, got 'many'"),
            (["run", "jumping", "--executor", "cloud"], "'cloud'"),
            (["run", "jumping", "--bogus"], "No such option: --bogus"),
            (["dance"], "dance"),
            (["report"], "nothing to report"),
            (["report", "/nowhere/at/all"], "/nowhere/at/all is not a folder"),
            (["throughput", "CartPole-v1"], "unknown environment 'CartPole-v1'"),
            (["evaluate", "jumping", "--agent", "x", "--task", "square"], "unknown task 'square'"),
            (["evaluate", "jumping", "--agent", "x", "--budget", "-1"], "must not be negative"),
        ],
    )
    def test_bad_arguments(self, arguments, expected, capsys, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        if arguments[0] == "run" and "--preset" not in arguments:
            arguments = [*arguments, "--preset", "smoke"]
        assert expected in error_of(capsys, *arguments)

    def test_unwritable_output(self, tmp_path, capsys):
        (tmp_path / "file").write_text("")
        line = error_of(capsys, *SMOKE, "--method", "pse", "--out", tmp_path / "file")
        assert "cannot write to" in line
        assert "choose another --out" in line
        fake_run(tmp_path / "runs")
        assert "file" in error_of(capsys, "report", tmp_path / "runs", "--out", tmp_path / "file/site")

    def test_a_result_edited_by_hand(self, tmp_path, capsys):
        run = fake_run(tmp_path)
        path = run.path / "result.json"
        edited = path.read_text().replace(f'"score": {run.score}', '"score": 0.99')
        assert edited != path.read_text()
        path.write_text(edited)
        assert "was changed after it was written" in error_of(capsys, "report", tmp_path, "--out", tmp_path / "site")
        line = error_of(capsys, *SMOKE, "--method", "pse", "--out", tmp_path)
        assert "was changed after it was written" in line
        assert path.read_text() == edited  # nothing is lost: the file is as the user left it
        assert not (tmp_path / "site").exists()

    def test_a_score_that_does_not_follow_from_its_outcomes(self, tmp_path, capsys):
        from bisimgym.benchmarks.run_folder import digest

        run = fake_run(tmp_path)
        result = {**run.result, "score": 0.99}
        del result["digest"]
        write_json(run.path / "result.json", {**result, "digest": digest(result)})
        assert "does not follow from the outcomes" in error_of(capsys, "report", tmp_path)

    @pytest.mark.parametrize(
        ("name", "text", "expected"),
        [
            ("result.json", '{"format": 1, "sco', "is damaged"),
            ("result.json", "[]", "is not a file of format 1"),
            ("result.json", '{"format": 1, "score": NaN}', "NaN is not a number"),
            ("run.json", "", "is damaged"),
            ("run.json", '{"format": 1}', "is damaged"),
            ("run.json", None, "run.json is missing"),
            ("curve.jsonl", '{"updates": 1}\n{"upd', "is damaged"),
        ],
    )
    def test_damaged_run_folders(self, tmp_path, capsys, name, text, expected):
        path = fake_run(tmp_path).path / name
        path.unlink() if text is None else path.write_text(text)
        for command in (
            ["report", tmp_path, "--out", tmp_path / "site"],
            [*SMOKE, "--method", "pse", "--out", tmp_path],
        ):
            line = error_of(capsys, *command)
            assert expected in line
            assert str(path.parent) in line
        assert not path.exists() if text is None else path.read_text() == text

    def test_a_run_edited_by_hand(self, tmp_path, capsys):
        path = fake_run(tmp_path).path / "run.json"
        path.write_text(path.read_text().replace('"epochs": 4', '"epochs": 5'))
        assert "run.json was changed after it was written" in error_of(capsys, "report", tmp_path)

    def test_a_folder_with_a_run_of_other_settings(self, tmp_path, capsys):
        spec = make_spec(SUITE, "wide", "pse", "smoke", 1)
        older = dataclasses.replace(spec, settings={**spec.settings, "batch_size": 128})
        RunFolder(tmp_path, older).path.mkdir(parents=True)
        RunFolder(tmp_path, older).start({})
        line = error_of(capsys, *SMOKE, "--method", "pse", "--out", tmp_path)
        assert "batch_size 128 there, 256 here" in line

    def test_runs_of_another_version_of_the_suite(self, tmp_path, capsys):
        spec = dataclasses.replace(make_spec(SUITE, "wide", "pse", "smoke", 1), version=0)
        folder = RunFolder(tmp_path, spec)
        folder.path.mkdir(parents=True)
        folder.start({})
        outcomes = jumping._columns("wide", 1, np.ones(286, dtype=bool))
        with pytest.raises(UserError, match="version 0 of suite 'jumping'"):
            folder.finish(Outcome(1.0, {}, outcomes), False, {})
        assert "not comparable" in error_of(capsys, "report", tmp_path)

    def test_an_empty_folder(self, tmp_path, capsys):
        assert "holds no finished run" in error_of(capsys, "report", tmp_path)


class TestCommand:
    @pytest.mark.parametrize("what", ["envs", "suites", "methods", "metrics"])
    def test_list(self, what, capsys):
        assert main(["list", what]) == 0
        lines = capsys.readouterr().out.strip().splitlines()
        assert lines
        expected = {
            "envs": "bisimgym/JumpingTask-v0  Jump over",
            "suites": "jumping  Imitate",
            "methods": "jumping randconv-pse",
            "metrics": "trajectory_similarity  Return",
        }[what]
        assert any(line.startswith(expected) for line in lines)

    def test_help_names_every_command(self, capsys):
        assert main(["--help"]) == 0
        text = capsys.readouterr().out
        for command in ("list", "run", "evaluate", "report", "throughput", "doctor"):
            assert command in text
            assert main([command, "--help"]) == 0

    def test_doctor(self, capsys):
        assert main(["doctor"]) == 0
        text = capsys.readouterr().out
        assert "No known problem found" in text
        assert "precision='auto' is" in text

    def test_doctor_knows_bad_pairs(self):
        from bisimgym.benchmarks.doctor import known_bad_pairs

        assert known_bad_pairs({"pygame": "2.6.1", "numpy": "2.1", "mujoco": "3.17", "dm-control": "1.0.50"}) == []
        problems = known_bad_pairs({"pygame-ce": "2.5", "mujoco": "4.0.1", "dm-control": "1.0.50", "numpy": "1.26"})
        assert len(problems) == 3

    def test_throughput(self, tmp_path, capsys, monkeypatch):
        from bisimgym.benchmarks import throughput

        monkeypatch.setattr(throughput, "VECTOR_SIZES", (4, 8))
        file = tmp_path / "figures.json"
        arguments = ["throughput", "bisimgym/JumpingTask-v0", "--seconds", "0.05", "--json", str(file)]
        assert main(arguments) == 0
        figures = json.loads(file.read_text())
        rows = figures["environments"][0]["vector"]
        assert [row["num_envs"] for row in rows] == [4, 8]
        assert rows[1]["observation_bytes"] == 8 * 7200
        assert all(row["steps_per_second"] > 0 and row["of_copy_bound"] > 0 for row in rows)
        assert set(figures["learners"][0]["updates_per_second"]) == {"float32", "bfloat16"}
        assert "vector 8" in capsys.readouterr().out


def test_the_readmes_table_is_what_the_committed_rows_generate(tmp_path):
    readme = Path(__file__).parents[2] / "README.md"
    copy = tmp_path / "README.md"
    copy.write_text(readme.read_text())
    assert main(["report", "--committed", "--out", str(tmp_path / "site"), "--readme", str(copy)]) == 0
    assert copy.read_text() == readme.read_text()
