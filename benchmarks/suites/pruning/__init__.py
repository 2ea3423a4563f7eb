"""The pruning suite: methods that choose channels, and what the pruned networks are worth."""
