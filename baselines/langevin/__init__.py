"""Neural Langevin Dynamics: latent stochastic differential equations whose drift is the gradient of an energy."""
