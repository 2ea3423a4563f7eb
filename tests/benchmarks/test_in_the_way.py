"""What is in the way of an agent's hours of learning is seen before them, and what ends badly ends in one line."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from bisimgym.benchmarks.agents import check_agent, closing_agent
from bisimgym.benchmarks.cli import main
from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.names import check_text, storable
from bisimgym.benchmarks.report.leaderboard.charts import nice_ticks
from bisimgym.benchmarks.report.leaderboard.views import reproduce
from bisimgym.benchmarks.report.summary import summarize
from bisimgym.benchmarks.running import machine
from bisimgym.benchmarks.running.run_folder import find_runs
from bisimgym.benchmarks.running.runner import evaluate_agent
from bisimgym.benchmarks.suites import load_suite

TASK = "nav2d-8x8"
PLACE = f"small-images/{TASK}/mine/external/seed-1"


class Learner:
    """Notes that it was asked to learn."""

    def __init__(self):
        self.learned = False

    def learn(self, envs, budget, seed):
        self.learned = True

    def predict(self, observation, state=None, episode_start=None, deterministic=True):
        return np.zeros(len(observation["observation"]), dtype=int), state


def stray_file(out):
    (out / PLACE).mkdir(parents=True)
    (out / PLACE / "notes.txt").write_text("mine")


def link(out):
    (out / "elsewhere").mkdir()
    (out / "small-images").symlink_to(out / "elsewhere")


def file_for_folder(out):
    (out / f"small-images/{TASK}").parent.mkdir(parents=True)
    (out / f"small-images/{TASK}").write_text("mine")


def linked_lock(out):
    (out / PLACE).mkdir(parents=True)
    (out / PLACE / ".lock").symlink_to(out / "victim")


@pytest.mark.parametrize("obstacle", [stray_file, link, file_for_folder, linked_lock])
def test_obstacles_are_seen_before_an_agent_learns(tmp_path, obstacle):
    obstacle(tmp_path)
    agent = Learner()
    before = sorted(path.as_posix() for path in tmp_path.rglob("*"))
    with pytest.raises((UserError, OSError)):
        evaluate_agent(agent, load_suite("small-images"), TASK, "mine", tmp_path, budget=8)
    assert not agent.learned
    assert sorted(path.as_posix() for path in tmp_path.rglob("*") if path.name != ".lock") == [
        name for name in before if not name.endswith(".lock")
    ]


@pytest.mark.parametrize("budget", [-1, 2**63 - 1, 10**13])
def test_a_budget_that_no_result_may_have_is_refused(tmp_path, budget):
    agent = Learner()
    with pytest.raises(UserError, match=r"the budget must be from 0 to 1,000,000,000,000 steps"):
        evaluate_agent(agent, load_suite("small-images"), TASK, "mine", tmp_path, budget=budget)
    assert not agent.learned
    assert list(tmp_path.iterdir()) == []


def test_an_agent_that_fails_leaves_nothing(tmp_path):
    class Failing(Learner):
        def predict(self, *arguments, **keywords):
            raise RuntimeError("boom")

    with pytest.raises(UserError, match="boom"):
        evaluate_agent(Failing(), load_suite("small-images"), TASK, "mine", tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock"] == []


@pytest.mark.parametrize("text", ["a\tb", "\u202eabc", "r\udcfcns", "x" * 9000, "fine", "\x1b[2J"])
def test_any_command_can_be_stored(text):
    check_text("command", storable(text))
    check_text("command", machine.command_text(["run", "jumping", "--out", text]))


class Closing(Learner):
    def __init__(self, error):
        super().__init__()
        self.error = error

    def close(self):
        raise self.error


@pytest.mark.parametrize("error", [SystemExit(0), ValueError("no"), GeneratorExit()])
def test_a_close_that_fails_is_told(error):
    with (
        pytest.raises(UserError, match=r"what is done is stored, but the agent's close\(\) failed"),
        closing_agent(Closing(error)),
    ):
        pass
    with pytest.raises(UserError, match="first"), closing_agent(Closing(error)):  # what failed before comes first
        raise UserError("first")


def test_methods_that_cannot_be_looked_at_are_told():
    class Property:
        @property
        def predict(self):
            raise RuntimeError("no predict")

    class Nameless(Exception):
        def __str__(self):
            raise RuntimeError

    class Odd:
        @property
        def predict(self):
            raise Nameless

    for agent in (Property(), Odd()):
        with pytest.raises(UserError, match="its methods cannot be looked at"):
            check_agent(agent)


@pytest.mark.parametrize("option", ["--threads", "--jobs"])
@pytest.mark.parametrize("count", [10**6, 2**31, 2**62])
def test_more_threads_than_a_machine_can_have_are_refused(tmp_path, error_of, option, count):
    arguments = ["run", "jumping", "--task", "wide", "--preset", "smoke", "--out", tmp_path / "runs", option, count]
    assert f"{option} must be from 1 to 1024, got {count}" in error_of(*arguments)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("value", ["[" * 10**5, "9" * 5000])
def test_settings_of_thousands_of_signs_are_refused(error_of, value):
    assert "--set epochs takes a number" in error_of("run", "jumping", "--task", "wide", "--set", f"epochs={value}")


def test_axes_have_ticks_however_small_the_numbers():
    for low, high in ((0.0, 5e-324), (0.0, 0.0), (1e300, 1e300), (1.0, 1.0 + 1e-15), (-1e-320, 1e-320)):
        ticks = nice_ticks(low, high)
        assert 2 <= len(ticks) < 20
        assert np.isfinite(ticks).all()


def test_the_command_of_a_row_names_its_seeds(tmp_path, fake_run):
    for seed in (1, 2):
        fake_run(tmp_path / "first", seed=seed)
    fake_run(tmp_path / "other", seed=3_000_000_000)
    commands = [reproduce(summarize(find_runs([tmp_path / name])))[0] for name in ("first", "other")]
    assert "--seeds 2" in commands[0]
    assert "--seed 3000000000" in commands[1]
    assert "--seeds" not in commands[1]


def test_a_site_within_its_runs_is_left_out_of_the_next(tmp_path, fake_run, capsys):
    fake_run(tmp_path / "runs", method="pse")
    for _ in range(2):
        assert main(["report", str(tmp_path / "runs"), "--out", str(tmp_path / "runs/site")]) == 0
        assert "1 run:" in capsys.readouterr().out
    (tmp_path / "runs/site/.bisimgym-site").write_bytes(b"\xff\xfe")
    assert main(["report", str(tmp_path / "runs"), "--out", str(tmp_path / "runs/site")]) == 2
    assert "holds files that bisimgym did not write" in capsys.readouterr().err


def test_pictures_go_where_the_command_was_given(tmp_path, monkeypatch, capsys):
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    (tmp_path / "here/moves.py").write_text(
        "import os\n"
        f"def make():\n    os.chdir({str(tmp_path / 'there')!r})\n"
        "    return lambda images: images.mean(axis=(1, 2)) / 255\n"
    )
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "here"), *sys.path])
    assert main(["fidelity", "--encoder", "moves:make", "--out", "pictures"]) == 0
    assert len(list((tmp_path / "here/pictures").iterdir())) == 3
    assert list((tmp_path / "there").iterdir()) == []


def test_settings_that_are_not_the_presets_are_refused(tmp_path, fake_run):
    from forged import reseal

    path = fake_run(tmp_path, method="pse").path
    settings = json.loads((path / "run.json").read_text())["spec"]["settings"]
    reseal(path, {"settings": {**settings, "epochs": 10**9, "extra": 1}})
    with pytest.raises(UserError, match=r"its settings are not those of preset 'smoke' here.*epochs"):
        find_runs([tmp_path])


@pytest.mark.parametrize("settings", [{"budget": "x"}, {"budget": 1.7e308}, {"budget": -5}, {"budget": 1, "more": 2}])
def test_an_outside_run_has_a_budget_and_nothing_else(tmp_path, fake_run, settings):
    from forged import reseal

    path = fake_run(tmp_path / "runs", method="pse").path
    moved = tmp_path / "theirs"
    os.rename(path, moved)
    reseal(moved, {"preset": "external", "method": "theirs", "settings": settings})
    with pytest.raises(UserError, match=r"budget"):
        find_runs([moved])


def test_a_command_ends_though_an_agent_left_a_thread(tmp_path):
    (tmp_path / "threads.py").write_text(
        "import threading, time\nimport numpy as np\n"
        "class Agent:\n"
        "    def __init__(self):\n        threading.Thread(target=time.sleep, args=(600,)).start()\n"
        "    def predict(self, observation, state=None, episode_start=None, deterministic=True):\n"
        "        return np.zeros(len(observation), dtype=int), state\n"
    )
    arguments = ["evaluate", "markov", "--task", "uniform", "--agent", "threads:Agent", "--out", "runs"]
    code = (
        "from bisimgym.benchmarks import __main__ as command; command._PATIENCE = 0.1; raise SystemExit(command.main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "markov uniform Agent" in done.stdout
