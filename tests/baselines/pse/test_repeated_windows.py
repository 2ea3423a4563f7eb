import dataclasses

import numpy as np
import pytest
import torch as th

from bisimgym.baselines.core.encoder import JumpingEncoder
from bisimgym.baselines.pse import repeated_windows
from bisimgym.baselines.pse.augmentation import random_kernel
from bisimgym.baselines.pse.imitation import Alignment, ImitationLearner
from bisimgym.baselines.pse.repeated_windows import RepeatedWindows


def gradients(model):
    model.policy.zero_grad(set_to_none=True)
    losses = model.losses()
    sum(losses.values()).backward()
    return losses, {name: p.grad for name, p in model.policy.named_parameters()}


@pytest.mark.parametrize(
    ("data", "settings"),
    [
        ("wide", {}),
        ("wide", {"alignment": Alignment(), "augmentation": "randconv"}),
        ("wide", {"alignment": Alignment(), "augmentation": "randconv", "clean_probability": 1.0}),
        ("wide", {"alignment": Alignment(loss="l2"), "dropout": 0.3}),
        ("colors", {"alignment": Alignment(), "augmentation": "randconv", "frame_channels": 3}),
    ],
)
def test_losses_and_gradients_are_those_of_plain_convolutions(data, settings, request):
    data = request.getfixturevalue(data)
    one, two = (
        ImitationLearner(demonstrations=data, seed=3, device="cpu", precision="float32", **settings) for _ in range(2)
    )
    two._data = dataclasses.replace(two._prepare(), windows=None)
    assert one._prepare().windows is not None
    for _ in range(2):
        (losses, mine), (plain, theirs) = gradients(one), gradients(two)
        assert losses.keys() == plain.keys()
        for name, loss in losses.items():
            assert loss.item() == pytest.approx(plain[name].item(), rel=1e-4), name
        for name, gradient in theirs.items():
            assert (mine[name] - gradient).abs().max() <= 2e-4 * gradient.abs().max(), name


@pytest.mark.parametrize(("height", "width", "channels"), [(60, 60, 2), (37, 50, 1), (64, 41, 3)])
def test_any_image_is_represented_as_by_the_encoder(height, width, channels):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, height, width, channels), dtype=np.uint8).repeat(3, axis=0)
    images[:, height // 2 :] = 7
    encoder = JumpingEncoder((channels, height, width))
    windows = RepeatedWindows.of(images, encoder)
    kernel = th.from_numpy(random_kernel(channels, 0.0, rng))
    chosen = np.array([0, 2, 5])
    plain = th.from_numpy(images[chosen]).permute(0, 3, 1, 2) / 255
    expected = th.cat([encoder(plain), encoder(repeated_windows.convolve_frames(plain, kernel))])
    found = windows.represent(encoder, [(chosen, None), (chosen, kernel)])
    th.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_images_that_do_not_repeat_each_other_take_the_plain_way(wide, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (4, 60, 60, 2), dtype=np.uint8)
    encoder = JumpingEncoder((2, 60, 60))
    assert RepeatedWindows.of(noise, encoder) is None
    assert RepeatedWindows.of(wide.observations[:64], encoder) is not None
    monkeypatch.setattr(repeated_windows, "_LARGEST", 64 * 15 * 15 * 9 * 9 * 3 - 1)
    assert RepeatedWindows.of(wide.observations[:64], encoder) is None
    half = ImitationLearner(demonstrations=wide, seed=0, device="cpu", precision="bfloat16")
    assert half._prepare().windows is None
