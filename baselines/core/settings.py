"""What learners take: their keyword arguments, the defaults that classes declare, and the metric by name or class."""

from __future__ import annotations

import copy
import difflib
import inspect
from collections.abc import Mapping
from typing import Any, TypedDict

import torch as th
from stable_baselines3 import DQN, SAC
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.noise import ActionNoise
from torch import nn

from bisimgym.baselines.core.auxiliary import Augmentation
from bisimgym.baselines.core.metric_loss import MetricLoss
from bisimgym.baselines.learners import AUXILIARY_TASKS, METRIC_LOSSES, loss_class
from bisimgym.baselines.losses.norms import norm_radius
from bisimgym.envs.checks import integer

#: What ``metric`` may be: a name of :data:`~bisimgym.baselines.learners.METRIC_LOSSES` or ``AUXILIARY_TASKS``, a class,
#: an object of it.
MetricChoice = str | type[MetricLoss] | MetricLoss | None


def make_metric(metric: MetricChoice, settings: Mapping[str, Any] | None = None) -> MetricLoss | None:
    """Return a metric's loss, which is not built yet.

    Args:
        metric: a name, a class, an object (which is copied), or ``None``.
        settings: arguments of the class.

    Raises:
        ValueError: for something else, or settings that the class does not take.
    """
    if isinstance(metric, MetricLoss) and settings:
        raise ValueError(f"metric_settings are for a metric given by name or class, got {dict(settings)} with {metric}")
    if metric is None or isinstance(metric, MetricLoss):
        return copy.deepcopy(metric)
    made = loss_class(metric) if isinstance(metric, str) else metric
    if not isinstance(made, type) or not issubclass(made, MetricLoss):
        names = [*METRIC_LOSSES, *AUXILIARY_TASKS]
        raise ValueError(f"metric must be None, one of {names} or a MetricLoss, got {metric!r}")
    parameters = inspect.signature(made).parameters.values()
    known = [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]  # of nn.Module's own
    unknown = [key for key in settings or {} if key not in known]
    if unknown:
        raise ValueError(f"metric_settings of {made.__name__} are {known}, got {unknown}")
    return made(**settings or {})


def encoder_settings(norm: str, features_dim: int | None, discount: float, metric: MetricLoss | None) -> dict[str, Any]:
    """Return arguments of an encoder; "cap" is the bound of Robust DBC's metric, for other metrics at rewards of 1."""
    if features_dim is not None:
        integer("features_dim", features_dim, 1)
    settings: dict[str, Any] = {"norm": norm, "features_dim": features_dim}
    if norm == "cap":
        settings["cap_radius"] = norm_radius(discount, getattr(metric, "max_reward", 1.0))
    return settings


def check_extractor(extractor: type[nn.Module] | None, norm: str) -> None:
    """Raise ``ValueError`` if a feature extractor does not take what :func:`encoder_settings` has for it."""
    if extractor is None:
        return
    needed = ["features_dim", "norm"] + (["cap_radius"] if norm == "cap" else [])
    parameters = inspect.signature(extractor).parameters
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    missing = [name for name in needed if name not in parameters]
    if missing and not takes_all:
        raise ValueError(
            f"features_extractor_class must take {' and '.join(needed)}, got {extractor.__name__} without {missing}: "
            "see those of bisimgym.baselines.core.extractors"
        )


class Settings(TypedDict, total=False):
    """Keyword arguments that all learners take: those of :class:`MetricLearning`, then those of SB3."""

    norm: str
    features_dim: int | None
    metric: MetricChoice
    metric_settings: Mapping[str, Any] | None
    metric_weight: float
    self_prediction: float
    reward_prediction: float
    reward_from: str
    model_kind: str | None
    model_weight_decay: float
    encoder_tau: float | None
    augmentation: Augmentation | None
    encoder_optimizer: str
    precision: str
    compile: bool
    buffer_size: int
    learning_starts: int
    batch_size: int
    tau: float
    gamma: float
    train_freq: int | tuple[int, str]
    gradient_steps: int
    replay_buffer_class: type[ReplayBuffer] | None
    replay_buffer_kwargs: dict[str, Any] | None
    replay_device: str
    optimize_memory_usage: bool
    n_steps: int
    target_update_interval: int
    max_grad_norm: float | None
    stats_window_size: int
    tensorboard_log: str | None
    policy_kwargs: dict[str, Any] | None
    verbose: int
    seed: int | None
    device: th.device | str
    _init_setup_model: bool


class SACSettings(Settings, total=False):
    """Keyword arguments of :class:`MetricSAC` and of the methods that inherit from it."""

    views: int
    target_views: int
    actor_period: int
    ent_coef_learning_rate: float | None
    ent_coef_beta1: float
    action_noise: ActionNoise | None
    ent_coef: str | float
    target_entropy: str | float
    use_sde: bool
    sde_sample_freq: int
    use_sde_at_warmup: bool


class DQNSettings(Settings, total=False):
    """Keyword arguments of :class:`MetricDQN` and of the methods that inherit from it."""

    double_q: bool
    exploration_fraction: float
    exploration_initial_eps: float
    exploration_final_eps: float


def merged(settings: Mapping[str, Any], further: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with further ones over them; of two dictionaries the entries are merged."""
    result = dict(settings)
    for name, value in further.items():
        old = result.get(name)
        result[name] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result


def declared_defaults(cls: type) -> dict[str, Any]:
    """Return the defaults that a class and its bases declare."""
    declared: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        declared = merged(declared, vars(base).get("defaults", {}))
    return declared


def completed(cls: type, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return keyword arguments for a constructor: the defaults that its class declares, and over them the user's.

    Raises:
        TypeError: for an argument that the class does not have.
    """
    known = inspect.signature(cls).parameters
    for name in settings:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f": did you mean {close[0]!r}?" if close else ""
            raise TypeError(f"{cls.__name__}() has no argument {name!r}{hint}")
    return merged(declared_defaults(cls), settings)


def declared_signature(cls: type) -> inspect.Signature:
    """Return the arguments of all constructors that a class inherits, with the defaults that it declares."""
    found: dict[str, inspect.Parameter] = {}
    for base in cls.__mro__:
        if "__init__" in vars(base) and base is not object:
            parameters = list(inspect.signature(vars(base)["__init__"]).parameters.values())[1:]
            for parameter in parameters:
                if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                    found.setdefault(parameter.name, parameter)
        if base in (SAC, DQN):
            break  # beyond are arguments that SB3's algorithms set themselves
    positional = ("policy", "env", "learning_rate")
    declared = declared_defaults(cls)
    parameters = [
        parameter.replace(
            kind=parameter.POSITIONAL_OR_KEYWORD if name in positional else parameter.KEYWORD_ONLY,
            default=declared.get(name, parameter.default),
        )
        for name, parameter in sorted(found.items(), key=lambda item: item[0] not in positional)
    ]
    return inspect.Signature(parameters)
