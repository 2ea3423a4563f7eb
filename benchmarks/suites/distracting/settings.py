"""What the suite ``distracting`` has: tasks, methods, presets and measures, as data."""

from __future__ import annotations

from typing import Any, NamedTuple

from bisimgym.benchmarks.suites.base import Measure, Method, Preset, Task

EPISODE_STEPS = 1000  # control steps
#: The convolutions leave nothing of smaller images.
SMALLEST = 20


#: Domain, task and what a policy of uniformly random actions earns: mean of 100 episodes, its standard error at most 9.
DMC_TASKS: dict[str, tuple[str, str, str, float]] = {
    "ball-in-cup-catch": ("ball_in_cup", "catch", "Swing a ball into a cup", 29.8),
    "cartpole-swingup": ("cartpole", "swingup", "Swing a pole up and balance it", 130.3),
    "cartpole-balance": ("cartpole", "balance", "Balance a pole", 269.5),
    "cheetah-run": ("cheetah", "run", "Run forward on two legs", 14.0),
    "finger-spin": ("finger", "spin", "Spin a body with a finger", 0.9),
    "reacher-easy": ("reacher", "easy", "Reach a target with a two-link arm", 58.8),
    "walker-walk": ("walker", "walk", "Walk upright", 40.5),
    "walker-run": ("walker", "run", "Run upright", 25.0),
    "walker-stand": ("walker", "stand", "Stand upright", 136.6),
}
#: Control steps per action where they are not those of the environment.
ACTION_REPEATS = {"cartpole-balance": 8}  # as PlaNet has for all of cartpole
#: Tasks that there are for transfer alone, and the settings that they and transfer have.
_OF_TRANSFER, _TRANSFER_SETTINGS = ("walker-run", "walker-stand"), ("clean", "pse-2video", "natural-video")
#: What agents learn under and what they are scored under: arguments of the environment.
DISTRACTIONS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "clean": ("nothing distracts", {"preset": "clean"}, {"preset": "clean"}),
    "pse-2video": (
        "two videos to learn from, 30 others to be scored on",
        {"preset": "pse-2video"},
        {"preset": "pse-2video", "split": "test"},
    ),
    **{
        f"dcs-{level}": (
            f"videos, camera and colors of the Distracting Control Suite, {level}; held-out videos",
            {"preset": f"dcs-{level}-dynamic"},
            {"preset": f"dcs-{level}-dynamic", "split": "test"},
        )
        for level in ("easy", "medium", "hard")
    },
    **{
        name: (f"{what} in place of the background; {held_out}", {"preset": name}, {"preset": name, "split": "test"})
        for name, what, held_out in (
            ("natural-video", "gray videos", "held-out videos"),
            ("natural-video-color", "videos", "held-out videos"),
            ("natural-image", "one gray image", "30 held-out images"),
            ("natural-image-color", "one image", "30 held-out images"),
        )
    },
    "natural-noise": (
        "noise in place of the background, fresh for every pixel",
        {"preset": "natural-noise"},
        {"preset": "natural-noise"},
    ),
    **{
        name: (
            f"learned without distractions, scored under {what} of DMControl-GB",
            {"preset": "clean"},
            {"preset": name, "split": "test"},
        )
        for name, what in (
            ("color-easy", "slightly other colors"),
            ("color-hard", "other colors"),
            ("video-easy", "videos in place of the sky"),
            ("video-hard", "videos in place of sky and floor"),
        )
    },
}


class Parts(NamedTuple):
    """What a task of the suite is made of.

    Attributes:
        name: of :data:`DMC_TASKS`.
        setting: of :data:`DISTRACTIONS`.
        source: the name of the task that convolutions are learned in, which then stay as they are; "" for none.
    """

    name: str
    setting: str
    source: str = ""


PARTS = {
    f"{name}-{setting}": Parts(name, setting)
    for name in DMC_TASKS
    for setting in (_TRANSFER_SETTINGS if name in _OF_TRANSFER else DISTRACTIONS)
} | {
    f"walker-walk-to-{DMC_TASKS[name][1]}-{setting}": Parts(name, setting, "walker-walk")
    for name in _OF_TRANSFER
    for setting in _TRANSFER_SETTINGS
}


def _task(parts: Parts) -> Task:
    domain, task, what, _ = DMC_TASKS[parts.name]
    transfer = f" with convolutions from {parts.source}" if parts.source else ""
    title = f"{domain}-{task}{transfer}, {parts.setting}"
    kept = ", which stay as they are" if transfer else ""
    return Task(title, f"{what}{transfer}{kept}: {DISTRACTIONS[parts.setting][0]}")


TASKS = {name: _task(parts) for name, parts in PARTS.items()}

METHODS = {
    "sac": Method("SAC, its encoder trained by the critic", {"learner": "sac"}),
    "drq": Method("DrQ: images shifted at random, two views in target and loss", {"learner": "drq"}),
    "drq-self-prediction": Method(
        "DrQ and the loss of predicting the next embedding: the baseline that metrics have to beat",
        {"learner": "drq", "self_prediction": 1.0},
    ),
    "drq-pse": Method(
        "DrQ aligned by the policy similarity metric of another DrQ's episodes, which is trained before, for as long",
        {"learner": "drq-pse", "pairs": 10, "pretrained": False},
    ),
    "self-prediction": Method("SAC and the loss of predicting the next embedding", {"learner": "self-prediction"}),
    "deepmdp": Method("Self-prediction and reward prediction", {"learner": "deepmdp"}),
    "curl": Method("CURL: which of the batch's images is this one, shifted anew?", {"learner": "curl"}),
    "slac": Method("SLAC: a critic on the latents of a model that explains images", {"learner": "slac"}),
    "mico": Method("MICo: sampled differences of rewards and next embeddings", {"learner": "mico"}),
    "dbc": Method("DBC: bisimulation with a Gaussian model, which also trains the encoder", {"learner": "dbc"}),
    "robust-dbc": Method(
        "DBC with a bounded norm, inverse dynamics and an intrinsic reward", {"learner": "robust-dbc"}
    ),
    "rap": Method("RAP: expected next embeddings and the variance of rewards", {"learner": "rap"}),
    "ambs": Method("AMBS: learned distances of rewards and dynamics, in two views", {"learner": "ambs"}),
    "simsr": Method("SimSR: cosine distances of embeddings of unit length", {"learner": "simsr"}),
    **{
        f"drq-{name}": Method(
            f"DrQ and the metric loss of {title}, as that method adds it",
            {"learner": "drq", "metric": name, **settings},
        )
        for name, title, settings in (
            ("mico", "MICo", {"metric_weight": 0.5}),
            ("rap", "RAP", {"metric_weight": 0.5, "self_prediction": 1e-4, "encoder_optimizer": "separate"}),
        )
    },
}

#: ``None``: that of the method's paper (:data:`~bisimgym.baselines.pixels.PIXEL_SETTINGS`).
PRESETS = {
    "smoke": Preset(
        "A minute: shows that everything runs, scores mean nothing",
        {
            "episodes": 2,
            "evaluate_every": 1,
            "size": 24,
            "supersampling": 1,
            "architecture": "compact",
            "channels": 8,
            "hidden": 32,
            "batch_size": 8,
            "learning_rate": None,
            "pad": 1,
            "learning_starts": 100,
            "backgrounds": "procedural",
            "renderer": "raycast",
        },
    ),
    "laptop": Preset(
        "300,000 control steps, images of 24 x 24 pixels, small networks, batches of 64, for one core",
        {
            "episodes": 300,
            "evaluate_every": 25,
            "size": 24,
            "supersampling": 3,
            "architecture": "compact",
            "channels": 32,
            "hidden": 128,
            "batch_size": 64,
            "learning_rate": None,
            "pad": 1,
            "learning_starts": 500,
            "gamma": 0.95,
            "target_update_interval": 1,
            "ent_coef_learning_rate": 1e-3,
            "ent_coef_beta1": 0.9,
            "backgrounds": "procedural",
            "renderer": "raycast",
        },
    ),
    "paper": Preset(
        "500,000 control steps on images of 84 x 84 pixels, networks and batches of the papers: for a GPU",
        {
            "episodes": 500,
            "evaluate_every": 10,
            "size": 84,
            "supersampling": 1,
            "architecture": "sac-ae",
            "channels": 32,
            "hidden": None,
            "batch_size": None,
            "learning_rate": None,
            "pad": 4,
            "learning_starts": 1000,
            "backgrounds": "procedural",
            "renderer": "raycast",
        },
    ),
}

MEASURES = {
    "trained": Measure("training distractions", "return under the distractions that the agent learned under"),
    "gap": Measure(
        "gap",
        "return under training distractions minus return under held-out ones",
        bounds=(-float(EPISODE_STEPS), float(EPISODE_STEPS)),
    ),
    "normalized": Measure(
        "normalized", "0: what random actions earn, 1: 1000, the most there is", percent=True, bounds=(-1.0, 1.0)
    ),
    "denoising": Measure(
        "denoising factor",
        "of the held-out distractions: 1 if embeddings do not move with them, 0 if as far as with another state",
        bounds=(-1.0, 1.0),
    ),
}
