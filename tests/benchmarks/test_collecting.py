"""``bisimgym collect``."""

import re

import numpy as np
import pytest

from bisimgym.benchmarks.cli import main
from bisimgym.wrappers.offline import collect, load

NAV2D = "bisimgym/Nav2D-v0"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))


def test_a_folder(capsys):
    arguments = ["--policy", "epsilon-greedy", "--epsilon", "0.5", "--steps", "500", "--num-envs", "2", "--seed", "3"]
    assert main(["collect", NAV2D, "--form", "compact", "--dataset", "d", *arguments]) == 0
    assert re.search(r"d: 5\d\d steps, \d+ episodes, 0.0 MB in .*/d", capsys.readouterr().out)
    api = collect(NAV2D, "epsilon-greedy", 500, num_envs=2, seed=3, epsilon=0.5)
    np.testing.assert_array_equal(load("d").actions, api.actions)
    assert load("d").info == api.info


def test_a_minari_data_set_of_an_agent(tmp_path, capsys):
    minari = pytest.importorskip("minari")
    (tmp_path / "my_agents.py").write_text(
        "import numpy as np\n"
        "class Down:\n"
        "    def predict(self, observation, state=None, episode_start=None, deterministic=True):\n"
        "        return np.zeros(len(observation), dtype=int), None\n"
    )
    arguments = ["--policy", "my_agents:Down", "--steps", "200", "--env-kwargs", '{"goal_visible": false}']
    assert main(["collect", NAV2D, "--dataset", "nav2d/down-v0", *arguments]) == 0
    assert str(tmp_path / "minari" / "nav2d" / "down-v0") in capsys.readouterr().out
    read = minari.load_dataset("nav2d/down-v0")
    assert not any(episode.actions.any() for episode in read)
    assert load("nav2d/down-v0").info["policy"] == "my_agents:Down"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([NAV2D, "--policy", "clever"], "unknown policy 'clever': choose from oracle, random, epsilon-greedy"),
        ([NAV2D, "--policy", "no_such:Agent"], "there is no module 'no_such'"),
        ([NAV2D, "--policy", "random", "--epsilon", "0.1"], 'epsilon is not for policy "random"'),
        (["bisimgym/Nav3D-v0"], "Environment `Nav3D` doesn't exist"),
        ([NAV2D, "--steps", "0"], "num_steps must be an integer of at least 1, got 0"),
        ([NAV2D, "--env-kwargs", "{size"], "--env-kwargs takes JSON"),
        ([NAV2D, "--env-kwargs", "[1]"], "--env-kwargs takes a JSON object"),
        ([NAV2D, "--env-kwargs", '{"sise": 3}'], "does not take env_kwargs {'sise': 3}"),
        ([NAV2D, "--env-kwargs", '{"size": 3}'], "size must be an integer from 4 to 60, got 3"),
        ([NAV2D, "--form", "states"], "form 'states' is not one of"),
        ([NAV2D, "--form", "tape"], "'tape'"),
        (["CartPole-v1", "--policy", "oracle"], "needs an oracle, which this environment lacks"),
        (["Blackjack-v1"], "data sets hold Box, Discrete"),
        ([NAV2D, "--dataset", "taken"], "taken exists: take another name"),
        ([NAV2D, "--dataset", "taken/inside"], "taken"),
    ],
)
def test_mistakes_are_one_line(arguments, expected, error_of, tmp_path):
    (tmp_path / "taken").write_text("precious")
    defaults = {"--steps": "100", "--dataset": "d", "--form": "arrays"}
    more = [part for name, value in defaults.items() if name not in arguments for part in (name, value)]
    assert expected in error_of("collect", *arguments, *more)
    assert (tmp_path / "taken").read_text() == "precious"
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize(
    "line", ["sys.exit(0)", "raise RuntimeError('no idea')", "return np.zeros(1), None", "return 1"]
)
def test_an_agent_that_fails_is_one_line(line, tmp_path, error_of):
    module = "failing_" + re.sub(r"\W", "", line)
    (tmp_path / f"{module}.py").write_text(
        "import sys\n"
        "import numpy as np\n"
        "class Agent:\n"
        "    def predict(self, observation, state=None, episode_start=None, deterministic=True):\n"
        f"        {line}\n"
    )
    arguments = ["--policy", f"{module}:Agent", "--steps", "100", "--dataset", "d", "--form", "compact"]
    assert "agent" in error_of("collect", NAV2D, *arguments)
    assert not (tmp_path / "d").exists()


def test_an_agent_that_changes_the_folder(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "wandering.py").write_text(
        "import os\n"
        "import numpy as np\n"
        "class Agent:\n"
        "    def predict(self, observation, state=None, episode_start=None, deterministic=True):\n"
        f"        os.chdir({str(tmp_path / 'elsewhere')!r})\n"
        "        return np.zeros(len(observation), dtype=int), None\n"
    )
    arguments = ["--policy", "wandering:Agent", "--steps", "100", "--dataset", "d", "--form", "compact"]
    assert main(["collect", NAV2D, *arguments]) == 0
    assert len(load(tmp_path / "d")) >= 100


def test_an_interrupt_says_how_to_go_on(monkeypatch, capsys):
    from bisimgym.wrappers.offline import collection

    def interrupted(*_):
        raise KeyboardInterrupt

    command = ["collect", NAV2D, "--steps", "600", "--dataset", "d", "--form", "compact", "--num-envs", "2"]
    with monkeypatch.context() as patch:
        patch.setattr(collection, "play", interrupted)
        assert main(command) == 130
    assert "give the same command again" in capsys.readouterr().err
    assert main(command) == 0
    whole = collect(NAV2D, "random", 600, num_envs=2)
    np.testing.assert_array_equal(load("d").actions, whole.actions)


def test_a_data_set_goes_where_the_command_was_given(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    (tmp_path / "here/wanders.py").write_text(
        "import os\nimport numpy as np\n"
        f"os.chdir({str(tmp_path / 'there')!r})\n"
        "class Agent:\n"
        "    def predict(self, observation, state=None, episode_start=None, deterministic=True):\n"
        "        return np.zeros(len(observation), dtype=int), state\n"
    )
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.syspath_prepend(tmp_path / "here")
    arguments = ["CartPole-v1", "--steps", "20", "--policy", "wanders:Agent", "--form", "arrays", "--dataset", "d"]
    assert main(["collect", *arguments]) == 0
    assert (tmp_path / "here/d/offline.json").is_file()
    assert list((tmp_path / "there").iterdir()) == []
