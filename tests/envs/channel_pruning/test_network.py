"""The network that is pruned: what its layers compute, what trains what, and removal that equals masking."""

import pytest
import torch as th
from torch.nn import functional as F

from bisimgym.envs.channel_pruning.backbones import residual_blocks, separable
from bisimgym.envs.channel_pruning.budgets import Backbone, ConvLayer, stored_parameters
from bisimgym.envs.channel_pruning.masks import permanent_keep
from bisimgym.envs.channel_pruning.network import GatedNetwork, inputs_read, removed
from bisimgym.envs.channel_pruning.stored import from_torchvision

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
    made.release_static(images.numpy(), labels.numpy())
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


TINY = {
    "residual": Backbone(
        (3, 20, 20),
        (ConvLayer(3, 4, 2, 3, 7, pool=True), *residual_blocks(4, 4, 1, 1), *residual_blocks(4, 6, 2, 2)),
        3,
    ),
    "separable": Backbone((3, 12, 12), separable((4, 6, 8), (1, 2)), 3),
}


@pytest.fixture(params=TINY)
def tiny(request):
    th.manual_seed(1)
    made = GatedNetwork(TINY[request.param])
    images = th.randn(24, *made.backbone.image)
    for _ in range(3):
        made.train()(images)
    for shift in made.shifts:
        th.nn.init.normal_(shift)
    made.release_static(images.numpy(), th.randint(3, (24,)).numpy())
    for latent in made.latents:
        th.nn.init.normal_(latent)
    return made.eval()


def test_groups_are_removed_as_they_are_masked(tiny):
    backbone, keeps = tiny.backbone, {}
    for number, group in enumerate(backbone.groups()):
        keep = th.rand(backbone.layers[group[0]].out_channels) < 0.6
        keep[number % len(keep)] = True
        keeps |= dict.fromkeys(group, keep)
    masks = [keeps[layer] for layer in range(len(keeps))]
    images = th.randn(10, *backbone.image)
    masked, counts = tiny(images, lambda layer, _, runtime, static: masks[layer].expand_as(runtime))
    small = removed(tiny, masks)
    th.testing.assert_close(small(images)[0], masked, rtol=1e-4, atol=1e-5)
    assert (masked - tiny(images)[0]).abs().max() > 1e-3
    assert small.backbone.channels.tolist() == counts[0].tolist() == [int(mask.sum()) for mask in masks]
    weights = [part.weight.numel() for part in small.modules() if isinstance(part, th.nn.Conv2d)]
    assert sum(weights) == backbone.cost("parameters", small.backbone.channels) == small.backbone.cost("parameters")
    stored = sum(weights) + 2 * sum(
        part.num_features for part in small.modules() if isinstance(part, th.nn.BatchNorm2d)
    )
    assert stored_parameters(small.backbone)["network"] == stored + sum(
        p.numel() for p in small.classifier.parameters()
    )


def test_summands_must_keep_the_same_channels():
    network = GatedNetwork(TINY["residual"])
    keeps = [th.ones(int(channels), dtype=th.bool) for channels in network.backbone.channels]
    keeps[0] = th.tensor([True, False, True, True])
    with pytest.raises(ValueError, match=r"layers \[0, 2\] are added together and must keep the same channels"):
        removed(network, keeps)


def test_a_sum_has_the_channels_of_all_summands(tiny):
    backbone = tiny.backbone
    half = {0: [0, 1], 2: [1, 2]}  # stem and second convolution of the first block

    def rule(layer, _, runtime, static):
        keep = th.ones_like(runtime, dtype=th.bool)
        if layer in half and any(len(group) > 1 for group in backbone.groups()):
            keep[:] = False
            keep[:, half[layer]] = True
        return keep

    _, keeps = tiny.passed(th.randn(2, *backbone.image), rule)
    read = [int(inputs_read(backbone, layer, keeps).sum(dim=1)[0]) for layer in range(len(keeps))]
    expected = [layer.in_channels for layer in backbone.layers]
    if "add" in {layer.residual for layer in backbone.layers}:
        expected[1], expected[3], expected[4] = 2, 3, 3
    assert read == expected


class Block(th.nn.Module):
    """A basic block with the names of torchvision's."""

    def __init__(self, before, after, stride):
        super().__init__()
        self.conv1 = th.nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.conv2 = th.nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn1, self.bn2 = th.nn.BatchNorm2d(after), th.nn.BatchNorm2d(after)
        self.downsample = None
        if before != after:
            self.downsample = th.nn.Sequential(
                th.nn.Conv2d(before, after, 1, stride, bias=False), th.nn.BatchNorm2d(after)
            )

    def forward(self, x):
        held = x if self.downsample is None else self.downsample(x)
        return F.relu(held + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


def test_weights_of_torchvision_compute_the_same():
    th.manual_seed(0)
    widths = ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2))
    model = th.nn.ModuleDict({"conv1": th.nn.Conv2d(3, 64, 7, 2, 3, bias=False), "bn1": th.nn.BatchNorm2d(64)})
    for stage, (before, after, stride) in enumerate(widths, start=1):
        model[f"layer{stage}"] = th.nn.Sequential(Block(before, after, stride), Block(after, after, 1))
    model["fc"] = th.nn.Linear(512, 1000)
    for norm in (part for part in model.modules() if isinstance(part, th.nn.BatchNorm2d)):
        for values in (norm.weight, norm.bias, norm.running_mean):
            th.nn.init.normal_(values, 0.2, 0.2)
    images = th.randn(2, 3, 32, 32)  # of another size, which convolutions do not mind
    with th.no_grad():
        x = F.max_pool2d(F.relu(model.eval()["bn1"](model["conv1"](images))), 3, 2, 1)
        for stage in range(1, 5):
            x = model[f"layer{stage}"](x)
        th.testing.assert_close(
            from_torchvision(model.state_dict())(images)[0], model["fc"](x.mean(dim=(2, 3))), rtol=1e-3, atol=1e-4
        )
    with pytest.raises(ValueError, match="no weights of torchvision's resnet18 .*conv1.weight"):
        from_torchvision({})


def test_a_layer_cannot_be_removed_whole(network):
    keeps = [th.ones(6, dtype=th.bool), th.zeros(8, dtype=th.bool), th.ones(5, dtype=th.bool)]
    with pytest.raises(ValueError, match=r"every layer must keep one of its \[6, 8, 5\] channels .*0 of 8"):
        removed(network, keeps)
