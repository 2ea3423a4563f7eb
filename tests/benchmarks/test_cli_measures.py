import pytest

from bisimgym.benchmarks.cli import main
from bisimgym.benchmarks.suites.fidelity.pictures import FILES

ENCODER = """
import numpy as np

class Encoder:
    def embed(self, images):
        agents = images[..., 1].reshape(len(images), -1).argmax(axis=1)
        return np.stack(np.divmod(agents, 8), axis=1).astype(float)

    def predict_next(self, z, actions):
        return z + np.array([(1, 0), (0, 1), (-1, 0), (0, -1)])[actions]

class OfVectors:
    def embed(self, vectors):
        return np.square(vectors[:, :20]).sum(axis=1, keepdims=True)

    def predict_next(self, z, actions):
        return z
"""


@pytest.fixture(autouse=True)
def encoder_here(tmp_path, monkeypatch):
    (tmp_path / "own_encoder.py").write_text(ENCODER)
    monkeypatch.chdir(tmp_path)


def test_an_encoder_of_the_place_is_scored_and_drawn(capsys, tmp_path):
    assert main(["fidelity", "--encoder", "own_encoder:Encoder", "--out", "pictures"]) == 0
    lines = {line.split("  ")[1].strip(): line.split() for line in capsys.readouterr().out.splitlines() if ".0" in line}
    encoder, exact, random = map(float, lines["row, nearest states"][-3:])
    assert encoder > exact > random
    assert 0 < float(lines["imagined, 1 ahead"][-1]) < 0.2  # it does not know of obstacles
    assert {path.name for path in (tmp_path / "pictures").iterdir()} == {f"{name}.png" for name in FILES}


def test_an_encoder_of_vectors_is_scored_and_told_what_is_not_measured(capsys):
    assert main(["fidelity", "--encoder", "own_encoder:OfVectors", "--task", "lqr"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "rank correlation 1.000 1.000" in out  # the features that both environments share tell the length
    assert "control" not in out
    assert "predict_next is not measured: the states of lqr are a sample" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["own_encoder:Encoder", "--task", "nav3d"], "unknown task 'nav3d'"),
        (["own_encoder:Missing"], "has no callable 'Missing'"),
        (["no_such_module:make"], "there is no module 'no_such_module'"),
        (["own_encoder:np.zeros"], "has no callable 'np.zeros'"),
        (["own_encoder:Encoder", "--out", "own_encoder.py"], "own_encoder.py"),
    ],
)
def test_mistakes_are_one_line(capsys, arguments, message):
    assert main(["fidelity", "--encoder", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
