import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import DQN

import bisimgym  # noqa: F401
from bisimgym.baselines.core.extractors import GoalPlaneExtractor, ImageExtractor
from bisimgym.baselines.core.metric_learning import MetricDQN
from bisimgym.baselines.offline import OfflineRepresentation
from bisimgym.baselines.pretrained import PretrainedExtractor, load_encoder, pretrained_encoder

LAYOUT = {"size": 8, "num_obstacles": 3, "min_goal_distance": 4}
ENCODER = {"architecture": "coordconv", "signed": True}
SMALL = {"buffer_size": 50, "learning_starts": 4, "batch_size": 4, "train_freq": 1, "device": "cpu", "seed": 0}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    env = gym.make("bisimgym/Nav2D-v0", **LAYOUT)
    model = OfflineRepresentation(
        env.observation_space,
        env.action_space,
        "rss",
        norm="none",
        features_dim=None,
        extractor_class=ImageExtractor,
        extractor_kwargs=ENCODER,
        seed=3,
        device="cpu",
    )
    path = tmp_path_factory.mktemp("pretrained") / "phi.zip"
    model.save(path)
    return path


def goal_agent(**encoder):
    policy_kwargs = {
        "net_arch": [16],
        "features_extractor_class": GoalPlaneExtractor,
        "features_extractor_kwargs": ENCODER | encoder,
    }
    env = gym.make("bisimgym/Nav2DGoal-v0", **LAYOUT)
    return MetricDQN(
        "MultiInputPolicy", env, norm="none", features_dim=None, policy_kwargs=policy_kwargs, gradient_steps=1, **SMALL
    )


def image_agent():
    env = gym.make("bisimgym/Nav2D-v0", **LAYOUT)
    kwargs = {"features_extractor_kwargs": ENCODER}
    return MetricDQN("CnnPolicy", env, norm="none", features_dim=None, policy_kwargs=kwargs, **SMALL)


@pytest.mark.parametrize("part", ["encoder", "base"])
@pytest.mark.parametrize("make", [goal_agent, image_agent])
def test_an_agent_gets_the_encoder_and_its_target(trained, make, part):
    agent = make()
    load_encoder(agent, trained, part)
    expected = pretrained_encoder(trained, part).state_dict()
    for encoder in agent.encoders():
        images = getattr(encoder, "image", encoder)
        assert all(th.equal(value, expected[name]) for name, value in images.state_dict().items())


def test_both_parts_are_there_and_differ(trained):
    phi, psi = (pretrained_encoder(trained, part) for part in ("encoder", "base"))
    assert not th.equal(next(phi.parameters()), next(psi.parameters()))


@pytest.mark.parametrize("freeze", [True, False])
def test_training_moves_the_encoder_unless_it_is_frozen(trained, freeze):
    agent = goal_agent()
    load_encoder(agent, trained, freeze=freeze)
    agent.learn(30)
    expected = pretrained_encoder(trained).state_dict()
    moved = [not th.equal(v, expected[name]) for name, v in agent.encoders()[0].image.state_dict().items()]
    assert any(moved) is not freeze
    assert any(p.grad is not None for p in agent.q_net.q_net.parameters())


def test_the_embedding_is_the_trained_one(trained):
    agent = image_agent()
    load_encoder(agent, trained)
    observation = np.stack([agent.observation_space.sample() > 127 for _ in range(3)]).astype(np.uint8) * 255
    loaded = OfflineRepresentation.load(trained, "cpu")
    assert np.allclose(agent.embed(observation), loaded.embed(observation), atol=1e-6)


@pytest.mark.parametrize("freeze", [True, False])
def test_stock_sb3_takes_it_as_a_features_extractor(trained, freeze, tmp_path):
    env = gym.make("bisimgym/Nav2D-v0", **LAYOUT)
    kwargs = {
        "features_extractor_class": PretrainedExtractor,
        "features_extractor_kwargs": {"source": str(trained), "freeze": freeze},
        "net_arch": [16],
    }
    model = DQN("CnnPolicy", env, policy_kwargs=kwargs, **SMALL).learn(30)
    online, target = (net.features_extractor.encoder for net in (model.q_net, model.q_net_target))
    assert online is not target
    expected = pretrained_encoder(trained).state_dict()
    moved = [not th.equal(value, expected[name]) for name, value in online.state_dict().items()]
    assert any(moved) is not freeze
    model.save(tmp_path / "dqn.zip")
    again = DQN.load(tmp_path / "dqn.zip", device="cpu")
    observation = env.reset(seed=0)[0]
    assert np.array_equal(*(m.q_net(m.policy.obs_to_tensor(observation)[0]).detach() for m in (model, again)))


def test_mistakes_are_named(trained):
    with pytest.raises(ValueError, match="convolutions.0.weight is .* not there"):
        load_encoder(goal_agent(architecture="minatar"), trained)
    with pytest.raises(ValueError, match="PretrainedExtractor"):
        load_encoder(DQN("MlpPolicy", gym.make("CartPole-v1")), trained)
    with pytest.raises(ValueError, match="part must be"):
        pretrained_encoder(trained, "psi")
    with pytest.raises(ValueError, match="this agent sees"):
        PretrainedExtractor(spaces.Box(0, 255, (3, 9, 9), np.uint8), trained)
