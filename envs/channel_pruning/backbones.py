"""The networks that can be pruned, as data."""

from __future__ import annotations

from bisimgym.envs.channel_pruning.budgets import Backbone, ConvLayer


def residual_blocks(in_channels: int, out_channels: int, stride: int, blocks: int) -> tuple[ConvLayer, ...]:
    """Return basic blocks (He et al. 2016): two 3 x 3 convolutions and a sum; one projects where shapes differ."""
    layers: list[ConvLayer] = []
    for block in range(blocks):
        first_in, first_stride = (in_channels, stride) if block == 0 else (out_channels, 1)
        projects = first_in != out_channels or first_stride != 1
        if projects:
            layers.append(ConvLayer(first_in, out_channels, first_stride, 0, 1, residual="project"))
        layers.append(ConvLayer(first_in, out_channels, first_stride, residual="" if projects else "hold"))
        layers.append(ConvLayer(out_channels, out_channels, residual="add"))
    return tuple(layers)


def separable(channels: tuple[int, ...], strides: tuple[int, ...], image_channels: int = 3) -> tuple[ConvLayer, ...]:
    """Return depthwise separable convolutions (Howard et al. 2017): one of stride 2, then pointwise ones.

    Args:
        channels: outputs of the first convolution and of each pointwise one.
        strides: of the depthwise convolution before each pointwise one.
        image_channels: of the image.
    """
    layers = [ConvLayer(image_channels, channels[0], 2, depthwise=strides[0])]
    for before, after, stride in zip(channels[:-1], channels[1:], (*strides[1:], 0), strict=True):
        layers.append(ConvLayer(before, after, 1, 0, 1, depthwise=stride))
    return tuple(layers)


_CIFARNET = (
    ConvLayer(3, 64, padding=0),
    ConvLayer(64, 64),
    ConvLayer(64, 128, 2),
    ConvLayer(128, 128),
    ConvLayer(128, 128),
    ConvLayer(128, 192, 2),
    ConvLayer(192, 192),
    ConvLayer(192, 192),
)
_RESNET_18 = (
    ConvLayer(3, 64, 2, 3, 7, pool=True),
    *residual_blocks(64, 64, 1, 2),
    *residual_blocks(64, 128, 2, 2),
    *residual_blocks(128, 256, 2, 2),
    *residual_blocks(256, 512, 2, 2),
)
_MOBILENET_V1 = separable(
    (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024), (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
)

#: 8 x 8 digits of scikit-learn; M-CifarNet (Gao et al. 2019; deep-fry/mayo models/cifarnet.yaml); and for ImageNet
#: ResNet-18, of which the stem, both convolutions of a block and its projection are pruned, and MobileNet-v1, of which
#: the first convolution and the pointwise ones are.
BACKBONES = {
    "digits-4": Backbone((1, 8, 8), (ConvLayer(1, 16), ConvLayer(16, 16), ConvLayer(16, 32, 2), ConvLayer(32, 32))),
    "m-cifarnet": Backbone((3, 32, 32), _CIFARNET, dropout_after=(3, 6)),
    "resnet-18": Backbone((3, 224, 224), _RESNET_18, classes=1000),
    "mobilenet-v1": Backbone((3, 224, 224), _MOBILENET_V1, classes=1000),
}
