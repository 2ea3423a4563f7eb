"""Agents from images: their networks, which loss moves which part, and DrQ's loss as a loop over views."""

import copy

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from methods import Picture, make, parameters

from bisimgym.baselines.core.metric_learning import MetricSAC
from bisimgym.baselines.core.pixel_policy import initialize
from bisimgym.baselines.curl import CURLSAC
from bisimgym.baselines.drq import DrQSAC
from bisimgym.baselines.learners import SAC_LEARNERS
from bisimgym.baselines.mico import MICoSAC
from bisimgym.baselines.pixels import PIXEL_SETTINGS, pixel_settings

SMALL = {"net_arch": [8], "features_extractor_kwargs": {"channels": 4}}


@pytest.fixture(scope="module")
def trained():
    return make(DrQSAC).learn(22)


def test_layers_start_orthogonal():
    for how in ("orthogonal", "delta-orthogonal"):
        conv, linear = th.nn.Conv2d(3, 16, 3), th.nn.Linear(5, 7)
        initialize(th.nn.Sequential(conv, linear), how)
        th.testing.assert_close(linear.weight.T @ linear.weight, th.eye(5))
        assert not conv.bias.any()
        assert not linear.bias.any()
        taps = conv.weight.detach() if how == "orthogonal" else conv.weight.detach()[:, :, 1, 1]
        taps = taps.flatten(1)
        gram = taps @ taps.T if how == "orthogonal" else taps.T @ taps  # of the shorter side
        th.testing.assert_close(gram, 2 * th.eye(len(gram)))
        assert conv.weight.count_nonzero() <= (48 if how.startswith("delta") else 432)
    with pytest.raises(ValueError, match="initialization must be one of .* got 'xavier'"):
        initialize(conv, "xavier")


def test_standard_deviations_are_squashed_into_their_bounds(trained):
    actor = copy.deepcopy(trained.actor)
    z = th.randn(5, 8)
    raw = actor.log_std(actor.latent_pi(z))
    th.testing.assert_close(actor.get_action_dist_params(z)[1], -10 + 6 * (raw.tanh() + 1))
    for sign, bound in ((-1, -10.0), (1, 2.0)):
        actor.log_std.bias.data[:] = sign * 1e3
        th.testing.assert_close(actor.get_action_dist_params(z)[1], th.full((5, 2), bound))


def test_the_embedding_is_squashed_where_asked(trained):
    plain, squashed = (
        make(DrQSAC, policy_kwargs={**SMALL, "features_extractor_kwargs": {"channels": 4, "squash": squash}})
        for squash in (False, True)
    )
    images = th.rand(2, 3, 20, 20)
    encoder, other = plain.policy.encoder, squashed.policy.encoder
    other.load_state_dict(encoder.state_dict())
    th.testing.assert_close(other(images), encoder(images).tanh())
    features = th.randn(2, encoder.linear.in_features)
    squashed.policy.actor_head.load_state_dict(plain.policy.actor_head.state_dict())
    th.testing.assert_close(squashed.policy.actor_head(features), plain.policy.actor_head(features).tanh())


@pytest.mark.parametrize("still", ["actor", "critic"])
def test_which_loss_moves_which_part(still):
    """The critic's loss the whole encoder, the actor's loss its own head, and nothing of the encoder."""
    model = make(DrQSAC).learn(22)
    for group in getattr(model, still).optimizer.param_groups:
        group["lr"] = 0.0
    before = parameters(model)
    model.update(model.replay_buffer.sample(4), 0)
    after = parameters(model)
    moved = {".".join(name.split(".")[:2]) for name in before if not th.equal(before[name], after[name])}
    of_critic = {"encoder.convolutions", "encoder.linear", "encoder.norm", "critic.qf0", "critic.qf1"}
    of_actor = {"actor_head.0", "actor_head.1", "actor.latent_pi", "actor.mu", "actor.log_std"}
    trained = of_actor if still == "critic" else of_critic
    assert {name for name in moved if "target" not in name} == trained


def test_what_the_actor_sees(trained):
    observation = np.stack([trained.observation_space.sample() for _ in range(2)])
    with th.no_grad():
        images = th.as_tensor(observation).float() / 255
        seen = trained.policy.actor_head(trained.policy.encoder.convolutions(images))
        expected = trained.actor(seen, deterministic=True).numpy()
    np.testing.assert_allclose(trained.predict(observation, deterministic=True)[0], expected, rtol=1e-4, atol=1e-6)


def test_the_loss_of_drq_is_that_of_a_loop_over_views():
    model = make(DrQSAC, views=3, target_views=2, ent_coef=0.3, gamma=0.9).learn(22)
    policy, data = model.policy, model.replay_buffer.sample(4)
    data = data._replace(dones=(th.arange(4) % 2).float()[:, None])
    stream = model.augmentation_stream.on(model.device)
    state, drawn = th.get_rng_state(), stream.get_state()
    encoder, slow = policy.encoder, policy.encoder_target
    with th.no_grad():
        shift = model.augmentation
        images, next_images = data.observations.float() / 255, data.next_observations.float() / 255
        views = [(shift(images, stream), shift(next_images, stream)) for _ in range(3)]
        assert not th.equal(views[0][0], views[1][0])
        # The action of the actor's loss is drawn first.
        actions, log_prob = model.actor.action_log_prob(policy.actor_head(encoder.trunk(views[0][0])))
        target = 0
        for _, view in views[:2]:
            next_actions, next_log_prob = model.actor.action_log_prob(policy.actor_head(encoder.trunk(view)))
            values = model.critic_target(slow(view), next_actions)
            value = th.minimum(*values)[:, 0] - 0.3 * next_log_prob
            target = target + (data.rewards[:, 0] + 0.9 * (1 - data.dones[:, 0]) * value) / 2
        critic_loss = 0
        for view, _ in views:
            for q in model.critic(encoder(view), data.actions):
                critic_loss = critic_loss + 0.5 * (q[:, 0] - target).square().mean()
    for group in model.critic.optimizer.param_groups:
        group["lr"] = 0.0  # the actor is judged after the critic's step
    th.set_rng_state(state)
    stream.set_state(drawn)
    losses = model.update(data, 0)
    th.testing.assert_close(losses["critic_loss"].detach(), critic_loss)
    with th.no_grad():
        value = th.minimum(*model.critic(encoder(views[0][0]), actions))[:, 0]
    th.testing.assert_close(losses["actor_loss"].detach(), (0.3 * log_prob - value).mean())


def test_curl_tells_views_apart():
    model = make(CURLSAC).learn(22)
    batch = model.encoded(model.replay_buffer.sample(4))
    loss = model.auxiliary_losses(batch)["metric_loss"].item()
    with th.no_grad():
        keys = model.policy.encoder_target(batch.second_view.observations)
        scores = batch.z @ model.representation.metric.bilinear.weight @ keys.T
    expected = -sum(th.log_softmax(scores[i], 0)[i].item() for i in range(4)) / 4
    assert loss == pytest.approx(expected, rel=1e-5)


def test_the_temperature_has_a_rate_of_its_own():
    model = make(DrQSAC, ent_coef_learning_rate=1e-4, ent_coef_beta1=0.5).learn(22)
    (group,) = model.ent_coef_optimizer.param_groups
    assert (group["lr"], group["betas"]) == (1e-4, (0.5, 0.999))
    (group,) = make(DrQSAC, learning_rate=lambda left: left * 1e-2 + 1e-4).learn(24).ent_coef_optimizer.param_groups
    assert group["lr"] == pytest.approx(1e-4)
    assert group["betas"][0] == 0.9


@pytest.mark.parametrize("name", PIXEL_SETTINGS)
def test_published_settings_train_in_small(name):
    changes = {"buffer_size": 20, "batch_size": 4, "learning_starts": 4, "policy_kwargs": SMALL}
    settings = pixel_settings(name, changes)
    assert settings["policy_kwargs"]["log_std_bounds"] == (-10.0, 2.0)
    settings["replay_buffer_kwargs"] = {}  # these images are no stacks
    model = SAC_LEARNERS[name]("PixelPolicy", Picture(), seed=0, device="cpu", **settings).learn(6)
    assert model._n_updates == 2


def test_every_learner_has_published_settings():
    assert set(PIXEL_SETTINGS) == set(SAC_LEARNERS)
    table = {name: pixel_settings(name) for name in PIXEL_SETTINGS}
    assert {name: s["learning_rate"] for name, s in table.items() if s["learning_rate"] != 1e-3} == {
        "rap": 5e-4,
        "ambs": 5e-4,
        "slac": 3e-4,
    }
    assert {name for name, s in table.items() if "augmentation" in s} == {"drq", "drq-pse", "ambs", "curl"}
    with pytest.raises(ValueError, match="learner must be one of .* got 'dreamer'"):
        pixel_settings("dreamer")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"views": 0}, "views must be an integer of at least 1, got 0"),
        ({"views": 2, "augmentation": None}, "views=2 and target_views=2 need an augmentation"),
        ({"ent_coef_beta1": 1.0}, r"ent_coef_beta1 must be in \[0, 1\), got 1.0"),
        ({"ent_coef_learning_rate": 0.0}, "ent_coef_learning_rate must be positive or None, got 0.0"),
        ({"env": Picture(16)}, "images of 16 x 16 pixels are too small for architecture 'sac-ae'"),
        ({"policy_kwargs": {"log_std_bounds": (2, -10)}}, r"log_std_bounds must be \(low, high\)"),
        ({"policy_kwargs": {"initialization": "xavier"}}, "initialization must be one of"),
        ({"policy_kwargs": {"features_extractor_kwargs": {"channels": 0}}}, "channels must be at least 1"),
        ({"env": gym.make("Pendulum-v1"), "policy": "MlpPolicy", "policy_kwargs": {}}, "augmentation is for images"),
    ],
)
def test_what_cannot_be_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        make(DrQSAC, **settings)


def test_channels_are_of_one_architecture():
    from bisimgym.baselines.core.extractors import ImageExtractor

    with pytest.raises(ValueError, match="with architecture 'compact', 'sac-ae' or 'strided', got 8 with 'coordconv'"):
        ImageExtractor(spaces.Box(0, 255, (3, 20, 20), np.uint8), channels=8)
    assert MICoSAC.policy_aliases["PixelPolicy"] is MetricSAC.policy_aliases["PixelPolicy"]
