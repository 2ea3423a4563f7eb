"""Exact metrics, losses and learners. Import the parts by name: metrics need no torch."""
