"""Signals of a hidden Markov chain: see :class:`MarkovSignalEnv`."""

from bisimgym.envs.markov_signal.env import MarkovSignalEnv, MarkovSignalVectorEnv
from bisimgym.envs.markov_signal.hmm import SignalLaw, sample_signals, signal_law, signal_mdp, stationary_distribution

__all__ = [
    "MarkovSignalEnv",
    "MarkovSignalVectorEnv",
    "SignalLaw",
    "sample_signals",
    "signal_law",
    "signal_mdp",
    "stationary_distribution",
]
