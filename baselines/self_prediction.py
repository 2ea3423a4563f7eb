"""Self-prediction (ZP): the next embedding is predicted, and nothing compared: the baseline of all metrics.

Source: Ni et al. (2024), "Bridging state and history representations"; Luo et al. (2025). The loss is
:func:`~bisimgym.baselines.losses.gaussian_nll` of the next embedding, which is the online encoder's.
"""

from bisimgym.baselines.core.metric_learning import MetricSAC


class SelfPredictionSAC(MetricSAC):
    """SAC with LayerNorm on the embedding and the loss of predicting the next embedding; no metric."""

    defaults = {"self_prediction": 1.0}
