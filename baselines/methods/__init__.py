"""One page per method: its loss, its networks, and its SAC and DQN forms as declared defaults."""
