import math

import numpy as np
import pytest
import torch as th

from bisimgym.baselines.core.encoder import JumpingEncoder, SameConv2d, glorot_uniform
from bisimgym.baselines.core.precision import resolve_precision
from bisimgym.baselines.pse.augmentation import convolve_frames, random_kernel


class TestEncoder:
    def test_shapes_of_the_papers_table(self):
        encoder = JumpingEncoder((2, 60, 60))
        shapes, images = [], th.zeros(1, 2, 60, 60)
        for layer in encoder:
            images = layer(images)
            shapes.append(tuple(images.shape[1:]))
        assert [s for s, layer in zip(shapes, encoder, strict=True) if isinstance(layer, SameConv2d)] == [
            (32, 15, 15),
            (64, 8, 8),
            (64, 8, 8),
        ]
        assert shapes[-1] == (256,)
        assert len(list(encoder.parameters())) == 8

    @pytest.mark.parametrize(
        ("size", "kernel", "stride", "padding"), [(60, 8, 4, (2, 2)), (15, 4, 2, (1, 2)), (8, 3, 1, (1, 1))]
    )
    def test_padding_is_tensorflows(self, size, kernel, stride, padding):
        layer = SameConv2d(1, 1, kernel, stride=stride, bias=False)
        image = th.randn(1, 1, size, size)
        padded = th.nn.functional.pad(image, (*padding, *padding))
        expected = th.nn.functional.conv2d(padded, layer.weight, stride=stride)
        th.testing.assert_close(layer(image), expected)

    def test_glorot_uniform_is_drawn_from_the_generator(self):
        one, two = (JumpingEncoder((2, 60, 60)) for _ in range(2))
        for encoder in (one, two):
            glorot_uniform(encoder, th.Generator().manual_seed(4))
        for a, b in zip(one.parameters(), two.parameters(), strict=True):
            assert th.equal(a, b)
        limit = math.sqrt(6 / (2 * 64 + 32 * 64))
        assert one[0].weight.abs().max() <= limit
        assert one[0].weight.std().item() == pytest.approx(limit / math.sqrt(3), rel=0.05)
        assert (one[0].bias == 0).all()


class TestRandomConvolution:
    def test_kernel_statistics(self):
        rng = np.random.default_rng(0)
        plain = np.array([random_kernel(1, 0.0, rng) for _ in range(5000)])
        assert plain.std() == pytest.approx(0.5, rel=0.02)
        assert abs(plain.mean()) < 0.02
        assert np.abs(plain).max() <= 2 * 0.5 / 0.8796
        colored = np.array([random_kernel(3, 0.0, rng) for _ in range(1000)])
        assert colored.std() == pytest.approx(math.sqrt(2 / 24), rel=0.02)

    def test_one_call_in_ten_is_clean(self):
        rng = np.random.default_rng(1)
        identity = np.zeros((1, 1, 2, 2))
        identity[0, 0, 0, 0] = 1
        clean = np.mean([(random_kernel(1, 0.1, rng) == identity).all() for _ in range(5000)])
        assert clean == pytest.approx(0.1, abs=0.02)

    def test_the_identity_leaves_images_alone(self):
        images = th.rand(3, 6, 10, 10)
        kernel = th.from_numpy(random_kernel(3, 1.0, np.random.default_rng(0)))
        th.testing.assert_close(convolve_frames(images, kernel), images)

    @pytest.mark.parametrize(("channels", "frames"), [(1, 2), (3, 2)])
    def test_every_frame_gets_the_same_filter_with_padding_after(self, channels, frames):
        rng = np.random.default_rng(2)
        images = th.rand(4, channels * frames, 7, 9)
        kernel = th.from_numpy(random_kernel(channels, 0.0, rng))
        result = convolve_frames(images, kernel)
        padded = th.nn.functional.pad(images, (0, 1, 0, 1))
        for f in range(frames):
            part = slice(f * channels, (f + 1) * channels)
            th.testing.assert_close(result[:, part], th.nn.functional.conv2d(padded[:, part], kernel))
        one_each = convolve_frames(images, kernel.expand(4, *kernel.shape))
        th.testing.assert_close(one_each, result)

    def test_a_filter_for_each_image(self):
        rng = np.random.default_rng(3)
        images = th.rand(3, 6, 8, 8)
        kernels = th.from_numpy(np.stack([random_kernel(3, 0.0, rng) for _ in range(3)]))
        together = convolve_frames(images, kernels)
        for i in range(3):
            th.testing.assert_close(together[i : i + 1], convolve_frames(images[i : i + 1], kernels[i]))


def test_precision_names():
    cpu = th.device("cpu")
    assert resolve_precision("float32", cpu) == "float32"
    assert resolve_precision("auto", cpu) in ("float32", "bfloat16")
    with pytest.raises(ValueError, match="precision must be one of .*'half'"):
        resolve_precision("half", cpu)
