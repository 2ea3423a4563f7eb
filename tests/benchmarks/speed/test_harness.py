"""The one harness of `bisimgym speed`, and the command."""

import json
import os

import gymnasium as gym
import pytest
from rich.console import Console

from bisimgym.benchmarks.cli import main
from bisimgym.benchmarks.speed import harness
from bisimgym.benchmarks.speed.harness import Part, Rollout


def test_functions_take_turns():
    calls = []
    times = harness.turns([lambda: calls.append("a"), lambda: calls.append("b")], 1e-9)
    assert "".join(calls) == "ab" * 6
    assert [len(row) for row in times] == [5, 5]
    assert [len(row) for row in harness.turns([int], 0)] == [1]


def test_medians_are_per_unit_of_work(monkeypatch):
    monkeypatch.setattr(harness, "turns", lambda functions, seconds: [[8.0, 2.0, 4.0], [1.0, 1.0, 100.0]])
    assert harness.medians({"a": int, "b": int}, 1, work=2) == {"a": 2.0, "b": 0.5}


class Clocked(gym.Env):
    """Four steps of a second each; resets of three seconds."""

    observation_space = gym.spaces.Discrete(1)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, clock):
        self.clock = clock

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.clock[0] += 3
        self.steps = 0
        return 0, {}

    def step(self, action):
        self.clock[0] += 1
        self.steps += 1
        return 0, 0.0, False, self.steps == 4, {}


@pytest.mark.parametrize("seconds", [0, 100])
def test_rates_count_resets_at_their_rate(seconds, monkeypatch):
    clock = [0]
    monkeypatch.setattr(harness.time, "perf_counter", lambda: clock[0])
    rates = harness.rates({"env": Rollout(Clocked(clock), least=5)}, seconds)
    assert rates == {"env": 4 / 7}  # two whole episodes in a turn


def test_processor_time_leaves_out_what_others_do(monkeypatch):
    monkeypatch.setattr(harness.time, "perf_counter", iter(range(0, 1000, 10)).__next__)
    monkeypatch.setattr(harness.time, "process_time", iter(range(0, 100, 1)).__next__)
    part = Part("one", lambda: [{"took": -harness.now() + harness.now()}])
    for cpu_time, took, name in ((False, 10, "wall"), (True, 1, "processor")):
        figures = harness.measure([part], Console(quiet=True), cpu_time)
        assert (figures["one"], figures["clock"]) == ([{"took": took}], name)
    assert harness.measure([part], Console(quiet=True))["one"] == [{"took": 10}]


def test_a_rollout_of_a_vector_ends_with_an_episode():
    envs = gym.make_vec("bisimgym/MarkovSignal-v0", num_envs=3, episode_length=5)
    rollout = Rollout(envs, least=7)
    assert [rollout() for _ in range(3)] == [3 * 10] * 3
    assert envs.observation_space.contains(rollout.observation)


def test_formats_of_tables():
    rows = [{"name": "a|b", "ms": {"one": 1234.5, "two": 99.4}, "share": 0.483}, {"name": "c", "ms": {"one": None}}]
    table = harness.table("T", "name | one | two | share", "{name} | {ms[one]:~3} | {ms[two]:~3} | {share:.0%}", rows)
    assert table.lines == [["a|b", "1,234", "99.4", "48 %"], ["c", "", "", ""]]
    assert "| a\\|b | 1,234 |" in table.markdown()


def _two_rows(value):
    return ({"value": value + i, "process": os.getpid()} for i in range(2))


def test_parts_of_a_name_add_up_and_may_have_processes_of_their_own():
    parts = [Part("one", _two_rows, (0,)), Part("one", _two_rows, (5,), fresh=True), Part("two", _two_rows, (9,))]
    figures = harness.measure(parts, Console(quiet=True))
    assert list(figures) == ["machine", "versions", "command", "clock", "load_before", "one", "two", "load_after"]
    assert [row["value"] for row in figures["one"]] == [0, 1, 5, 6]
    assert figures["one"][0]["process"] == os.getpid() != figures["one"][2]["process"]


class TestCommand:
    def test_figures_and_tables(self, tmp_path, capsys):
        from bisimgym.benchmarks.speed import envs

        file = tmp_path / "new" / "figures.json"
        env_id = "bisimgym/JumpingTask-v0"
        assert main(["speed", "envs", "--env", env_id, "--seconds", "0", "--json", str(file)]) == 0
        figures = json.loads(file.read_text())
        (row,) = figures["environments"]
        assert row["id"] == env_id
        assert [vector["num_envs"] for vector in row["vector"]] == list(envs.VECTOR_SIZES)
        out = capsys.readouterr().out
        assert "steps/s" in out
        assert "Load of the machine" in out

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            (["memory"], "'memory' is not one of"),
            (["envs", "--env", "CartPole-v1"], "unknown environment 'CartPole-v1'"),
            (["metrics", "--env", "bisimgym/Nav2D-v0"], "`speed metrics` has environments of its own"),
            (["envs", "--seconds", "-1"], "--seconds must not be negative, got -1"),
        ],
    )
    def test_bad_arguments(self, arguments, expected, error_of):
        assert expected in error_of("speed", *arguments)

    def test_a_file_that_cannot_be_written_is_an_error_before_anything_is_measured(self, tmp_path, error_of):
        (tmp_path / "file").write_text("")
        assert "cannot write to" in error_of("speed", "envs", "--json", tmp_path / "file/figures.json")

    def test_only_figures_are_replaced(self, tmp_path, error_of):
        for content in ("mine", "[1]", '{"machine": {}, "versions": {}, "spec": {}}'):
            (tmp_path / "notes").write_text(content)
            (tmp_path / "link").unlink(missing_ok=True)
            (tmp_path / "link").symlink_to(tmp_path / "notes")
            for name in ("notes", "link"):
                line = error_of("speed", "envs", "--json", tmp_path / name)
                assert "notes is there and not figures of `bisimgym speed`" in line
            assert (tmp_path / "notes").read_text() == content
        (tmp_path / "figures").write_text('{"machine": {}, "versions": {}, "rows": []}')
        assert harness.is_figures(tmp_path / "figures")
