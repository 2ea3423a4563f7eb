"""What the pruning suite has: tasks, methods, presets and measures, as data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from bisimgym.benchmarks.suites.base import Bounds, Measure, Method, Preset, Task
from bisimgym.benchmarks.suites.further_settings import Further


class Problem(NamedTuple):
    """What a task prunes.

    Attributes:
        backbone: one of :data:`~bisimgym.envs.channel_pruning.backbones.BACKBONES`.
        data: "digits", or the environment variable that names the user's folder with images and base network.
        density: of the budgets.
        test_images: how many a score is of.
        augment: whether training images are shifted and mirrored.
    """

    backbone: str
    data: str
    density: float
    test_images: int
    augment: bool


CIFAR10, IMAGENET = "BISIMGYM_CIFAR10", "BISIMGYM_IMAGENET"
PROBLEMS = {
    "digits-0.5": Problem("digits-4", "digits", 0.5, 500, False),
    "digits-0.7": Problem("digits-4", "digits", 0.7, 500, False),
    "cifar10-0.5": Problem("m-cifarnet", CIFAR10, 0.5, 10_000, True),
    "cifar10-0.7": Problem("m-cifarnet", CIFAR10, 0.7, 10_000, True),
    "imagenet-resnet18-0.7": Problem("resnet-18", IMAGENET, 0.7, 50_000, True),
    "imagenet-mobilenet-0.7": Problem("mobilenet-v1", IMAGENET, 0.7, 50_000, True),
}
_WHAT = {
    "digits-4": "Digits: four layers on 8 x 8 digits",
    "m-cifarnet": "CIFAR-10: M-CifarNet on a user's folder",
    "resnet-18": "ImageNet: ResNet-18 on a user's folder",
    "mobilenet-v1": "ImageNet: MobileNet-v1 on a user's folder",
}
_NOTE = "One run each, on networks and training of the paper; R = 0.5 where both agents decide."
TASKS = {
    name: Task(
        f"{_WHAT[problem.backbone].partition(':')[0]}, density {problem.density}",
        f"{_WHAT[problem.backbone].partition(': ')[2].capitalize()}; MACs and parameters as where each layer keeps "
        f"{problem.density:.0%} of its channels",
        published_note="" if problem.data == "digits" else _NOTE,
    )
    for name, problem in PROBLEMS.items()
}

#: How a static plan comes about, and how the ratios of the runtime agent do.
STATIC = ("none", "uniform", "enumerated", "ddpg", "ppo")
RUNTIME = ("none", "uniform", "ppo", "dqn")
#: By what channels are removed for good: static importance, or the geometric median of the first network's filters.
REMOVED_BY = ("importance", "median")


def _method(
    description: str,
    static: str,
    runtime: str,
    trust: float,
    task_settings: Mapping[str, Mapping[str, Any]] | None = None,
    **settings: Any,
) -> Method:
    shared: dict[str, Any] = {"removed_by": "importance", "order": "together"}
    chosen = {"static": static, "runtime": runtime, "trust": trust, **shared, **settings}
    return Method(description, chosen, task_settings or {})


METHODS = {
    "both": _method("Both agents by PPO, in turns (R = 0.5)", "ppo", "ppo", 0.5),
    "runtime": _method("The runtime agent alone, by PPO (R = 1)", "none", "ppo", 1.0),
    "static": _method("The static agent alone, by PPO (R = 0)", "ppo", "none", 0.0),
    "separate": _method(
        "The static agent by PPO, then frozen, then the runtime agent (R = 0.5)", "ppo", "ppo", 0.5, order="separate"
    ),
    "amc-like": _method("A static plan by DDPG, as AMC, on the reward of the static agent", "ddpg", "none", 0.0),
    "enumerated": _method("The best static plan of 256, for the network before it is tuned", "enumerated", "none", 0.0),
    "rnp": _method(
        "RNP: how many of four groups of channels to compute, by Q-learning with a penalty for each",
        "none",
        "dqn",
        1.0,
        # Its reward knows no budget; on digits either penalty comes to a fourth or a fifth of the MACs.
        {name: {"penalty": 0.03} for name, problem in PROBLEMS.items() if problem.density == 0.7},
        penalty=0.1,
    ),
    "fbs": _method("FBS: one ratio for all layers, the channels by runtime importance", "none", "uniform", 1.0),
    "fpgm": _method(
        "FPGM: one ratio for all layers, without the filters next to the geometric median",
        "uniform",
        "none",
        0.0,
        removed_by="median",
    ),
    "fpgm-fbs": _method("FPGM, then FBS (R = 0.5)", "uniform", "uniform", 0.5, removed_by="median"),
    "uniform": _method("One ratio for all layers, the channels by static importance", "uniform", "none", 0.0),
}

#: What settings leave out: whether PPO's policies have a recurrence, learning rates of agents and network, PPO's epochs
#: and minibatches, outputs of the agents' encoders, and the logarithm of the standard deviation that PPO begins with.
STANDARD: dict[str, Any] = {
    "recurrent": False,
    "agent_rate": 1e-3,
    "network_rate": 1e-3,
    "ppo_epochs": 4,
    "minibatches": 4,
    "features": 32,
    "log_std": -2.0,
}
#: Algorithm 4 of the thesis for CIFAR-10, where 2 epochs are N2 = 780 batches. What it does not say is of the authors'
#: code; the episodes of DDPG are AMC's 800 in all.
_ALTERNATION: dict[str, Any] = {
    "rounds": 40,
    "iterations": 1560,
    "episodes": 20,
    "epochs": 2,
    "num_envs": 128,
    "agent_rate": 1e-6,
    "network_rate": 1e-3,
    "ppo_epochs": 1,
    "minibatches": 2,
    "features": 128,
    "log_std": -4.0,
}
#: A round is "iterations" of PPO for each agent, an episode of "num_envs" pictures each, then "epochs" of the network,
#: or "batches" of it and "last_batches" in the last round. "episodes" of DDPG are of a round, all played in the first.
PRESETS = {
    "smoke": Preset(
        "Seconds: shows that everything runs, scores mean nothing",
        {"rounds": 2, "iterations": 1, "episodes": 4, "epochs": 1, "num_envs": 16},
    ),
    "short": Preset(
        "Two rounds of 40 iterations of PPO for each agent and 6 epochs of the network: half a minute on one core",
        {"rounds": 2, "iterations": 40, "episodes": 150, "epochs": 6, "num_envs": 128},
    ),
    "paper": Preset(
        "The thesis' schedule for CIFAR-10: 40 rounds of 1560 iterations and 780 batches",
        {**_ALTERNATION, "recurrent": True},
    ),
    "paper-imagenet": Preset(
        "The thesis' schedule for ImageNet: 64 rounds of 1200 iterations and 600 batches, 200,000 in the last",
        {
            **{name: value for name, value in _ALTERNATION.items() if name != "epochs"},
            "rounds": 64,
            "iterations": 1200,
            "episodes": 13,
            "batches": 600,
            "last_batches": 200_000,
            "network_rate": 1e-4,
            "recurrent": True,
        },
    ),
}


def more_settings(settings: Mapping[str, Any]) -> dict[str, Further]:
    """Return what ``--set`` can change beside the settings that a method of this suite stores."""
    learners = {settings["static"], settings["runtime"]}
    apply = {"network_rate"}
    if "ppo" in learners:
        apply = set(STANDARD)
    elif "dqn" in learners:
        apply |= {"agent_rate", "features"}
    return {name: Further(value, {type(value)}) for name, value in STANDARD.items() if name in apply}


_SHARE: Bounds = (0.0, 1.0)
MEASURES = {
    "macs": Measure("MACs", "Mean share of the network's multiply-accumulates, convolutions alone", bounds=_SHARE),
    "macs_with_agents": Measure(
        "with agents",
        "The same with predictors of importance and the runtime agent's network",
        bounds=(0.0, 10.0),
    ),
    "parameters": Measure(
        "parameters", "Share of the weights of convolutions that are stored after removal", bounds=_SHARE
    ),
    "stored": Measure(
        "stored",
        "All that is stored, predictors and agent included, as a share of the whole network without them",
        bounds=(0.0, 10.0),
    ),
    "before_removal": Measure(
        "before removal",
        "Accuracy with the masks of training: the trade-off of both agents instead of removal for good",
        bounds=_SHARE,
    ),
    "whole": Measure("untuned, whole", "Accuracy of the whole network that all start from", False, bounds=_SHARE),
    "gap_closed": Measure(
        "gap closed",
        "Share of the return between uniform and enumerated plan that the static agent gains in the first round; 0 "
        "where uniform is the best on the grid",
        bounds=(-1e6, 1e3),
    ),
}
