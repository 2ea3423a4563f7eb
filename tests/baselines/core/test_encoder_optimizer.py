"""Auxiliary losses that step the encoder by an optimizer of their own."""

import gymnasium as gym
import pytest
import torch as th
from stable_baselines3.common.vec_env import DummyVecEnv

import bisimgym  # noqa: F401
from bisimgym.baselines.core.dqn import AuxiliaryDQN
from bisimgym.baselines.core.metric_learning import MetricDQN, MetricSAC
from bisimgym.baselines.core.sac import AuxiliarySAC
from bisimgym.baselines.core.settings import declared_defaults
from bisimgym.baselines.learners import DQN_LEARNERS, SAC_LEARNERS
from bisimgym.baselines.rap import RAPDQN, RAPSAC

PARENTS = pytest.mark.parametrize(("parent", "env_id"), [(MetricSAC, "Pendulum-v1"), (MetricDQN, "CartPole-v1")])


def make(parent, env_id, **arguments):
    settings = {"learning_starts": 20, "train_freq": 1, "batch_size": 16, "seed": 2, "device": "cpu"}
    settings["policy_kwargs"] = {"optimizer_class": arguments.pop("optimizer_class", th.optim.Adam)}
    return parent("MlpPolicy", DummyVecEnv([lambda: gym.make(env_id)]), **{**settings, **arguments})


def encoder_of(model):
    return [p.detach().clone() for p in model.encoders()[0].parameters()]


def assert_equal(one, two):
    assert all(th.equal(p, q) for p, q in zip(one, two, strict=True))


@PARENTS
def test_the_step_of_auxiliary_losses_follows_that_of_the_critic(parent, env_id):
    """With plain gradient descent: the parent's step, and then that of the losses of the encoder that it moved."""
    rate = 0.05
    settings = {"learning_rate": rate, "tau": 1e-9, "encoder_tau": 1e-9, "learning_starts": 30, "max_grad_norm": 1e9}
    settings["optimizer_class"] = th.optim.SGD
    plain = make(parent, env_id, **settings).learn(30)
    model, still = (
        make(parent, env_id, metric="mico", encoder_optimizer="separate", **settings).learn(30) for _ in range(2)
    )
    data = plain.replay_buffer.sample(16)
    for group in still.own_encoder_optimizer.param_groups:
        group["lr"] = 0.0
    states = {}
    for each in (plain, model, still):
        th.manual_seed(5)
        states[each] = each.representation.random.on(th.device("cpu")).get_state()
        each.update(data, 0)
    assert_equal(encoder_of(still), encoder_of(plain))
    still.representation.random.on(th.device("cpu")).set_state(states[still])
    losses = still.auxiliary_losses(still.encoded(data))
    gradients = th.autograd.grad(sum(losses.values()), list(still.encoders()[0].parameters()))
    assert max(g.abs().max() for g in gradients) > 1e-3
    for stepped, before, gradient in zip(encoder_of(model), encoder_of(still), gradients, strict=True):
        th.testing.assert_close(stepped, before - rate * gradient, rtol=1e-4, atol=1e-7)


@PARENTS
def test_with_nothing_added_there_is_nothing_to_separate(parent, env_id):
    one, two = (make(parent, env_id, encoder_optimizer=choice).learn(60) for choice in ("shared", "separate"))
    assert_equal(list(one.policy.state_dict().values()), list(two.policy.state_dict().values()))


@pytest.mark.parametrize(("method", "env_id"), [(RAPSAC, "Pendulum-v1"), (RAPDQN, "CartPole-v1")])
def test_its_state_is_saved(method, env_id, tmp_path):
    model = make(method, env_id).learn(60)
    model.save(tmp_path / "model")
    saved = model.own_encoder_optimizer.state_dict()
    loaded = method.load(tmp_path / "model", device="cpu")
    found = loaded.own_encoder_optimizer.state_dict()
    assert len(saved["state"]) == len(encoder_of(model))
    for key, state in saved["state"].items():
        assert all(th.equal(state[name], found["state"][key][name]) for name in ("step", "exp_avg", "exp_avg_sq"))
    trained = {id(p) for group in loaded.own_encoder_optimizer.param_groups for p in group["params"]}
    assert trained == {id(p) for p in loaded.encoders()[0].parameters()}


def test_it_follows_the_schedule():
    model = make(RAPSAC, "Pendulum-v1", learning_rate=lambda left: 1e-3 * left + 1e-5).learn(60)
    assert [group["lr"] for group in model.own_encoder_optimizer.param_groups] == [pytest.approx(1e-5)]


def test_it_is_the_default_of_methods_whose_published_code_has_it():
    separate = {"curl", "dbc", "robust-dbc", "rap", "ambs", "rss"}
    for learners in (SAC_LEARNERS, DQN_LEARNERS):
        for name, learner in learners.items():
            choice = declared_defaults(learner).get("encoder_optimizer", "shared")
            assert choice == ("separate" if name in separate else "shared"), name


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"encoder_optimizer must be one of \['shared', 'separate'\], got 'own'"):
        make(MetricSAC, "Pendulum-v1", encoder_optimizer="own")
    with pytest.raises(ValueError, match="needs a policy with an encoder"):
        make(AuxiliarySAC, "Pendulum-v1", encoder_optimizer="separate")
    with pytest.raises(ValueError, match="needs an encoder with parameters"):
        make(AuxiliaryDQN, "CartPole-v1", encoder_optimizer="separate")
