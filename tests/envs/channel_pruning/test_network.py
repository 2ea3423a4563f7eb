"""The network that is pruned: what its layers compute, what trains what, and removal that equals masking."""

import pytest
import torch as th
from torch.nn import functional as F

from bisimgym.envs.channel_pruning.budgets import Backbone, ConvLayer
from bisimgym.envs.channel_pruning.masks import permanent_keep
from bisimgym.envs.channel_pruning.network import GatedNetwork, removed

BACKBONE = Backbone((2, 6, 6), (ConvLayer(2, 6), ConvLayer(6, 8, 2), ConvLayer(8, 5)), classes=3)


@pytest.fixture
def network():
    th.manual_seed(0)
    made = GatedNetwork(BACKBONE)
    images, labels = th.randn(32, 2, 6, 6), th.randint(3, (32,))
    for shift, latent in zip(made.shifts, made.latents, strict=True):
        th.nn.init.normal_(shift)
        th.nn.init.normal_(latent)
    for _ in range(3):
        made.train()(images)  # running statistics
    made.release_static(images, labels)
    return made.eval()


def test_a_layer_by_hand(network):
    features, keep = th.randn(4, 2, 6, 6), th.tensor([[True, False, True, True, False, True]]).repeat(4, 1)
    runtime = network.runtime_importance(0, features)
    predictor, norm = network.predictors[0], network.norms[0]
    th.testing.assert_close(runtime, features.mean(dim=(2, 3)) @ predictor.weight.T + predictor.bias)
    normed = network.convs[0](features) - norm.running_mean[:, None, None]
    normed = normed / (norm.running_var + norm.eps).sqrt()[:, None, None]
    static = network.static_importance(0)
    unified = th.where((runtime < 0) & (static < 0), -runtime * static, runtime * static)
    expected = F.relu(normed * unified[..., None, None] + network.shifts[0][:, None, None])
    expected[:, ~keep[0]] = 0
    th.testing.assert_close(network.layer(0, features, runtime, keep), expected)


def test_static_importance_is_one_until_it_is_released_and_knows_no_image(network):
    fresh = GatedNetwork(BACKBONE)
    assert (fresh.static_importance(1) == 1).all()
    before = [network.static_importance(i) for i in range(3)]
    network(th.randn(8, 2, 6, 6))
    for one, two in zip(before, (network.static_importance(i) for i in range(3)), strict=True):
        th.testing.assert_close(one, two, rtol=0, atol=0)
        assert len(one.unique()) > 1


def test_which_parameters_the_loss_trains(network):
    def trained(made):
        made.zero_grad()
        half = th.arange(8)[None] < 4

        def rule(index, _, runtime, static):
            assert not runtime.requires_grad
            assert not static.requires_grad
            return half[:, : runtime.shape[1]].expand_as(runtime)

        F.cross_entropy(made(th.randn(16, 2, 6, 6), rule)[0], th.randint(3, (16,))).backward()
        groups = {name.split(".")[0] for name, value in made.named_parameters() if value.grad is not None}
        assert (made.shifts[1].grad[4:] == 0).all()  # what is switched off is not trained
        return groups

    always = {"convs", "predictors", "shifts", "classifier"}
    assert trained(GatedNetwork(BACKBONE)) == always
    assert trained(network) == always | {"static", "latents"}


def test_removed_channels_equal_masked_ones(network):
    keeps = [permanent_keep(network.static_importance(i).detach(), 0.4, 0.0) for i in range(3)]
    assert [int(keep.sum()) for keep in keeps] == [3, 4, 2]
    images = th.randn(10, 2, 6, 6)
    masked, counts = network(images, lambda index, _, runtime, static: keeps[index].expand_as(runtime))
    small = removed(network, keeps)
    logits, _ = small(images)
    th.testing.assert_close(logits, masked, rtol=1e-5, atol=1e-6)
    assert (logits - network(images)[0]).abs().max() > 1e-3
    assert counts.tolist() == [[3, 4, 2]] * 10
    assert small.backbone.channels.tolist() == [3, 4, 2]
    weights = sum(conv.weight.numel() for conv in small.convs)
    assert weights == BACKBONE.cost("parameters", [3, 4, 2])


def test_a_layer_cannot_be_removed_whole(network):
    keeps = [th.ones(6, dtype=th.bool), th.zeros(8, dtype=th.bool), th.ones(5, dtype=th.bool)]
    with pytest.raises(ValueError, match=r"every layer must keep one of its \[6, 8, 5\] channels .*0 of 8"):
        removed(network, keeps)
