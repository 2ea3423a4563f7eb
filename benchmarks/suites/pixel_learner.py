"""Learners of suites that train from images: published settings of a method in the sizes of a preset."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from typing import Any

from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.suites.base import Spec

#: Settings of sizes, which become other arguments of a learner than their names say.
_SIZES = ("channels", "hidden", "pad", "architecture")


def make_pixel_learner(spec: Spec, device: str, env: Any, transitions: int, of_suite: Collection[str]) -> Any:
    """Return the untrained agent of a run.

    Args:
        spec: of the run. Its settings are "learner", "channels", "hidden", "pad", "batch_size", "learning_rate" (the
            last two and "hidden" may be None: the method's own), perhaps "architecture", those in ``of_suite``, and
            further arguments of the learner.
        device: of the networks.
        env: what it learns in.
        transitions: that it will see; its replay is no larger.
        of_suite: settings that are none of the learner's.

    Raises:
        UserError: if its replay does not fit into memory.
    """
    from bisimgym.baselines.learners import SAC_LEARNERS
    from bisimgym.baselines.pixels import pixel_settings
    from bisimgym.baselines.pse.augmentation import random_shift

    apart = {*of_suite, *_SIZES, "learner"}
    settings = {name: value for name, value in spec.settings.items() if name not in apart}
    learner = spec.settings["learner"]
    for name in ("batch_size", "learning_rate"):
        if settings[name] is None:
            del settings[name]
    settings = pixel_settings(learner, {**settings, "policy_kwargs": _policy(spec.settings)})
    if "augmentation" in settings:
        settings["augmentation"] = functools.partial(random_shift, pad=spec.settings["pad"])
    settings["buffer_size"] = min(settings["buffer_size"], transitions)
    try:
        return SAC_LEARNERS[learner]("PixelPolicy", env, seed=spec.seed, device=device, **settings)
    except MemoryError as error:
        raise UserError(f"the replay of {spec.method} does not fit: {error}") from error


def _policy(settings: Mapping[str, Any]) -> dict[str, Any]:
    extractor = {name: settings[name] for name in ("channels", "architecture") if name in settings}
    layers = {} if settings["hidden"] is None else {"net_arch": [settings["hidden"]] * 2}
    return {"features_extractor_kwargs": extractor, **layers}
