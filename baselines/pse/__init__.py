"""Policy similarity embeddings by imitation: the learner, its policy, alignment loss, augmentation and sampling."""
