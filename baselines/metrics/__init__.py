"""Exact behavioral metrics, in numpy and scipy.

Each metric is a function that returns distances between all states of a finite process, or between the states of two,
to a certified tolerance. The recursion behind it, ``<metric>_operator``, is a function from distances to distances with
an ``error_bound`` for any distances at hand.
"""

from bisimgym.envs.extras import missing

try:
    import psutil  # noqa: F401
    import scipy  # noqa: F401
    import tqdm  # noqa: F401
except ImportError as error:
    raise missing("exact metrics", "metrics", error.name) from None

from bisimgym.baselines.metrics.aggregation import aggregated
from bisimgym.baselines.metrics.bisimulation import (
    bisimulation,
    bisimulation_operator,
    on_policy_bisimulation,
    on_policy_bisimulation_operator,
)
from bisimgym.baselines.metrics.certificates import Certificate, certify
from bisimgym.baselines.metrics.checker import check_certificate, exact_reward_costs
from bisimgym.baselines.metrics.entropic import entropic_bisimulation
from bisimgym.baselines.metrics.fixed_point import Solver, solve
from bisimgym.baselines.metrics.lax import lax_bisimulation, lax_bisimulation_operator
from bisimgym.baselines.metrics.mico import mico, mico_operator, shifted_mico
from bisimgym.baselines.metrics.operators import Operator
from bisimgym.baselines.metrics.partition import equivalence_classes, quotient
from bisimgym.baselines.metrics.psm import policy_similarity, policy_similarity_operator
from bisimgym.baselines.metrics.rap import rap, rap_operator
from bisimgym.baselines.metrics.recursive_similarity import recursive_similarity, recursive_similarity_operator
from bisimgym.baselines.metrics.samples import EmpiricalProcess, empirical_process, sampled_bisimulation
from bisimgym.baselines.metrics.trajectory import policy_cost, reward_cost, trajectory_similarity
from bisimgym.baselines.metrics.transfer import transferred_policy
from bisimgym.baselines.metrics.transport import wasserstein
from bisimgym.baselines.metrics.value_difference import value_difference

#: The metrics themselves, in the order in which they are listed.
METRICS = (
    "bisimulation",
    "on_policy_bisimulation",
    "lax_bisimulation",
    "entropic_bisimulation",
    "policy_similarity",
    "mico",
    "shifted_mico",
    "rap",
    "recursive_similarity",
    "trajectory_similarity",
    "value_difference",
)

__all__ = [
    "METRICS",
    "Certificate",
    "EmpiricalProcess",
    "Operator",
    "Solver",
    "aggregated",
    "bisimulation",
    "bisimulation_operator",
    "certify",
    "check_certificate",
    "empirical_process",
    "entropic_bisimulation",
    "equivalence_classes",
    "exact_reward_costs",
    "lax_bisimulation",
    "lax_bisimulation_operator",
    "mico",
    "mico_operator",
    "on_policy_bisimulation",
    "on_policy_bisimulation_operator",
    "policy_cost",
    "policy_similarity",
    "policy_similarity_operator",
    "quotient",
    "rap",
    "rap_operator",
    "recursive_similarity",
    "recursive_similarity_operator",
    "reward_cost",
    "sampled_bisimulation",
    "shifted_mico",
    "solve",
    "trajectory_similarity",
    "transferred_policy",
    "value_difference",
    "wasserstein",
]
