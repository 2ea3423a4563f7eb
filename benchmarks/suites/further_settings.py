"""Settings that runs have without storing them: keyword arguments of learners and metrics, at their defaults.

They can be changed like those that a suite stores, and are stored once they are.
"""

from __future__ import annotations

import inspect
import math
import types
from collections.abc import Collection, Mapping, Set
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

_SCALARS = (bool, int, float, str, type(None))
#: What says where and how a run is done, and not what comes of it.
_OF_RUNS = {"policy", "env", "seed", "device", "verbose", "stats_window_size", "tensorboard_log", "_init_setup_model"}
#: What the suites' methods are.
_OF_METHODS = {"metric", "metric_settings", "optimize_memory_usage"}


class Further(NamedTuple):
    """A setting that is not stored: its value, and the types that it can have."""

    value: Any
    kinds: Set[type]

    def check(self, key: str, value: Any) -> None:
        """Raise ``ValueError`` unless the setting can have this value."""
        kinds = {*self.kinds, int} if float in self.kinds else self.kinds
        if type(value) not in kinds or (isinstance(value, float) and not math.isfinite(value)):
            names = " or ".join(sorted(k.__name__ for k in self.kinds - {type(None)}))
            names += " or null" * (type(None) in self.kinds)
            raise ValueError(f"setting {key} takes {names}, like {self.value!r}, got {value!r}")


def further_settings(
    learner: type,
    hints: Mapping[str, Any],
    metric: Any = None,
    fixed: Mapping[str, Any] | None = None,
    without: Collection[str] = (),
) -> dict[str, Further]:
    """Return the settings of a learner and its metric that are numbers, switches or names, by dotted key.

    Args:
        learner: a class, whose signature has the defaults.
        hints: the types of its arguments.
        metric: what a metric is given as; ``None``: the learner's default.
        fixed: what a suite gives the learner in place of defaults.
        without: arguments that the suite decides in another way.
    """
    defaults = {name: p.default for name, p in inspect.signature(learner).parameters.items()}
    found = _of_arguments({**defaults, **(fixed or {})}, hints, _OF_RUNS | _OF_METHODS | set(without))
    chosen = metric_class(defaults.get("metric") if metric is None else metric)
    if chosen is not None:
        of_metric = {name: p.default for name, p in inspect.signature(chosen).parameters.items()}
        of_metric |= defaults.get("metric_settings") or {}
        arguments = _of_arguments(of_metric, get_type_hints(chosen.__init__), ())  # type: ignore[misc]
        found |= {f"metric_settings.{name}": setting for name, setting in arguments.items()}
    return found


def metric_class(metric: Any) -> type | None:
    """Return the class of a metric that is given by name or class."""
    from bisimgym.baselines.learners import loss_class

    return loss_class(metric) if isinstance(metric, str) else metric


def _of_arguments(
    defaults: Mapping[str, Any], hints: Mapping[str, Any], without: Collection[str]
) -> dict[str, Further]:
    found = {}
    for name, value in defaults.items():
        kinds = _kinds(hints.get(name))
        if name not in without and kinds - {type(None)} and type(value) in _SCALARS:
            found[name] = Further(value, kinds)
    return found


def _kinds(hint: Any) -> set[type]:
    """Return the types of scalars that a type hint allows."""
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    kinds: set[type] = set()
    for option in options:
        if get_origin(option) is Literal:
            kinds |= {type(value) for value in get_args(option)}
        elif option in _SCALARS:
            kinds.add(option)
    return kinds
