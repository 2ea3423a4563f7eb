"""What holds for all losses: gradients, shapes, precision, no waiting for the device."""

import pytest
import torch as th

from bisimgym.baselines.ambs import (
    PairModel,
    ambs_loss,
    two_view_distances,
)
from bisimgym.baselines.dbc import dbc_loss
from bisimgym.baselines.losses import cap_norm, gaussian_nll, norm_radius, reward_prediction_loss
from bisimgym.baselines.mico import mico_loss
from bisimgym.baselines.rap import rap_loss
from bisimgym.baselines.recursive_similarity import interaction_loss, recursive_similarity_loss
from bisimgym.baselines.robust_dbc import intrinsic_reward, inverse_dynamics_loss, robust_dbc_loss
from bisimgym.baselines.simsr import simsr_loss

#: loss by name: (function, arguments after the embeddings). Shapes are those of :func:`arguments`.
LOSSES = {
    "dbc": (dbc_loss, ("reward", "next_mean", "next_std")),
    "dbc original": (lambda *a, **k: dbc_loss(*a, form="original", **k), ("reward", "next_mean", "next_std")),
    "dbc study": (lambda *a, **k: dbc_loss(*a, form="study", clamp=50.0, **k), ("reward", "next_mean", "next_std")),
    "robust dbc": (robust_dbc_loss, ("reward", "next_mean", "next_std")),
    "robust dbc study": (lambda *a, **k: robust_dbc_loss(*a, norm="study", **k), ("reward", "next_mean", "next_std")),
    "robust dbc l1": (lambda *a, **k: robust_dbc_loss(*a, norm="l1", **k), ("reward", "next_mean", "next_std")),
    "robust dbc l1-original": (
        lambda *a, **k: robust_dbc_loss(*a, norm="l1-original", **k),
        ("reward", "next_mean", "next_std"),
    ),
    "robust dbc l2": (lambda *a, **k: robust_dbc_loss(*a, norm="l2", **k), ("reward", "next_mean", "next_std")),
    "mico": (mico_loss, ("reward", "next_mean")),
    "rap": (rap_loss, ("reward", "reward_std", "next_mean")),
    "rap square": (lambda *a, **k: rap_loss(*a, outer="square", **k), ("reward", "reward_std", "next_mean")),
    "simsr": (simsr_loss, ("reward", "next_mean")),
    "recursive similarity": (recursive_similarity_loss, ("base_z", "next_each")),
    "recursive similarity max": (
        lambda *a, **k: recursive_similarity_loss(*a, reduction="max", outer="square", **k),
        ("base_z", "next_each"),
    ),
}


def arguments(batch=6, dim=4, dtype=th.float32):
    generator = th.Generator().manual_seed(0)

    def normal(*shape):
        return th.randn(*shape, generator=generator, dtype=th.float64).to(dtype)

    return {
        "z": normal(batch, dim),
        "reward": normal(batch),
        "reward_std": normal(batch).abs() / 4,
        "next_mean": normal(batch, dim),
        "next_std": normal(batch, dim).abs(),
        "base_z": normal(batch, 3),
        "next_each": normal(5, batch, dim),
    }


def call(name, given, other, **options):
    function, names = LOSSES[name]
    return function(given["z"], *(given[n] for n in names), other, **options)


@pytest.mark.parametrize("name", LOSSES)
def test_all_pairs_are_the_mean_of_all_permutations(name):
    given = arguments()
    size = len(given["z"])
    shifts = [call(name, given, th.arange(size).roll(k)) for k in range(size)]
    everything = call(name, given, None)
    assert everything.distance.shape == everything.target.shape == (size * size,)
    assert everything.loss.item() == pytest.approx(sum(s.loss.item() for s in shifts) / size, rel=1e-5)
    assert everything.target.mean().item() == pytest.approx(sum(s.target.mean().item() for s in shifts) / size)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("every", [False, True])
def test_gradients_flow_into_both_sides_of_embeddings_only(name, every):
    given = {n: tensor.requires_grad_() for n, tensor in arguments().items()}
    other = None if every else th.tensor([3, 4, 5, 0, 0, 0])
    result = call(name, given, other)
    assert not result.distance.requires_grad
    assert not result.target.requires_grad
    result.loss.backward()
    assert (given["z"].grad.abs().sum(dim=1) > 0).all()
    assert all(tensor.grad is None for n, tensor in given.items() if n != "z")
    # Row 1 learns as a first argument only, row 3 as a second one too.
    if not every:
        function_of = given["z"].detach().clone().requires_grad_()
        frozen = given["z"].detach()
        first_only = {**given, "z": th.cat([frozen[:1], function_of[1:2], frozen[2:]])}
        call(name, first_only, other).loss.backward()
        assert th.allclose(function_of.grad[1], given["z"].grad[1], atol=1e-6)


def test_micos_second_argument_can_be_left_out():
    given = arguments(2)
    z = given["z"].requires_grad_()
    mico_loss(z, given["reward"], given["next_mean"], th.tensor([1, 1]), second_z=z).loss.backward()
    first = z.grad.clone()
    z.grad = None
    mico_loss(z, given["reward"], given["next_mean"], th.tensor([1, 1])).loss.backward()
    assert th.allclose(first[0], z.grad[0])
    assert not th.allclose(first[1], z.grad[1])


def test_ambs_trains_the_meta_learners_and_the_embeddings_only():
    given = arguments()
    th.manual_seed(0)
    z, other = given["z"].requires_grad_(), th.arange(6).roll(1)
    rewards, dynamics = PairModel(4), PairModel(4)
    balance = th.tensor([0.3, 0.7], requires_grad=True)
    sources = [given[n].requires_grad_() for n in ("reward", "next_mean", "next_std")]
    distances = [two_view_distances(m, z, z + 0.1, other) for m in (rewards, dynamics)]
    ambs_loss(*distances, balance, *sources, other).loss.backward()
    assert (z.grad.abs().sum(dim=1) > 0).all()
    assert all(p.grad.abs().sum() > 0 for m in (rewards, dynamics) for p in m.parameters())
    assert all(tensor.grad is None for tensor in (balance, *sources))


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_finite_for_equal_and_zero_embeddings(name):
    for value in (0.0, 0.3):
        given = {n: th.full_like(tensor, value) for n, tensor in arguments().items()}
        given["z"].requires_grad_()
        for other in (None, th.arange(6)):
            loss = call(name, given, other).loss
            (gradient,) = th.autograd.grad(loss, given["z"])
            assert loss.isfinite()
            assert gradient.isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_computed_in_single_precision_whatever_autocast_says(name):
    given = arguments()
    expected = call(name, given, None).loss
    with th.autocast("cpu", dtype=th.bfloat16):
        assert th.equal(call(name, given, None).loss, expected)
    half = call(name, {n: tensor.bfloat16() for n, tensor in given.items()}, None)
    assert half.loss.dtype == half.distance.dtype == th.float32
    assert half.loss.item() == pytest.approx(expected.item(), rel=0.05)


@pytest.mark.parametrize("name", LOSSES)
def test_nothing_waits_for_the_device(name):
    # Tensors of the meta device have no values: looking at one, or branching on it, raises.
    given = {n: tensor.to("meta").requires_grad_() for n, tensor in arguments().items()}
    for other in (None, th.arange(6, device="meta")):
        call(name, given, other).loss.backward()
    assert given["z"].grad.shape == given["z"].shape


def test_no_other_loss_waits_for_the_device_either():
    meta = th.ones(6, 4, device="meta", requires_grad=True)
    row = meta[:, 0]
    other = th.arange(6, device="meta")
    pair = PairModel(4).to("meta")
    distances = two_view_distances(pair, meta, meta, other)
    losses = [
        ambs_loss(distances, distances, th.ones(2, device="meta"), row, meta, meta, other).loss,
        reward_prediction_loss(row, row),
        gaussian_nll(meta, meta, meta),
        inverse_dynamics_loss(meta, meta),
        interaction_loss(meta, th.zeros(6, dtype=th.int64, device="meta"), meta, meta),
        cap_norm(meta, 1.0).sum(),
    ]
    sum(losses).backward()
    assert intrinsic_reward(meta, meta).shape == (6,)


@pytest.mark.parametrize("name", LOSSES)
def test_wrong_shapes_are_refused(name):
    given = arguments()
    other = th.arange(6)
    for argument in ("z", *LOSSES[name][1]):
        for wrong in (given[argument][:, None], given[argument][..., None], given[argument].long()):
            with pytest.raises(ValueError, match=rf"^{argument[:4]}\w* must be float"):
                call(name, {**given, argument: wrong}, other)
    with pytest.raises(ValueError, match=r"permutation must be int64\[6\]"):
        call(name, given, other[:5])
    with pytest.raises(ValueError, match=r"permutation must be int64\[6\]"):
        call(name, given, other.float())
    for discount in (1.5, -0.1, th.full((6, 1), 0.9)):
        with pytest.raises(ValueError, match=r"discount must be a number in \[0, 1\]"):
            call(name, given, other, discount=discount)


def test_a_reward_column_is_refused_with_the_fix():
    given = arguments()
    with pytest.raises(ValueError, match=r"got torch.float32 of shape \(6, 1\): use reward.squeeze\(-1\)"):
        call("robust dbc l1", {**given, "reward": given["reward"][:, None]}, th.arange(6))


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda z, o: dbc_loss(z, z[:, 0], z, z, o, form="code"), "form must be one of"),
        (lambda z, o: dbc_loss(z, z[:, 0], z, z, o, clamp=0.0), "clamp must be positive"),
        (lambda z, o: robust_dbc_loss(z, z[:, 0], z, z, o, norm="L1"), "norm must be one of"),
        (lambda z, o: rap_loss(z, z[:, 0], z[:, 0], z, o, outer="l1"), "outer must be one of"),
        (lambda z, o: recursive_similarity_loss(z, z, z[None], o, reduction="sum"), "reduction must be one of"),
        (lambda z, o: cap_norm(z, 0.0), "radius must be positive"),
        (lambda z, o: cap_norm(z, 1.0, order=3), "order must be 1 or 2"),
        (lambda z, o: norm_radius(1.0), "discount must be below 1"),
        (lambda z, o: intrinsic_reward(z, z, cap=0.0), "cap must be positive"),
        (lambda z, o: intrinsic_reward(z[0], z[0]), r"next_mean must be float\[B, D\]"),
        (lambda z, o: inverse_dynamics_loss(z, z[:, :1]), r"action must be float\[6, 4\]"),
        (lambda z, o: reward_prediction_loss(z[:, :1], z[:, 0]), r"predicted must be float\[B\]"),
        (lambda z, o: reward_prediction_loss(z[:, 0], z[:, :1]), r"use reward.squeeze\(-1\)"),
        (lambda z, o: gaussian_nll(z, z[:1], z), r"std must be float\[6, 4\]"),
        (lambda z, o: interaction_loss(z, o[:, None], z, z), r"action must be int64\[6\]"),
        (lambda z, o: interaction_loss(z, o, z, z, 1.2), r"inverse_weight must be in \[0, 1\]"),
        (lambda z, o: interaction_loss(z[0], o, z, z), r"predicted_action must be float\[B, A\]"),
        (lambda z, o: ambs_loss(z[0], z[0], z[0, :2], z[:, 0], z, z, o), r"must be float\[views, B\]"),
        (lambda z, o: ambs_loss(z.T, z.T, z[0], z[:, 0], z, z, o), r"balance must be float\[2\]"),
        (lambda z, o: ambs_loss(z.T, z.T, z[0, :2], z[:, :1], z, z, o), r"use reward.squeeze\(-1\)"),
        (lambda z, o: ambs_loss(z.T, z.T, z[0, :2], z[:, 0], z, z, o[:2]), r"permutation must be int64\[6\]"),
        (lambda z, o: ambs_loss(z.T, z.T, z[0, :2], z[:, 0], z, z, o, 2.0), "discount must be a number"),
    ],
)
def test_bad_input_is_named(run, message):
    with pytest.raises(ValueError, match=message):
        run(arguments()["z"], th.arange(6))


def test_what_gradients_flow_into():
    """The next embedding of interaction-based representations, but no bonus and no reward."""
    z, action, predicted = th.randn(3, 2), th.zeros(3, dtype=th.int64), th.randn(3, 4, requires_grad=True)
    next_z = th.randn(3, 4, requires_grad=True)
    interaction_loss(z, action, predicted, next_z, inverse_weight=0.0).backward()
    th.testing.assert_close(next_z.grad, -predicted.grad)
    assert (next_z.grad != 0).all()
    assert not intrinsic_reward(predicted, next_z).requires_grad
    reward, guess = th.randn(3, requires_grad=True), th.randn(3, requires_grad=True)
    reward_prediction_loss(guess, reward).backward()
    assert reward.grad is None
    assert (guess.grad != 0).all()
