"""The table of methods: one row each, whose classes are imported when they are asked for."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple


class Method(NamedTuple):
    """A row: the module below ``bisimgym.baselines`` and the names of its classes.

    Attributes:
        metric_loss: the loss of a metric; ``""`` for methods without one.
        task: a loss that shapes an embedding and names no metric, for offline learning and as ``metric`` of learners.
        sac, dqn: the learners; ``""`` where there is none.
    """

    module: str
    metric_loss: str = ""
    sac: str = ""
    dqn: str = ""
    task: str = ""


#: Methods by the names that suites and tables give them, the parents first.
METHODS: Mapping[str, Method] = {
    "sac": Method("core.metric_learning", sac="MetricSAC"),
    "dqn": Method("core.metric_learning", dqn="MetricDQN"),
    "drq": Method("drq", sac="DrQSAC"),
    "drq-pse": Method("drq_pse", sac="DrQPSESAC"),
    "curl": Method("curl", sac="CURLSAC"),
    "slac": Method("slac", sac="SLACSAC"),
    "self-prediction": Method("self_prediction", sac="SelfPredictionSAC"),
    "deepmdp": Method("deepmdp", sac="DeepMDPSAC"),
    "mico": Method("mico", "MICo", "MICoSAC", "MICoDQN"),
    "dbc": Method("dbc", "DBC", "DBCSAC", "DBCDQN"),
    "robust-dbc": Method("robust_dbc", "RobustDBC", "RobustDBCSAC"),
    "rap": Method("rap", "RAP", "RAPSAC", "RAPDQN"),
    "ambs": Method("ambs", "AMBS", "AMBSSAC"),
    "simsr": Method("simsr", "SimSR", "SimSRSAC"),
    "rss": Method("recursive_similarity", "RecursiveSimilarity", dqn="RSSDQN"),
    "inverse-dynamics": Method("auxiliary_tasks", task="InverseDynamics"),
    "interaction": Method("auxiliary_tasks", task="Interaction"),
    "reconstruction": Method("auxiliary_tasks", task="Reconstruction"),
    "temporal-contrast": Method("auxiliary_tasks", task="TemporalContrast"),
    "joint-embedding": Method("auxiliary_tasks", task="JointEmbedding"),
    "value": Method("auxiliary_tasks", task="ValueRegression"),
}


#: Further names that settings may give a method: that of its exact metric.
ALIASES = {"recursive-similarity": "rss"}


class Column(Mapping[str, type]):
    """The classes in one column of :data:`METHODS`, by name of the method."""

    def __init__(self, field: str):
        self._field = field

    def __getitem__(self, name: str) -> type:
        row = METHODS[ALIASES.get(name, name)]
        class_name = getattr(row, self._field)
        if not class_name:
            raise KeyError(name)
        return getattr(importlib.import_module(f"bisimgym.baselines.{row.module}"), class_name)

    def __iter__(self) -> Iterator[str]:
        return (name for name, row in METHODS.items() if getattr(row, self._field))

    def __len__(self) -> int:
        return sum(1 for _ in self)


#: Learners that are for images alone: they shift them, or decode them.
FOR_IMAGES = ("drq", "drq-pse", "curl", "slac")

SAC_LEARNERS = Column("sac")
DQN_LEARNERS = Column("dqn")
METRIC_LOSSES = Column("metric_loss")
AUXILIARY_TASKS = Column("task")


def loss_class(name: str) -> type | None:
    """Return the class of a metric's loss or of an auxiliary task by name, or ``None``."""
    return METRIC_LOSSES.get(name) or AUXILIARY_TASKS.get(name)
