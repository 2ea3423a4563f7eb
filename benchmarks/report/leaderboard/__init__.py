"""The leaderboard: a static site made from run folders, readable without a server, a network or JavaScript."""

from bisimgym.benchmarks.report.leaderboard.site import build_site

__all__ = ["build_site"]
