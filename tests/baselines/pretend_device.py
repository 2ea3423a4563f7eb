"""Updates of every learner on a device that is not the host, without one: fake tensors on a made-up device.

They hold no numbers, and raise where tensors of two devices meet or where the host would wait for a value. What cannot
run on them stands in: moving modules (they are built on the device) and generators of a made-up device. Statistics and
logs are read at intervals and left out here. So is what waits for the device on purpose: writing frames into a replay
(which happens once a step of the environment, not in updates), ends of episodes, and agents before obstacles in the
images of the jumping task. The weights of Langevin models are drawn on the host and then moved: others of their shapes,
made on the device, stand in, and a loop for the fused kernel of their GRU, of which PyTorch knows no shapes.
"""

import copy

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from methods import Picture
from stable_baselines3.common.buffers import DictReplayBuffer, ReplayBuffer
from torch import nn

from bisimgym.baselines.core.frame_replay import DictFrameReplayBuffer, FrameReplayBuffer
from bisimgym.baselines.core.random_stream import RandomStream
from bisimgym.baselines.langevin.model import NeuralLangevinDynamics
from bisimgym.baselines.langevin.settings import DYNAMICS, TrainingSettings
from bisimgym.baselines.langevin.training import _Training
from bisimgym.baselines.learners import AUXILIARY_TASKS, DQN_LEARNERS, FOR_IMAGES, METRIC_LOSSES, SAC_LEARNERS
from bisimgym.baselines.offline import OfflineRepresentation
from bisimgym.baselines.pse.imitation import Alignment, ImitationLearner
from bisimgym.baselines.transitions import Transitions
from bisimgym.wrappers.demonstrations import Demonstrations

fake_tensor = pytest.importorskip("torch._subclasses.fake_tensor")
backends = pytest.importorskip("torch.utils.backend_registration")
if not hasattr(backends, "_setup_privateuseone_for_python_backend"):
    pytest.skip("this version of PyTorch cannot make up a device", allow_module_level=True)

DEVICE = "pretend"
#: What a method cannot do without.
SETTINGS = {"simsr": {"norm": "l2"}, "robust-dbc": {"norm": "cap"}}


class Generator:
    """Stands for a generator of the device: functions of PyTorch take none of a device that is made up."""

    def __init__(self, device):
        self.device = device


@pytest.fixture(scope="module")
def fake_mode():
    if not hasattr(th, DEVICE):
        backends._setup_privateuseone_for_python_backend(DEVICE)
    getattr(th, DEVICE).get_amp_supported_dtype = lambda: [th.float16, th.bfloat16]
    return fake_tensor.FakeTensorMode(allow_non_fake_inputs=False)


@pytest.fixture
def mode(fake_mode, monkeypatch):
    """Return the mode inside which all tensors are fake."""
    monkeypatch.setattr(nn.Module, "_apply", lambda module, *args, **kwargs: module)
    monkeypatch.setattr(fake_tensor.FakeTensorMode, "__deepcopy__", lambda mode, memo: mode, raising=False)
    monkeypatch.setattr(RandomStream, "on", lambda stream, device: Generator(device))
    for name in ("randperm", "randn", "randint", "rand", "multinomial"):
        drawn = getattr(th, name)
        monkeypatch.setattr(th, name, lambda *a, drawn=drawn, generator=None, **k: drawn(*a, **k))
    with fake_mode:
        yield fake_mode


def make(constructor, *arguments, **settings):
    """Make a learner, whose modules are built on the device."""
    with th.device(DEVICE):
        return constructor(*arguments, device=DEVICE, seed=1, **settings)


def moved(module):
    """Put tensors of the device in place of a module's own."""
    for part in module.modules():
        for tensors in (part._parameters, part._buffers):
            for name, old in tensors.items():
                if old is None:  # a bias that is not there
                    continue
                new = th.empty(old.shape, dtype=old.dtype, device=DEVICE)
                tensors[name] = nn.Parameter(new, old.requires_grad) if isinstance(old, nn.Parameter) else new


def gru(cells, signals):
    """Return what a GRU does, step by step: ``float[T, B, H]``, and nothing."""
    states = [signals.new_zeros(signals.shape[1], cells.hidden_size)]
    for seen in nn.functional.linear(signals, cells.weight_ih_l0, cells.bias_ih_l0):
        state = states[-1]
        given = seen.chunk(3, dim=-1)
        kept = nn.functional.linear(state, cells.weight_hh_l0, cells.bias_hh_l0).chunk(3, dim=-1)
        reset, update = th.sigmoid(given[0] + kept[0]), th.sigmoid(given[1] + kept[1])
        states.append(update * state + (1 - update) * th.tanh(given[2] + reset * kept[2]))
    return th.stack(states[1:]), None


def on_device(module):
    return all(parameter.device.type == DEVICE for parameter in module.parameters())


def test_the_device_finds_what_it_should(mode):
    here, there = th.zeros(3), th.zeros(3, device=DEVICE)
    with pytest.raises(RuntimeError, match="same device"):
        here + there
    with pytest.raises(fake_tensor.DataDependentOutputException):
        there.sum().item()
    assert copy.deepcopy(there).device.type == DEVICE


@pytest.mark.parametrize(
    ("name", "tandem"), [*((name, False) for name in (*METRIC_LOSSES, *AUXILIARY_TASKS)), ("rss", True)]
)
def test_offline_learning(mode, name, tandem):
    observations, rng = spaces.Box(-1, 1, (4,), np.float32), np.random.default_rng(0)
    data = Transitions(
        rng.random((64, 4), np.float32), rng.integers(3, size=64), rng.random(64), rng.random((64, 4), np.float32),
        rng.random(64) < 0.1,
    )  # fmt: skip
    settings = {"features_dim": 50, "reward_prediction": 0.5, "self_prediction": 0.5, "tandem": tandem}
    learner = make(OfflineRepresentation, observations, spaces.Discrete(3), name, **settings, **SETTINGS.get(name, {}))
    assert on_device(learner.encoders)
    assert on_device(learner.representation)
    losses = learner._update(learner._sampler(data, 16)())
    assert all(loss.device.type == DEVICE for loss in losses.values())


def updated(learner, policy, env, updates=1, **settings):
    """Do updates of an online learner, on what its replay, which is the host's, has of some steps."""
    model = make(learner, policy, env, buffer_size=100, learning_starts=1, replay_device="cpu", **settings)
    model._setup_learn(100)
    assert on_device(model.policy)
    for _ in range(20):
        observation = copy.deepcopy(model._last_obs)
        action = np.array([env.action_space.sample()])
        model.replay_buffer.add(observation, observation, action, np.zeros(1), np.zeros(1), [{}])
    model._n_updates = 1  # statistics are those of every hundredth
    model.train(updates, 16)
    return model


@pytest.mark.parametrize("name", SAC_LEARNERS)
def test_sac(mode, name):
    if name not in FOR_IMAGES:
        updated(SAC_LEARNERS[name], "MlpPolicy", gym.make("Pendulum-v1"))


@pytest.mark.parametrize("name", ["drq", "curl", "slac"])
def test_sac_on_images(mode, name):
    small = {"net_arch": [8], "features_extractor_kwargs": {"channels": 4}}
    # Targets move with every second update.
    updated(SAC_LEARNERS[name], "PixelPolicy", Picture(), 2, policy_kwargs=small, replay_buffer_class=ReplayBuffer)


@pytest.mark.parametrize("name", DQN_LEARNERS)
def test_dqn(mode, name):
    updated(DQN_LEARNERS[name], "MlpPolicy", gym.make("CartPole-v1"))


@pytest.mark.parametrize("name", ["mico", "rss", "rap"])
def test_dqn_on_images(mode, name):
    env = gym.make("bisimgym/Nav2D-v0", size=8, num_obstacles=3, min_goal_distance=4)
    updated(DQN_LEARNERS[name], "CnnPolicy", env, replay_buffer_class=ReplayBuffer)


def test_dqn_with_goals(mode):
    env = gym.make("bisimgym/Nav2DGoal-v0", size=8, num_obstacles=3, min_goal_distance=4)
    updated(DQN_LEARNERS["mico"], "MultiInputPolicy", env, replay_buffer_class=DictReplayBuffer)


@pytest.mark.parametrize("kind", [FrameReplayBuffer, DictFrameReplayBuffer])
def test_a_replay_on_the_device_draws_and_gathers_there(mode, kind):
    image = spaces.Box(0, 255, (6, 8, 8), np.uint8)
    space = spaces.Dict(image=image, place=spaces.Box(0, 9, (2,), np.int64)) if kind is DictFrameReplayBuffer else image
    stack = {"image": 3} if kind is DictFrameReplayBuffer else 3
    replay = kind(40, space, spaces.Discrete(4), device=DEVICE, n_envs=2, storage_device="device", frame_stack=stack)
    replay.pos = 10  # as if it held ten steps: fake tensors hold no numbers
    batch = replay.sample(8)
    parts = batch.observations.values() if isinstance(space, spaces.Dict) else [batch.observations]
    assert all(part.device.type == DEVICE for part in (*parts, batch.actions, batch.rewards, batch.dones))
    assert batch.dones.shape == (8, 1)


@pytest.mark.parametrize("kind", ["states", "images"])
def test_updates_from_a_replay_on_the_device(mode, kind):
    learner, policy, env = DQN_LEARNERS["mico"], "MlpPolicy", gym.make("CartPole-v1")
    if kind == "images":
        env = gym.make("bisimgym/Nav2D-v0", size=8, num_obstacles=3, min_goal_distance=4)
        policy = "CnnPolicy"
    model = make(learner, policy, env, buffer_size=100, learning_starts=1, replay_device="device")
    assert model.replay_buffer.on_device
    model._setup_learn(100)
    model.replay_buffer.pos = 40
    model._n_updates = 1
    model.train(1, 16)


def test_offline_batches_on_the_device(mode):
    rng = np.random.default_rng(0)
    data = Transitions(
        rng.random((64, 4), np.float32), rng.integers(3, size=64), rng.random(64), rng.random((64, 4), np.float32),
        rng.random(64) < 0.1,
    )  # fmt: skip
    space = spaces.Box(-1, 1, (4,), np.float32)
    learner = make(OfflineRepresentation, space, spaces.Discrete(3), "mico", features_dim=50, replay_device="device")
    losses = learner._update(learner._sampler(data, 16)())
    assert all(loss.device.type == DEVICE for loss in losses.values())


@pytest.mark.parametrize("env_id", ["JumpingTaskColors", "Nav2DGoal", "LQRDistractors", "MarkovSignal"])
def test_array_tasks(mode, env_id):
    """Steps and observations, but for those that look which agents stand before obstacles or whose episodes ended."""
    envs = gym.make_vec(f"bisimgym/{env_id}-v0", num_envs=3)
    envs.reset(seed=0)
    task = envs.unwrapped.task
    state = type(envs.unwrapped.state)(
        **{name: th.as_tensor(part).to(DEVICE) for name, part in vars(envs.unwrapped.state).items()}
    )
    action = th.zeros(
        envs.action_space.shape, dtype=th.int64 if env_id != "LQRDistractors" else th.float32, device=DEVICE
    )
    state, *rest = task.transition(state, action)
    parts = [*vars(state).values(), *rest, task.optimal_action(state)]
    if "Jumping" not in env_id:
        seen = task.observe(state)
        parts += seen.values() if isinstance(seen, dict) else [seen]
    assert all(part.device.type == DEVICE for part in parts)


@pytest.mark.parametrize("dynamics", DYNAMICS)
def test_langevin_models(fake_mode, request, monkeypatch, dynamics):
    model = NeuralLangevinDynamics(5, dynamics)
    drawn = th.randn(7, 3, 5)
    th.testing.assert_close(gru(model.encoder.gru, drawn)[0], model.encoder.gru(drawn)[0])
    monkeypatch.setattr(nn.GRU, "forward", gru)
    request.getfixturevalue("mode")
    moved(model)
    signals = th.zeros(6, 20, 5, device=DEVICE)
    penalty = 0.0 if dynamics == "general" else 0.1
    sizes = {"batch_size": 4, "window": 3, "long_window": 3, "long_updates": 1, "warm_up": 1, "kl_warm_up": 1}
    training = _Training(model, signals, TrainingSettings(updates=2, clip=1.0, curvature_penalty=penalty, **sizes))
    for _ in range(2):  # weights are averaged from the second on
        training.update()
    assert training.averages[0].device.type == DEVICE
    assert {values.device.type for _, values in training.unread} == {DEVICE}
    with pytest.raises(fake_tensor.DataDependentOutputException):
        training.read()


@pytest.mark.parametrize(
    "settings",
    [
        {"dropout": 0.3, "l2_coefficient": 1e-3},
        {"augmentation": "randconv", "alignment": Alignment()},
        {"augmentation": "randconv", "alignment": Alignment(loss="l2", metric="pi-bisimulation")},
    ],
    ids=["dropout", "randconv-pse", "randconv-bisimulation"],
)
def test_imitation(mode, settings):
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(24, 60, 60, 2), dtype=np.uint8)
    data = Demonstrations(images, np.arange(24) % 2, rng.random(24), np.array([12, 12]))
    learner = make(ImitationLearner, demonstrations=data, batch_size=8, **settings)
    assert on_device(learner.policy)
    logs = learner._update(learner._prepare())
    assert logs["imitation_loss"].device.type == DEVICE
