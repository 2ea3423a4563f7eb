"""Losses as pure functions of torch tensors, usable from any training code."""

from bisimgym.baselines.losses.pse import Coupling, contrastive_metric_loss, coupling, metric_regression_loss

__all__ = ["Coupling", "contrastive_metric_loss", "coupling", "metric_regression_loss"]
