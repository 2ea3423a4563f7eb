"""What losses of one batch share, and that sharing changes nothing."""

import pytest
import torch as th
from gymnasium import spaces

from bisimgym.baselines.common.latents import LatentBatch
from bisimgym.baselines.common.representation import (
    AMBS,
    DBC,
    RAP,
    ModelOnBatch,
    RecursiveSimilarity,
    Representation,
    RobustDBC,
    SimSR,
)
from bisimgym.baselines.losses import TransitionModel

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
        balance=th.full((2,), 0.5),
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
    representation.bonus(batch, batch.actions)
    representation(batch, batch.actions)
    assert len(runs) == count
    representation(batch_of(net), batch.actions)
    assert len(runs) == 2 * count, "predictions outlived their batch"


@pytest.mark.parametrize(("metric", "part"), [(RAP, "state_reward"), (RecursiveSimilarity, "base_encoder")])
def test_networks_of_a_metric_run_once_where_two_losses_ask(metric, part):
    net, representation = made(metric())
    runs = runs_of(getattr(representation.metric, part))
    for _ in range(2):
        batch = batch_of(net)
        representation(batch, batch.actions)
    # The second encoder sees next observations too.
    assert len(runs) == (4 if metric is RecursiveSimilarity else 2)


@pytest.mark.parametrize("self_prediction", [0.0, 0.7])
def test_shared_predictions_give_the_losses_and_gradients_of_separate_ones(self_prediction):
    net, representation = made(DBC("study"), self_prediction=self_prediction, reward_prediction=0.3)
    parameters = [*net.parameters(), *representation.parameters()]
    shared = batch_of(net)
    losses = representation(shared, shared.actions)
    gradients = th.autograd.grad(sum(losses.values()), parameters)

    batch, model = batch_of(net), representation.transition
    generator = th.Generator().manual_seed(0)
    other = th.randperm(B, generator=generator)
    z = batch.z if self_prediction else batch.z.detach()
    apart = {
        "metric_loss": 0.5
        * representation.metric.pair_loss(batch, batch.actions, other, representation.transition, generator).loss,
        "transition_loss": (self_prediction or 1.0) * model.negative_log_likelihood(z, batch.actions, batch.next_z),
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
    representation.bonus(batch, batch.actions)
    losses = representation(batch, batch.actions)
    assert len(runs) == 2
    assert th.equal(batch.next_z, batch.trained_next_z)
    assert not batch.next_z.requires_grad
    assert losses["inverse_loss"].requires_grad


def test_a_model_on_a_batch_answers_for_others_as_the_model_does():
    th.manual_seed(0)
    model = TransitionModel(D, A)
    z, actions = th.randn(B, 2 * D, requires_grad=True), th.eye(A)[th.arange(B) % A]
    on_batch = ModelOnBatch(model, z[:, D:], actions)
    runs = runs_of(model.body)
    with th.no_grad():
        own = on_batch(z.detach()[:, D:], actions)  # another tensor, the same numbers
        assert own.mean is not None
        assert len(runs) == 1
        on_batch(z[:, D:], actions)
        assert len(runs) == 1
        for others in ((z[:, :D], actions), (z[:, D:], actions.flip(1)), (z[:, D:].clone(), actions)):
            for shared, plain in zip(on_batch(*others), model(*others), strict=True):
                th.testing.assert_close(shared, plain)
        assert len(runs) == 1 + 2 * 3
        th.testing.assert_close(own.mean, model(z[:, D:], actions).mean)
    # With gradients, what is asked for has a graph of its own, down to the embeddings that were given.
    (gradient,) = th.autograd.grad(on_batch(z[:, D:], actions).mean.sum(), z)
    assert (gradient[:, D:] != 0).any()
    assert on_batch.num_members == 1
