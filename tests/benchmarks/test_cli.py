"""The command, and its one-line errors."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest

import bisimgym
from bisimgym.benchmarks.cli import main
from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.running.run_folder import RunFolder, write_json
from bisimgym.benchmarks.suites import jumping, load_suite
from bisimgym.benchmarks.suites.base import Outcome, make_spec

SUITE = load_suite("jumping")


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
            (["run", "jumping", "--set", "epochs=0"], "epochs must be at least 1, got 0"),
            (["run", "jumping", "--set", "evaluations=0"], "evaluations must be at least 1, got 0"),
            (["run", "jumping", "--set", "epochs=1.5"], "setting epochs takes a value like 4, got 1.5"),
            (["run", "jumping", "--set", "dropout=2"], "dropout must be in [0, 1), got 2"),
            (["run", "jumping", "--set", "learning_rate=-1"], "learning_rate must be positive, got -1"),
            (["run", "jumping", "--set", "learning_rate=NaN"], "setting learning_rate takes a value like"),
            (["run", "jumping", "--set", "augmentation=blur"], "augmentation must be None or 'randconv', got 'blur'"),
            (
                ["run", "jumping", "--method", "dropout-l2", "--set", "alignment=5"],
                "alignment must be None, an Alignment",
            ),
            (
                ["run", "jumping", "--method", "pse", "--set", "alignment.metric=mico"],
                "alignment metric must be one of",
            ),
            (["run", "jumping", "--executor", "cloud"], "'cloud'"),
            (["run", "jumping", "--bogus"], "No such option: --bogus"),
            (["dance"], "dance"),
            (["report"], "nothing to report"),
            (["report", "/nowhere/at/all"], "/nowhere/at/all is not a folder"),
            (["throughput", "CartPole-v1"], "unknown environment 'CartPole-v1'"),
            (["throughput", "bisimgym/JumpingTask-v0", "--metrics"], "--metrics measures no environment"),
            (["throughput", "--readme", "x.md"], "--readme goes with one of --metrics"),
            (["heatmaps", "--discount", "1"], "discount must be in [0, 1), got 1.0"),
            (["heatmaps", "--obstacles", "25", "99"], "obstacle_position must be"),
            (["heatmaps", "--out", "picture.xyz"], "must end in one of"),
            (["evaluate", "jumping", "--agent", "x", "--task", "square"], "unknown task 'square'"),
            (["evaluate", "jumping", "--agent", "x", "--budget", "-1"], "must not be negative"),
        ],
    )
    def test_bad_arguments(self, arguments, expected, tmp_path, monkeypatch, error_of):
        monkeypatch.chdir(tmp_path)
        if arguments[0] == "run" and "--preset" not in arguments:
            arguments = [*arguments, "--preset", "smoke"]
        assert expected in error_of(*arguments)

    def test_figures_that_cannot_be_written_are_an_error_before_anything_is_measured(self, tmp_path, error_of):
        (tmp_path / "file").write_text("")
        line = error_of("throughput", "--seconds", "100", "--json", tmp_path / "file/figures.json")
        assert "cannot write to" in line

    def test_an_interrupt_says_how_to_go_on(self, capsys, monkeypatch):
        def interrupt(name):
            raise KeyboardInterrupt

        monkeypatch.setattr("bisimgym.benchmarks.cli.load_suite", interrupt)
        assert main(["run", "jumping"]) == 130
        assert "interrupted: give the same command again to go on" in capsys.readouterr().err

    def test_paths_are_text_and_no_markup(self, tmp_path, fake_run, capsys):
        fake_run(tmp_path / "runs[/x]")
        assert main(["report", str(tmp_path / "runs[/x]"), "--out", str(tmp_path / "s[red]x")]) == 0
        assert "s[red]x/index.html" in capsys.readouterr().out

    def test_unwritable_output(self, tmp_path, smoke, fake_run, error_of):
        (tmp_path / "file").write_text("")
        line = error_of(*smoke, "--method", "pse", "--out", tmp_path / "file")
        assert "cannot write to" in line
        assert "choose another --out" in line
        fake_run(tmp_path / "runs")
        assert "file" in error_of("report", tmp_path / "runs", "--out", tmp_path / "file/site")

    def test_a_result_edited_by_hand(self, tmp_path, smoke, fake_run, error_of):
        run = fake_run(tmp_path)
        path = run.path / "result.json"
        edited = path.read_text().replace(f'"score": {run.score}', '"score": 0.99')
        assert edited != path.read_text()
        path.write_text(edited)
        assert "was changed after it was written" in error_of("report", tmp_path, "--out", tmp_path / "site")
        line = error_of(*smoke, "--method", "pse", "--out", tmp_path)
        assert "was changed after it was written" in line
        assert path.read_text() == edited  # nothing is lost: the file is as the user left it
        assert not (tmp_path / "site").exists()

    def test_a_score_that_does_not_follow_from_its_outcomes(self, tmp_path, fake_run, error_of):
        from bisimgym.benchmarks.running.run_folder import digest

        run = fake_run(tmp_path)
        result = {**run.result, "score": 0.99}
        del result["digest"]
        write_json(run.path / "result.json", {**result, "digest": digest(result)})
        assert "do not follow from the outcomes" in error_of("report", tmp_path)

    def test_training_tasks_that_are_not_those_of_the_task(self, tmp_path, error_of, fake_run):
        from bisimgym.benchmarks.running.run_folder import digest

        run = fake_run(tmp_path)
        outcomes = {**run.outcomes, "trained": [not solved for solved in run.outcomes["solved"]]}
        result = {**run.result, "outcomes": outcomes, "score": 1.0}
        del result["digest"]
        write_json(run.path / "result.json", {**result, "digest": digest(result)})
        assert "column 'trained' is not that of wide" in error_of("report", tmp_path)

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
    def test_damaged_run_folders(self, tmp_path, name, text, expected, smoke, fake_run, error_of):
        path = fake_run(tmp_path).path / name
        path.unlink() if text is None else path.write_text(text)
        for command in (
            ["report", tmp_path, "--out", tmp_path / "site"],
            [*smoke, "--method", "pse", "--out", tmp_path],
        ):
            line = error_of(*command)
            assert expected in line
            assert str(path.parent) in line
        assert not path.exists() if text is None else path.read_text() == text

    def test_a_run_edited_by_hand(self, tmp_path, fake_run, error_of):
        path = fake_run(tmp_path).path / "run.json"
        path.write_text(path.read_text().replace('"epochs": 4', '"epochs": 5'))
        assert "run.json was changed after it was written" in error_of("report", tmp_path)

    def test_a_folder_with_a_run_of_other_settings(self, tmp_path, smoke, error_of):
        spec = make_spec(SUITE, "wide", "pse", "smoke", 1)
        older = dataclasses.replace(spec, settings={**spec.settings, "batch_size": 128})
        RunFolder(tmp_path, older).path.mkdir(parents=True)
        RunFolder(tmp_path, older).start({})
        line = error_of(*smoke, "--method", "pse", "--out", tmp_path)
        assert "batch_size 128 there, 256 here" in line

    def test_runs_of_another_version_of_the_suite(self, tmp_path, error_of):
        spec = dataclasses.replace(make_spec(SUITE, "wide", "pse", "smoke", 1), version=0)
        folder = RunFolder(tmp_path, spec)
        folder.path.mkdir(parents=True)
        folder.start({})
        outcomes = jumping.columns("wide", 1, np.ones(286, dtype=bool))
        with pytest.raises(UserError, match="version 0 of suite 'jumping'"):
            folder.finish(Outcome(1.0, {}, outcomes), False, {})
        assert "not comparable" in error_of("report", tmp_path)

    def test_an_empty_folder(self, tmp_path, error_of):
        assert "holds no finished run" in error_of("report", tmp_path)


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
        for command in (
            "list",
            "run",
            "evaluate",
            "report",
            "throughput",
            "heatmaps",
            "landscape",
            "pages",
            "pictures",
            "doctor",
        ):
            assert command in text
            assert main([command, "--help"]) == 0

    def test_doctor(self, capsys):
        assert main(["doctor"]) == 0
        text = capsys.readouterr().out
        assert "No known problem found" in text
        assert "precision='auto' is" in text

    def test_doctor_knows_bad_pairs(
        self,
    ):
        from bisimgym.benchmarks.running.doctor import known_bad_pairs

        assert known_bad_pairs({"pygame": "2.6.1", "numpy": "2.1", "mujoco": "3.17", "dm-control": "1.0.50"}) == []
        problems = known_bad_pairs({"pygame-ce": "2.5", "mujoco": "4.0.1", "dm-control": "1.0.50", "numpy": "1.26"})
        assert len(problems) == 3

    def test_throughput(self, tmp_path, capsys, monkeypatch):
        from bisimgym.benchmarks.speed import envs as throughput

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

    @pytest.mark.parametrize("env_id", ["Nav2DGoal-v0", "LQRDistractors-v0", "MarkovSignal-v0"])
    def test_throughput_of_other_observations(self, env_id, tmp_path, monkeypatch):
        from bisimgym.benchmarks.speed import envs as throughput

        monkeypatch.setattr(throughput, "VECTOR_SIZES", (4,))
        file = tmp_path / "figures.json"
        name = f"bisimgym/{env_id}"
        assert main(["throughput", name, "--seconds", "0.01", "--no-learners", "--json", str(file)]) == 0
        row = json.loads(file.read_text())["environments"][0]["vector"][0]
        expected = {"Nav2DGoal-v0": 800 + 32, "LQRDistractors-v0": 520 * 4, "MarkovSignal-v0": 15 * 4}[env_id]
        assert row["observation_bytes"] == 4 * expected

    def test_throughput_of_metrics(self, tmp_path, capsys, monkeypatch):
        from bisimgym.benchmarks.speed import metrics as metric_speed

        whole = metric_speed.measure
        monkeypatch.setattr(metric_speed, "measure", lambda console: whole(console, scale=0.02))
        file = tmp_path / "figures.json"
        assert main(["throughput", "--metrics", "--json", str(file)]) == 0
        figures = json.loads(file.read_text())
        assert {row["what"].split(",")[0].split()[0] for row in figures["rows"]} == {
            "PSM",
            "bisimulation",
            "recursive",
            "MICo",
            "one",
        }
        assert all(row["times_faster"] == row["reference_seconds"] / row["seconds"] > 0 for row in figures["rows"])
        assert figures["memory"]["peak_gib"] > figures["memory"]["result_gib"] > 0
        assert "times faster" in capsys.readouterr().out

    def test_heatmaps(self, tmp_path, capsys):
        picture, arrays = tmp_path / "new" / "metrics.png", tmp_path / "metrics.npz"
        assert main(["heatmaps", "--out", str(picture), "--arrays", str(arrays)]) == 0
        assert picture.read_bytes().startswith(b"\x89PNG")
        with np.load(arrays) as distances:
            zeros = {name: int((distances[name] == 0).sum()) for name in distances}
            assert zeros == {
                "bisimulation": 24,
                "policy_similarity": 1068,
                "π*-bisimulation": 56,
                "true_similarity": 1068,
            }
            np.testing.assert_array_equal(distances["policy_similarity"] == 0, distances["true_similarity"] == 0)
            assert distances["π*-bisimulation"].max() == pytest.approx(4246.45, abs=0.005)
            assert distances["policy_similarity"].max() == pytest.approx(1.99, abs=1e-9)
        assert "policy similarity (PSM): up to 1.99, 1068 of 3136 pairs at 0" in capsys.readouterr().out


def test_the_tables_of_the_pages_are_what_the_committed_rows_generate(tmp_path):
    root = Path(__file__).parents[2]
    (line,) = [line for line in (root / "Makefile").read_text().splitlines() if "report --committed" in line]
    pages = [root / page for page in re.findall(r"--readme (\S+)", line)]
    copies = [tmp_path / page.name for page in pages]
    arguments = []
    for page, copy in zip(pages, copies, strict=True):
        copy.write_text(page.read_text())
        arguments += ["--readme", str(copy)]
    assert main(["report", "--committed", "--out", str(tmp_path / "site"), *arguments]) == 0
    for page, copy in zip(pages, copies, strict=True):
        assert copy.read_text() == page.read_text(), page.name


def test_the_table_of_metric_speed_is_that_of_the_committed_figures(tmp_path):
    from bisimgym.benchmarks.cli import write_between_markers
    from bisimgym.benchmarks.speed import metrics as metric_speed

    root = Path(__file__).parents[2]
    copy = tmp_path / "metrics.md"
    copy.write_text((root / "docs" / "metrics.md").read_text())
    figures = json.loads((root / "benchmarks" / "results" / "metric_speed.json").read_text())
    write_between_markers({"metric speed": metric_speed.markdown(figures)}, copy)
    assert copy.read_text() == (root / "docs" / "metrics.md").read_text()


def test_the_pages_of_the_environments_are_what_their_docstrings_say(tmp_path):
    from bisimgym.benchmarks import env_pages
    from bisimgym.envs import IDS

    committed = Path(__file__).parents[2] / "docs" / "envs"
    assert main(["pages", "--out", str(tmp_path), "--no-pictures"]) == 0
    for path in tmp_path.iterdir():
        assert (committed / path.name).read_text() == path.read_text(), f"{path.name}: run bisimgym pages"
    for env_id in IDS:
        picture = (committed / f"{env_pages.page_name(env_id)}.gif").read_bytes()
        assert picture.startswith(b"GIF89a")
        assert len(picture) < 2_000_000
    env_pages.animation("bisimgym/Nav2DCorridor-v0", tmp_path / "corridor.gif")
    assert (tmp_path / "corridor.gif").stat().st_size > 1000


def test_the_version_is_shown(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"bisimgym {bisimgym.__version__}\n"
