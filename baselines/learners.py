"""The learners of this package, by the names that suites and tables give them."""

from __future__ import annotations

from bisimgym.baselines.ambs import AMBSSAC
from bisimgym.baselines.core.metric_learning import MetricDQN, MetricSAC
from bisimgym.baselines.dbc import DBCDQN, DBCSAC
from bisimgym.baselines.deepmdp import DeepMDPSAC
from bisimgym.baselines.mico import MICoDQN, MICoSAC
from bisimgym.baselines.rap import RAPDQN, RAPSAC
from bisimgym.baselines.recursive_similarity import RSSDQN
from bisimgym.baselines.robust_dbc import RobustDBCSAC
from bisimgym.baselines.self_prediction import SelfPredictionSAC
from bisimgym.baselines.simsr import SimSRSAC

#: The parent first.
SAC_LEARNERS: dict[str, type[MetricSAC]] = {
    "sac": MetricSAC,
    "self-prediction": SelfPredictionSAC,
    "deepmdp": DeepMDPSAC,
    "mico": MICoSAC,
    "dbc": DBCSAC,
    "robust-dbc": RobustDBCSAC,
    "rap": RAPSAC,
    "ambs": AMBSSAC,
    "simsr": SimSRSAC,
}
DQN_LEARNERS: dict[str, type[MetricDQN]] = {
    "dqn": MetricDQN,
    "mico": MICoDQN,
    "dbc": DBCDQN,
    "rap": RAPDQN,
    "rss": RSSDQN,
}
