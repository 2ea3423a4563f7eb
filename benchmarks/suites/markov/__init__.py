"""The markov suite, its comparators and pictures."""
