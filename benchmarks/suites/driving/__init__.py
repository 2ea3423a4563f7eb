"""The driving suite."""
