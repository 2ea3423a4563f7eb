"""The command, and its one-line errors."""

import dataclasses
import importlib.metadata
import io
import os
import subprocess
import sys

import numpy as np
import pytest

import bisimgym
from bisimgym.benchmarks import listing
from bisimgym.benchmarks.cli import main
from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.running.run_folder import RunFolder, digest, write_json
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
            (["run", "jumping", "--seeds", "0"], "--seeds must be from 1 to 10,000, got 0"),
            (["run", "jumping", "--threads", "0"], "--threads must be from 1 to 1024, got 0"),
            (["run", "jumping", "--jobs", "0"], "--jobs must be from 1 to 1024, got 0"),
            (["run", "jumping", "--device", "tpu"], "unknown device 'tpu'"),
            (["run", "jumping", "--set", "epochs"], "--set takes KEY=VALUE, got 'epochs'"),
            (["run", "jumping", "--set", "speed=3"], "unknown setting 'speed': choose from alignment"),
            (["run", "jumping", "--set", "epochs=many"], "setting epochs takes a value like 4, got 'many'"),
            (["run", "jumping", "--set", "epochs=0"], "epochs must be at least 1, got 0"),
            (["run", "jumping", "--set", "epochs=1.5"], "setting epochs takes a value like 4, got 1.5"),
            (["run", "jumping", "--set", "dropout=2"], "dropout must be in [0, 1), got 2"),
            (["run", "jumping", "--set", "learning_rate=NaN"], "setting learning_rate takes a value like"),
            (
                ["run", "jumping", "--method", "pse", "--set", "alignment.metric=mico"],
                "alignment metric must be one",
            ),
            (["run", "jumping", "--executor", "cloud"], "'cloud'"),
            (["run", "jumping", "--bogus"], "No such option"),
            (["run", "jumping", "--bogus"], "(see bisimgym run --help)"),
            (["evaluate", "jumping"], "(see bisimgym evaluate --help)"),
            (["run", "jumping", "--seeds", "2", "--seed", "7"], "give one of the two"),
            (["run", "jumping", "--seed", "-1"], "seeds must be from 0 to 2**32 - 1, got -1"),
            (["dance"], "dance"),
            (["report"], "nothing to report"),
            (["report", "/nowhere/at/all"], "/nowhere/at/all is not a folder"),
            (["evaluate", "jumping", "--agent", "x", "--task", "square"], "unknown task 'square'"),
            (["evaluate", "jumping", "--agent", "x", "--budget", "-1"], "must not be negative"),
            (["evaluate", "jumping", "--agent", "x", "--timeout", "-1"], "--timeout must be from 0"),
            (["evaluate", "jumping", "--agent", "x", "--timeout", "nan"], "--timeout must be from 0"),
        ],
    )
    def test_bad_arguments(self, arguments, expected, tmp_path, monkeypatch, error_of):
        monkeypatch.chdir(tmp_path)
        if arguments[0] == "run" and "--preset" not in arguments:
            arguments = [*arguments, "--preset", "smoke"]
        assert expected in error_of(*arguments)

    def test_an_interrupt_says_how_to_go_on(self, capsys, monkeypatch):
        def interrupt(name):
            raise KeyboardInterrupt

        monkeypatch.setattr("bisimgym.benchmarks.cli.load_suite", interrupt)
        assert main(["run", "jumping"]) == 130
        assert "interrupted: give the same command again to go on" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("encoding", "shown"), [("utf-8", "\u00b1 \u2713"), ("cp1252", "\u00b1 ?"), ("ascii", "+- ?")]
    )
    def test_output_of_any_encoding(self, monkeypatch, encoding, shown):
        # pytest's own streams stand in for these: what the command is given elsewhere is a stream over bytes.
        streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
        monkeypatch.setattr(sys, "stdout", streams[0])
        monkeypatch.setattr(sys, "stderr", streams[1])
        assert main(["run", "\u00b1 \u2713"]) == 2
        print("\u00b1 \u2713 \udcff")
        for stream in streams:
            stream.flush()
            text = stream.buffer.getvalue().decode(encoding)
            assert f"{shown}" in text
            assert text.count("\n") == 1

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

    @pytest.mark.parametrize(
        ("score", "outcomes", "expected"),
        [
            (0.99, lambda known: known, "do not follow from the outcomes"),
            (
                1.0,
                lambda known: {**known, "trained": [not s for s in known["solved"]]},
                "'trained' is not that of",
            ),
        ],
    )
    def test_sealed_results_that_cannot_be(self, score, outcomes, expected, tmp_path, fake_run, error_of):
        run = fake_run(tmp_path)
        result = {**run.result, "score": score, "outcomes": outcomes(run.outcomes)}
        del result["digest"]
        write_json(run.path / "result.json", {**result, "digest": digest(result)})
        assert expected in error_of("report", tmp_path)

    @pytest.mark.parametrize(
        ("name", "damage", "expected"),
        [
            ("result.json", '{"format": 2, "sco', "is damaged"),
            ("result.json", "[]", "a JSON object is expected, got list"),
            ("result.json", '{"format": 1}', "is not a file of format 2"),
            ("result.json", '{"format": 2, "score": NaN}', "NaN is not a number"),
            (
                "result.json",
                lambda text: text.replace('"score": 0.', '"score": 1.'),
                "was changed after it was written",
            ),
            ("run.json", "", "is damaged"),
            ("run.json", '{"format": 2}', "is damaged"),
            ("run.json", None, "run.json is missing"),
            ("run.json", lambda text: text.replace('"epochs": 4', '"epochs": 5'), "run.json was changed after it was"),
            ("run.json", lambda text: text.replace('"versions": {}', '"versions": {"x": "1"}'), "run.json was changed"),
            ("curve.jsonl", '{"updates": 1}\n{"upd', "is damaged"),
            ("curve.jsonl", lambda text: text.replace('"seconds": 1', '"seconds": 2'), "curve.jsonl was changed"),
            ("curve.jsonl", None, "curve.jsonl was changed"),
        ],
    )
    def test_damaged_run_folders(self, tmp_path, name, damage, expected, smoke, fake_run, error_of):
        path = fake_run(tmp_path).path / name
        before = path.read_text()
        text = damage(before) if callable(damage) else damage
        assert text != before
        path.unlink() if text is None else path.write_text(text)
        site = tmp_path / "site"
        for command in (["report", tmp_path, "--out", site], [*smoke, "--method", "pse", "--out", tmp_path]):
            line = error_of(*command)
            assert expected in line
            assert str(path.parent) in line
        assert not path.exists() if text is None else path.read_text() == text  # the file is as the user left it
        assert not site.exists()

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
    @pytest.mark.parametrize(
        ("what", "expected"),
        [
            ("envs", "bisimgym/JumpingTask-v0  Jump over"),
            ("suites", "jumping  Imitate"),
            ("methods", "jumping randconv-pse"),
            ("metrics", "trajectory_similarity  Return"),
        ],
    )
    def test_list(self, what, expected, capsys):
        assert main(["list", what]) == 0
        assert any(line.startswith(expected) for line in capsys.readouterr().out.splitlines())

    def test_help_names_every_command(self, capsys):
        assert main(["--help"]) == 0
        text = capsys.readouterr().out
        for command in ("list", "run", "evaluate", "report", "speed", "landscape", "doctor"):
            assert command in text
            assert main([command, "--help"]) == 0

    def test_the_module_is_the_command(self):
        command = [sys.executable, "-m", "bisimgym", "--version"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout == f"bisimgym {bisimgym.__version__}\n"

    def test_the_short_form_of_help(self, capsys):
        for command in ([], ["run"], ["evaluate"]):
            assert main([*command, "-h"]) == 0
            assert "Usage: bisimgym" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            ("bisimgym ru", ["run"]),
            ("bisimgym run noi", ["noisy-states"]),
            ("bisimgym run jumping --task w", ["wide"]),
            ("bisimgym run jumping --method randconv-ps", ["randconv-psm-l2", "randconv-pse"]),
            ("bisimgym run jumping --task wide --preset pa", ["paper"]),
            ("bisimgym evaluate jumping --task n", ["narrow"]),
        ],
    )
    def test_the_shell_completes_names(self, words, expected):
        asked = {"_BISIMGYM_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
        command = [sys.executable, "-m", "bisimgym"]
        done = subprocess.run(command, env={**os.environ, **asked}, capture_output=True, text=True)
        assert done.stdout.split() == expected

    def test_doctor(self, capsys):
        assert main(["doctor"]) == 0
        text = capsys.readouterr().out
        assert "No known problem found" in text
        assert "precision='auto' is" in text

    def test_doctor_names_the_extra_of_what_is_missing(self, capsys, monkeypatch):
        monkeypatch.setattr(importlib.metadata, "distributions", list)
        assert main(["doctor"]) == 0
        text = " ".join(capsys.readouterr().out.split())
        for line in (
            'torch not installed: pip install "bisimgym[baselines]"',
            'robosuite not installed: pip install "bisimgym[manipulation]" && pip install --no-deps "robosuite==1.5.2"',
        ):
            assert line in text

    def test_a_listing_says_what_is_missing(self, capsys, monkeypatch):
        def title(env_id):
            if "Distracting" in env_id:
                raise ImportError("needs dm_control")
            return "A task."

        monkeypatch.setattr(listing, "env_title", title)
        assert main(["list", "envs"]) == 0
        out = capsys.readouterr().out
        assert "bisimgym/Nav2D-v0  A task." in out
        assert "bisimgym/DistractingWalkerWalk-v0  (needs dm_control)" in out

    def test_doctor_knows_bad_pairs(self):
        from bisimgym.benchmarks.running.doctor import known_bad_pairs

        assert known_bad_pairs({"pygame": "2.6.1", "numpy": "2.1", "mujoco": "3.17", "dm-control": "1.0.50"}) == []
        assert len(known_bad_pairs({"pygame-ce": "2.5", "mujoco": "4.0.1", "dm-control": "1.0.50"})) == 2

    def test_doctor_names_versions_that_are_not_permitted(self, capsys, tmp_path, monkeypatch):
        from bisimgym.benchmarks.running.doctor import outside

        required = ["numpy<3,>=2.0", 'Stable_Baselines3<3,>=2.9; extra == "baselines"', 'av>=12; python_version < "3"']
        assert outside(required, ["baselines"], {"numpy": "2.0.0", "stable-baselines3": "2.9", "av": "1"}) == []
        low, high = outside(required, ["baselines"], {"numpy": "1.26.4", "stable-baselines3": "3.0"})
        assert low == 'numpy 1.26.4 is installed and bisimgym permits <3,>=2.0: pip install "numpy<3,>=2.0"'
        assert "Stable_Baselines3 3.0 is installed" in high
        # What stands first on the path is what is imported, whatever lies behind it.
        older = tmp_path / "stable_baselines3-2.4.0.dist-info"
        older.mkdir()
        (older / "METADATA").write_text("Metadata-Version: 2.1\nName: stable_baselines3\nVersion: 2.4.0\n")
        monkeypatch.syspath_prepend(tmp_path)
        assert main(["doctor"]) == 1
        assert "problem: stable-baselines3 2.4.0 is installed" in capsys.readouterr().out


def test_the_version_is_shown(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"bisimgym {bisimgym.__version__}\n"
