import pytest
import torch as th
from torch import nn

from bisimgym.baselines.core.coordconv import CoordConvNet


def grids(channels, batch=40, size=14, share=0.1, low=0.0):
    on = th.rand(batch, channels, size, size, generator=th.Generator().manual_seed(1)) < share
    return th.where(on, 1.0, low)


def test_the_nav2d_net_is_the_papers():
    net = CoordConvNet((3, 20, 20))
    assert sum(p.numel() for p in net.parameters()) == 211_744
    out = net(th.rand(2, 3, 20, 20))
    assert out.shape == (2, 128)
    assert (out >= 0).all()


def test_coordinates_tell_places_apart():
    net = CoordConvNet((1, 20, 20))
    near, far = th.zeros(1, 1, 20, 20), th.zeros(1, 1, 20, 20)
    near[..., 4:6, 4:6], far[..., 14:16, 14:16] = 1, 1  # alike for a net without coordinates
    assert not th.allclose(net(near), net(far))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("low", [0.0, -1.0])
@pytest.mark.parametrize("share", [0.1, 0.9])
def test_grids_give_the_numbers_and_gradients_of_the_layers(channels, low, share, monkeypatch):
    images = grids(channels, low=low, share=share)
    net = CoordConvNet((channels, 14, 14)).double()
    images = images.double()
    expected = nn.Sequential.forward(net, images)
    monkeypatch.setattr(nn.Sequential, "forward", None)  # what grids do not take
    out = net(images)
    th.testing.assert_close(out, expected)
    gradients = [th.autograd.grad(z.square().sum(), list(net.parameters())) for z in (out, expected)]
    th.testing.assert_close(*gradients)


@pytest.mark.parametrize(
    "images", [grids(2, low=-1.0) * th.rand(40, 2, 14, 14), th.ones(40, 2, 14, 14), grids(2, batch=4)]
)
def test_other_images_go_through_the_layers(images):
    net = CoordConvNet((2, 14, 14))
    net.fourth_of_grids = None  # what other images do not take
    th.testing.assert_close(net(images), nn.Sequential.forward(net, images), rtol=0, atol=0)


def test_grids_in_bfloat16():
    images, net = grids(3), CoordConvNet((3, 14, 14))
    with th.no_grad():
        expected = nn.Sequential.forward(net, images)
        with th.autocast("cpu", th.bfloat16):
            out, plain = net(images), nn.Sequential.forward(net, images)
    assert out.dtype == th.bfloat16
    assert (out - expected).abs().max() < 2 * (plain - expected).abs().max()
