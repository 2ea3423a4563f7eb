import importlib
import itertools
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3 import PPO

import bisimgym  # noqa: F401
from bisimgym.baselines.core.frame_replay import HerFrameReplayBuffer
from bisimgym.baselines.mico import MICoDQN
from bisimgym.benchmarks.agents import resolve_agent
from bisimgym.benchmarks.cli import main
from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.running import bars
from bisimgym.benchmarks.running.run_folder import find_runs
from bisimgym.benchmarks.running.runner import evaluate_agent
from bisimgym.benchmarks.suites import load_suite
from bisimgym.envs.digests import DIGESTS

EXAMPLES = Path(__file__).parents[2] / "docs/examples"

MODULE = """
import os, sys, time
import numpy as np

class Right:
    def predict(self, observation, state=None, episode_start=None, deterministic=True):
        return np.zeros(len(observation), dtype=int), state

class Learner(Right):
    def learn(self, envs, budget, seed):
        observation, _ = envs.reset(seed=seed)
        for _ in range(budget // envs.num_envs):
            envs.step(envs.action_space.sample())
        self.seen = budget, seed, observation.shape
        print("learned", self.seen)

    def save(self, path):
        path.write_text(str(self.seen))

class Scalar:
    def predict(self, observation, **_):
        return 0, None

class Unsaved(Learner):
    def save(self, path):
        raise TypeError("cannot pickle")

class Wrong(Right):
    action = 2

    def predict(self, observation, **_):
        return np.full(len(observation), self.action), None

class Half(Wrong):
    action = 0.5

class Deep:
    def predict(self, observation, **_):
        return np.mean(observation, axis=9), None

class Quits:
    def predict(self, observation, **_):
        sys.exit(0)

class Quit(BaseException):
    pass

class QuitsLearning(Right):
    def learn(self, envs, budget, seed):
        raise Quit

class Moves(Right):
    def __init__(self):
        os.chdir("/")

class Hangs(Right):
    def predict(self, observation, **_):
        while True:
            try:
                time.sleep(60)
            except BaseException:
                pass

def quits():
    raise SystemExit("no weights")

class Broken:
    def predict(self, observation, **_):
        return observation.wrong

def fails():
    raise RuntimeError("no weights")

def nothing():
    return 3

value = 7
"""


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    (tmp_path / "their_agents.py").write_text(MODULE)
    (tmp_path / "needy.py").write_text("import surely_not_installed")
    (tmp_path / "bad_syntax.py").write_text("def (")
    (tmp_path / "leaves.py").write_text("import sys; sys.exit(0)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    for name in ("their_agents", "needy", "bad_syntax"):
        sys.modules.pop(name, None)


def test_a_factory_is_scored_and_stored(tmp_path, capsys):
    arguments = ["evaluate", "jumping", "--agent", "their_agents:Right", "--out", "runs"]
    assert main([*arguments, "--task", "colors", "--task", "wide"]) == 0
    out = capsys.readouterr().out
    assert "jumping colors Right: unseen tasks solved 50.0 %" in out
    assert "green unseen 100.0" in out
    result = json.loads((tmp_path / "runs/jumping/wide/Right/external/seed-1/result.json").read_text())
    assert result["score"] == 0
    assert main([*arguments, "--task", "wide"]) == 2
    assert "holds a result already" in capsys.readouterr().err
    assert main(["report", "runs", "--out", "site"]) == 0
    assert "Right" in (tmp_path / "site/index.html").read_text()


def test_an_agent_may_learn_first(capsys):
    arguments = ["evaluate", "jumping", "--task", "wide", "--budget", "64", "--seed", "3"]
    assert main([*arguments, "--agent", "their_agents:Learner"]) == 0
    assert "learned (64, 3, (16, 60, 60, 2))" in capsys.readouterr().out
    run = Path("runs/jumping/wide/Learner/external/seed-3")
    assert (run / "checkpoint/agent").read_text() == "(64, 3, (16, 60, 60, 2))"
    record = json.loads((run / "run.json").read_text())
    assert record["command"] == shlex.join(["bisimgym", *sys.argv[1:]])
    assert {"processor", "cores", "system"} <= record["machine"].keys()
    assert record["environments"] == {"bisimgym/JumpingTask-v0": DIGESTS["bisimgym/JumpingTask-v0"]}
    assert main([*arguments, "--agent", "their_agents:Unsaved"]) == 2
    assert "the score is stored, but the agent is not: its save(path) failed: TypeError" in capsys.readouterr().err
    run = Path("runs/jumping/wide/Unsaved/external/seed-3")
    assert "score" in json.loads((run / "result.json").read_text())
    (run / "result.json").unlink()  # as if cut off before
    arguments[arguments.index("64")] = "128"
    assert main([*arguments, "--agent", "their_agents:Unsaved"]) == 2
    told = capsys.readouterr()
    assert "holds a run with other settings" in told.err
    assert "learned" not in told.out
    assert main([*arguments, "--agent", "their_agents:Right"]) == 2
    assert "has no learn(envs, budget, seed), which --budget needs" in capsys.readouterr().err


def test_an_sb3_model_is_scored_with_a_warning(tmp_path, capsys):
    PPO("CnnPolicy", gym.make("bisimgym/JumpingTask-v0"), n_steps=8, batch_size=8, device="cpu").save("model")
    with pytest.warns(UserWarning, match=r"loading model.zip runs code"):
        assert main(["evaluate", "jumping", "--agent", "sb3:PPO:model.zip", "--task", "wide"]) == 0
    assert "jumping wide model: unseen tasks solved" in capsys.readouterr().out
    assert (tmp_path / "runs/jumping/wide/model/external/seed-1/result.json").exists()


@pytest.mark.filterwarnings("ignore:loading")
def test_models_of_sb3_contrib_are_agents_where_it_is_installed(tmp_path, capsys, monkeypatch):
    """A stand-in with one class: the package itself is none of the requirements."""
    monkeypatch.delitem(sys.modules, "sb3_contrib", raising=False)
    (tmp_path / "sb3_contrib.py").write_text(
        "from stable_baselines3 import DQN\nclass QRDQN(DQN): pass\nclass Helper: pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    QRDQN = importlib.import_module("sb3_contrib").QRDQN
    QRDQN("CnnPolicy", gym.make("bisimgym/JumpingTask-v0"), buffer_size=9, device="cpu").save("model")
    assert main(["evaluate", "jumping", "--agent", "sb3:QRDQN:model.zip", "--task", "wide"]) == 0
    assert "jumping wide model: unseen tasks solved" in capsys.readouterr().out
    assert main(["evaluate", "jumping", "--agent", "sb3:Helper:model.zip", "--task", "wide", "--name", "h"]) == 2
    assert "those of sb3-contrib if that is installed" in capsys.readouterr().err
    sys.modules.pop("sb3_contrib")


def test_the_example_that_learns_shows_how_far_it_is(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bars.time, "monotonic", itertools.count().__next__)  # lines without waiting
    monkeypatch.chdir(EXAMPLES)
    arguments = ["evaluate", "markov", "--task", "uniform", "--agent", "ppo_agent:PPOAgent", "--name", "ppo"]
    assert main([*arguments, "--budget", "20480", "--out", str(tmp_path)]) == 0
    told = capsys.readouterr()
    assert "markov uniform ppo: hidden states guessed" in told.out
    assert float(told.out.split("guessed ")[1].split()[0]) > 60  # a third is chance
    assert told.err
    for line in told.err.splitlines():
        assert re.fullmatch(r"markov uniform ppo learns: \d+/20480 in \d+:\d\d:\d\d, about \d+:\d\d:\d\d left", line)
    run = tmp_path / "markov/uniform/ppo/external/seed-1"
    assert PPO.load(run / "checkpoint/agent").predict(np.zeros((2, 15), dtype=np.float32))[0].shape == (2,)


def test_a_score_is_not_lost_for_a_replay(tmp_path):
    class OneSize:
        def predict(self, observation, state=None, episode_start=None, deterministic=True):
            return np.zeros(200, dtype=np.int64), state

    suite = load_suite("small-images")
    with pytest.warns(UserWarning, match=r"without a replay: .*integers from 0 to 3 of shape \(9,\), got shape"):
        evaluate_agent(OneSize(), suite, "nav2d-8x8", "OneSize", tmp_path)
    (run,) = find_runs([tmp_path])
    assert run.replay is None


@pytest.mark.filterwarnings("ignore:loading")
def test_a_model_of_this_package_is_an_agent_without_its_replay(tmp_path, capsys):
    (tmp_path / "own_net.py").write_text(
        "from bisimgym.baselines.core.extractors import GoalPlaneExtractor\nclass Own(GoalPlaneExtractor): pass"
    )
    sys.path.insert(0, str(tmp_path))
    own = importlib.import_module("own_net").Own
    sys.path.remove(str(tmp_path))
    model = MICoDQN(
        "MultiInputPolicy",
        gym.make("bisimgym/Nav2DGoal-v0", size=8, num_obstacles=5, obstacle_size=1, min_goal_distance=4),
        replay_buffer_class=HerFrameReplayBuffer,
        replay_buffer_kwargs={"n_sampled_goal": 1},
        buffer_size=2000,
        policy_kwargs={"features_extractor_class": own, "features_extractor_kwargs": {"architecture": "minatar"}},
        device="cpu",
    )
    model.save("her")
    sys.modules.pop("own_net")
    arguments = ["evaluate", "small-images", "--task", "nav2d-8x8", "--agent"]
    assert main([*arguments, "sb3:MICoDQN:her.zip"]) == 0
    assert "nav2d-8x8 her: unseen tasks solved" in capsys.readouterr().out
    assert main([*arguments, "sb3:DBCDQN:her.zip", "--name", "dbc-agent"]) == 2
    assert "saved by MICoDQN: load it with that class, not DBCDQN" in capsys.readouterr().err
    assert main([*arguments, "sb3:MICoDQN:her.zip", "--name", "more", "--budget", "8"]) == 2
    assert "is Stable-Baselines3's: train the model first" in capsys.readouterr().err


def test_a_failure_is_placed_in_the_agents_own_code(tmp_path, capsys):
    assert main(["evaluate", "jumping", "--agent", "their_agents:Deep", "--task", "wide"]) == 2
    line = next(i for i, text in enumerate(MODULE.splitlines(), 1) if "np.mean" in text)
    assert f"({tmp_path / 'their_agents.py'}:{line})" in capsys.readouterr().err


def test_an_entry_point_is_found_by_name(tmp_path):
    info = tmp_path / "their_agents-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-agents\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[bisimgym.agents]\nright = their_agents:Right\nlost = their_agents:Gone\n")
    sys.path.insert(0, str(tmp_path))
    actions, _ = resolve_agent("right").predict(np.zeros((2, 60, 60, 2)))
    assert actions.tolist() == [0, 0]
    with pytest.raises(UserError, match="'lost' .* does not load"):
        resolve_agent("lost")
    with pytest.raises(UserError, match="'left' is not known; installed agents: lost, right"):
        resolve_agent("left")


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("their_agents:Gone", "has no callable 'Gone'; it has Right, Learner, Scalar"),
        ("their_agents:value", "has no callable 'value'"),
        ("their_agents:nothing", "agent int has no method predict"),
        ("their_agents:fails", "the factory failed: RuntimeError: no weights"),
        ("no_such_module:agent", "there is no module 'no_such_module'"),
        ("needy:agent", "importing needy needs 'surely_not_installed'"),
        ("bad_syntax:agent", "importing bad_syntax failed: SyntaxError"),
        (":agent", "agent ':agent'"),
        ("nobody", "agent 'nobody' is not known"),
        ("sb3:PPO", "sb3:ALGO:FILE.zip"),
        ("sb3:SARSA:model.zip", "unknown algorithm 'SARSA'; known are A2C"),
        ("sb3:PPO:gone.zip", "there is no file gone.zip"),
        ("sb3:PPO:their_agents.py", "does not load as PPO"),
        (
            "their_agents:Scalar",
            "one action per row, integers from 0 to 1 of shape (286,), got shape ()",
        ),
        ("their_agents:Wrong", "integers from 0 to 1 of shape (286,), got 2"),
        ("their_agents:Half", "integers from 0 to 1 of shape (286,), got float64"),
        ("their_agents:Broken", "the agent failed on jumping/wide: AttributeError"),
        ("their_agents:Quits", "the agent failed on jumping/wide: SystemExit: 0"),
        ("their_agents:quits", "the factory failed: SystemExit: no weights"),
        ("leaves:agent", "importing leaves failed: SystemExit: 0"),
    ],
)
@pytest.mark.filterwarnings("ignore:loading")
def test_a_wrong_spec_gets_one_clear_line(spec, expected, capsys):
    assert main(["evaluate", "jumping", "--agent", spec, "--task", "wide"]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert expected in lines[0]


def test_an_agent_that_quits_while_it_learns_is_one_line(capsys):
    arguments = ["evaluate", "jumping", "--agent", "their_agents:QuitsLearning", "--task", "wide", "--budget", "8"]
    assert main(arguments) == 2
    assert "the agent failed on jumping/wide: Quit (" in capsys.readouterr().err


def test_an_agent_that_changes_the_folder_moves_no_result(tmp_path):
    arguments = ["evaluate", "jumping", "--agent", "their_agents:Moves", "--task", "wide", "--task", "narrow"]
    assert main([*arguments, "--out", "runs"]) == 0
    assert len(list((tmp_path / "runs").rglob("result.json"))) == 2
    assert Path.cwd() == tmp_path


def test_an_agent_that_hangs_is_ended(tmp_path):
    command = [sys.executable, "-m", "bisimgym.benchmarks", "evaluate", "jumping", "--task", "wide", "--timeout", "2"]
    done = subprocess.run([*command, "--agent", "their_agents:Hangs"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert done.stderr == "error: agent 'their_agents:Hangs' on jumping/wide took longer than --timeout 2 seconds\n"
    assert list(tmp_path.rglob("result.json")) == []


def test_names_must_be_safe_and_free(capsys):
    safe = "must be 1 to 64 letters"
    bad = [("a/b", safe), ("..", safe), ("=1", safe), ("é", safe), ("x\n# y", safe), ("x" * 65, safe)]
    for name, expected in [*bad, ("pse", "is a method of the suite")]:
        assert main(["evaluate", "jumping", "--agent", "their_agents:Right", "--task", "wide", "--name", name]) == 2
        assert expected in capsys.readouterr().err
