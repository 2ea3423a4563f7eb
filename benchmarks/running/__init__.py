"""Runs: their folders, executors, the machine they ran on."""
