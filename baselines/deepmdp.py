"""DeepMDP (Gelada et al. 2019): the next embedding and the reward are predicted, and nothing compared.

The losses are :func:`~bisimgym.baselines.losses.gaussian_nll` of the next embedding, in place of the paper's
Wasserstein distance, and :func:`~bisimgym.baselines.losses.reward_prediction_loss`, from embedding and action, as in
Luo et al. (2025).
"""

from bisimgym.baselines.core.metric_learning import MetricSAC


class DeepMDPSAC(MetricSAC):
    """SAC with both predictions and no metric."""

    defaults = {"self_prediction": 1.0, "reward_prediction": 1.0, "reward_from": "embedding"}
