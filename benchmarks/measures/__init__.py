"""What is measured of agents and encoders, and how seeds are summarized."""
