"""The parents of all methods: with nothing added they are SB3's algorithms, to the bit."""

import shutil
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3 import DQN, SAC
from stable_baselines3.common.vec_env import DummyVecEnv

import bisimgym  # noqa: F401
from bisimgym.baselines.core.checkpoint import load_checkpoint, recover_checkpoint, save_checkpoint
from bisimgym.baselines.core.dqn import AuxiliaryDQN, EncoderDQNCnnPolicy, EncoderDQNPolicy
from bisimgym.baselines.core.loss_log import DivergedError
from bisimgym.baselines.core.sac import (
    AuxiliarySAC,
    EncoderMultiInputPolicy,
    EncoderSACPolicy,
)

NAV2D = {"size": 8, "num_obstacles": 3, "min_goal_distance": 3}


def make(env_id, count=1, **arguments):
    return DummyVecEnv([lambda: gym.make(env_id, **arguments)] * count)


def trained(algorithm, policy, env, updates=25, **arguments):
    settings = {"learning_starts": 20, "train_freq": 1, "gradient_steps": 1, "buffer_size": 2000, "batch_size": 32}
    model = algorithm(policy, env, seed=3, device="cpu", **{**settings, **arguments})
    model.learn(updates * env.num_envs + settings["learning_starts"] + env.num_envs)
    assert model._n_updates >= updates
    return model


def parameters(model):
    return {name: value.clone() for name, value in model.policy.state_dict().items()}


def test_a_checkpoint_is_recovered_wherever_a_kill_fell(tmp_path, monkeypatch):
    model = AuxiliarySAC("MlpPolicy", "Pendulum-v1", learning_starts=5, batch_size=4, seed=0, device="cpu").learn(10)
    folder = tmp_path / "checkpoint"
    recover_checkpoint(folder)
    assert not folder.exists()
    save_checkpoint(model, folder)
    model.learn(10, reset_num_timesteps=False)
    rename = Path.rename
    for fails_at, kept in ((1, 10), (2, 20)):
        copy = tmp_path / str(fails_at) / "checkpoint"
        shutil.copytree(folder, copy)
        calls = []

        def kill(path, target, calls=calls, fails_at=fails_at):
            calls.append(path)
            if len(calls) == fails_at:
                raise KeyboardInterrupt
            return rename(path, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", kill)
            patch.setattr(shutil, "rmtree", lambda *args, **kwargs: None)  # a kill runs no clean-up
            with pytest.raises(KeyboardInterrupt):
                save_checkpoint(model, copy)
        assert copy.exists() == (fails_at == 1)
        assert len(list(copy.parent.iterdir())) == 2
        recover_checkpoint(copy)
        assert list(copy.parent.iterdir()) == [copy]
        assert load_checkpoint(AuxiliarySAC, copy, device="cpu").num_timesteps == kept


def assert_equal(one, two):
    assert one.keys() == two.keys()
    for name in one:
        assert th.equal(one[name], two[name]), name


def differ(one, two):
    return [name for name in one if not th.equal(one[name], two[name])]


@pytest.mark.parametrize(
    ("count", "arguments"),
    [
        (1, {}),
        (3, {}),
        (1, {"ent_coef": 0.1}),
        (1, {"use_sde": True}),
        (1, {"ent_coef": "auto_0.1", "tau": 0.02, "gradient_steps": 2}),
        (1, {"n_steps": 3}),
    ],
    ids=["one", "three environments", "fixed temperature", "gSDE", "two updates per step", "three-step returns"],
)
def test_sac_is_sb3s_to_the_bit(count, arguments):
    models = [trained(cls, "MlpPolicy", make("Pendulum-v1", count), **arguments) for cls in (SAC, AuxiliarySAC)]
    assert_equal(*(parameters(model) for model in models))


@pytest.mark.parametrize(
    ("env_id", "policy", "count", "arguments"),
    [
        ("CartPole-v1", "MlpPolicy", 1, {"target_update_interval": 10}),
        ("CartPole-v1", "MlpPolicy", 3, {"target_update_interval": 10}),
        ("CartPole-v1", "MlpPolicy", 1, {"target_update_interval": 10, "n_steps": 3}),
        ("CartPole-v1", "MlpPolicy", 1, {"target_update_interval": 1, "tau": 0.01, "max_grad_norm": 0.1}),
        ("bisimgym/JumpingTask-v0", "CnnPolicy", 1, {"target_update_interval": 10, "batch_size": 4}),
    ],
    ids=["one", "three environments", "three-step returns", "soft targets", "images"],
)
def test_dqn_is_sb3s_to_the_bit(env_id, policy, count, arguments):
    models = [trained(cls, policy, make(env_id, count), **arguments) for cls in (DQN, AuxiliaryDQN)]
    assert_equal(*(parameters(model) for model in models))


def test_sac_on_dictionaries_is_sb3s_to_the_bit():
    class Split(gym.ObservationWrapper):
        def __init__(self, env):
            super().__init__(env)
            low, high = env.observation_space.low, env.observation_space.high
            self.observation_space = gym.spaces.Dict(
                a=gym.spaces.Box(low[:2], high[:2]), b=gym.spaces.Box(low[2:], high[2:])
            )

        def observation(self, observation):
            return {"a": observation[:2], "b": observation[2:]}

    def env():
        return DummyVecEnv([lambda: Split(gym.make("Pendulum-v1"))])

    models = [trained(cls, "MultiInputPolicy", env(), updates=25) for cls in (SAC, AuxiliarySAC)]
    assert_equal(*(parameters(model) for model in models))
    encoder = trained(AuxiliarySAC, EncoderMultiInputPolicy, env(), updates=20)
    assert encoder.policy.encoder({"a": th.zeros(4, 2), "b": th.zeros(4, 1)}).shape == (4, 50)


def test_the_critic_trains_the_encoder_and_the_actor_does_not():
    model = trained(AuxiliarySAC, EncoderSACPolicy, make("Pendulum-v1"), updates=5)
    data = model.replay_buffer.sample(16)
    z = model.policy.encode(data.observations)
    gradient = th.autograd.grad(model.critic(z, data.actions)[0].sum(), list(model.policy.encoder.parameters()))
    assert all((g != 0).any() for g in gradient)
    names = {id(p) for group in model.critic.optimizer.param_groups for p in group["params"]}
    assert {id(p) for p in model.policy.encoder.parameters()} <= names
    actors = {id(p) for group in model.actor.optimizer.param_groups for p in group["params"]}
    assert actors == {id(p) for p in model.actor.parameters()}
    assert not actors & {id(p) for p in model.policy.encoder.parameters()}
    # An update in which the critic learns nothing leaves the encoder where it is, though the actor moves.
    before = parameters(model)
    for group in model.critic.optimizer.param_groups:
        group["lr"] = 0.0
    model.update(data, 0)
    changed = {name.split(".")[0] for name in differ(before, parameters(model))}
    assert "actor" in changed
    assert not changed & {"encoder", "critic"}


def test_targets_move_at_their_own_rates():
    model = trained(
        AuxiliarySAC, EncoderSACPolicy, make("Pendulum-v1"), updates=3, tau=0.01, encoder_tau=0.5, batch_size=8
    )
    before = parameters(model)
    model.update(model.replay_buffer.sample(8), 0)
    after = parameters(model)
    for prefix, rate in (("encoder", 0.5), ("critic", 0.01)):
        for name in (n for n in before if n.startswith(f"{prefix}.")):
            target = name.replace(f"{prefix}.", f"{prefix}_target.", 1)
            expected = (1 - rate) * before[target] + rate * after[name]
            th.testing.assert_close(after[target], expected, rtol=1e-5, atol=1e-6)


def test_actor_and_target_periods_count_updates():
    model = trained(
        AuxiliarySAC, EncoderSACPolicy, make("Pendulum-v1"), updates=2, actor_period=3, target_update_interval=2
    )
    data = model.replay_buffer.sample(8)
    moved = []
    for number in range(6):
        before = parameters(model)
        temperature = model.log_ent_coef.item()
        model.update(data, number)
        parts = {name.split(".")[0] for name in differ(before, parameters(model))}
        moved.append(("actor" in parts, "critic_target" in parts))
        assert (model.log_ent_coef.item() != temperature) == ("actor" in parts)
        assert "encoder" in parts
    assert moved == [(True, True), (False, False), (False, True), (True, False), (False, True), (False, False)]


def test_double_q_takes_the_online_networks_choice():
    model = trained(AuxiliaryDQN, EncoderDQNPolicy, make("CartPole-v1"), updates=3, double_q=True, learning_rate=0.1)
    data = model.replay_buffer.sample(64)
    with th.no_grad():
        for parameter in model.q_net.q_net[-1].parameters():
            parameter.neg_()  # or both networks would choose alike
        chosen = model.q_net(data.next_observations).argmax(dim=1, keepdim=True)
        target_values = model.q_net_target(data.next_observations)
        assert (target_values.argmax(dim=1, keepdim=True) != chosen).any()
        target = data.rewards + (1 - data.dones) * 0.99 * target_values.gather(1, chosen)
        current = model.q_net(data.observations).gather(1, data.actions.long())
        expected = th.nn.functional.smooth_l1_loss(current, target)
    th.testing.assert_close(model.update(data, 0)["loss"].detach(), expected)


def test_dqns_target_encoder_keeps_its_own_rate():
    model = trained(
        AuxiliaryDQN, EncoderDQNPolicy, make("CartPole-v1"), updates=30, encoder_tau=0.25, target_update_interval=1
    )
    before = parameters(model)
    model._on_step()  # copies all of the Q network but the encoder
    after = parameters(model)
    for name in before:
        if name.startswith("q_net_target.features_extractor"):
            assert th.equal(before[name], after[name])
        elif name.startswith("q_net_target"):
            assert th.equal(after[name], after[name.replace("q_net_target", "q_net", 1)])
    model.update(model.replay_buffer.sample(8), 0)
    updated = parameters(model)
    for name in (n for n in before if n.startswith("q_net_target.features_extractor")):
        online = updated[name.replace("q_net_target", "q_net", 1)]
        th.testing.assert_close(updated[name], 0.75 * before[name] + 0.25 * online)


@pytest.mark.parametrize(
    ("algorithm", "policy", "env_id", "arguments"),
    [
        (AuxiliarySAC, EncoderSACPolicy, "Pendulum-v1", {}),
        (AuxiliarySAC, EncoderSACPolicy, "bisimgym/LQRDistractors-v0", {"num_distractors": 20}),
        (AuxiliaryDQN, EncoderDQNCnnPolicy, "bisimgym/Nav2D-v0", NAV2D),
    ],
    ids=["SAC", "SAC on LQR", "DQN on pictures"],
)
@pytest.mark.parametrize("count", [1, 2])
def test_a_resumed_run_equals_the_unbroken_one(algorithm, policy, env_id, arguments, count, tmp_path):
    settings = {"learning_starts": 10, "train_freq": 1, "buffer_size": 500, "batch_size": 8, "seed": 1}

    def start():
        return algorithm(policy, make(env_id, count, **arguments), device="cpu", **settings)

    unbroken = start().learn(40 * count)
    model = start()
    first = _learn_part(model, 25 * count, 40 * count)
    save_checkpoint(first, tmp_path / "checkpoint")
    save_checkpoint(first, tmp_path / "checkpoint", compress=True)  # replaces the first one
    np.random.seed(99)  # noqa: NPY002  what happens in between does not matter
    th.manual_seed(99)
    resumed = load_checkpoint(algorithm, tmp_path / "checkpoint", device="cpu")
    resumed.learn(40 * count - resumed.num_timesteps, reset_num_timesteps=False)
    assert resumed.num_timesteps == unbroken.num_timesteps
    assert_equal(parameters(resumed), parameters(unbroken))
    np.testing.assert_array_equal(resumed.replay_buffer.rewards, unbroken.replay_buffer.rewards)
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint"]


def _learn_part(model, stop, total):
    """Learn towards ``total`` steps and stop early, as a run that is interrupted does."""
    from stable_baselines3.common.callbacks import BaseCallback

    class StopBefore(Exception):
        pass

    class Interrupt(BaseCallback):
        def _on_rollout_start(self):
            if self.model.num_timesteps >= stop:
                raise StopBefore

        def _on_step(self):
            return True

    with pytest.raises(StopBefore):
        model.learn(total, callback=Interrupt())
    return model


def test_saved_models_load_with_every_optimizer(tmp_path):
    model = trained(AuxiliarySAC, EncoderSACPolicy, make("Pendulum-v1"), updates=10, encoder_tau=0.05, actor_period=2)
    model.save(tmp_path / "model")
    loaded = AuxiliarySAC.load(tmp_path / "model", device="cpu")
    assert_equal(parameters(model), parameters(loaded))
    for one, two in zip(model.main_optimizers(), loaded.main_optimizers(), strict=True):
        for a, b in zip(one.state_dict()["state"].values(), two.state_dict()["state"].values(), strict=True):
            for key in a:
                assert th.equal(th.as_tensor(a[key]), th.as_tensor(b[key])), key
    assert (loaded.encoder_tau, loaded.actor_period) == (0.05, 2)
    observation = np.zeros(3, np.float32)
    np.testing.assert_array_equal(
        model.predict(observation, deterministic=True)[0], loaded.predict(observation, deterministic=True)[0]
    )


def test_divergence_names_the_loss_and_the_update():
    model = trained(AuxiliarySAC, EncoderSACPolicy, make("Pendulum-v1"), updates=5)
    with th.no_grad():
        next(model.critic.parameters()).fill_(float("nan"))
    with pytest.raises(DivergedError, match=rf"critic_loss is nan at update {model._n_updates}.*Lower learning_rate"):
        model.train(100, 8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"encoder_tau": 0.0}, r"encoder_tau must be in \(0, 1\] or None, got 0.0"),
        ({"actor_period": 0}, "actor_period must be an integer of at least 1, got 0"),
        ({"max_grad_norm": -1}, "max_grad_norm must be positive or None, got -1"),
        ({"precision": "half"}, "precision must be one of"),
    ],
)
def test_wrong_settings_are_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        AuxiliarySAC(EncoderSACPolicy, make("Pendulum-v1"), **arguments)


def test_encoder_settings_need_an_encoder():
    with pytest.raises(ValueError, match="need a policy with an encoder"):
        AuxiliarySAC("MlpPolicy", make("Pendulum-v1"), encoder_tau=0.1)
    with pytest.raises(ValueError, match="share_features_extractor"):
        AuxiliarySAC(EncoderSACPolicy, make("Pendulum-v1"), policy_kwargs={"share_features_extractor": True})


def test_bfloat16_stays_close_to_float32():
    models = []
    for precision in ("float32", "bfloat16"):
        env = make("bisimgym/Nav2D-v0", **NAV2D)
        model = AuxiliaryDQN(EncoderDQNCnnPolicy, env, seed=0, learning_starts=0, device="cpu", precision=precision)
        models.append(model)
    env.seed(0)
    observation = env.reset().transpose(0, 3, 1, 2)
    one, two = (model.q_net(th.as_tensor(observation)) for model in models)
    th.testing.assert_close(one, two)  # predictions stay in float32
    models[1].learn(40)
    assert all(th.isfinite(p).all() and p.dtype == th.float32 for p in models[1].policy.parameters())


def test_a_checkpoint_without_environments_starts_new_episodes(tmp_path):
    env = make("Pendulum-v1", 2)
    model = AuxiliarySAC("MlpPolicy", env, learning_starts=5, batch_size=4, seed=0, device="cpu").learn(30)
    save_checkpoint(model, tmp_path / "checkpoint", with_env=False)
    with pytest.raises(ValueError, match="has no environments: give some with env="):
        load_checkpoint(AuxiliarySAC, tmp_path / "checkpoint", device="cpu")
    loaded = load_checkpoint(AuxiliarySAC, tmp_path / "checkpoint", device="cpu", env=make("Pendulum-v1", 2))
    stored = loaded.replay_buffer.pos
    loaded.learn(2, reset_num_timesteps=False)
    starts = make("Pendulum-v1", 2)
    starts.seed(0)  # the model's
    np.testing.assert_array_equal(loaded.replay_buffer.observations[stored], starts.reset())
