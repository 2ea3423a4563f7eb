"""What the topics of `bisimgym speed` measure, in single turns of small cases, and the tables made of it."""

import ctypes
import functools
import importlib.metadata
import importlib.util
import sys
import types

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from rich.console import Console

from bisimgym.baselines import metrics as exact_metrics
from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.speed import (
    agents,
    distracting,
    envpool,
    envs,
    harness,
    langevin,
    manipulation,
    metric_reference,
    metrics,
    pixels,
    pretraining,
)
from bisimgym.benchmarks.speed.harness import Part
from bisimgym.envs.manipulation import simulator
from bisimgym.envs.rendering import probe
from bisimgym.envs.toy_mdps import garnet


def measured(topic, parts):
    """Return the figures of some parts, and the heads and first line of each of their tables."""
    figures = harness.measure([part._replace(fresh=False) for part in parts], Console(quiet=True))
    tables = list(harness._tables(topic, figures))
    for table in tables:
        assert all(len(line) == len(table.heads) for line in table.lines)
    return figures, {table.title: dict(zip(table.heads, table.lines[0], strict=True)) for table in tables}


@pytest.mark.parametrize(
    ("env_id", "size"),
    [("JumpingTask-v0", 7200), ("Nav2DGoal-v0", 800 + 32), ("LQRDistractors-v0", 520 * 4), ("MarkovSignal-v0", 15 * 4)],
)
def test_envs(env_id, size):
    figures, _ = measured("envs", envs.parts(0, [f"bisimgym/{env_id}"], [4, 8]))
    single, rows = figures["environments"][0]["single_steps_per_second"], figures["environments"][0]["vector"]
    assert [(row["num_envs"], row["observation_bytes"]) for row in rows] == [(4, 4 * size), (8, 8 * size)]
    for row in rows:
        assert row["times_single"] == row["steps_per_second"] / single
        assert min(row["of_copy_bound"], row["of_cached_copy"]) > 0


def test_envs_whose_vectors_are_worker_processes_have_small_vectors():
    pytest.importorskip("dm_control")
    (part,) = envs.parts(0, ["bisimgym/DistractingReacherEasy-v0"])
    assert part.arguments[2] == envs.WORKER_VECTOR_SIZES
    chosen = [part.arguments[0] for part in envs.parts(0) if part.name == "environments"]
    assert "bisimgym/Nav2D-v0" in chosen
    slow = ("bisimgym/Distracting", "bisimgym/Manipulation")
    assert not [env_id for env_id in chosen if env_id.startswith(slow)]


def test_manipulation():
    if not simulator.is_installed():
        with pytest.raises(UserError, match="speed of manipulation needs robosuite: pip install"):
            list(manipulation.parts(0))
        pytest.skip(f"needs robosuite: {simulator.INSTALL}")
    figures, tables = measured("manipulation", manipulation.parts(0, ["door"], [24], probe.OpenGL(None)))
    (row,) = figures["frames"]
    assert row["frames_per_second"]["raycast"] == 1000 / row["frame_ms"]["raycast"]
    assert row["step_ms"] > 1
    assert list(tables["A step of the physics and an image, each alone"])[:3] == ["task", "pixels", "step, ms"]


def test_metrics():
    figures, tables = measured("metrics", metrics.parts(0, scale=0.02))
    names = {row["what"].split(",")[0].split()[0] for row in figures["rows"]}
    assert names == {"PSM", "bisimulation", "recursive", "MICo", "one"}
    assert all(row["times_faster"] == row["reference_seconds"] / row["seconds"] > 0 for row in figures["rows"])
    # What is timed in part says so beside its number: pairs of trajectories, and linear programs.
    in_part = ("loops in Python", "numpy per pair", "linear programs")
    for line in next(harness._tables("metrics", figures)).lines:
        assert ("(extrapolated from" in line[3]) == line[1].endswith(in_part)
    (memory,) = figures["memory"]
    assert memory["peak_gib"] > memory["result_gib"] > 0
    assert len(tables) == 3
    assert all(0 < row["off"] < 0.2 for row in figures["peer"])


def test_sinkhorn_value_iteration_comes_near_the_metric():
    chain, reward = garnet(6, 1, 3, np.random.default_rng(0)).transition[:, 0], np.arange(6.0)
    cost = np.abs(reward[:, None] - reward)
    exact = exact_metrics.bisimulation(chain[:, None], reward[:, None], 0.8)
    off = [
        np.abs(metric_reference.sinkhorn_value_iteration(chain, chain, cost, 0.8, sweeps) - exact).max()
        for sweeps in (1, 30, 300)
    ]
    assert off[0] > off[1] > off[2]
    assert off[2] < 0.01 * exact.max()


def test_a_plain_iteration_stops_when_it_is_done_or_says_how_long_it_would_take():
    """The distance of two states that go on for ever: 1 / (1 - discount), from below."""

    def sweep(distance):
        return np.array([[0.0, 1.0], [1.0, 0.0]]) + 0.9 * distance * (1 - np.eye(2))

    whole = metric_reference.iterate_until(sweep, (2, 2), 0.9, 1e-6)
    assert whole.sweeps == whole.needed
    # After n sweeps 0.9 ** n * 10 is missing.
    assert 10 * 0.9**whole.sweeps <= 1e-6 < 10 * 0.9 ** (whole.sweeps - 1)
    np.testing.assert_allclose(whole.distance[0, 1], 10, atol=1e-6)
    cut = metric_reference.iterate_until(sweep, (2, 2), 0.9, 1e-6, seconds=0)
    assert (cut.sweeps, cut.needed) == (20, whole.needed)
    assert cut.distance[0, 1] == pytest.approx(10 * (1 - 0.9**20))
    # A chain that ends is exact after as many sweeps as it is long, whatever the discount.
    chain = np.array([[1], [2], [3], [3]])
    costs = np.abs(np.subtract.outer([0.0, 0, 1, 0], [0.0, 0, 1, 0]))[None]
    ends = functools.partial(metric_reference.deterministic_sweep, next_states=chain, costs=costs, discount=0.999)
    assert metric_reference.iterate_until(ends, (4, 4), 0.999, 1e-6).sweeps == 4


def test_langevin():
    threads = th.get_num_threads()
    figures, tables = measured("langevin", langevin.parts(0, frames=(3, 6), batch_size=4))
    assert th.get_num_threads() == threads
    assert [row["dynamics"] for row in figures["lengths"]] == list(langevin.DYNAMICS)
    for row in figures["lengths"]:
        assert row["times_linear"] == pytest.approx(row["ms"]["6"] / row["ms"]["3"] / 2)
    assert [row["option"] for row in figures["options"]] == list(langevin.OPTIONS)
    for row in figures["options"]:
        assert row["ratio"] == row["ms"] / row["plain_ms"]
    line = tables["Milliseconds per update, batches of 4, one thread"]
    assert list(line) == ["dynamics", "3 frames", "6 frames", "6 to 3, over 2"]
    assert all(line.values())


def test_pretraining():
    figures, tables = measured("pretraining", pretraining.parts(0, ["smoke"], threads=1))
    (row,) = figures["updates"]
    assert row["ratio"] == row["ms"]["float32 layers"] / min(row["ms"]["float32 grids"], row["ms"]["bfloat16 grids"])
    (line,) = tables.values()
    assert all(line.values())


def test_pixels():
    pytest.importorskip("dm_control")
    figures, tables = measured("pixels", [Part("updates", pixels.updates, ("smoke", 0, ("drq", "mico"), 20))])
    assert [row["method"] for row in figures["updates"]] == ["stock SAC", "drq", "mico"]
    for row in figures["updates"]:
        assert row["rate_of_drq"] == figures["updates"][1]["ms"] / row["ms"]
        assert row["rate_of_stock"] == figures["updates"][0]["ms"] / row["ms"]
    (line,) = tables.values()
    assert all(line.values())


class TestAgents:
    def test_rows_and_tables(self):
        pytest.importorskip("dm_control")
        before = th.get_num_threads()
        figures, tables = measured(
            "agents",
            [
                Part("suite", agents.suite, (1, 0, ("sac", "mico"), 3)),
                *(Part("parents", agents.parents, (name, "nav2d", 2, 1, 0)) for name in ("DQN", "SAC")),
                Part("methods", agents.methods, ("DQN", "images", 1, 0, 2, ("mico",))),
                Part("replays", agents.replays, ("bisimgym/Nav2D-v0", 1000)),
            ],
        )
        assert th.get_num_threads() == before
        sac, mico, physics = figures["suite"]
        assert [row["method"] for row in figures["suite"]] == ["sac", "mico", "physics alone"]
        assert mico["times_sac"] == mico["steps_per_second"] / sac["steps_per_second"]
        assert mico["updates_per_second"] == pytest.approx(mico["steps_per_second"] / 5)
        assert physics["updates_per_second"] is None
        dqn, sac = figures["parents"]
        assert set(dqn["ms"]) == {"stock", "float32", "bfloat16"} == set(sac["ms"]) - {"stock, one encoder"}
        assert dqn["times_stock"]["float32"] == dqn["ms"]["stock"] / dqn["ms"]["float32"]
        (row,) = figures["methods"]
        assert row["ratio"] == row["ms"] / row["parent_ms"]
        titles = list(tables)
        assert tables[titles[0]]["images"] == "nav2d, 3 x 20 x 20"
        assert tables[titles[0]]["stock with one encoder"] == ""
        assert titles[1:] == [
            "Milliseconds per update, batches of 2, threads: 1",
            "Bytes per transition in a replay",
            "cartpole-swingup-noise, 10 environments, threads: 1",
        ]

    @pytest.mark.parametrize("name", ["nav2d", "jumping"])
    def test_stock_dqn_and_ours_have_the_same_network_and_data(self, name):
        stock, ours = agents.stock("DQN", name), agents.ours("DQN", name, "float32")
        stock.policy.load_state_dict(ours.policy.state_dict())
        for array in ("observations", "next_observations", "actions", "rewards", "dones"):
            np.testing.assert_array_equal(getattr(stock.replay_buffer, array), getattr(ours.replay_buffer, array)[:])

    # A pass with gradients is 3. SAC: z, next_z and next_target_z, 5 in all; DQN: z and next_target_z, 4. SAC's methods
    # add: trained_next_z in place of next_z (robust-dbc), target_z (rap, simsr). DQN's: target_z (mico, rap,
    # rss), next_z (dbc, rap), two passes of a second encoder (rss). An encoder optimizer of its own (dbc, robust-dbc,
    # rap, ambs, rss) costs a second pass with gradients, of the encoder that has moved: 3, and 1 for SAC's next_z.
    @pytest.mark.parametrize(
        ("parent", "own", "more"),
        [
            ("SAC", 5, {"deepmdp": 0, "mico": 0, "dbc": 4, "robust-dbc": 6, "rap": 5, "ambs": 4, "simsr": 1}),
            ("DQN", 4, {"mico": 1, "dbc": 4, "rap": 5, "rss": 10}),
        ],
    )
    def test_methods_run_no_encoder_more_often_than_they_must(self, parent, own, more):
        rows = agents.methods(parent, "states", 1, 0, batch_size=4, names=tuple(more))
        work = {row["method"]: row["encoder_work"] for row in rows}
        assert {name: work[name] for name in more} == {name: (own + passes) / own for name, passes in more.items()}

    def test_a_replay_of_images_takes_about_half(self):
        (row,) = agents.replays("bisimgym/Nav2D-v0", 4000)
        sizes = row["bytes_per_transition"]
        assert sizes["sb3"] == 2 * 1200 + 8 + 3 * 4  # two images; an action of 8 bytes; reward, done, time limit
        assert 1200 < sizes["computed"] <= sizes["allocated"] < 0.55 * sizes["sb3"]
        assert row["share"] == sizes["allocated"] / sizes["sb3"]


@pytest.mark.parametrize("has_opengl", [True, False])
def test_distracting(has_opengl):
    pytest.importorskip("dm_control")
    from bisimgym.envs.rendering import probe

    if has_opengl and probe.probe().backend is None:
        pytest.skip(probe.probe().explain())
    found = None if has_opengl else probe.OpenGL(None, "", {"egl": "broken"})
    # Few videos to draw by formula.
    sizes = {"presets": ["video-easy"], "backgrounds": ["video-easy"], "sampler_task": "cartpole"}
    sizes |= {"episode_steps": 3, "states": 2, "observations": 2}
    figures, tables = measured("distracting", distracting.parts(0, ["cartpole"], **sizes, found=found))
    (row,) = figures["frames"]
    assert (row["task"], row["preset"]) == ("cartpole", "video-easy")
    assert ("opengl" in row["frame_ms"]) == has_opengl == ("standard_over_raycast" in row)
    assert set(row["frame_ms"]) == set(row["step_ms"])
    for row in figures["backgrounds"]:
        assert row["share"] == pytest.approx(row["background_ms"] / row["frame_ms"])
    assert ("standard / raycast" in tables["Milliseconds per frame, 84 x 84"]) == has_opengl
    assert bool(tables["OpenGL"]["left out"]) == (not has_opengl)


class FakePool:
    """As much of EnvPool as is asked for: environments that show nothing and end together."""

    def __init__(self, task_id, num_envs, num_threads, max_episode_steps, from_pixels=False, frame_stack=1):
        assert (task_id, num_threads, frame_stack) == ("CartpoleSwingup-v1", 1, 3 if from_pixels else 1)
        self.action_space = gym.spaces.Box(-1, 1, (1,), np.float64)
        self.num_envs, self.length, self.steps = num_envs, max_episode_steps, 0

    def reset(self):
        return np.zeros(self.num_envs), {}

    def step(self, action):
        assert action.shape == (self.num_envs, 1)
        self.steps += 1
        end = np.full(self.num_envs, self.steps % self.length == 0)
        return np.zeros(self.num_envs), np.zeros(self.num_envs), np.zeros_like(end), end, {}


@pytest.mark.parametrize("has_egl", [True, False])
def test_envpool(has_egl, monkeypatch):
    pytest.importorskip("dm_control")
    version = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1" if name == "envpool" else version(name))
    monkeypatch.setitem(sys.modules, "envpool", types.SimpleNamespace(make_gymnasium=FakePool))
    monkeypatch.setattr(ctypes, "CDLL", lambda *_: None)
    parts = envpool.parts(0, ["cartpole"], episode_steps=3, egl=(has_egl, "what it says"))
    figures, tables = measured("envpool", parts)
    says = {"opengl": "what it says", "left_out": ""} if has_egl else {"opengl": "", "left_out": "what it says"}
    assert figures["peer"] == [{"envpool": "1", **says}]
    assert ("pixels" in figures) == has_egl == ("Images of 84 x 84, steps per second" in tables)
    (row,) = figures["state"]
    assert row["ratio"] == {
        n: row["steps_per_second"] / row["envpool_steps_per_second"][n] for n in ("one", "batches of 64")
    }
    line = tables["States, steps per second"]
    heads = ["task", "bisimgym", "EnvPool", "ours / theirs", "EnvPool, batches of 64", "ours / theirs in batches"]
    assert list(line) == heads
    assert all(line.values())


def test_envpool_as_it_is():
    if importlib.util.find_spec("envpool") is None:
        with pytest.raises(UserError, match="needs EnvPool: pip install envpool"):
            list(envpool.parts(0))
        pytest.skip("needs EnvPool: pip install envpool")
    figures, _ = measured("envpool", envpool.parts(0, ["cartpole"], ["state"], 3, egl=(False, "")))
    assert figures["state"][0]["ratio"]["batches of 64"] > 0
