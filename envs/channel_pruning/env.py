"""Channel pruning as environments: see :class:`ChannelPruningEnv`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bisimgym.envs.array_task import BatchedEnv
from bisimgym.envs.batched_vector import TaskVectorEnv
from bisimgym.envs.channel_pruning.backbones import BACKBONES
from bisimgym.envs.channel_pruning.datasets import LabeledImages, load
from bisimgym.envs.channel_pruning.network import GatedNetwork
from bisimgym.envs.channel_pruning.stored import load_network, stored_network
from bisimgym.envs.channel_pruning.task import ChannelPruningTask
from bisimgym.envs.checks import choice


class ChannelPruningEnv(BatchedEnv):
    """Decide, layer by layer, how many channels of a convolutional network a picture needs.

    ## Description
    An episode is the forward pass of one picture through a fixed network, and a step is one convolution: the agent says
    which fraction of its output channels to preserve, and the least important ones are not computed. There are two
    agents. The *runtime* agent sees what the layer sees and chooses for each picture; what it prunes is not computed.
    The *static* agent sees only which layer is next; what it prunes can be removed for good. Where both decide,
    channels that both mark are pruned, and of the others a share ``trust`` of the runtime agent's and 1 - ``trust`` of
    the static agent's. Two pictures behave alike where they need the same channels.

    ## Action space
    ``Box(-1, 1, (1,), float32)``, which is mapped to the preserved fraction in [``minimum_ratio``, 1]; a fraction a
    keeps the ceil(a C) most important of C channels, and at least one. ``env.unwrapped.task.action(ratios)`` maps back.

    ## Observation space
    ``Box(-3.4e38, 3.4e38, (n,), float32)``: the layer as one-hot (zeros once the last is computed); the budget and what
    is spent so far, fractions of the whole network, where layers to come count whole; and the fraction that the layer
    before kept. With these the budget needs no memory. Then, for the runtime agent, the layer's input averaged over the
    picture and the importance of its output channels, each padded with zeros to the widest layer; for the static agent,
    the layer's channels in and out, divided by the most of any layer.

    ## Reward
    0 before the last layer, then ``-L / L0 + B``. L is the cross-entropy of the picture, and L0 the mean one of 128
    pictures where every layer preserves ``density``, 0.1 or more. B is the budget's: above it
    ``-1.2 (exp((x - x_max) / 0.03) - 1)``, whose tangent takes over 0.06 above it, and below it 0.1 for a whole network
    of MACs saved (runtime agent) or nothing (static agent). x is a fraction of the network's MACs (runtime agent) or
    parameters (static agent), and x_max what is left where the agents preserve ``density`` of every layer:
    of parameters, where each keeps 1 - (1 - ``density``)(1 - ``trust``).

    ## Start and end
    A picture is drawn uniformly from the split. The episode terminates after the last layer. ``info`` has "image" at
    the start, and at the end "correct", "loss", "macs", "parameters" (fractions) and "kept", the channels of each
    layer. ``reset(options={"image": number})`` chooses the picture.

    The oracle enumerates plans of the ratios 0.25, 0.5, 0.75 and 1. That of the runtime agent knows the label and takes
    the best plan for each picture, so it bounds what agents can reach on this grid; ratios between may do better. That
    of the static agent takes the one plan that is best on average over 128 pictures. ``random_return`` is estimated
    from 8 random plans for each picture. Networks with more than 1000 plans have no oracle.

    ## Arguments
    * ``agent``: "runtime" (default) or "static".
    * ``backbone``: "digits-4" (default; 8 x 8 digits, 4 layers), "m-cifarnet" (CIFAR-10, 8 layers), "resnet-18" or
      "mobilenet-v1" (ImageNet, 20 and 14 layers). Of a ResNet the stem, both convolutions of a block and its projection
      are layers, of a MobileNet the first convolution and the pointwise ones. What is removed for good is the same in
      layers whose outputs are added, by the mean of their ratios; masks at run time may differ.
    * ``data``: "digits" (default, of scikit-learn), a folder with the binary version of CIFAR-10, a folder with folders
      ``train`` and ``val`` of one folder of images per class, as ImageNet's, or :class:`LabeledImages`.
    * ``split``: "train" (default) or "test".
    * ``density``: the budget, 0.05 to 1 (default 0.5), not below ``minimum_ratio``.
    * ``trust``: R, the runtime agent's part where both decide, 0 to 1; None (default) leaves all to this agent.
    * ``partner``: the other agent, where both decide: a ratio, one for each layer, or an object with SB3's ``predict``,
      which gets its own observations. None by default.
    * ``minimum_ratio``: the least fraction, 0.01 to 1 (default 0.1).
    * ``kept_count``: "ceil" (default) or "floor_plus_one", the rounding of the authors' code.
    * ``ranking``: "runtime" (default) or "static": the importance by which the runtime agent's channels are ranked.
      With the latter a ratio keeps the same channels of every picture.
    * ``network``: a :class:`GatedNetwork` or a file of ``save_network``; None (default) is the stored one of
      "digits-4", which ``docs/tools/pruning_network.py`` trains.
    * ``render_mode``: "rgb_array" or "human".

    Vector environments also take ``num_envs`` and ``autoreset_mode`` ("SameStep", the default, "NextStep" or
    "Disabled"); N pictures advance one layer per step in one forward pass.

    ## Source
    "Storage Efficient and Dynamic Flexible Runtime Channel Pruning via Deep Reinforcement Learning" (NeurIPS 2020).
    The reward follows the authors' code, with a constant in place of a running mean, so that returns can be compared;
    the tangent, what is spent and what the layer before kept are choices made here, as is the scale of actions.

    ## Version history
    * v0: first version.
    """

    task: ChannelPruningTask

    def __init__(
        self,
        agent: str = "runtime",
        backbone: str = "digits-4",
        data: str | LabeledImages = "digits",
        split: str = "train",
        density: float = 0.5,
        trust: float | None = None,
        partner: Any = None,
        minimum_ratio: float = 0.1,
        kept_count: str = "ceil",
        ranking: str = "runtime",
        network: GatedNetwork | str | Path | None = None,
        render_mode: str | None = None,
    ):
        expected = BACKBONES[choice("backbone", backbone, BACKBONES)]
        if network is None:
            network = stored_network(backbone)
        elif not isinstance(network, GatedNetwork):
            network = load_network(network, expected)
        images = data if isinstance(data, LabeledImages) else load(data, split, network.backbone.image)
        named = "given" if isinstance(data, LabeledImages) else repr(data)
        if network.backbone.image != images.images.shape[1:]:
            raise ValueError(
                f"backbone {backbone!r} sees pictures of {network.backbone.image}, and data {named} has "
                f"{images.images.shape[1:]}: choose others"
            )
        if (most := int(images.labels.max())) >= network.backbone.classes:
            raise ValueError(f"data {named} has class {most}, and the network knows {network.backbone.classes} classes")
        task = ChannelPruningTask(network, images, agent, density, trust, minimum_ratio, partner, kept_count, ranking)
        super().__init__(task, render_mode)


class ChannelPruningVectorEnv(TaskVectorEnv, of=ChannelPruningEnv):
    pass
