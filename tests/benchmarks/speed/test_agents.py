"""What `bisimgym throughput --agents` measures, and the page that shows it."""

import functools
import json
import os
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch as th

from bisimgym.baselines.core.extractors import ImageExtractor
from bisimgym.baselines.mico import MICoDQN
from bisimgym.benchmarks.cli import main, write_between_markers
from bisimgym.benchmarks.speed import agents as agent_speed

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "methods" / "speed.md"
COMMITTED = ROOT / "benchmarks" / "results" / "agent_speed.json"


@pytest.fixture(autouse=True)
def _one_turn(monkeypatch):
    def once(function):
        start = time.perf_counter()
        function()
        return time.perf_counter() - start

    monkeypatch.setattr(agent_speed, "median_seconds", lambda functions, seconds: [once(f) for f in functions])


@pytest.mark.parametrize("name", agent_speed.PICTURES)
def test_the_plain_network_is_ours(name):
    space = agent_speed.pictures(name)
    plain, ours = agent_speed.PlainExtractor(space).double(), ImageExtractor(space).double()
    plain.load_state_dict(ours.state_dict())
    pictures = th.rand(4, *space.shape, dtype=th.float64)
    embeddings = [net(pictures) for net in (plain, ours)]
    th.testing.assert_close(*embeddings)
    target = th.randn_like(embeddings[0])
    gradients = [
        th.autograd.grad((z - target).square().sum(), list(net.parameters()))
        for z, net in zip(embeddings, (plain, ours), strict=True)
    ]
    for one, two in zip(*gradients, strict=True):
        th.testing.assert_close(one, two, rtol=1e-6, atol=1e-9 * float(one.abs().max()))


@pytest.mark.parametrize("name", ["nav2d", "jumping"])
def test_stock_dqn_and_ours_compute_the_same_updates(name):
    stock, ours = agent_speed.stock("DQN", name), agent_speed.ours("DQN", name, "float32")
    stock.policy.load_state_dict(ours.policy.state_dict())
    before = {key: value.clone() for key, value in ours.policy.state_dict().items()}
    for array in ("observations", "next_observations", "actions", "rewards", "dones"):
        np.testing.assert_array_equal(getattr(stock.replay_buffer, array), getattr(ours.replay_buffer, array)[:])
    for model in (stock, ours):
        np.random.seed(7)  # noqa: NPY002  the replays draw from it
        model.train(3, 8)
    after = ours.policy.state_dict()
    moved = [key for key in before if not th.equal(before[key], after[key])]
    assert any(key.startswith("q_net.features_extractor.convolutions") for key in moved)
    for key, value in stock.policy.state_dict().items():
        # Adam's first steps are as long for a gradient of rounding as for any other.
        close = th.isclose(value, after[key], rtol=1e-4, atol=1e-6)
        assert close.float().mean() > 0.99, key
        th.testing.assert_close(value, after[key], rtol=0, atol=3 * 2 * 1e-4)


@pytest.mark.parametrize("algorithm", ["DQN", "SAC"])
def test_rows_of_parents(algorithm):
    before = th.get_num_threads()
    (row,) = agent_speed.parent_rows(algorithm, "nav2d", 2, 1, 0.0)
    assert th.get_num_threads() == before
    models = {"stock", "float32", "bfloat16"} | ({"stock, one encoder"} if algorithm == "SAC" else set())
    assert set(row["ms"]) == models
    assert all(ms > 0 for ms in row["ms"].values())
    assert row["times_stock"]["float32"] == row["ms"]["stock"] / row["ms"]["float32"]


@pytest.mark.parametrize(
    ("parent", "work"),
    [
        # A pass with gradients is 3. SAC: z, next_z and next_target_z, 5 in all; DQN: z and next_target_z, 4.
        (
            "SAC",
            {
                "self-prediction": 5 / 5,
                "deepmdp": 5 / 5,
                "mico": 5 / 5,
                "dbc": 5 / 5,
                "robust-dbc": 7 / 5,  # trained_next_z in place of next_z
                "rap": 6 / 5,  # and target_z
                "ambs": 5 / 5,
                "simsr": 6 / 5,  # and target_z
            },
        ),
        (
            "DQN",
            {
                "mico": 5 / 4,  # and target_z
                "dbc": 5 / 4,  # and next_z
                "rap": 6 / 4,  # and next_z and target_z
                "rss": 11 / 4,  # and target_z, and two passes of a second encoder
            },
        ),
    ],
)
def test_methods_run_no_encoder_more_often_than_they_must(parent, work):
    rows = agent_speed.method_rows(parent, "states", 1, 0.0, batch_size=4)
    assert {row["method"]: row["encoder_work"] for row in rows} == work
    for row in rows:
        assert row["ms"] > 0
        assert row["ratio"] == row["ms"] / row["parent_ms"]


def test_rows_of_methods_on_pictures(monkeypatch):
    monkeypatch.setattr(agent_speed, "METHODS", {"DQN": {"mico": MICoDQN}})
    (row,) = agent_speed.method_rows("DQN", "pictures", 1, 0.0, batch_size=2)
    assert row["ms"] > 0
    assert row["encoder_work"] == 5 / 4


def test_a_replay_of_pictures_takes_about_half():
    (row,) = agent_speed.replay_rows("bisimgym/Nav2D-v0", 4000)
    sizes = row["bytes_per_transition"]
    assert sizes["sb3"] == 2 * 1200 + 8 + 3 * 4  # two pictures; an action of 8 bytes; reward, done, time limit
    assert 1200 < sizes["computed"] <= sizes["allocated"] < 0.55 * sizes["sb3"]
    assert row["share"] == sizes["allocated"] / sizes["sb3"]


def test_rows_of_the_suite():
    pytest.importorskip("dm_control")
    rows = agent_speed.suite_rows(1, 0.0, methods=("sac", "mico"), vector_steps=3)
    assert [row["method"] for row in rows] == ["sac", "mico", "physics alone"]
    for row in rows[:2]:
        assert row["updates_per_second"] == pytest.approx(2 * row["steps_per_second"] / 10)
    assert rows[2]["updates_per_second"] is None
    assert rows[0]["times_sac"] == 1
    assert rows[2]["steps_per_second"] > 0


def test_comparisons_have_processes_of_their_own():
    assert agent_speed._in_fresh_process(os.getpid, ()) != os.getpid()


@pytest.fixture
def few(monkeypatch):
    """Make the command measure little, in this process."""
    monkeypatch.setattr(agent_speed, "COMPARISONS", (("DQN", "nav2d", 2), ("SAC", "nav2d", 2)))
    monkeypatch.setattr(agent_speed, "METHODS", {"DQN": {"mico": MICoDQN}})
    monkeypatch.setattr(agent_speed, "_UPDATES", {"states": 1})
    monkeypatch.setattr(agent_speed, "REPLAYS", {"bisimgym/Nav2D-v0": 1000})
    suite = functools.partial(agent_speed.suite_rows, methods=("sac",), vector_steps=2)
    monkeypatch.setattr(agent_speed, "suite_rows", suite)
    monkeypatch.setattr(agent_speed, "_in_fresh_process", lambda function, arguments: function(*arguments))
    monkeypatch.setattr(agent_speed.machine, "cores", lambda: 1)


@pytest.mark.usefixtures("few")
def test_the_command_writes_figures_and_tables(tmp_path, capsys):
    pytest.importorskip("dm_control")
    file, page = tmp_path / "figures.json", tmp_path / "page.md"
    shutil.copy(PAGE, page)
    assert main(["throughput", "--agents", "--seconds", "0", "--json", str(file), "--readme", str(page)]) == 0
    figures = json.loads(file.read_text())
    assert {"machine", "versions", "command", "load_before", "load_after"} < set(figures)
    text = page.read_text(encoding="utf-8")
    stock = f"{figures['parents'][0]['ms']['stock']:.3g}"
    assert re.search(rf"^\| DQN \| nav2d, 3 x 20 x 20 \| 2 \| 1 \| {re.escape(stock)} \|  \| ", text, re.MULTILINE)
    assert re.search(r"^\| SAC \| nav2d, 3 x 20 x 20 \| 2 \| 1 \| \d", text, re.MULTILINE)
    assert re.search(r"^\| DQN \| states \| mico \| \d", text, re.MULTILINE)
    assert re.search(r"^\| bisimgym/Nav2D-v0 \| 1,000 \| 2,420 \| ", text, re.MULTILINE)
    assert re.search(r"^\| sac \| [\d,]+ \| \d+ \| 1\.00 \|$", text, re.MULTILINE)
    assert re.search(r"^\| physics alone \| [\d,]+ \|  \| ", text, re.MULTILINE)
    assert "physics alone" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--agents", "--metrics"], "--metrics and --agents measure different things"),
        (["bisimgym/Nav2D-v0", "--agents"], "--agents measures its own environments, but bisimgym/Nav2D-v0 was given"),
        (["--readme", "x.md"], "--readme goes with one of --metrics, --distracting, --agents, --langevin"),
    ],
)
def test_options_that_do_not_go_together(arguments, expected, error_of):
    assert expected in error_of("throughput", *arguments)


def test_the_tables_of_the_page_are_those_of_committed_figures(tmp_path):
    copy = tmp_path / "page.md"
    shutil.copy(PAGE, copy)
    write_between_markers(agent_speed.markdown(json.loads(COMMITTED.read_text())), copy)
    assert copy.read_text(encoding="utf-8") == PAGE.read_text(encoding="utf-8")
