"""Agents that are processes: in any language, within a time limit, and ended with all that they started."""

import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from bisimgym.benchmarks import process_agent
from bisimgym.benchmarks.agents import resolve_agent
from bisimgym.benchmarks.cli import main
from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.process_agent import ProcessAgent, decode, encode

EXAMPLES = Path(__file__).parents[2] / "docs/examples"

#: Answers with the row of its memory in place of an action: how many steps its episode has had.
COUNTS = """
import json, sys
memory = []
for line in sys.stdin:
    asked = json.loads(line)
    if asked.get("ask") == "predict":
        start = asked["episode_start"]
        memory = memory if len(memory) == len(start) else [0] * len(start)
        memory = [0 if begins else count + 1 for begins, count in zip(start, memory)]
        answer = {"action": memory}
    elif asked.get("ask") == "embed":
        answer = {"embedding": asked["observation"]} if asked["observation"]["shape"] != [1] else {"error": "too few"}
    else:
        answer = {"can": ["predict", "embed"]}
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture
def agent_of(tmp_path):
    """Return a function that starts an agent from its source; all are closed in the end."""
    agents = []

    def start(source, seconds=20.0):
        (tmp_path / "agent.py").write_text(source)
        agents.append(ProcessAgent(f"{sys.executable} -S {tmp_path / 'agent.py'}", seconds, end_seconds=0.3))
        return agents[-1]

    yield start
    for agent in agents:
        agent.close()
        assert agent.ended


def answering(*lines):
    """The source of an agent that answers with these lines, whatever it is asked."""
    return (
        f"import sys\nfor text in {lines!r}:\n    sys.stdin.readline()\n    print(text, flush=True)\nsys.stdin.read()"
    )


def test_it_remembers_and_embeds(agent_of):
    agent = agent_of(COUNTS)
    observation = {"image": np.zeros((3, 2), np.uint8), "goal": np.zeros((3, 1))}
    for start, expected in (([True] * 3, [0, 0, 0]), ([False, True, False], [1, 0, 1]), (None, [0, 0, 0])):
        action, state = agent.predict(observation, episode_start=start)
        assert state is None
        np.testing.assert_array_equal(action, expected)
    image = np.arange(6, dtype=np.float32).reshape(3, 2)
    np.testing.assert_array_equal(agent.embed(image), image)
    with pytest.raises(UserError, match="says: 'too few'"):
        agent.embed(image[0, :1])
    np.testing.assert_array_equal(agent.predict(image)[0], [0, 0, 0])  # it is still there


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float32", "float64"])
def test_arrays_come_back(dtype):
    array = np.arange(6).reshape(1, 3, 2).astype(dtype)
    again = decode(encode(array))
    assert again.dtype == array.dtype
    np.testing.assert_array_equal(again, array)
    np.testing.assert_array_equal(decode(encode({"a": array})["a"]), array)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('{"action": [[1], [1, 2]]}', "answered a wrong action"),
        ('{"action": ["right"]}', "an array of numbers is expected"),
        ('{"action": {"dtype": "object", "shape": [1], "data": ""}}', "an array has dtype"),
        ('{"action": {"dtype": "uint8", "shape": [-1], "data": ""}}', "is a list of sizes"),
        ('{"action": {"dtype": "uint8", "shape": [9], "data": "AA=="}}', "data has 1 bytes"),
        ('{"action": {"dtype": "uint8", "shape": [1], "data": "???"}}', "answered a wrong action"),
        ('{"action": [NaN]}', "NaN is not a number"),
        ('{"act": [1]}', "answered without 'action'"),
        ('{"error": "\\u001b[2J"}', "says: '\\x1b[2J'"),
        ("hello", "answered what is no line of JSON"),
        ("[" * 99999, "answered what is no line of JSON"),
    ],
)
def test_wrong_answers_are_one_line(agent_of, answer, expected):
    agent = agent_of(answering('{"can": ["predict"]}', answer))
    with pytest.raises(UserError) as caught:
        agent.predict(np.zeros((1, 2)))
    assert expected in str(caught.value)


def test_what_does_not_start_or_greet_is_said(agent_of):
    for command in ("no-such-command-anywhere", "", "'"):
        with pytest.raises(UserError, match="does not start"):
            ProcessAgent(command)
    with pytest.raises(UserError, match="must first answer"):
        agent_of(answering('{"can": ["fly"]}'))
    with pytest.raises(UserError, match=r"ended \(exit code 3\).*standard error: no weights"):
        agent_of("import sys; print('no weights', file=sys.stderr); sys.exit(3)")


def test_it_is_killed_with_all_that_it_started_if_it_takes_too_long(agent_of, tmp_path):
    child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    source = f"""
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-S", "-c", {child!r}])
sys.stdin.readline()
print('{{"can": ["predict"]}}', flush=True)
open({str(tmp_path / "child")!r}, "w").write(str(child.pid))
time.sleep(600)
"""
    agent = agent_of(source)
    agent._seconds = 0.5
    start = time.monotonic()
    with pytest.raises(UserError, match="took longer than 0.5 seconds for one answer"):
        agent.predict(np.zeros((10**6, 4)))  # more than a pipe holds: it waits in the write
    assert time.monotonic() - start < 10
    assert agent.ended
    pid = int((tmp_path / "child").read_text())
    for _ in range(100):
        if not os.path.exists(f"/proc/{pid}") or "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text():
            break
        time.sleep(0.05)
    else:
        pytest.fail("the child of the agent goes on")


def test_no_process_outlives_its_agent(agent_of):
    agent = agent_of(COUNTS)
    assert not agent.ended
    process_agent.end_all()
    assert agent.ended
    forgotten = ProcessAgent(agent.command)
    process = forgotten._process
    del forgotten
    assert process.poll() is not None


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
def test_the_example_in_another_language_solves_what_that_in_python_solves(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(EXAMPLES)
    out = ["--task", "wide", "--out", str(tmp_path)]
    assert main(["evaluate", "jumping", "--agent", "exec:node agent.js", "--name", "rule", *out]) == 0
    assert "unseen tasks solved 100.0 %" in capsys.readouterr().out
    with pytest.raises(UserError, match="this agent sees images of the jumping task"):
        resolve_agent("exec:node agent.js").predict(np.zeros((2, 15), np.float32))
