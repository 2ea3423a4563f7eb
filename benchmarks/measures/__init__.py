"""What is measured of agents and encoders, and how seeds are summarized."""

from bisimgym.benchmarks.measures.encoder_score import EncoderScore, score_encoder

__all__ = ["EncoderScore", "score_encoder"]
