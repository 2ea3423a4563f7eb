"""Every method: what it adds, which loss trains what, and that it saves, loads and resumes exactly."""

import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from methods import SACS, Picture, env_of, every_method, make, parameters
from packaging.version import Version
from stable_baselines3.common.buffers import ReplayBuffer

import bisimgym  # noqa: F401
from bisimgym.baselines.ambs import AMBSSAC
from bisimgym.baselines.core.checkpoint import load_checkpoint, save_checkpoint
from bisimgym.baselines.core.frame_replay import DictFrameReplayBuffer
from bisimgym.baselines.core.metric_learning import MetricDQN, MetricSAC
from bisimgym.baselines.core.random_stream import RandomStream
from bisimgym.baselines.curl import CURLSAC
from bisimgym.baselines.dbc import DBCDQN, DBCSAC
from bisimgym.baselines.deepmdp import DeepMDPSAC
from bisimgym.baselines.drq import DrQSAC
from bisimgym.baselines.mico import MICoDQN, MICoSAC
from bisimgym.baselines.pse.augmentation import random_shift
from bisimgym.baselines.rap import RAPDQN, RAPSAC
from bisimgym.baselines.recursive_similarity import RSSDQN
from bisimgym.baselines.robust_dbc import RobustDBCSAC
from bisimgym.baselines.self_prediction import SelfPredictionSAC
from bisimgym.baselines.simsr import SimSRSAC
from bisimgym.baselines.slac import SLACSAC

#: Which parts each loss trains: the encoder, and the children of the representation.
GRADIENTS = {
    MetricSAC: {},
    MICoSAC: {"metric_loss": {"encoder"}},
    DBCSAC: {
        "metric_loss": {"encoder"},
        "transition_loss": {"encoder", "transition"},
        "reward_loss": {"encoder", "transition", "reward"},
    },
    RobustDBCSAC: {
        "metric_loss": {"encoder"},
        "inverse_loss": {"encoder", "metric.inverse"},
        "transition_loss": {"encoder", "transition"},
        "reward_loss": {"encoder", "transition", "reward"},
    },
    RAPSAC: {
        "metric_loss": {"encoder"},
        "state_reward_loss": {"metric.state_reward"},
        "transition_loss": {"encoder", "transition"},
    },
    AMBSSAC: {
        "metric_loss": {"encoder", "metric.reward_model", "metric.transition_model"},
        "transition_loss": {"transition"},
    },
    SimSRSAC: {"metric_loss": {"encoder"}, "transition_loss": {"encoder", "transition"}},
    DeepMDPSAC: {"transition_loss": {"encoder", "transition"}, "reward_loss": {"encoder", "reward"}},
    SelfPredictionSAC: {"transition_loss": {"encoder", "transition"}},
    DrQSAC: {},
    CURLSAC: {"metric_loss": {"encoder", "metric.bilinear"}},
    SLACSAC: {
        "metric_loss": {
            "encoder",
            "metric.posterior_first",
            "metric.second_first",
            "metric.prior_next",
            "metric.posterior_next",
            "metric.second_next",
            "metric.decoder",
        }
    },
    MetricDQN: {},
    MICoDQN: {"metric_loss": {"encoder"}},
    DBCDQN: {
        "metric_loss": {"encoder"},
        "transition_loss": {"encoder", "transition"},
        "reward_loss": {"encoder", "transition", "reward"},
    },
    RAPDQN: {
        "metric_loss": {"encoder"},
        "state_reward_loss": {"metric.state_reward"},
        "transition_loss": {"encoder", "transition"},
    },
    RSSDQN: {
        "metric_loss": {"encoder"},
        "interaction_loss": {"metric.base_encoder", "metric.inverse", "metric.forward_model"},
        "next_model_loss": {"metric.next_model"},
    },
}


@every_method
def test_each_loss_trains_what_it_should(method):
    model = make(method)
    model.learn(28)
    batch = model.encoded(model.replay_buffer.sample(16))
    losses = model.auxiliary_losses(batch)
    expected = GRADIENTS[method]
    assert losses.keys() == expected.keys()
    named = {f"encoder.{n}": p for n, p in model.encoders()[0].named_parameters()}
    named |= dict(model.representation.named_parameters())
    for name, loss in losses.items():
        assert loss.ndim == 0
        assert th.isfinite(loss)
        gradients = th.autograd.grad(loss, list(named.values()), retain_graph=True, allow_unused=True)
        trained = {n for n, g in zip(named, gradients, strict=True) if g is not None and (g != 0).any()}
        parts = {".".join(n.split(".")[: 2 if n.startswith("metric.") else 1]) for n in trained}
        assert parts == expected[name], name
    # No loss reaches targets, critics or the actor.
    encoder = {id(p) for p in model.encoders()[0].parameters()}
    others = [p for p in model.policy.parameters() if p.requires_grad and id(p) not in encoder]
    for loss in losses.values():
        assert all(g is None for g in th.autograd.grad(loss, others, retain_graph=True, allow_unused=True))


@every_method
def test_an_update_moves_all_that_is_trained(method):
    model = make(method)
    model.learn(22)
    before = parameters(model)
    model.update(model.replay_buffer.sample(16), 0)
    after = parameters(model)
    still = {name.split(".")[0] for name in before if th.equal(before[name], after[name])}
    # Biases in front of a LayerNorm's mean get gradients of rounding size only; whole parts must move.
    for part in {name.split(".")[0] for name in before} - {"q_net_target"}:
        names = [name for name in before if name.split(".")[0] == part and before[name].is_floating_point()]
        if names and not part.endswith("_extra_state"):
            assert any(not th.equal(before[name], after[name]) for name in names), (part, still)


@every_method
def test_a_resumed_run_equals_the_unbroken_one(method, tmp_path):
    count = 2 if method in (RAPSAC, RSSDQN) else 1
    model = make(method, env_of(method, count)).learn(28 * count)
    save_checkpoint(model, tmp_path / "checkpoint")
    model.learn(4 * count, reset_num_timesteps=False)
    th.manual_seed(123)
    resumed = load_checkpoint(method, tmp_path / "checkpoint", device="cpu")
    resumed.learn(4 * count, reset_num_timesteps=False)
    expected = [model]
    if method in SACS:  # without a schedule, two calls of learn are one
        expected.append(make(method, env_of(method, count)).learn(32 * count))
    for other in map(parameters, expected):
        assert other.keys() == parameters(resumed).keys()
        for name, value in parameters(resumed).items():
            assert th.equal(value, other[name]), name


def test_saved_models_load_in_a_fresh_process(tmp_path):
    model = make(DBCSAC)
    model.learn(30)
    model.save(tmp_path / "model")
    code = (
        "import numpy as np; from bisimgym.baselines.dbc import DBCSAC;"
        f"m = DBCSAC.load(r'{tmp_path / 'model'}', device='cpu');"
        "print(m.predict(np.zeros(3, np.float32), deterministic=True)[0].tolist());"
        "print(m.embed(np.ones((1, 3), np.float32)).sum())"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    action = model.predict(np.zeros(3, np.float32), deterministic=True)[0].tolist()
    assert out.splitlines()[-2:] == [str(action), str(model.embed(np.ones((1, 3), np.float32)).sum())]


@pytest.mark.parametrize("method", [MICoDQN, DBCDQN, RSSDQN], ids=lambda m: m.__name__)
def test_small_pictures(method):
    env = gym.make("bisimgym/Nav2D-v0", size=20)
    model = make(method, env, "CnnPolicy", precision="bfloat16", learning_starts=5, batch_size=4, double_q=True)
    model.learn(10)
    observation = env.reset(seed=0)[0]
    assert model.embed(observation[None].transpose(0, 3, 1, 2)).shape == (1, model.encoders()[0].features_dim)
    assert model.embed(observation[None]).shape == (1, model.encoders()[0].features_dim)


def test_dictionaries():
    env = gym.make("bisimgym/Nav2DGoal-v0")
    model = make(MICoDQN, env, "MultiInputPolicy", learning_starts=5, batch_size=4)
    model.learn(10)
    assert model.predict(env.reset(seed=0)[0], deterministic=True)[0] in range(4)


def test_pictures_with_continuous_actions_and_two_views():
    model = make(AMBSSAC, Picture(40), "CnnPolicy", augmentation=random_shift, batch_size=4)
    model.learn(24)
    batch = model.encoded(model.replay_buffer.sample(4))
    assert not th.equal(batch.observations, batch.second_view.observations)


def test_a_run_with_augmentation_resumes_exactly(tmp_path):
    def start():
        return make(AMBSSAC, Picture(40), "CnnPolicy", augmentation=random_shift, batch_size=4)

    unbroken = start().learn(28)
    save_checkpoint(start().learn(24), tmp_path / "checkpoint")
    resumed = load_checkpoint(AMBSSAC, tmp_path / "checkpoint", device="cpu")
    resumed.learn(4, reset_num_timesteps=False)
    # Convolutions of older versions round otherwise where tensors lie otherwise in memory.
    exact = Version(th.__version__) >= Version("2.13")
    for (name, one), two in zip(parameters(resumed).items(), parameters(unbroken).values(), strict=True):
        assert th.equal(one, two) if exact else th.allclose(one, two, atol=1e-6), name


def test_random_streams_of_another_kind_of_device_start_anew():
    model = make(MICoSAC)
    model.learn(22)
    state = th.zeros(16, dtype=th.uint8)  # as long as CUDA's
    model.representation.random.set_extra_state(state)
    model.learn(2, reset_num_timesteps=False)
    fresh = th.Generator().manual_seed(2)
    stream = RandomStream(2)
    stream.set_extra_state(state)
    assert th.equal(stream.on(th.device("cpu")).get_state(), fresh.get_state())
    stream.set_extra_state(model.representation.random.get_extra_state())
    assert not th.equal(stream.on(th.device("cpu")).get_state(), fresh.get_state())


def test_the_second_side_of_mico():
    model = make(MICoDQN)
    model.learn(40)
    model.encoders()[1].load_state_dict({k: v + 0.1 for k, v in model.encoders()[1].state_dict().items()})
    data = model.replay_buffer.sample(16)
    losses = {}
    for second in ("online", "detached", "target"):
        model.representation.metric.second = second
        losses[second] = model.auxiliary_losses(model.encoded(data))["metric_loss"].item()
    assert losses["online"] == losses["detached"] != losses["target"]
    assert MICoDQN("MlpPolicy", env_of(MICoDQN)).representation.metric.second == "target"


def test_robust_dbc_pays_for_surprise():
    model = make(RobustDBCSAC, metric_settings={"bonus_weight": 1.0, "bonus_cap": 0.1})
    model.learn(22)
    data = model.replay_buffer.sample(64)
    bonus = model.encoded(data).rewards - data.rewards.reshape(-1)
    assert ((bonus >= 0) & (bonus <= 0.05 + 1e-5)).all()
    assert bonus.max() > 0


def test_robust_dbc_bounds_embeddings_by_the_discount():
    for gamma, radius in ((0.99, 50.0), (0.9, 5.0)):
        model = make(RobustDBCSAC, gamma=gamma)
        extractor = model.encoders()[0]
        for parameter in extractor.net[-1].parameters():
            parameter.data *= 1e6
        assert model.representation.metric.radius == pytest.approx(radius)
        wider = make(RobustDBCSAC, gamma=gamma, metric_settings={"max_reward": 8.0})
        assert wider.representation.metric.radius == wider.encoders()[0].norm.radius == pytest.approx(8 * radius)
        z = extractor(th.randn(8, 3))
        th.testing.assert_close(z.norm(dim=1), th.full((8,), radius), rtol=1e-4, atol=0)


@pytest.mark.parametrize("method", [AMBSSAC, RobustDBCSAC])
def test_sacs_losses_are_what_the_formulas_say(method):
    """With balanced embeddings, or with rewards that a bonus is added to; half of the transitions end an episode."""
    settings = {"bonus_weight": 5.0} if method is RobustDBCSAC else None
    model = make(method, ent_coef=0.3, gamma=0.9, learning_rate=1e-2, metric_settings=settings).learn(40)
    policy = model.policy
    if method is AMBSSAC:
        with th.no_grad():
            policy.critic_input.eta[1] += 1
            policy.critic_input_target.eta[1] -= 1
    data = model.replay_buffer.sample(16)
    data = data._replace(dones=(th.arange(16) % 2).float()[:, None])
    state = th.get_rng_state()
    with th.no_grad():
        rewards = model.encoded(data).rewards
        assert (rewards != data.rewards.reshape(-1)).any() == (method is RobustDBCSAC)
        z, next_z = policy.encode(data.observations), policy.encode(data.next_observations)
        actions, log_prob = model.actor.action_log_prob(z)
        next_actions, next_log_prob = model.actor.action_log_prob(next_z)
        seen = policy.critic_input_target(policy.encode(data.next_observations, target=True))
        next_value = th.cat(model.critic_target(seen, next_actions), 1).amin(1) - 0.3 * next_log_prob
        target = rewards + (1 - data.dones.reshape(-1)) * 0.9 * next_value
        values = model.critic(policy.critic_input(z), data.actions)
        critic_loss = 0.5 * sum((value.reshape(-1) - target).square().mean() for value in values)
    for group in model.critic.optimizer.param_groups:
        group["lr"] = 0.0  # the actor is judged after the critic's step
    th.set_rng_state(state)
    losses = model.update(data, 0)
    th.testing.assert_close(losses["critic_loss"].detach(), critic_loss)
    with th.no_grad():
        value = th.cat(model.critic(policy.critic_input(z), actions), 1).amin(1)
    th.testing.assert_close(losses["actor_loss"].detach(), (0.3 * log_prob - value).mean())


def test_the_actor_sees_embeddings_without_their_balance():
    model = make(AMBSSAC)
    with th.no_grad():
        model.policy.critic_input.eta[1] += 2
    observation = model.env.observation_space.sample()[None]
    with th.no_grad():
        expected = model.actor(model.policy.encode(th.as_tensor(observation)), deterministic=True).numpy()
    low, high = model.action_space.low, model.action_space.high
    np.testing.assert_allclose(
        model.predict(observation, deterministic=True)[0], low + 0.5 * (expected + 1) * (high - low)
    )


@pytest.mark.parametrize("encoder_optimizer", ["shared", "separate"])
@pytest.mark.parametrize("method", [DBCSAC, DBCDQN])
def test_gradients_of_every_optimizer_are_clipped(method, encoder_optimizer):
    policy_kwargs = {"optimizer_class": th.optim.SGD}
    settings = {"learning_rate": 0.5, "max_grad_norm": 1e-3, "tau": 1e-9, "encoder_optimizer": encoder_optimizer}
    model = make(method, policy_kwargs=policy_kwargs, **settings)
    model.learn(21)
    representation = th.optim.SGD(model.representation.parameters(), lr=0.5)
    model.representation_optimizer = representation
    model._update_learning_rate(model.main_optimizers())
    groups = [
        [p for group in o.param_groups for p in group["params"]] for o in (*model.main_optimizers(), representation)
    ]
    before = [[p.detach().clone() for p in group] for group in groups]
    model.train(1, 16)
    for group, old in zip(groups, before, strict=True):
        if len(group) == 1:
            continue  # the temperature
        step = th.cat([(p - q).flatten() for p, q in zip(group, old, strict=True)]).norm()
        encodes = {id(p) for p in group} & {id(p) for p in model.encoders()[0].parameters()}
        steps = 2 if encodes and encoder_optimizer == "separate" else 1
        assert 0 < step <= 0.5e-3 * steps * 1.001


@pytest.mark.parametrize("method", [DBCSAC, DBCDQN])
def test_all_optimizers_follow_the_schedule_and_only_models_decay(method):
    model = make(method, learning_rate=lambda left: 1e-3 * left + 1e-5, model_weight_decay=0.02).learn(50)
    optimizers = [*model.main_optimizers(), model.representation_optimizer]
    (rate,) = {group["lr"] for optimizer in optimizers for group in optimizer.param_groups}
    assert rate == pytest.approx(1e-5)
    assert [group["weight_decay"] for group in model.representation_optimizer.param_groups] == [0.02]
    assert {group["weight_decay"] for o in model.main_optimizers() for group in o.param_groups} == {0}


def test_both_sides_are_augmented_and_not_alike():
    model = make(MICoSAC, Picture(40), "CnnPolicy", augmentation=random_shift, batch_size=4).learn(22)
    data = model.replay_buffer.sample(16)
    data = data._replace(next_observations=data.observations)
    batch = model.encoded(data)
    clean = data.observations.float() / 255
    for side in (batch.observations, batch.next_observations):
        assert side.shape == clean.shape
        assert not th.equal(side, clean)
    assert not th.equal(batch.observations, batch.next_observations)


@pytest.mark.parametrize("method", [MICoSAC, MICoDQN])
def test_embeddings_are_those_of_the_encoder_that_is_trained(method):
    model = make(method).learn(40)
    encoder, target = model.encoders()
    observations = np.stack([model.observation_space.sample() for _ in range(3)])
    with th.no_grad():
        expected, slow = (net(th.as_tensor(observations)).numpy() for net in (encoder, target))
    np.testing.assert_array_equal(model.embed(observations), expected)
    assert not np.allclose(expected, slow, rtol=1e-6)


def test_pictures_in_dictionaries_are_stored_once():
    goals, plain = gym.make("bisimgym/Nav2DGoal-v0", size=8, num_obstacles=3), gym.make("CartPole-v1")
    assert type(make(MICoDQN, goals, "MultiInputPolicy").replay_buffer) is DictFrameReplayBuffer
    assert type(make(MICoDQN, plain).replay_buffer) is ReplayBuffer
