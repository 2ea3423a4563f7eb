"""Which channels are kept: counts, ties, the trade-off of both agents and its identity."""

import pytest
import torch as th

from bisimgym.envs.channel_pruning import masks


def keep_of(runtime, static, runtime_ratio, static_ratio, trust, rule="ceil"):
    rows = len(runtime)
    ratios = th.full((rows,), runtime_ratio), th.full((rows,), static_ratio)
    return masks.trade_off_keep(runtime, static, *ratios, trust, rule)


def test_counts_by_both_rules():
    ratios = th.tensor([0.01, 0.5, 0.51, 0.7, 1.0])
    assert masks.kept_count(ratios, 10).tolist() == [1, 5, 6, 7, 10]
    assert masks.kept_count(ratios.double(), 10).tolist() == [1, 5, 6, 7, 10]
    assert masks.kept_count(ratios, 10, "floor_plus_one").tolist() == [1, 6, 6, 8, 10]
    with pytest.raises(ValueError, match="kept_count must be one of .*'round'"):
        masks.kept_count(ratios, 10, "round")


def test_of_equal_channels_the_first_go():
    keep = keep_of(th.zeros(1, 4), th.zeros(4), 0.5, 1.0, 1.0)
    assert keep.tolist() == [[False, False, True, True]]


@pytest.mark.parametrize("trust", [0.0, 0.25, 0.5, 1.0])
@pytest.mark.parametrize(("runtime_ratio", "static_ratio"), [(0.5, 0.5), (0.75, 0.25), (0.25, 1.0)])
def test_the_kept_fraction_is_the_mean_of_both_ratios_whatever_they_overlap(trust, runtime_ratio, static_ratio):
    channels = 64
    generator = th.Generator().manual_seed(0)
    runtime, static = th.randn(40, channels, generator=generator), th.randn(channels, generator=generator)
    for importance in (runtime, static.expand(40, -1), -static.expand(40, -1)):  # some, full and least overlap
        kept = keep_of(importance, static, runtime_ratio, static_ratio, trust).sum(dim=1)
        identity = channels * (trust * runtime_ratio + (1 - trust) * static_ratio)
        assert (kept >= identity - 1e-6).all()  # both floors leave channels in
        assert (kept < identity + 2).all()


def test_full_trust_is_one_agent_alone():
    generator = th.Generator().manual_seed(1)
    runtime, static = th.randn(5, 10, generator=generator), th.randn(10, generator=generator)
    assert (keep_of(runtime, static, 0.3, 0.5, 1.0) == (masks.ranks(runtime) >= 7)).all()
    assert (keep_of(runtime, static, 0.3, 0.5, 0.0) == (masks.ranks(static) >= 5)).all()


def test_one_channel_always_stays():
    generator = th.Generator().manual_seed(2)
    for trust in (0.0, 0.3, 0.5, 1.0):
        keep = keep_of(th.randn(50, 5, generator=generator), th.randn(5, generator=generator), 0.01, 0.01, trust)
        assert keep.any(dim=1).all()
    permanent = masks.permanent_keep(th.arange(4.0), 0.01, 0.0)
    assert permanent.tolist() == [False, False, False, True]
    assert masks.inference_keep(th.zeros(1, 4), permanent, th.tensor([0.01]), 1.0).tolist() == [permanent.tolist()]


def test_the_example_of_removal_that_training_did_not_prune():
    # 20 channels in the order of their static importance; the runtime agent marks 4 to 13.
    runtime = th.ones(1, 20)
    runtime[0, 4:14] = th.arange(10.0) / 100
    trained = keep_of(runtime, th.arange(20.0), 0.5, 0.5, 0.5)
    assert th.where(~trained[0])[0].tolist() == [0, 1, *range(4, 12)]
    permanent = masks.permanent_keep(th.arange(20.0), 0.5, 0.5)
    assert th.where(~permanent)[0].tolist() == [0, 1, 2, 3, 4]
    kept = masks.inference_keep(runtime, permanent, th.tensor([0.5]), 0.5)
    assert not (kept & ~permanent).any()
    assert int(kept.sum()) == int(trained.sum()) == 10


def test_unified_importance_of_two_negative_factors_is_negative():
    runtime, static = th.tensor([[2.0, -2.0, 2.0, -2.0]], requires_grad=True), th.tensor([3.0, 3.0, -3.0, -3.0])
    unified = masks.unified_importance(runtime, static)
    assert unified.tolist() == [[6.0, -6.0, -6.0, -6.0]]
    unified.sum().backward()
    assert runtime.grad.tolist() == [[3.0, 3.0, -3.0, 3.0]]


def test_features_of_filters_by_hand():
    weight = th.tensor([[3.0, 4.0], [0.0, 0.0], [3.0, 2.0]]).reshape(3, 2, 1, 1)
    found = masks.filter_features(weight, th.ones_like(weight))
    th.testing.assert_close(found[:, 0], th.tensor([5.0, 0.0, 13.0**0.5]))
    th.testing.assert_close(found[:, 1], th.tensor([5.0**0.5, 8.0**0.5, 1.0]))
    th.testing.assert_close(found[:, 2], th.tensor([25.0, 0.0, 13.0]) / (794.0**0.5 + 1e-3))


def test_the_geometric_median_has_the_least_distance():
    weight = th.tensor([0.0, 1.0, 5.0]).reshape(3, 1, 1, 1)
    assert masks.median_distances(weight).tolist() == [6.0, 5.0, 9.0]
