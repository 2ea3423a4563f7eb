"""Speed on a device, here the processor: figures of small cases, idle time by hand, and the trace."""

import json

import pytest
import torch as th
from rich.console import Console

from bisimgym.benchmarks.cli import main
from bisimgym.benchmarks.running import doctor
from bisimgym.benchmarks.speed import devices, harness


def test_every_learner_is_measured():
    assert {"sac drq, images", "sac mico, states", "dqn rss, images", "sac ambs, images"} <= set(devices.LEARNERS)
    assert "sac drq, states" not in devices.LEARNERS


def test_figures_and_a_trace(tmp_path):
    file = tmp_path / "trace.json"
    names = ["dqn mico, states", devices.IMITATION]
    parts = devices.parts(0, names, ["Nav2D-v0"], [4], batch_size=8, trace=str(file))
    figures = harness.measure([part._replace(fresh=False) for part in parts], Console(quiet=True))
    assert [row["learner"] for row in figures["learners"]] == names
    assert all(row["updates_per_second"] > 0 and row["idle"] is None for row in figures["learners"])
    (row,) = figures["tasks"]
    assert set(row["steps_per_second"]) == {"numpy", "cpu"}
    assert row["times_numpy"]["cpu"] == row["steps_per_second"]["cpu"] / row["steps_per_second"]["numpy"]
    tables = list(harness._tables("devices", figures))
    assert [len(table.lines) for table in tables] == [2, 1]
    assert harness.is_trace(file)
    recorded = {event.get("name") for event in json.loads(file.read_text())["traceEvents"]}
    assert set(names) <= recorded


def test_idle_is_what_no_kernel_covers():
    assert devices.idle_share([], 2.0) == 1
    assert devices.idle_share([(0.0, 1.0), (0.5, 1.5), (1.0, 1.2), (3.0, 3.5)], 4.0) == pytest.approx(0.5)
    assert devices.idle_share([(0.0, 5.0)], 4.0) == 0


def test_a_trace_is_of_devices_and_replaces_nothing_else(tmp_path, capsys):
    assert main(["speed", "agents", "--profile", str(tmp_path / "t.json")]) == 2
    assert "--profile goes with `speed devices`" in capsys.readouterr().err
    other = tmp_path / "other.json"
    other.write_text("{}")
    assert main(["speed", "devices", "--profile", str(other)]) == 2
    assert "trace of PyTorch's profiler" in capsys.readouterr().err


def test_doctor_names_a_gpu_its_memory_and_its_precision(monkeypatch):
    monkeypatch.setattr(th.cuda, "is_available", lambda: True)
    monkeypatch.setattr(th.cuda, "get_device_name", lambda device: "Pretend 9000")
    monkeypatch.setattr(th.cuda, "mem_get_info", lambda device: (3 * 2**30, 8 * 2**30))
    monkeypatch.setattr(th.cuda, "is_bf16_supported", lambda **_: True)
    line = next(line for line in doctor._torch_lines() if line.startswith("cuda"))
    assert "Pretend 9000, 3.0 GiB of 8.0 GiB free, fast bfloat16; precision='auto' is bfloat16" in line
