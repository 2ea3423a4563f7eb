"""What is measured of agents and encoders, and how seeds are summarized."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bisimgym.benchmarks.measures.encoder_score import EncoderScore, score_encoder

__all__ = ["EncoderScore", "score_encoder"]


def __getattr__(name: str) -> Any:
    # When asked for: reports need the statistics beside it, and no solvers.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from bisimgym.benchmarks.measures import encoder_score

    return getattr(encoder_score, name)
