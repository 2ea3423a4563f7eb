"""Suites, runner, statistics, leaderboard and the ``bisimgym`` command."""
