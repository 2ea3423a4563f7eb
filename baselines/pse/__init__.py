"""Policy similarity embeddings by imitation: the learner, its policy, alignment loss, augmentation and sampling."""

from bisimgym.envs.extras import require

require("policy similarity embeddings", "baselines", "torch")
