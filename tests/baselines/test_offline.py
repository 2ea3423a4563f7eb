"""Isolated encoders: they learn their metric, repeat exactly, and touch nothing but themselves."""

import copy

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import DQN, SAC
from stable_baselines3.common.buffers import DictReplayBuffer, NStepReplayBuffer

import bisimgym  # noqa: F401
from bisimgym.baselines.core.extractors import MLPExtractor
from bisimgym.baselines.core.frame_replay import FrameReplayBuffer
from bisimgym.baselines.core.loss_log import DivergedError
from bisimgym.baselines.core.metric_loss import MetricLoss
from bisimgym.baselines.dbc import DBC
from bisimgym.baselines.learners import METRIC_LOSSES
from bisimgym.baselines.losses.distances import PairLoss, l1_distance, mico_distance
from bisimgym.baselines.mico import MICo
from bisimgym.baselines.offline import OfflineRepresentation
from bisimgym.baselines.robust_dbc import RobustDBC
from bisimgym.baselines.transitions import Transitions
from bisimgym.benchmarks.measures.metric_fidelity import fidelity
from bisimgym.benchmarks.measures.processes import fidelity_process
from bisimgym.envs.nav2d.env import Nav2DEnv, successor_observations
from bisimgym.wrappers.offline import collect

SMALL = {"size": 8, "num_obstacles": 5, "min_goal_distance": 6}


@pytest.fixture(scope="module")
def agent():
    """An agent that has acted at random, and updated its networks a little."""
    env = gym.make("bisimgym/Nav2D-v0", **SMALL)
    settings = {"buffer_size": 300, "learning_starts": 250, "batch_size": 8, "train_freq": 10}
    return DQN("MlpPolicy", env, seed=0, replay_buffer_class=FrameReplayBuffer, **settings).learn(300)


@pytest.fixture(scope="module")
def walker():
    return SAC("MlpPolicy", gym.make("Pendulum-v1"), seed=0, buffer_size=250, learning_starts=1000).learn(250)


def isolated(agent, metric="mico", **settings):
    settings = {"extractor_class": MLPExtractor, "seed": 1, "device": "cpu", **settings}
    return OfflineRepresentation(agent.observation_space, agent.action_space, metric, **settings)


def weights(model):
    return {**model.encoders.state_dict(), **dict(model.representation.named_parameters())}


def assert_same(x, y):
    assert x.keys() == y.keys()
    for name in x:
        assert th.equal(x[name], y[name]), name


def whole_layout():
    """Every transition of the layout of "nav2d-8x8", those of the goal to itself included: uniformly random actions."""
    observations = fidelity_process("nav2d-8x8", ["mico-random"], 0.9).observations
    goal = observations[:1].copy()
    goal[..., 1] = goal[..., 2]
    following = np.concatenate([successor_observations(observations), np.repeat(goal[:, None], 4, axis=1)])
    observations = np.concatenate([observations, goal])
    ended = (following[..., 1] == following[..., 2]).all(axis=(2, 3)).ravel()
    return Transitions(
        np.repeat(observations, 4, axis=0),
        np.tile(np.arange(4), len(observations)),
        np.where(ended, 0.0, -1.0),
        following.reshape(-1, *observations.shape[1:]),
        ended,
    )


def test_an_encoder_learns_its_metric():
    observations, exact, *_ = fidelity_process("nav2d-8x8", ["mico-random"], 0.9)
    model = isolated(Nav2DEnv(**SMALL), norm="none", discount=0.9)
    before = fidelity(model, observations, exact["mico-random"])
    model.fit(whole_layout(), 300)
    after = fidelity(model, observations, exact["mico-random"])
    assert before.rank_correlation < 0.4
    assert after.rank_correlation > 0.65
    assert after.distortion < before.distortion


def test_nothing_else_changes(agent):
    policy = copy.deepcopy(agent.policy.state_dict())
    optimizer = copy.deepcopy(agent.policy.optimizer.state_dict()["state"])
    replay = agent.replay_buffer
    rows = np.arange(replay.size())
    kept = [np.array(replay.observations[rows]), np.array(replay.next_observations[rows]), replay.rewards.copy()]
    position = replay.pos
    numpy_state, torch_state = np.random.get_state(), th.get_rng_state()  # noqa: NPY002

    model = isolated(agent, "dbc", norm="none")
    model.fit(replay, 5, batch_size=16)
    model.distance(*[model.embed(agent.env.reset())] * 2)

    assert th.equal(th.get_rng_state(), torch_state)
    for mine, before in zip(np.random.get_state(), numpy_state, strict=True):  # noqa: NPY002
        assert np.array_equal(mine, before)
    assert_same(agent.policy.state_dict(), policy)
    for number, state in agent.policy.optimizer.state_dict()["state"].items():
        assert_same(state, optimizer[number])
    for mine, before in zip(
        [replay.observations[rows], replay.next_observations[rows], replay.rewards], kept, strict=True
    ):
        assert np.array_equal(mine, before)
    assert replay.pos == position


def test_nothing_else_decides(agent):
    """The same data and seed give the same weights, whatever the global streams; another seed gives others."""
    replay = agent.replay_buffer
    one, two, three = isolated(agent), isolated(agent), isolated(agent, seed=2)
    one_losses = one.fit(replay, 6, batch_size=16)
    np.random.seed(5)  # noqa: NPY002
    th.manual_seed(5)
    two.fit(replay, 2, batch_size=16)
    np.random.random()  # noqa: NPY002
    assert two.fit(replay, 4, batch_size=16) == one_losses
    assert_same(weights(one), weights(two))
    three.fit(replay, 6, batch_size=16)
    assert not th.equal(next(iter(weights(one).values())), next(iter(weights(three).values())))


def test_encoders_of_all_metrics_start_alike(agent):
    models = [isolated(agent, metric) for metric in [None, *METRIC_LOSSES]]
    for model in models[1:]:
        assert_same(model.encoders.state_dict(), models[0].encoders.state_dict())


@pytest.mark.parametrize("metric", METRIC_LOSSES)
def test_every_metric_trains_its_encoder_and_resumes(agent, metric, tmp_path):
    model = isolated(agent, metric)
    before = copy.deepcopy(model.encoders.state_dict())
    losses = model.fit(agent.replay_buffer, 2, batch_size=16)
    assert "metric_loss" in losses
    changed = [name for name, value in model.encoders.state_dict().items() if not th.equal(value, before[name])]
    assert {name.split(".")[0] for name in changed} == {"encoder", "encoder_target"}

    model.save(tmp_path / "model.zip")
    loaded = OfflineRepresentation.load(tmp_path / "model.zip", device="cpu")
    observation = agent.env.reset()
    z = model.embed(observation)
    np.testing.assert_array_equal(loaded.embed(observation), z)
    np.testing.assert_array_equal(loaded.distance(z, z), model.distance(z, z))
    assert loaded.fit(agent.replay_buffer, 2, batch_size=16) == model.fit(agent.replay_buffer, 2, batch_size=16)
    assert_same(weights(loaded), weights(model))
    assert loaded.num_updates == 4


@pytest.mark.parametrize(
    ("metric", "self_prediction", "trains_encoder"), [("dbc", 0.0, False), ("simsr", 0.0, False), (None, 1.0, True)]
)
def test_models_learn_from_detached_embeddings_unless_asked(agent, metric, self_prediction, trains_encoder):
    model = isolated(agent, metric, self_prediction=self_prediction)
    data = model._batch_of_replay(agent.replay_buffer, 16)
    model.representation(data)["transition_loss"].backward()
    assert all(p.grad is not None for p in model.representation.transition.parameters())
    assert all((p.grad is not None) == trains_encoder for p in model.encoders.encoder.parameters())


def test_mico_looks_at_the_next_observation_with_its_target_encoder(agent):
    model = isolated(agent, "mico")
    with th.no_grad():
        for parameter in model.encoders.encoder_target.parameters():
            parameter.zero_()
    data = model._batch_of_replay(agent.replay_buffer, 16)
    model.representation(data)
    # Targets of embeddings that are zero: differences of rewards, and the angle of zero vectors.
    rewards = (model.representation.last.target - 0.99 * 0.1 * np.pi / 2).unique()
    assert th.isclose(rewards[:, None], th.tensor([0.0, 1.0]), atol=1e-6).any(dim=1).all()


def test_pictures_by_default_and_continuous_actions(agent, walker):
    model = isolated(agent, "mico", extractor_class=None, extractor_kwargs={"architecture": "coordconv"})
    model.fit(agent.replay_buffer, 1, batch_size=4)
    assert model.embed(agent.env.reset()).shape == (1, 50)
    assert model.embed(np.stack([agent.env.observation_space.sample()] * 3)).dtype == np.float32
    model = isolated(walker, "simsr", norm="l2", features_dim=8)
    model.fit(walker.replay_buffer, 2, batch_size=16)
    assert model.embed(np.zeros((2, 3), np.float32)).shape == (2, 8)


def test_dictionaries_of_pictures(agent):
    env = gym.make("bisimgym/Nav2DGoal-v0", **SMALL)
    model = isolated(env, "mico", extractor_class=None)
    replay = DictReplayBuffer(20, model.encoders.observation_space, env.action_space, device="cpu")
    observation, _ = env.reset(seed=0)
    first_channels = model.encoders.observation_space["observation"].shape
    for _ in range(12):
        stored = {key: np.moveaxis(v, -1, 0)[None] if v.ndim == 3 else v[None] for key, v in observation.items()}
        assert stored["observation"].shape[1:] == first_channels
        replay.add(stored, stored, np.array([[0]]), np.array([-1.0]), np.array([False]), [{}])
    model.fit(replay, 1, batch_size=4)
    assert model.embed({key: value[None] for key, value in observation.items()}).shape == (1, 50)


def test_the_distance_is_that_of_the_loss(agent):
    x, y = th.randn(4, 6, generator=th.Generator().manual_seed(0)), th.ones(4, 6)
    assert th.equal(MICo(beta=0.3).distance(x, y), mico_distance(x, y, 0.3))
    assert th.equal(DBC("paper").distance(x, y), l1_distance(x, y))
    assert th.equal(RobustDBC("l1").distance(x, y), l1_distance(x, y))
    plain = isolated(agent, None, self_prediction=1.0).distance(x.numpy(), y.numpy())
    np.testing.assert_allclose(plain, (x - y).norm(dim=1), rtol=1e-6)
    for name in METRIC_LOSSES:
        model = isolated(agent, name)
        data = model._batch_of_replay(agent.replay_buffer, 16)
        model.representation(data)
        permutation = th.randperm(16, generator=th.Generator().manual_seed(1))
        generator = th.Generator().manual_seed(0)
        pairs, _ = model.representation.metric(data, permutation, model.representation.transition, generator)
        z = data.z.detach().numpy()
        everyone = len(pairs.distance) == 16 * 16
        i, j = (
            (np.repeat(np.arange(16), 16), np.tile(np.arange(16), 16))
            if everyone
            else (np.arange(16), permutation.numpy())
        )
        expected = pairs.distance.reshape(2, 16).mean(dim=0) if name == "ambs" else pairs.distance
        np.testing.assert_allclose(model.distance(z[i], z[j]), expected.numpy(), atol=1e-5)


class Flat(MetricLoss):
    """A metric of one's own: all states are at distance 0."""

    def forward(self, batch, permutation, model, generator):
        distance = l1_distance(batch.z, batch.z[permutation])
        return PairLoss.of(distance.mean(), distance, th.zeros_like(distance)), {}


def test_a_metric_of_ones_own(agent):
    metric = Flat()
    model = isolated(agent, metric, norm="none")
    assert not hasattr(metric, "discount")  # a copy was built
    first = model.fit(agent.replay_buffer, 1, batch_size=32)["metric_loss"]
    assert model.fit(agent.replay_buffer, 20, batch_size=32)["metric_loss"] < first
    with pytest.raises(ValueError, match=r"distance of Flat is not known: define its distance\(x, y\)"):
        model.distance(np.zeros((1, 50), np.float32), np.zeros((1, 50), np.float32))


def test_a_progress_bar_shows_updates(agent, capfd):
    isolated(agent).fit(agent.replay_buffer, 2, batch_size=16, progress_bar=True)
    assert "updates" in capfd.readouterr().err


def test_divergence_names_the_loss(agent):
    with pytest.raises(DivergedError, match="metric_loss is nan at update 1"):
        isolated(agent, learning_rate=1e30).fit(whole_layout(), 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"metric": "micro"}, "'mico'"),
        ({"metric": MICo(), "metric_settings": {"beta": 1}}, "metric_settings"),
        ({"discount": 1.0}, "discount"),
        ({"encoder_tau": 0.0}, "encoder_tau"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"seed": -1}, "seed"),
        ({"metric_weight": -1.0}, "metric_weight"),
        ({"norm": "batch"}, "norm"),
    ],
)
def test_bad_settings_are_refused(agent, settings, message):
    with pytest.raises(ValueError, match=message):
        isolated(agent, **settings)


def test_bad_data_are_refused(agent, walker):
    model = isolated(agent)
    with pytest.raises(ValueError, match="make it with the spaces"):
        model.fit(walker.replay_buffer, 1)
    with pytest.raises(ValueError, match="empty"):
        model.fit(type(agent.replay_buffer)(10, agent.observation_space, agent.action_space), 1)
    with pytest.raises(ValueError, match="updates"):
        model.fit(agent.replay_buffer, 0)
    with pytest.raises(ValueError, match="batch_size"):
        model.fit(agent.replay_buffer, 1, batch_size=1)
    with pytest.raises(ValueError, match="one length"):
        data = whole_layout()
        model.fit(data._replace(rewards=data.rewards[1:]), 1)
    with pytest.raises(ValueError, match="n_steps=1"):
        model.fit(NStepReplayBuffer(10, agent.observation_space, agent.action_space), 1)
    with pytest.raises(ValueError, match="nothing trains"):
        isolated(agent, None).fit(agent.replay_buffer, 1)
    with pytest.raises(ValueError, match="leading axis"):
        model.embed(agent.observation_space.sample())


def test_the_discount_is_that_of_the_metric(agent):
    targets = []
    for discount in (0.5, 0.9):
        model = isolated(agent, discount=discount)
        model.fit(agent.replay_buffer, 1, batch_size=16)
        targets.append(model.representation.last.target)
    assert not th.allclose(*targets)


def test_norm_factor_is_part_of_the_distance():
    x, y = th.randn(4, 6), th.randn(4, 6)
    for factor in (0.5, 1.0):
        expected = mico_distance(x, y, 0.1, norm_factor=factor)
        th.testing.assert_close(MICo(norm_factor=factor).distance(x, y), expected)


@pytest.mark.parametrize(
    ("settings", "radius"),
    [
        ({"metric": "robust-dbc", "discount": 0.9}, 5.0),
        ({"metric": "robust-dbc", "metric_settings": {"max_reward": 8.0}}, 400.0),
        ({"metric": RobustDBC(max_reward=2.0)}, 100.0),
        ({"metric": "mico"}, 50.0),
    ],
)
def test_embeddings_are_capped_at_the_bound_of_the_metric(walker, settings, radius):
    model = isolated(walker, norm="cap", **settings)
    for encoder in (model.encoders.encoder, model.encoders.encoder_target):
        assert encoder.norm.radius == pytest.approx(radius)
    if settings["metric"] != "mico":
        assert model.representation.metric.radius == pytest.approx(radius)


def test_embeddings_are_those_of_the_encoder_that_is_trained(walker):
    model = isolated(walker)
    model.fit(walker.replay_buffer, 5)
    observations = walker.replay_buffer.observations[:3, 0]
    with th.no_grad():
        pair = model.encoders.encoder, model.encoders.encoder_target
        expected, slow = (net(th.as_tensor(observations)).numpy() for net in pair)
    np.testing.assert_array_equal(model.embed(observations), expected)
    assert not np.allclose(expected, slow, rtol=1e-6)


def test_models_decay_as_told_and_the_encoder_does_not(walker):
    model = isolated(walker, "dbc", model_weight_decay=0.03)
    assert [group["weight_decay"] for group in model.optimizer.param_groups] == [0, 0.03]


def test_actions_of_another_space_are_refused(walker):
    states, actions = np.zeros((5, 3), dtype=np.float32), np.zeros((5, 2), dtype=np.float32)
    data = Transitions(states, actions, np.zeros(5), states, np.zeros(5, dtype=bool))
    with pytest.raises(ValueError, match=r"actions must be those of Box.*got float32\[5, 2\]"):
        isolated(walker).fit(data, 1, batch_size=2)


def test_actions_that_do_not_exist_are_refused(agent):
    data = whole_layout()
    with pytest.raises(ValueError, match="actions must be integers from 0 to 3, got 1 to 4"):
        isolated(agent).fit(data._replace(actions=data.actions + 1), 1)


def test_data_and_spaces_that_it_cannot_take():
    vector = spaces.Box(-1, 1, (3,))
    with pytest.raises(ValueError, match="OfflineRepresentation cannot take actions of .* does not start at 0"):
        OfflineRepresentation(vector, spaces.Discrete(2, start=1), "mico")
    model = OfflineRepresentation(vector, spaces.Discrete(2), "mico", device="cpu")
    observations, zeros = np.zeros((8, 3), np.float32), np.zeros(8)
    bad = np.where(np.arange(24).reshape(8, 3) == 14, np.float32(np.nan), observations)
    for data, message in (
        (Transitions(bad, zeros, zeros, observations, zeros), r"observations that are not finite, nan at \[4, 2\]"),
        (Transitions(observations, zeros, zeros + np.inf, observations, zeros), "rewards that are not finite, inf"),
        (Transitions(observations, zeros + 0.5, zeros, observations, zeros), "actions must be integers from 0 to 1"),
    ):
        with pytest.raises(ValueError, match=message):
            model.fit(data, 1)


def test_a_data_set_is_gone_through_in_epochs_and_a_file_goes_on(tmp_path, monkeypatch):
    data = collect("bisimgym/Nav2D-v0", "random", 60, num_envs=2, env_kwargs=SMALL | {"goal_visible": False})
    asked = []
    sample = type(data).sample
    monkeypatch.setattr(type(data), "sample", lambda self, rows: asked.append(rows) or sample(self, rows))
    model = OfflineRepresentation(
        data.observation_space, data.action_space, "mico", extractor_class=MLPExtractor, seed=1, device="cpu"
    )
    per_epoch = -(-len(data) // 16)
    model.fit(data, per_epoch, batch_size=16)
    assert sorted(np.concatenate(asked)) == list(range(len(data)))
    first, asked[:] = np.concatenate(asked), []
    model.fit(data, 2, batch_size=16)
    model.save(tmp_path / "model.zip")
    again = OfflineRepresentation.load(tmp_path / "model.zip", "cpu")
    model.fit(data, per_epoch, batch_size=16)
    second = np.concatenate(asked)[: len(data)]
    assert sorted(second) == list(range(len(data)))
    assert not np.array_equal(first, second)
    again.fit(data, per_epoch, batch_size=16)
    assert_same(weights(model), weights(again))


def test_data_sets_of_other_spaces_are_refused(agent):
    data = collect("CartPole-v1", "random", 20, num_envs=1)
    with pytest.raises(ValueError, match="the data set holds"):
        isolated(agent).fit(data, 1)
