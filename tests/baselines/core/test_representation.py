"""What losses of one batch share, and that sharing changes nothing."""

import math

import pytest
import torch as th
from gymnasium import spaces

from bisimgym.baselines import losses
from bisimgym.baselines.ambs import (
    AMBS,
    Balance,
    ambs_loss,
    ambs_original_loss,
    crossed_view_distances,
    two_view_distances,
)
from bisimgym.baselines.core.latents import LatentBatch
from bisimgym.baselines.core.metric_loss import MetricLoss
from bisimgym.baselines.core.representation import Representation
from bisimgym.baselines.dbc import DBC, dbc_loss
from bisimgym.baselines.mico import MICo, mico_loss
from bisimgym.baselines.rap import RAP, rap_loss
from bisimgym.baselines.recursive_similarity import RecursiveSimilarity, interaction_loss, recursive_similarity_loss
from bisimgym.baselines.robust_dbc import RobustDBC, intrinsic_reward, inverse_dynamics_loss, robust_dbc_loss
from bisimgym.baselines.simsr import SimSR, simsr_loss

D, A, B = 6, 2, 5


def encoder():
    return th.nn.Linear(3, D)


def batch_of(net):
    th.manual_seed(1)
    observations, next_observations = th.randn(B, 3), th.randn(B, 3)
    return LatentBatch(
        observations,
        next_observations,
        th.eye(A)[th.arange(B) % A],
        th.rand(B),
        th.zeros(B),
        0.9,
        lambda x, target=False: net(x),
        critic_input=Balance(),
    )


def made(metric, **settings):
    th.manual_seed(0)
    return encoder(), Representation(D, spaces.Discrete(A), 0.9, encoder, metric, **settings)


def runs_of(module):
    runs = []
    module.register_forward_hook(lambda *_: runs.append(1))
    return runs


@pytest.mark.parametrize(
    ("metric", "count"),
    [(DBC, 1), (RobustDBC, 1), (AMBS, 1), (RAP, 2), (SimSR, 2)],  # RAP and SimSR ask about the target's embeddings too
)
@pytest.mark.parametrize("self_prediction", [0.0, 1.0])
def test_the_model_predicts_once_from_the_embeddings(metric, count, self_prediction):
    net, representation = made(metric(), self_prediction=self_prediction, reward_prediction=self_prediction)
    runs = runs_of(representation.transition.body)
    batch = batch_of(net)
    representation.bonus(batch)
    representation(batch)
    assert len(runs) == count
    representation(batch_of(net))
    assert len(runs) == 2 * count, "predictions outlived their batch"


@pytest.mark.parametrize(("metric", "part"), [(RAP, "state_reward"), (RecursiveSimilarity, "base_encoder")])
def test_networks_of_a_metric_run_once_where_two_losses_ask(metric, part):
    net, representation = made(metric())
    runs = runs_of(getattr(representation.metric, part))
    for _ in range(2):
        representation(batch_of(net))
    # The second encoder sees next observations too.
    assert len(runs) == (4 if metric is RecursiveSimilarity else 2)


@pytest.mark.parametrize("self_prediction", [0.0, 0.7])
def test_shared_predictions_give_the_losses_and_gradients_of_separate_ones(self_prediction):
    net, representation = made(DBC("study"), self_prediction=self_prediction, reward_prediction=0.3)
    parameters = [*net.parameters(), *representation.parameters()]
    losses = representation(batch_of(net))
    gradients = th.autograd.grad(sum(losses.values()), parameters)

    batch, model = batch_of(net), representation.transition
    generator = th.Generator().manual_seed(0)
    permutation = th.randperm(B, generator=generator)
    z = batch.z if self_prediction else batch.z.detach()
    apart = {
        "metric_loss": 0.5 * representation.metric(batch, permutation, model, generator)[0].loss,
        "transition_loss": (self_prediction or 1.0)
        * model.negative_log_likelihood(model.members(z, batch.actions), batch.next_z),
        "reward_loss": 0.3
        * (representation.reward(model.sample(batch.z, batch.actions, generator)) - batch.rewards).square().mean(),
    }
    assert losses.keys() == apart.keys()
    for name, loss in losses.items():
        th.testing.assert_close(loss, apart[name])
    for one, two in zip(gradients, th.autograd.grad(sum(apart.values()), parameters), strict=True):
        th.testing.assert_close(one, two)


def test_one_pass_over_next_observations_serves_all():
    net, representation = made(RobustDBC(), self_prediction=1.0)
    runs = runs_of(net)
    batch = batch_of(net)
    batch.trains_next = representation.trains_next
    representation.bonus(batch)
    losses = representation(batch)
    assert len(runs) == 2
    assert th.equal(batch.next_z, batch.trained_next_z)
    assert not batch.next_z.requires_grad
    assert losses["inverse_loss"].requires_grad


def batch_of_two():
    """A batch whose target encoder is another network than its encoder."""
    batch = batch_of(encoder())
    online, slow = th.nn.Linear(3, D), th.nn.Linear(3, D)
    batch.encode = lambda x, target=False: (slow if target else online)(x)
    with th.no_grad():
        batch.critic_input.eta[1] = math.log(4)
    return batch


PERMUTATION = th.tensor([1, 2, 3, 4, 0])


def _mico(m, b, model, rng):
    return mico_loss(b.z, b.rewards, b.next_target_z, PERMUTATION, 0.9, beta=0.3, norm_factor=1.0, second_z=b.target_z)


def _dbc(m, b, model, rng):
    return dbc_loss(b.z, b.rewards, *model(b.z, b.actions), PERMUTATION, 0.9, form="study", clamp=0.01)


def _robust_dbc(m, b, model, rng):
    mean, std = model(b.z, b.actions)
    radius = losses.norm_radius(0.9, 0.02)
    assert (mean.norm(dim=1) > radius).any()
    return robust_dbc_loss(b.z, b.rewards, losses.cap_norm(mean, radius), std, PERMUTATION, 0.9, norm="l1")


def _rap(m, b, model, rng):
    following = model.expected(b.target_z, b.actions)
    std = m.state_reward(b.z).std
    return rap_loss(b.z, b.rewards, std, following, PERMUTATION, 0.9, beta=0.5, outer="square")


def _ambs(m, b, model, rng):
    half = D // 2
    reward, transition = (
        two_view_distances(net, b.z[:, part], b.z[:, part], PERMUTATION)
        for net, part in ((m.reward_model, slice(half)), (m.transition_model, slice(half, D)))
    )
    mean, std = model(b.z[:, half:], b.actions)
    return ambs_loss(
        reward, transition, th.tensor([0.2, 0.8]), b.rewards, mean, std, PERMUTATION, 0.7, reduction="mean"
    )


def _ambs_original(m, b, model, rng):
    half = D // 2
    reward, transition = (
        crossed_view_distances(net, b.z[:, part], b.z[:, part], PERMUTATION)
        for net, part in ((m.reward_model, slice(half)), (m.transition_model, slice(half, D)))
    )
    mean, std = model(b.z[:, half:], b.actions)
    return ambs_original_loss(reward, transition, th.tensor([0.2, 0.8]), b.rewards, mean, std, PERMUTATION, 0.9)


def _simsr(m, b, model, rng):
    following = model.sample(b.target_z, b.actions, rng)
    return simsr_loss(b.z, b.rewards, following, PERMUTATION, 0.9, reward_weight=0.3)


def _recursive(m, b, model, rng):
    base, following = m.base_encoder(b.observations), m.next_model.each_action(b.target_z)
    settings = {"base_weight": 0.7, "reduction": "max", "outer": "square"}
    return recursive_similarity_loss(b.z, base, following, None, 0.9, **settings)


@pytest.mark.parametrize(
    ("metric", "settings", "by_hand"),
    [
        (MICo, {"beta": 0.3, "norm_factor": 1.0, "second": "target"}, _mico),
        (DBC, {"form": "study", "clamp": 0.01}, _dbc),
        (RobustDBC, {"norm": "l1", "max_reward": 0.02}, _robust_dbc),
        (RAP, {"beta": 0.5, "outer": "square"}, _rap),
        (AMBS, {"discount": 0.7, "reduction": "mean"}, _ambs),
        (AMBS, {"form": "original"}, _ambs_original),
        (SimSR, {"all_pairs": False, "reward_weight": 0.3}, _simsr),
        (RecursiveSimilarity, {"base_weight": 0.7, "reduction": "max", "outer": "square"}, _recursive),
    ],
)
def test_metrics_hand_their_settings_and_the_right_embeddings_to_the_losses(metric, settings, by_hand):
    def loss_of(**settings):
        _, representation = made(metric(**settings))
        batch, rng = batch_of_two(), th.Generator().manual_seed(4)
        return representation, batch, representation.metric(batch, PERMUTATION, representation.transition, rng)[0]

    representation, batch, found = loss_of(**settings)
    with th.no_grad():
        rng = th.Generator().manual_seed(4)
        expected = by_hand(representation.metric, batch, representation.transition, rng)
    th.testing.assert_close(found.loss.detach(), expected.loss)
    th.testing.assert_close(found.target, expected.target)
    for name in settings:  # each of them matters
        changed = loss_of(**{key: value for key, value in settings.items() if key != name})[2]
        assert changed.loss.shape == ()
        assert not th.isclose(changed.loss, found.loss, rtol=1e-6), name


def own_losses(representation, batch):
    return representation.metric(batch, PERMUTATION, representation.transition, th.Generator())[1]


def test_networks_of_metrics_learn_from_the_right_embeddings():
    _, representation = made(RobustDBC(inverse_weight=0.3, max_reward=0.02, bonus_weight=2.0, bonus_cap=0.4))
    metric, batch = representation.metric, batch_of_two()
    batch.trains_next = True
    found = own_losses(representation, batch)["inverse_loss"]
    next_z = batch.encode(batch.next_observations)
    inverse = inverse_dynamics_loss(metric.inverse(batch.z, next_z), batch.actions)
    th.testing.assert_close(found, 0.3 * inverse)
    mean = losses.cap_norm(representation.transition(batch.z, batch.actions).mean, losses.norm_radius(0.9, 0.02))
    bonus = representation.bonus(batch)
    th.testing.assert_close(bonus, intrinsic_reward(mean, next_z, 2.0, 0.4))
    assert not bonus.requires_grad

    _, representation = made(RAP())
    metric, batch = representation.metric, batch_of_two()
    found = own_losses(representation, batch)["state_reward_loss"]
    th.testing.assert_close(found, losses.gaussian_nll(*metric.state_reward(batch.z.detach()), batch.rewards))

    _, representation = made(RecursiveSimilarity(inverse_weight=0.6))
    metric, batch = representation.metric, batch_of_two()
    found = own_losses(representation, batch)
    predicted = metric.next_model.expected(batch.target_z, batch.actions)
    th.testing.assert_close(found["next_model_loss"], (predicted - batch.next_target_z).square().mean())
    base, following = metric.base_encoder(batch.observations), metric.base_encoder(batch.next_observations)
    interaction = interaction_loss(
        metric.inverse(base, following),
        batch.actions.argmax(dim=1),
        metric.forward_model.expected(base, batch.actions),
        following,
        0.6,
    )
    th.testing.assert_close(found["interaction_loss"], interaction)


class OfFiniteActions(MetricLoss):
    finite_actions = True


def test_a_metric_can_ask_for_finite_actions():
    with pytest.raises(ValueError, match="OfFiniteActions is for finite action spaces, got Box"):
        Representation(D, spaces.Box(-1, 1, (A,)), 0.9, encoder, OfFiniteActions())
