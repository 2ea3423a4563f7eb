"""An encoder of one's own, scored: a torch autoencoder, trained here on what random actions show.

bisimgym fidelity --encoder autoencoder_fidelity:make --task nav2d-8x8 --out pictures
"""

import gymnasium as gym
import torch as th
from torch import nn

from bisimgym.benchmarks.measures.processes import fidelity_envs

TASK = "nav2d-8x8"


def observations(steps=2000):
    """Return images of a walk of random actions, ``float[N, H * W * C]`` in [0, 1]."""
    (make_env,) = fidelity_envs(TASK)
    env: gym.Env = make_env()
    env.action_space.seed(1)
    found = [env.reset(seed=1)[0]]
    for _ in range(steps):
        observation, _, terminated, truncated, _ = env.step(env.action_space.sample())
        found.append(observation)
        if terminated or truncated:
            found.append(env.reset()[0])
    return th.stack([th.as_tensor(image) for image in found]).flatten(1) / 255


def make(updates=2000):
    th.manual_seed(1)
    images = observations()
    encoder = nn.Sequential(nn.Linear(images.shape[1], 128), nn.ReLU(), nn.Linear(128, 16))
    decoder = nn.Sequential(nn.Linear(16, 128), nn.ReLU(), nn.Linear(128, images.shape[1]))
    optimizer = th.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3)
    for _ in range(updates):
        batch = images[th.randint(len(images), (128,))]
        loss = nn.functional.mse_loss(decoder(encoder(batch)), batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return lambda batch: encoder(th.as_tensor(batch).flatten(1) / 255)
