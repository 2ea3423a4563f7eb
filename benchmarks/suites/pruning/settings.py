"""What the pruning suite has: tasks, methods, presets and measures, as data."""

from __future__ import annotations

from typing import Any

from bisimgym.benchmarks.suites.base import Bounds, Measure, Method, Preset, Task

DENSITIES = {"digits-0.5": 0.5, "digits-0.7": 0.7}
TASKS = {
    name: Task(
        f"Digits, density {density}",
        f"Four layers on 8 x 8 digits; MACs and parameters as where each layer keeps {density:.0%} of its channels",
    )
    for name, density in DENSITIES.items()
}

#: How a static plan comes about, and how the ratios of the runtime agent do.
STATIC = ("none", "uniform", "enumerated", "ddpg", "ppo")
RUNTIME = ("none", "uniform", "ppo")
#: By what channels are removed for good: static importance, or the geometric median of the first network's filters.
REMOVED_BY = ("importance", "median")


def _method(description: str, static: str, runtime: str, trust: float, **settings: Any) -> Method:
    shared: dict[str, Any] = {"removed_by": "importance", "order": "together"}
    return Method(description, {"static": static, "runtime": runtime, "trust": trust, **shared, **settings})


METHODS = {
    "both": _method("Both agents by PPO, in turns (R = 0.5)", "ppo", "ppo", 0.5),
    "runtime": _method("The runtime agent alone, by PPO (R = 1)", "none", "ppo", 1.0),
    "static": _method("The static agent alone, by PPO (R = 0)", "ppo", "none", 0.0),
    "separate": _method(
        "The static agent by PPO, then frozen, then the runtime agent (R = 0.5)", "ppo", "ppo", 0.5, order="separate"
    ),
    "amc-like": _method("A static plan by DDPG, as AMC, on the reward of the static agent", "ddpg", "none", 0.0),
    "enumerated": _method("The best static plan of 256, for the network before it is tuned", "enumerated", "none", 0.0),
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

#: "iterations" of PPO for each agent and "epochs" of the network are those of a round; "episodes" of DDPG are too, and
#: are all played in the first.
PRESETS = {
    "smoke": Preset(
        "Seconds: shows that everything runs, scores mean nothing",
        {"rounds": 2, "iterations": 1, "episodes": 4, "epochs": 1, "num_envs": 16},
    ),
    "short": Preset(
        "Two rounds of 40 iterations of PPO for each agent and 6 epochs of the network: half a minute on one core",
        {"rounds": 2, "iterations": 40, "episodes": 150, "epochs": 6, "num_envs": 128},
    ),
}

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
