"""The fidelity suite and its pictures."""
