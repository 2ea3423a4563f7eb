"""From results to tables and to the leaderboard site."""
