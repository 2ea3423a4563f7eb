"""The settings of the imitation learner, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bisimgym.baselines.core.precision import PRECISIONS
from bisimgym.baselines.pse.alignment import Alignment


@dataclass(frozen=True)
class ImitationSettings:
    """What :class:`~.imitation.ImitationLearner` takes as keywords and keeps as attributes.

    Attributes:
        learning_rate: of Adam, at the start.
        lr_decay: factor of the learning rate after each epoch. An epoch is one pass over the demonstrations,
            ``steps // batch_size + 1`` updates.
        batch_size: of the imitation loss.
        l2_coefficient: times the mean over all parameter tensors of half their squared norm.
        dropout: probability, on the representation, in the imitation loss only.
        augmentation: None or "randconv".
        frame_channels: color channels of one frame: the stack is filtered frame by frame.
        clean_probability: how often RandConv leaves a batch as it is.
        alignment: None, an :class:`~.alignment.Alignment`, or its settings as a dictionary.
        precision: "auto" (bfloat16 passes where the hardware is fast at it), "float32" or "bfloat16".

    Raises:
        ValueError: for a value out of range.
        TypeError: for an alignment of another type.
    """

    learning_rate: float = 2.6e-3
    lr_decay: float = 0.999
    batch_size: int = 256
    l2_coefficient: float = 0.0
    dropout: float = 0.0
    augmentation: str | None = None
    frame_channels: int = 1
    clean_probability: float = 0.1
    alignment: Alignment | Mapping[str, Any] | None = None
    precision: str = "auto"

    def __post_init__(self) -> None:
        for name, fits, allowed in (
            ("learning_rate", self.learning_rate > 0, "positive"),
            ("lr_decay", 0 < self.lr_decay <= 1, "in (0, 1]"),
            ("batch_size", isinstance(self.batch_size, int) and self.batch_size > 0, "a positive integer"),
            ("l2_coefficient", self.l2_coefficient >= 0, "at least 0"),
            ("dropout", 0 <= self.dropout < 1, "in [0, 1)"),
            ("clean_probability", 0 <= self.clean_probability <= 1, "in [0, 1]"),
            ("augmentation", self.augmentation in (None, "randconv"), "None or 'randconv'"),
            ("precision", self.precision in PRECISIONS, f"one of {list(PRECISIONS)}"),
        ):
            if not fits:
                raise ValueError(f"{name} must be {allowed}, got {getattr(self, name)!r}")
        if isinstance(self.alignment, Mapping):
            object.__setattr__(self, "alignment", Alignment(**self.alignment))
        elif not isinstance(self.alignment, (Alignment, type(None))):
            raise TypeError(f"alignment must be None, an Alignment or its settings, got {self.alignment!r}")
