"""Runs and a site of them, built once for all files that look at them."""

from leaderboard_runs import runs, site  # noqa: F401
