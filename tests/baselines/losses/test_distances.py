import math

import pytest
import torch as th

from bisimgym.baselines.losses import (
    cosine_distance,
    gaussian_w2,
    huber,
    l1_distance,
    l2_distance,
    mico_distance,
    rap_distance,
    safe_angle,
)
from bisimgym.baselines.losses.distances import deviation, pairs, safe_sqrt

X = th.tensor([[3.0, 4.0], [0.0, 2.0]])
Y = th.tensor([[4.0, -3.0], [0.0, 5.0]])
DISTANCES = {
    "l1": l1_distance,
    "l2": l2_distance,
    "w2": lambda x, y: gaussian_w2(x, x.abs(), y, y.abs()),
    "w2 mean": lambda x, y: gaussian_w2(x, x.abs(), y, y.abs(), reduction="mean"),
    "angle": safe_angle,
    "mico": mico_distance,
    "rap": rap_distance,
    "cosine": cosine_distance,
}


def test_by_hand():
    assert huber(th.tensor([0.5, -1.0, 3.0])).tolist() == [0.125, 0.5, 2.5]
    assert l1_distance(X, Y).tolist() == [8, 3]
    assert l2_distance(X, Y).tolist() == pytest.approx([math.sqrt(50), 3])
    assert safe_angle(X, Y).tolist() == pytest.approx([math.pi / 2, 0])
    assert cosine_distance(X, Y).tolist() == pytest.approx([1, 0])
    assert mico_distance(X, Y).tolist() == pytest.approx([25 + 0.05 * math.pi, (4 + 25) / 2])
    assert mico_distance(X, Y, beta=2, norm_factor=1).tolist() == pytest.approx([50 + math.pi, 29])
    assert rap_distance(X, Y, beta=0.5).tolist() == pytest.approx([50 + math.pi / 4, 29])
    assert rap_distance(X, Y)[0] == 50 + 1e-5 * math.pi / 2
    assert safe_angle(X, -X).tolist() == pytest.approx([math.pi, math.pi])


def test_w2_of_gaussians_by_hand_and_its_reductions():
    mean, std = th.tensor([0.0, 3.0]), th.tensor([1.0, 1.0])
    other_mean, other_std = th.tensor([4.0, 3.0]), th.tensor([4.0, 2.0])
    assert gaussian_w2(mean, std, other_mean, other_std) == pytest.approx(math.sqrt(16 + 9 + 1))
    assert gaussian_w2(mean, std, other_mean, other_std, "rms") == pytest.approx(math.sqrt(26 / 2))
    assert gaussian_w2(mean, std, other_mean, other_std, "mean") == pytest.approx((5 + 1) / 2)
    zero = th.zeros(2)
    assert gaussian_w2(mean, zero, other_mean, zero) == l2_distance(mean, other_mean)


def test_w2_is_what_optimal_transport_makes_of_samples():
    # In one dimension the cheapest coupling pairs sorted samples.
    generator = th.Generator().manual_seed(0)
    quantiles = th.erfinv(2 * (th.arange(20000, dtype=th.float64) + 0.5) / 20000 - 1) * math.sqrt(2)
    a, s, b, t = th.rand(4, 1, generator=generator, dtype=th.float64)
    empirical = ((a + s * quantiles) - (b + t * quantiles)).square().mean().sqrt()
    assert gaussian_w2(a, s, b, t) == pytest.approx(empirical.item(), rel=1e-3)


@pytest.mark.parametrize("name", DISTANCES)
def test_all_pairs_equal_single_ones(name):
    generator = th.Generator().manual_seed(0)
    x, y = th.randn(5, 3, generator=generator), th.randn(4, 3, generator=generator)
    together = DISTANCES[name](x[:, None], y[None])
    assert together.shape == (5, 4)
    one_by_one = th.stack([DISTANCES[name](x, y[[j]].expand(5, 3)) for j in range(4)], dim=1)
    assert th.allclose(together, one_by_one, atol=1e-5)


@pytest.mark.parametrize("name", DISTANCES)
def test_gradients_equal_finite_differences(name):
    generator = th.Generator().manual_seed(0)
    x, y = (th.randn(4, 3, generator=generator, dtype=th.float64, requires_grad=True) for _ in range(2))
    assert th.autograd.gradcheck(DISTANCES[name], (x, y))
    assert th.autograd.gradcheck(lambda x, y: DISTANCES[name](x[:, None], y[None]), (x, y))


@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.parametrize("dtype", [th.float32, th.float64])
def test_gradients_are_finite_where_embeddings_coincide_or_vanish(name, dtype):
    generator = th.Generator().manual_seed(0)
    x = th.randn(4, 3, generator=generator, dtype=dtype)
    # Zero; the same; the same direction; the opposite one; so small that its square underflows.
    x = th.cat([x, th.zeros(2, 3, dtype=dtype), x[:1], 3 * x[:1], -x[:1], 1e-25 * x[:1]]).requires_grad_()
    distance = DISTANCES[name](x[:, None], x[None])
    distance.sum().backward()
    assert distance.isfinite().all()
    assert x.grad.isfinite().all()
    assert x.grad.abs().max() < 1e3


@pytest.mark.parametrize("dtype", [th.float32, th.float64])
def test_parallel_vectors_have_angle_zero_and_no_gradient(dtype):
    x = th.randn(1000, 256, generator=th.Generator().manual_seed(0), dtype=dtype, requires_grad=True)
    same, opposite = safe_angle(x, 2 * x), safe_angle(x, -x)
    assert same.abs().max() == 0
    assert opposite.sub(math.pi).abs().max() < 1e-6
    (same + opposite).sum().backward()
    assert x.grad.abs().max() == 0


def test_small_angles_keep_their_gradient():
    x = th.tensor([[1.0, 0.0]])
    y = th.tensor([[math.cos(0.01), math.sin(0.01)]], requires_grad=True)
    angle = safe_angle(x, y)
    angle.sum().backward()
    assert angle.item() == pytest.approx(0.01, rel=1e-3)
    assert (y.grad[0, 1] / math.cos(0.01)).item() == pytest.approx(1, rel=1e-3)


def test_next_to_zero_the_angle_is_right_and_has_no_gradient():
    x = th.zeros(1, 3, requires_grad=True)
    y = th.ones(1, 3, requires_grad=True)
    angle = safe_angle(x, y)
    angle.sum().backward()
    assert angle.item() == pytest.approx(math.pi / 2)
    assert cosine_distance(x, y).item() == 1
    assert x.grad.abs().max() == 0
    assert y.grad.abs().max() == 0


def test_safe_square_root():
    x = th.tensor([4.0, 0.0, -1.0], requires_grad=True)
    root = safe_sqrt(x)
    root.sum().backward()
    assert root.tolist() == [2, 0, 0]
    assert x.grad.tolist() == [0.25, 0, 0]


@pytest.mark.parametrize("name", DISTANCES)
def test_distances_are_computed_in_single_precision_whatever_autocast_says(name):
    x = th.randn(6, 8, generator=th.Generator().manual_seed(0))
    expected = DISTANCES[name](x[:, None], x[None])
    with th.autocast("cpu", dtype=th.bfloat16):
        assert th.equal(DISTANCES[name](x[:, None], x[None]), expected)
    half = x.bfloat16()
    assert th.equal(DISTANCES[name](half, half.flip(0)), DISTANCES[name](half.float(), half.float().flip(0)))


def test_pairs_of_rows_and_all_pairs():
    x = th.arange(3.0)
    assert [side.tolist() for side in pairs(x, th.tensor([2, 1, 0]))] == [[0, 1, 2], [2, 1, 0]]
    i, j = pairs(x, None)
    assert (10 * i + j).tolist() == [[0, 1, 2], [10, 11, 12], [20, 21, 22]]
    stacked = th.stack([x, 10 * x])
    i, j = pairs(stacked, None, dim=1)
    assert (i - j)[1].tolist() == [[0, -10, -20], [10, 0, -10], [20, 10, 0]]


def test_options_are_named():
    with pytest.raises(ValueError, match=r"reduction must be one of \['norm', 'rms', 'mean'\], got 'sum'"):
        gaussian_w2(X, X, Y, Y, reduction="sum")
    with pytest.raises(ValueError, match="outer must be one of"):
        deviation(X, "l1")
    assert deviation(th.tensor([3.0, 0.0]), "square") == 4.5
    assert deviation(th.tensor([3.0, 0.0]), "huber") == 1.25
