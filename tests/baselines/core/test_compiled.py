"""Encoders' passes made by ``torch.compile``: the numbers stay, and a missing compiler is named before training."""

import functools
import shutil

import gymnasium as gym
import pytest
import torch as th
from methods import make

from bisimgym.baselines.core.precision import check_compiler
from bisimgym.baselines.core.sac import AuxiliarySAC
from bisimgym.baselines.drq import DrQSAC


@pytest.mark.skipif(shutil.which("g++") is None and shutil.which("clang++") is None, reason="no C++ compiler")
def test_a_compiler_that_is_there_is_taken():
    check_compiler(th.device("cpu"))


def test_compiled_passes_give_the_same_numbers(tmp_path, monkeypatch):
    # Traced and differentiated as always, but not translated to C++, which takes half a minute.
    monkeypatch.setattr(th, "compile", functools.partial(th.compile, backend="aot_eager"))
    plain, compiled = make(DrQSAC).learn(21), make(DrQSAC, compile=True)
    compiled.learn(21)
    assert set(compiled._compiled) == {("trunk", False), ("trunk", True), ("head", False), ("head", True)}
    images = plain.replay_buffer.sample(4).observations.float() / 255
    for target in (False, True):
        encoder = compiled.encoders()[int(target)]
        th.testing.assert_close(compiled.encoder_pass("trunk", images, target), encoder.trunk(images))
    one, other = plain.policy.state_dict(), compiled.policy.state_dict()
    for name, value in one.items():
        th.testing.assert_close(other[name], value, rtol=1e-3, atol=1e-4, msg=name)
    compiled.save(tmp_path / "model")
    assert DrQSAC.load(tmp_path / "model").compile


def test_a_compiler_that_is_not_there_is_named_before_training(monkeypatch):
    def missing(function):
        def fails(x):
            raise RuntimeError("No working C++ compiler found\nand more")

        return fails

    monkeypatch.setattr(th, "compile", missing)
    with pytest.raises(ValueError, match=r"compile=True needs .* RuntimeError: No working C\+\+ compiler found; leave"):
        make(DrQSAC, compile=True)


def test_it_is_for_policies_with_an_encoder():
    with pytest.raises(ValueError, match="compile must be True or False, got 'yes'"):
        make(DrQSAC, compile="yes")
    with pytest.raises(ValueError, match="compile need a policy with an encoder"):
        AuxiliarySAC("MlpPolicy", gym.make("Pendulum-v1"), compile=True)
