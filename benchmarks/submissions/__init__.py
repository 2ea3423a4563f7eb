"""Submissions: what a stranger sends to the leaderboard, checked without opening anything but two files of text."""
