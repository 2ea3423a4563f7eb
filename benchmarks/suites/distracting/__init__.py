"""The distracting suite and its pictures."""
