"""SLAC: its divergence, its loss written out, what its critic and actor see, and what trains what."""

import gymnasium as gym
import pytest
import torch as th
from methods import Picture, make, parameters
from torch.distributions import Independent, Normal, kl_divergence

from bisimgym.baselines.losses.models import Gaussian
from bisimgym.baselines.mico import MICo
from bisimgym.baselines.slac import SLACSAC, ImageDecoder, divergence, reconstruction_loss


def gaussian(*shape, seed=0):
    rng = th.Generator().manual_seed(seed)
    return Gaussian(th.randn(shape, generator=rng), th.rand(shape, generator=rng) + 0.1)


def test_the_divergence_is_that_of_torch():
    one, other = gaussian(5, 3), gaussian(5, 3, seed=1)
    expected = kl_divergence(Independent(Normal(*one), 1), Independent(Normal(*other), 1))
    th.testing.assert_close(divergence(*one, *other), expected)
    th.testing.assert_close(divergence(*one, *one), th.zeros(5), atol=1e-6, rtol=0)


def test_the_error_is_the_likelihood_of_gaussians():
    image, decoded = th.rand(4, 3, 5, 6), th.rand(4, 3, 5, 6)
    likelihood = Independent(Normal(decoded, 0.3), 3).log_prob(image)
    best = Independent(Normal(image, 0.3), 3).log_prob(image)
    th.testing.assert_close(reconstruction_loss(image, decoded, 0.3), best - likelihood, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(3, 20, 20), (9, 24, 21), (1, 84, 84)])
def test_decoded_images_have_the_size_of_images(shape):
    assert ImageDecoder(7, shape, channels=2)(th.randn(2, 7)).shape == (2, *shape)


@pytest.fixture(scope="module")
def trained():
    return make(SLACSAC).learn(24)


def test_the_loss_is_the_bound_written_out(trained):
    model, latents = trained, trained.representation.metric
    batch = model.encoded(model.replay_buffer.sample(4))
    rng, again = th.Generator().manual_seed(5), th.Generator().manual_seed(5)
    found, own = latents(batch, None, None, rng)

    def draw(parts):
        return parts.mean + parts.std * th.randn(parts.mean.shape, generator=again)

    first = latents.posterior_first(batch.z)
    one = draw(first)
    two = draw(latents.second_first(one))
    then = latents.posterior_next(batch.next_z, two, batch.actions)
    next_one = draw(then)
    next_two = draw(latents.second_next(next_one, two, batch.actions))
    expected = 0
    for q, p in ((first, (0.0, 1.0)), (then, latents.prior_next(two, batch.actions))):
        expected = expected + kl_divergence(Normal(*q), Normal(*p)).sum(dim=1).mean()
    for image, drawn in ((batch.observations, (one, two)), (batch.next_observations, (next_one, next_two))):
        error = (image - latents.decoder(th.cat(drawn, dim=1))).square().sum(dim=(1, 2, 3)).mean()
        expected = expected + error / (2 * 0.1**2)
    assert own == {}
    th.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_neither_critic_nor_actor_trains_the_encoder(weight):
    model = make(SLACSAC, metric_weight=weight).learn(22)
    before = parameters(model)
    model.update(model.replay_buffer.sample(4), 0)
    after = parameters(model)
    moved = {name.split(".")[0] for name in before if not th.equal(before[name], after[name])}
    moved -= {"encoder_target", "random"}  # a copy moves by rounding, and draws are no weights
    of_agent = {"actor", "actor_head", "critic", "critic_target"}
    assert moved == (of_agent | {"encoder", "metric"} if weight else of_agent)


def test_the_critic_sees_latents_and_its_target_those_after_the_action(trained):
    policy, latents = trained.policy, trained.representation.metric
    batch = trained.encoded(trained.replay_buffer.sample(4))
    th.manual_seed(0)
    seen = policy.critic_input(batch.z)
    assert not seen.requires_grad
    assert seen.shape == batch.z.shape
    th.manual_seed(0)
    th.testing.assert_close(seen, th.cat(latents.first_latents(batch.z)[1:], dim=1))
    th.manual_seed(1)
    with th.no_grad():
        ((z_actor, z_critic),) = trained._next_inputs(None, batch)
        th.manual_seed(1)
        two = latents.first_latents(batch.z)[2]
        expected = th.cat(latents.next_latents(batch.next_z, two, batch.actions)[1:], dim=1)
        th.testing.assert_close(z_actor, policy.actor_head(batch.next_features))
    th.testing.assert_close(z_critic, expected)
    names = [name for name, _ in policy.named_parameters()]
    assert not any("posterior" in name for name in names)  # the model's networks are in one place


def test_the_model_explains_images_better_once_trained():
    model = make(SLACSAC, Picture(20), learning_rate=1e-3).learn(21)
    batch = model.encoded(model.replay_buffer.sample(16))
    before = model.auxiliary_losses(batch)["metric_loss"].item()
    for number in range(60):
        model.update(model.replay_buffer.sample(16), number)
    batch = model.encoded(model.replay_buffer.sample(16))
    assert model.auxiliary_losses(batch)["metric_loss"].item() < 0.8 * before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metric_settings": {"first_dim": 8}}, "first_dim must be below features_dim, which is 8, got 8"),
        ({"metric_settings": {"image_std": 0.0}}, "image_std must be positive, got 0.0"),
        ({"metric_settings": {"hidden": 0}}, "hidden"),
        ({"metric": MICo}, "SLACSAC needs the metric SLAC or a subclass"),
        ({"env": gym.make("Pendulum-v1"), "policy": "MlpPolicy"}, "SLAC decodes images, got observations of shape"),
    ],
)
def test_errors(arguments, message):
    extra = {"policy_kwargs": {}} if "policy" in arguments else {}
    with pytest.raises(ValueError, match=message):
        make(SLACSAC, **{**extra, **arguments})
