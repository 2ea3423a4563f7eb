"""Costs of networks, budgets and their rewards, against the tables of the thesis and of the authors' code."""

import numpy as np
import pytest

from bisimgym.envs.channel_pruning.backbones import BACKBONES
from bisimgym.envs.channel_pruning.budgets import Backbone, ConvLayer, budget_reward, stored_parameters

CIFARNET, DIGITS = BACKBONES["m-cifarnet"], BACKBONES["digits-4"]


def test_costs_of_m_cifarnet_layer_by_layer():
    pairs = [layer.in_channels * layer.out_channels for layer in CIFARNET.layers]
    macs = [1_555_200, 33_177_600, 16_588_800, 33_177_600, 33_177_600, 14_155_776, 21_233_664, 21_233_664]
    weights = [1_728, 36_864, 73_728, 147_456, 147_456, 221_184, 331_776, 331_776]
    assert CIFARNET.output_sizes() == [(30, 30)] * 2 + [(15, 15)] * 3 + [(8, 8)] * 3
    np.testing.assert_array_equal(pairs * CIFARNET.unit_costs("macs"), macs)
    np.testing.assert_array_equal(pairs * CIFARNET.unit_costs("parameters"), weights)
    assert CIFARNET.cost("macs") == 174_299_904
    assert CIFARNET.cost("parameters") == 1_291_968
    assert stored_parameters(CIFARNET)["network"] == 1_296_074


def test_costs_of_the_network_for_digits():
    assert (DIGITS.cost("macs"), DIGITS.cost("parameters")) == (377_856, 16_272)


@pytest.mark.parametrize(
    ("name", "macs", "weights", "parameters"),
    [
        ("resnet-18", 1_813_561_344, 11_166_912, 11_689_512),  # 1,814,073,344 MACs with its classifier
        ("mobilenet-v1", 567_716_352, 3_185_088, 4_231_976),  # 568,740,352
    ],
)
def test_costs_of_the_networks_for_imagenet(name, macs, weights, parameters):
    backbone = BACKBONES[name]
    assert (backbone.cost("macs"), backbone.cost("parameters")) == (macs, weights)
    assert stored_parameters(backbone)["network"] == parameters


def test_layers_that_are_added_are_a_group():
    groups = [group for group in BACKBONES["resnet-18"].groups() if len(group) > 1]
    # Stem and second convolutions; then projection and second convolutions of each stage.
    assert groups == [(0, 2, 4), (5, 7, 9), (10, 12, 14), (15, 17, 19)]
    assert [len(group) for group in BACKBONES["mobilenet-v1"].groups()] == [1] * 14
    block = Backbone((1, 4, 4), (ConvLayer(1, 2), ConvLayer(2, 3, residual="hold"), ConvLayer(3, 2, residual="add")))
    assert block.groups() == [(0, 2), (1,)]
    # 16 places, 3 x 3: the second layer reads what the first keeps; a sum has at least its widest summand.
    assert block.cost("macs", np.array([1, 3, 2])) == 144 * (1 + 3 + 6)
    assert block.cost("macs", np.array([1, 3, 2]), np.array([1, 2, 3])) == 144 * (1 + 6 + 6)
    assert block.with_channels(np.array([1, 2, 1])).layers[1].in_channels == 1


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([ConvLayer(1, 2), ConvLayer(2, 2, residual="add")], "layer 1 adds nothing that is kept to"),
        (
            [ConvLayer(1, 2, residual="hold"), ConvLayer(2, 2, residual="add")],
            r"layer 1 adds \(1, 4, 4\) to \(2, 4, 4\)",
        ),
        (
            [ConvLayer(1, 2, 2, residual="project", pool=True)],
            "layer 0 has 'project', after which no depthwise or pool",
        ),
        ([ConvLayer(1, 2, residual="skip")], "residual must be one of .*got 'skip'"),
    ],
)
def test_sums_of_other_shapes_are_one_error(layers, message):
    with pytest.raises(ValueError, match=message):
        Backbone((1, 4, 4), tuple(layers))


@pytest.mark.parametrize(
    ("density", "macs", "parameters"), [(0.45, 0.2047, 0.2028), (0.5, 0.2522, 0.2503), (0.7, 0.4919, 0.4903)]
)
def test_caps_of_m_cifarnet(density, macs, parameters):
    assert round(CIFARNET.cap("macs", density), 4) == macs
    assert round(CIFARNET.cap("parameters", density), 4) == parameters


def test_fractions_count_both_sides_of_every_layer():
    chain = Backbone((1, 2, 2), (ConvLayer(1, 4), ConvLayer(4, 2)))
    assert chain.cost("parameters") == 9 * (1 * 4 + 4 * 2)
    # Half of the first layer halves both layers; the last layer's channels count too.
    np.testing.assert_allclose(chain.fraction("parameters", [[2, 2], [4, 1], [2, 1]]), [6 / 12, 8 / 12, 4 / 12])


def test_rewards_by_hand():
    np.testing.assert_allclose(budget_reward("macs", np.array([0.2, 0.25, 0.28]), 0.25), [0.005, 0, -1.2 * (np.e - 1)])
    np.testing.assert_allclose(budget_reward("parameters", np.array([0.1, 0.25]), 0.25), [0, 0])
    # From two scales above the cap on, the slope stays what it is there.
    far = budget_reward("parameters", np.array([0.31, 0.34, 1.0]), 0.25)
    np.testing.assert_allclose(far[0], -1.2 * (np.e**2 - 1))
    np.testing.assert_allclose(np.diff(far) / [1, 22], -1.2 * np.e**2)


@pytest.mark.parametrize(
    ("kept", "published", "ratio"), [(1.0, 1.31, 1.3086), (0.75, 0.78, 0.7743), (0.85, 0.97, 0.9715)]
)
def test_stored_parameters_are_those_of_the_published_column(kept, published, ratio):
    parts = stored_parameters(CIFARNET, kept * CIFARNET.channels)
    found = (parts["network"] + parts["predictors"] + parts["encoders"]) / stored_parameters(CIFARNET)["network"]
    assert round(found, 4) == ratio
    assert abs(found - published) < 0.01
    assert parts["recurrence"] == 129 * 128 + 128 * 128 + 256
    assert parts["heads"] == 387


def test_predictors_alone_are_those_of_fbs():
    parts = stored_parameters(CIFARNET)
    assert round(1 + parts["predictors"] / parts["network"], 4) == 1.1116


def test_unknown_resources_and_densities_are_errors():
    with pytest.raises(ValueError, match="resource must be one of .*'time'"):
        DIGITS.cost("time")
    with pytest.raises(ValueError, match=r"density must be a number in \[0.01, 1\], got 1.5"):
        DIGITS.cap("macs", 1.5)
