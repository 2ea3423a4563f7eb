"""Neural Langevin Dynamics: latent stochastic differential equations whose drift is the gradient of an energy."""

from bisimgym.envs.extras import require

require("Langevin models", "baselines", "torch", "scipy", "tqdm")
