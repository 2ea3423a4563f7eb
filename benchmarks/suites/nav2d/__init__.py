"""The nav2d suite, what its encoders are asked, and pictures of the answers."""
