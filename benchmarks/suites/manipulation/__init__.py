"""The manipulation suite."""
