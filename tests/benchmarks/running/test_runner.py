"""Runs: resumed, skipped, kept apart, summarised."""

import dataclasses
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch as th
from comparing import comparable

from bisimgym.benchmarks.cli import main
from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.report.summary import summarize
from bisimgym.benchmarks.running import runner
from bisimgym.benchmarks.running.executors import run_in_processes
from bisimgym.benchmarks.running.run_folder import RunFolder, find_runs, read_run, write_json
from bisimgym.benchmarks.suites import jumping, load_suite
from bisimgym.benchmarks.suites.base import make_spec

SUITE = load_suite("jumping")


class TestRuns:
    def test_runs_go_on_to_the_numbers_of_unbroken_ones_after_the_deaths_of_parents_and_workers(self, tmp_path, smoke):
        # Cut off three times here, in one piece and one after the other there.
        methods = ["--method", "dropout-l2", "--method", "pse"]
        arguments = [*smoke, *methods, "--set", "epochs=2", "--set", "evaluations=2"]
        broken, unbroken = tmp_path / "broken", tmp_path / "unbroken"
        parallel = [*arguments, "--jobs", "2", "--out", str(broken)]
        process = subprocess.Popen([sys.executable, "-m", "bisimgym.benchmarks", *parallel], stderr=subprocess.DEVNULL)
        for _ in range(6000):
            folders = [path.parents[1] for path in broken.rglob("model.zip")]
            if len(folders) == 2:
                break
            assert process.poll() is None, "the runs ended before they could be killed"
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert len(list(broken.rglob("result.json"))) < 2
        for folder in folders:
            own = RunFolder(tmp_path, make_spec(SUITE, "wide", "pse", "smoke", 1))
            own.path = folder
            for attempt in range(100):
                try:
                    with own.lock():
                        break
                except UserError:
                    assert attempt < 99, "a worker outlived its parent and holds the run"
                    time.sleep(0.1)
            # A row written just before the kill, and one cut in half: both lie beyond the checkpoint.
            if not (folder / "result.json").exists():
                with (folder / "curve.jsonl").open("a") as file:
                    file.write('{"updates": 11, "score": 0.9, "trained": 1.0, "seconds": 9}\n{"updates": 12, "sc')
        settings = {"epochs": 2, "evaluations": 2}
        specs = [make_spec(SUITE, "wide", method, "smoke", 1, settings) for method in ("dropout-l2", "pse")]
        killed = []

        def kill_once(*_):
            if not killed:
                (worker,) = multiprocessing.active_children()
                killed.append(worker.pid)
                os.kill(worker.pid, signal.SIGKILL)

        def kill_at_once():
            while not multiprocessing.active_children():
                time.sleep(0.01)
            kill_once()

        with ThreadPoolExecutor() as pool, pytest.raises(UserError, match="finished runs and checkpoints are kept"):
            pool.submit(kill_at_once)
            list(run_in_processes(broken, specs, "cpu", 1, 1, lambda *_: None, retries=0))
        killed.clear()
        with pytest.warns(UserWarning, match="the runs under way go on from their last checkpoints"):
            assert len(list(run_in_processes(broken, specs, "cpu", 1, 1, kill_once))) == 2
        assert main([*arguments, "--jobs", "1", "--out", str(unbroken)]) == 0
        for folder in folders:
            assert comparable(folder) == comparable(unbroken / folder.relative_to(broken))
            assert [row["updates"] for row in comparable(folder)[1]] == [4, 8]

    def test_a_run_cut_off_before_its_result_ends_the_same(self, trained):
        out, arguments = trained
        path = next(out.rglob("result.json"))
        before = comparable(path.parent)
        path.unlink()
        assert main(arguments) == 0
        assert comparable(path.parent) == before

    def test_other_hardware_does_not_go_on_silently(self, trained, error_of):
        out, arguments = trained
        path = next(out.rglob("result.json"))
        path.unlink()
        run = path.with_name("run.json")
        run.write_text(run.read_text().replace('"device": "cpu"', '"device": "NVIDIA H100"'))
        assert "was begun with device NVIDIA H100" in error_of(*arguments)
        run.write_text(run.read_text().replace("NVIDIA H100", "cpu").replace('"threads": 1', '"threads": 0'))
        assert "run.json is damaged (threads must be an integer from 1 to 1024, got 0)" in error_of(*arguments)

    def test_a_damaged_checkpoint_or_curve_is_one_line(self, trained, error_of):
        out, arguments = trained
        next(out.rglob("result.json")).unlink()
        checkpoint, curve = next(out.rglob("model.zip")), next(out.rglob("curve.jsonl"))
        whole = checkpoint.read_bytes()
        checkpoint.write_bytes(whole[:1000])
        assert "model.zip is damaged" in error_of(*arguments)
        checkpoint.write_bytes(whole)
        curve.write_text('{"score": 1}\n')
        assert "curve.jsonl was changed or lost rows since the checkpoint at updates" in error_of(*arguments)

    def test_a_checkpoint_of_another_run_is_refused(self, trained, tmp_path, error_of):
        out, arguments = trained
        theirs = [*arguments[:-1], str(tmp_path / "theirs"), "--set", "learning_rate=0.001"]
        assert main(theirs) == 0
        next(out.rglob("result.json")).unlink()
        shutil.copyfile(next((tmp_path / "theirs").rglob("model.zip")), next(out.rglob("model.zip")))
        assert "model.zip is not a checkpoint of this run" in error_of(*arguments)

    @pytest.mark.parametrize("damage", [lambda p: p.unlink(), lambda p: p.write_text(p.read_text().replace("0", "1"))])
    def test_a_curve_that_lost_or_changed_rows_is_not_gone_on_with(self, tmp_path, damage):
        spec = make_spec(SUITE, "wide", "pse", "smoke", 1)
        folder = RunFolder(tmp_path, spec)
        folder.path.mkdir(parents=True)
        assert folder.resume_curve("updates", 0) == []
        for x in (4, 8, 12):
            folder.log({"updates": x, "score": 0.5, "seconds": 1.0})
            folder.mark(x, 1.0, 12)
        assert [row["updates"] for row in RunFolder(tmp_path, spec).resume_curve("updates", 8)] == [4, 8]
        assert len((folder.path / "curve.jsonl").read_text().splitlines()) == 2
        with pytest.raises(UserError, match=r"marks.json is damaged \(it does not know the checkpoint at updates 4\)"):
            RunFolder(tmp_path, spec).resume_curve("updates", 4)  # of the last two alone
        damage(folder.path / "curve.jsonl")
        with pytest.raises(UserError, match="was changed or lost rows since the checkpoint at updates 8"):
            RunFolder(tmp_path, spec).resume_curve("updates", 8)

    def test_other_versions_and_machines_are_noted_and_sealed(self, tmp_path):
        spec = make_spec(SUITE, "wide", "pse", "smoke", 1)
        folder = RunFolder(tmp_path, spec)
        folder.path.mkdir(parents=True)
        here, there = ({"versions": {"torch": v}, "machine": {"cores": 2}} for v in ("2.0", "2.1"))
        run = folder.start({**here, "command": "x"})
        for environment in (here, there, there):
            folder.resume(run, environment)
            run = folder.start({})
        assert run["resumed"] == [there]
        outcome = jumping.outcome_of("wide", 1, np.zeros(286, dtype=bool))
        assert folder.finish(outcome, False, {}).run["resumed"] == [there]
        write_json(folder.path / "run.json", {**run, "resumed": []})
        with pytest.raises(UserError, match="run.json was changed"):
            read_run(folder.path)

    def test_what_lies_in_the_way_of_a_run_is_one_line(self, tmp_path, smoke, error_of):
        arguments = [*smoke, "--method", "pse", "--out", str(tmp_path / "out")]
        path = tmp_path / "out/jumping/wide/pse/smoke/seed-1"
        path.mkdir(parents=True)
        (path / ".lock").mkdir()
        assert ".lock is a folder, and must be a file" in error_of(*arguments)
        (path / ".lock").rmdir()
        os.mkfifo(path / ".lock")
        assert ".lock is a special file" in error_of(*arguments)
        (path / ".lock").unlink()
        (path / "run.json").write_text("[" * 100_000)
        assert "nested more than 8 levels" in error_of(*arguments)
        shutil.rmtree(path)
        path.symlink_to(tmp_path)
        assert "seed-1 is a link" in error_of(*arguments)
        assert {p.name for p in tmp_path.iterdir()} == {"out"}

    def test_a_full_disk_is_one_line_and_keeps_the_checkpoint(self, trained, error_of, monkeypatch):
        import errno

        def full(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        out, arguments = trained
        next(out.rglob("result.json")).unlink()
        monkeypatch.setattr("bisimgym.benchmarks.running.run_folder.RunFolder.finish", full)
        assert "No space left on device" in error_of(*arguments)
        assert next(out.rglob("model.zip")).exists()

    def test_a_name_given_twice_is_one_run(self):
        specs = runner.plan(SUITE, ["wide", "wide"], ["pse", "pse"], [1, 2, 1], "smoke", {})
        assert [spec.seed for spec in specs] == [1, 2]

    def test_subnormal_numbers_are_zero_in_training_and_nowhere_else(self):
        def train(spec, folder, device):
            seen.append(float(th.tensor(1e-40) * 1))
            raise ValueError("ends badly")

        seen = []
        with pytest.raises(ValueError, match="ends badly"):
            runner._train(dataclasses.replace(SUITE, train=train), [None], [None], "cpu")
        assert seen == [0.0]
        assert float(th.tensor(1e-40) * 1) > 0

    def test_finished_runs_are_skipped(self, tmp_path, capsys, smoke, fake_run):
        fake_run(tmp_path)
        path = next(tmp_path.rglob("result.json"))
        before = path.read_bytes(), path.stat().st_mtime_ns
        assert main([*smoke, "--method", "pse", "--out", str(tmp_path)]) == 0
        assert (path.read_bytes(), path.stat().st_mtime_ns) == before
        assert "33.6 ± 10.0" in capsys.readouterr().out

    def test_runs_on_a_ray_cluster_equal_runs_here(self, tmp_path, smoke):
        pytest.importorskip("ray")
        arguments = [*smoke, "--method", "dropout-l2"]
        assert main([*arguments, "--out", str(tmp_path / "ray"), "--executor", "ray"]) == 0
        assert main([*arguments, "--out", str(tmp_path / "here")]) == 0
        path = Path("jumping/wide/dropout-l2/smoke/seed-1")
        assert comparable(tmp_path / "ray" / path) == comparable(tmp_path / "here" / path)

    def test_a_missing_ray_is_one_line(self, smoke, error_of, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "ray", None)
        line = error_of(*smoke, "--method", "pse", "--out", tmp_path, "--executor", "ray")
        assert line == 'error: --executor ray needs Ray: pip install "bisimgym[ray]"'

    def test_a_variant_is_stored_apart_and_shows_its_settings(self, tmp_path, capsys, smoke, fake_run):
        fake_run(tmp_path, **{"alignment.weighted": False, "epochs": 2})
        arguments = [*smoke, "--method", "pse", "--out", str(tmp_path)]
        assert main([*arguments, "--set", "alignment.weighted=false", "--set", "epochs=2"]) == 0
        (folder,) = (path.parent for path in tmp_path.rglob("result.json"))
        assert folder.parts[-3] == "pse@alignment.weighted=false,epochs=2"
        assert read_run(folder).spec.settings["alignment"]["weighted"] is False
        assert "weighted=false" in capsys.readouterr().out.replace("\n", "").replace(" ", "")

    def test_a_setting_at_its_standard_value_is_no_variant(self):
        assert make_spec(SUITE, "wide", "pse", "smoke", 1, {"alignment.weighted": True}).method_folder == "pse"

    def test_two_processes_do_not_share_a_run(self, tmp_path):
        spec = make_spec(SUITE, "wide", "pse", "smoke", 1)
        with RunFolder(tmp_path, spec).lock(), pytest.raises(UserError, match="another process is running"):
            runner.run_one(tmp_path, spec, "cpu", 1)

    def test_a_failing_run_is_reported_with_its_traceback_on_disk(self, tmp_path, capsys, monkeypatch, smoke):
        def explode(*_):
            raise ZeroDivisionError("no luck")

        monkeypatch.setattr(jumping, "demonstrations", explode)
        assert main([*smoke, "--method", "pse", "--out", str(tmp_path)]) == 1
        assert "wide pse seed 1 failed: ZeroDivisionError: no luck" in capsys.readouterr().err
        assert "in explode" in next(tmp_path.rglob("error.log")).read_text()

    def test_results_hold_what_other_programs_rely_on(self, tmp_path, fake_run):
        run = fake_run(tmp_path, seed=3)
        result = json.loads((tmp_path / "jumping/wide/pse/smoke/seed-3/result.json").read_text())
        expected = {"suite": "jumping", "task": "wide", "method": "pse", "preset": "smoke", "seed": 3}
        assert {key: result[key] for key in expected} == expected
        assert result["lower_is_better"] is False
        assert len(result["outcomes"]["solved"]) == 286
        solved = np.array(result["outcomes"]["solved"])[~np.array(result["outcomes"]["trained"])]
        assert len(solved) == 268
        assert result["score"] == run.score == solved.mean()


class TestSummary:
    def test_rows_group_seeds_and_keep_presets_and_variants_apart(self, tmp_path, fake_run):
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

    def test_the_same_run_given_twice_counts_once_and_two_versions_of_it_are_refused(self, tmp_path, fake_run):
        fake_run(tmp_path / "a")
        assert len(find_runs([tmp_path / "a", tmp_path])) == 1
        fake_run(tmp_path / "b", solved=0.9)
        with pytest.raises(UserError, match="two results of the same run"):
            find_runs([tmp_path])


def test_a_number_of_seeds_means_those_from_one():
    suite = load_suite("jumping")
    assert [spec.seed for spec in runner.plan(suite, ["wide"], ["pse"], 3, "smoke", {})] == [1, 2, 3]
    assert [spec.seed for spec in runner.plan(suite, ["wide"], ["pse"], [7, 7, 2], "smoke", {})] == [7, 2]
