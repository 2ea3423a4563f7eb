import math

import pytest
import torch as th
from torch import nn

from bisimgym.baselines.ambs import Balance, PairModel
from bisimgym.baselines.losses import InverseModel, RewardModel, TransitionModel, gaussian_nll
from bisimgym.baselines.rap import GaussianRewardModel

D, A, B = 3, 2, 5


@pytest.fixture
def generator():
    th.manual_seed(0)  # layers draw their weights from the global generator
    return th.Generator().manual_seed(0)


@pytest.fixture
def batch(generator):
    return th.randn(B, D, generator=generator), th.randn(B, A, generator=generator)


@pytest.mark.parametrize("kind", ["gaussian", "deterministic", "ensemble"])
def test_transition_model_predicts_in_range(kind, batch, generator):
    model = TransitionModel(D, A, kind, std_range=(0.5, 2.0))
    mean, std = model(*batch)
    assert mean.shape == std.shape == (B, D)
    members = model.members(*batch)
    assert members.mean.shape == ((5 if kind == "ensemble" else 1), B, D)
    if kind == "deterministic":
        assert (std == 0).all()
        assert th.equal(model.sample(*batch, generator), mean)
    else:
        assert ((members.std >= 0.5) & (members.std <= 2)).all()
        extreme = model.members(1e6 * batch[0], batch[1]).std
        assert ((extreme >= 0.5) & (extreme <= 2)).all()


def test_one_member_equals_layers_of_torch(batch):
    model = TransitionModel(D, A, "gaussian", hidden=7)
    layer = nn.Linear(D + A, 7)
    layer.weight.data, layer.bias.data = model.body.weight[0].T, model.body.bias[0, 0]
    x = nn.functional.layer_norm(layer(th.cat(batch, dim=1)), (7,)).relu()
    mean = x @ model.mean.weight[0] + model.mean.bias[0]
    std = 1e-4 + (10 - 1e-4) * (x @ model.std.weight[0] + model.std.bias[0]).sigmoid()
    predicted = model(*batch)
    assert th.allclose(predicted.mean, mean, atol=1e-5)
    assert th.allclose(predicted.std, std, atol=1e-5)


@pytest.mark.parametrize("kind", ["gaussian", "deterministic", "ensemble"])
def test_predictions_can_be_shared(kind, batch, generator):
    model = TransitionModel(D, A, kind)
    members = model.members(*batch)
    next_z = th.randn(B, D, generator=generator)
    for seed in range(8):  # of an ensemble, several members
        draws = [th.Generator().manual_seed(seed) for _ in range(2)]
        th.testing.assert_close(model.sample_from(members, draws[0]), model.sample(*batch, draws[1]))
        assert th.equal(draws[0].get_state(), draws[1].get_state())
    for shared, whole in zip(model.mixture(members), model(*batch), strict=True):
        th.testing.assert_close(shared, whole)
    th.testing.assert_close(model.expected(*batch), model(*batch).mean)
    with pytest.raises(ValueError, match="next_z must be"):
        model.negative_log_likelihood(members, next_z[:, :1])


def test_an_ensembles_moments_are_those_of_the_mixture(batch, generator):
    model = TransitionModel(D, A, "ensemble", std_range=(0.1, 1.0))
    drawn = th.stack([model.sample(*batch, generator) for _ in range(4000)])
    mean, std = model(*batch)
    assert th.allclose(drawn.mean(dim=0), mean, atol=0.05)
    assert th.allclose(drawn.std(dim=0), std, atol=0.05)
    assert mean.var(dim=0).max() > 0


def test_an_ensemble_samples_one_member_for_the_whole_batch(batch, generator):
    model = TransitionModel(D, A, "ensemble", std_range=(1e-9, 2e-9))
    members = model.members(*batch).mean
    drawn = [model.sample(*batch, generator) for _ in range(50)]
    who = [(members - sample).abs().amax(dim=(1, 2)).argmin().item() for sample in drawn]
    for sample, member in zip(drawn, who, strict=True):
        assert th.allclose(sample, members[member], atol=1e-6)
    assert set(who) == set(range(5))


def test_sampling_repeats_with_its_generator_only(batch):
    model = TransitionModel(D, A, "ensemble")
    first, again = (model.sample(*batch, th.Generator().manual_seed(3)) for _ in range(2))
    th.manual_seed(99)
    assert th.equal(first, again)
    assert th.equal(first, model.sample(*batch, th.Generator().manual_seed(3)))
    assert not th.equal(first, model.sample(*batch, th.Generator().manual_seed(4)))
    assert first.grad_fn is not None


@pytest.mark.parametrize("kind", ["gaussian", "deterministic", "ensemble"])
def test_likelihood_is_the_members_mean_and_spares_the_target(kind, batch):
    model = TransitionModel(D, A, kind)
    z, action = batch[0].clone().requires_grad_(), batch[1]
    next_z = th.ones(B, D, requires_grad=True)
    loss = model.negative_log_likelihood(model.members(z, action), next_z)
    mean, std = model.members(z, action)
    each = [gaussian_nll(m, s, next_z) for m, s in zip(mean, std, strict=True)]
    assert loss.item() == pytest.approx(th.stack(each).mean().item(), rel=1e-5)
    loss.backward()
    assert next_z.grad is None
    assert z.grad.abs().sum() > 0
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_the_likelihood_finds_mean_and_spread(generator):
    model = TransitionModel(1, 1, hidden=32, std_range=(1e-3, 10))
    z, action = th.ones(512, 1), th.ones(512, 1)
    next_z = 2 + 0.5 * th.randn(512, 1, generator=generator)
    optimizer = th.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(300):
        optimizer.zero_grad()
        model.negative_log_likelihood(model.members(z, action), next_z).backward()
        optimizer.step()
    mean, std = model(z[:1], action[:1])
    assert mean.item() == pytest.approx(next_z.mean().item(), abs=0.02)
    assert std.item() == pytest.approx(next_z.std().item(), abs=0.02)


def test_each_action_stacks_one_hot_predictions(batch):
    model = TransitionModel(D, 4, "deterministic", hidden=16)
    z = batch[0]
    stacked = model.each_action(z)
    assert stacked.shape == (4, B, D)
    for action in range(4):
        one_hot = nn.functional.one_hot(th.full((B,), action), 4).float()
        assert th.allclose(stacked[action], model(z, one_hot).mean, atol=1e-6)


def test_forward_and_inverse_models_of_interactions_have_the_papers_sizes():
    # Latent of 128, 4 actions, one hidden layer of 256.
    forward = TransitionModel(128, 4, "deterministic", hidden=256, layer_norm=False)
    inverse = InverseModel(128, 4, hidden=(256,), activation=nn.ReLU)
    assert sum(p.numel() for p in forward.parameters()) == 66944
    assert sum(p.numel() for p in inverse.parameters()) == 66820


def test_reward_models(batch):
    z, action = batch
    assert RewardModel(D)(z).shape == (B,)
    assert RewardModel(D, A)(z, action).shape == (B,)
    with pytest.raises(ValueError, match="made with action_dim=2, but was given none action"):
        RewardModel(D, A)(z)
    with pytest.raises(ValueError, match="made with action_dim=0, but was given one action"):
        RewardModel(D)(z, action)
    model = GaussianRewardModel(D)
    mean, std = model(1e3 * z)
    assert mean.shape == std.shape == (B,)
    assert ((std >= 1e-4) & (std <= 1)).all()


def test_inverse_and_pair_models(batch):
    z, action = batch
    inverse = InverseModel(D, A)
    assert inverse(z, z + 1).shape == action.shape
    assert [layer.out_features for layer in inverse if isinstance(layer, nn.Linear)] == [256, 128, A]
    pair = PairModel(D)
    distance = pair(z, z.flip(0))
    assert distance.shape == (B,)
    assert (distance >= 0).all()
    raw = nn.Sequential(*pair)(th.cat([z, z.flip(0)], dim=1)).squeeze(-1)
    assert th.allclose(distance, raw.square())


def test_balance_scales_the_halves():
    balance = Balance()
    assert balance.weights().tolist() == [0.5, 0.5]
    with th.no_grad():
        balance.eta[1] = math.log(3)
    assert balance.weights().tolist() == pytest.approx([0.25, 0.75])
    z = th.tensor([[4.0, 8.0, 4.0, 8.0]])
    scaled = balance(z)
    assert scaled.tolist() == [pytest.approx([1, 2, 3, 6])]
    scaled[0, 3].backward()
    assert balance.eta.grad.abs().sum() > 0
    with pytest.raises(ValueError, match="a reward half and a dynamics half"):
        balance(z[:, :3])


@pytest.mark.parametrize("kind", ["gaussian", "ensemble"])
def test_results_are_single_precision_under_autocast(kind, batch, generator):
    model, reward = TransitionModel(D, A, kind), GaussianRewardModel(D)
    with th.autocast("cpu", dtype=th.bfloat16):
        results = [
            *model(*batch),
            model.sample(*batch, generator),
            model.negative_log_likelihood(model.members(*batch), batch[0]),
            *reward(batch[0]),
            RewardModel(D)(batch[0]),
            PairModel(D)(batch[0], batch[0]),
            InverseModel(D, A)(batch[0], batch[0]),
        ]
    assert all(result.dtype == th.float32 and result.isfinite().all() for result in results)
    assert th.allclose(results[0], model(*batch).mean, atol=0.05)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: TransitionModel(D, A, "probabilistic"), "kind must be one of"),
        (lambda: TransitionModel(0, A), "latent_dim must be at least 1, got 0"),
        (lambda: TransitionModel(D, A, std_range=(0, 1)), "std_range must rise from above 0"),
        (lambda: TransitionModel(D, A)(th.ones(B, D + 1), th.ones(B, A)), r"z must be float\[5, 3\]"),
        (lambda: TransitionModel(D, A)(th.ones(B, D), th.ones(B, 1).long()), "must be one-hot"),
        (lambda: PairModel(D, hidden=0), "hidden must be at least 1"),
        (lambda: InverseModel(D, 0), "action_dim must be at least 1"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
