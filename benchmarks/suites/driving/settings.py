"""What the suite ``driving`` has: tasks, methods, presets and measures, as data."""

from __future__ import annotations

from typing import Any, NamedTuple

from bisimgym.benchmarks.suites.base import Bounds, Measure, Method, Preset, Task
from bisimgym.benchmarks.suites.distracting.settings import METHODS as LEARNED_FROM_IMAGES
from bisimgym.envs.highway_driving.weather import PRESETS as WEATHERS

#: The weather that agents learn in, and those that they are scored in: SECANT's protocol.
_SUNNY, _OTHERS = "ClearNoon", [name for name in WEATHERS if name != "ClearNoon"]
_LAYOUTS = 8


class Distribution(NamedTuple):
    """A task: arguments of the environment to learn in and to be scored in, and what its returns are measured by.

    Attributes:
        learned, scored: keyword arguments of ``bisimgym/HighwayDriving-v0``.
        nothing: mean return of the action zero where agents are scored, of :data:`REFERENCE_EPISODES` episodes.
        oracle: that of the oracle.
    """

    learned: dict[str, Any]
    scored: dict[str, Any]
    nothing: float
    oracle: float


#: Episodes of the means above.
REFERENCE_EPISODES = 1000
_CLEAR = {"weather": "fixed", "weather_presets": [_SUNNY]}
_DBC: dict[str, Any] = {"reward": "dbc-0.9.6", "endings": ["off-road", "stuck"], "vehicles": 20, "walkers": 0}
DISTRIBUTIONS = {
    "weather": Distribution(_CLEAR, {"weather_presets": _OTHERS}, 151.7, 1173.2),
    "traffic": Distribution(
        {**_CLEAR, "traffic_seeds": _LAYOUTS}, {**_CLEAR, "traffic_seeds": _LAYOUTS, "split": "test"}, 151.7, 1173.2
    ),
    "slow-weather": Distribution({**_DBC, "weather": "slow"}, {**_DBC, "weather_presets": list(WEATHERS)}, 20.1, 116.0),
}
TASKS = {
    "weather": Task(
        "Driving, held-out weather", "Learn in one weather, be scored in the five others; SECANT's reward, as in RAP"
    ),
    "traffic": Task(
        "Driving, held-out traffic",
        f"Learn on {_LAYOUTS} layouts of road and traffic, be scored on others, in one weather; SECANT's reward",
    ),
    "slow-weather": Task(
        "Driving, slow weather",
        "Learn while sun and storm move, among 20 cars, be scored in six fixed weathers; DBC's reward, as in AMBS",
    ),
}

#: Methods that do not learn, by the name of what they do.
FIXED = {
    "zero-action": Method("Neither gas nor brake, and straight on", {"act": "zero"}, trains=False),
    "random": Method("Uniformly random actions", {"act": "random"}, trains=False),
    "oracle": Method("The stand-in's good driver, who sees the world itself", {"act": "oracle"}, trains=False),
}
#: PSE needs two looks at one episode, which the suite does not have.
METHODS = FIXED | {name: method for name, method in LEARNED_FROM_IMAGES.items() if name != "drq-pse"}

#: ``None``: that of the method's paper (:data:`~bisimgym.baselines.pixels.PIXEL_SETTINGS`).
PRESETS = {
    "smoke": Preset(
        "A minute: shows that everything runs, scores mean nothing",
        {
            "backend": "standin",
            "actions": 60,
            "evaluate_every": 30,
            "size": 20,
            "cameras": 1,
            "architecture": "sac-ae",
            "channels": 8,
            "hidden": 32,
            "batch_size": 8,
            "learning_rate": None,
            "pad": 1,
            "learning_starts": 20,
        },
    ),
    "laptop": Preset(
        "10,000 actions, three cameras of 24 x 24 pixels, narrow networks, batches of 32, for one core",
        {
            "backend": "standin",
            "actions": 10_000,
            "evaluate_every": 2000,
            "size": 24,
            "cameras": 3,
            "architecture": "sac-ae",
            "channels": 16,
            "hidden": 128,
            "batch_size": 32,
            "learning_rate": None,
            "pad": 2,
            "learning_starts": 500,
        },
    ),
    "paper": Preset(
        "100,000 actions, five cameras of 84 x 84 pixels, the networks of RAP on CARLA: for a GPU and 11 GB of replay",
        {
            "backend": "standin",
            "actions": 100_000,
            "evaluate_every": 5000,
            "size": 84,
            "cameras": 5,
            "architecture": "strided",
            "channels": 64,
            "hidden": None,
            "batch_size": 128,
            "learning_rate": 1e-3,
            "pad": 4,
            "learning_starts": 200,
            "buffer_size": 100_000,
            "features_dim": 100,
        },
    ),
}

#: Per frame at most 40 m/s for 0.05 s are earned, and at most as much is lost, one for steering, and collisions.
RETURNS: Bounds = (-4000.0, 2000.0)
_METERS: Bounds = (-2000.0, 2000.0)
_SHARE: Bounds = (0.0, 1.0)
_SHARES_OF_ORACLE: Bounds = (-80.0, 80.0)
MEASURES = {
    "trained": Measure("as trained", "return where the agent learned"),
    "gap": Measure("gap", "return where the agent learned minus return where it is scored", bounds=(-6000.0, 6000.0)),
    "normalized": Measure(
        "normalized", "0: what the action zero earns, 1: the oracle", percent=True, bounds=_SHARES_OF_ORACLE
    ),
    "trained_normalized": Measure(
        "normalized as trained", "the same of the return as trained", percent=True, bounds=_SHARES_OF_ORACLE
    ),
    "distance": Measure("meters", "distance along the road where the agent is scored", bounds=_METERS),
    "finished": Measure(
        "finished", "share of scored episodes that last until the time limit", percent=True, bounds=_SHARE
    ),
    "crashed": Measure("crashed", "share of scored episodes with a collision", percent=True, bounds=_SHARE),
}
COLUMNS: dict[str, type | range | Bounds] = {
    "return": RETURNS,
    "trained_return": RETURNS,
    "distance": _METERS,
    "crash": (0.0, 1e9),
    "ending": str,
    "weather": str,
}
