"""What losses with models and policies learn on small processes, beside exact metrics."""

import numpy as np
import pytest
import torch as th
from tabular import GAMMA, all_pairs, descend, error, rank_correlation, table

from bisimgym.baselines import metrics
from bisimgym.baselines.ambs import PairModel, ambs_loss, two_view_distances
from bisimgym.baselines.dbc import dbc_loss
from bisimgym.baselines.losses import (
    cosine_distance,
    gaussian_nll,
    gaussian_w2,
    l1_distance,
    reward_prediction_loss,
)
from bisimgym.baselines.pse.losses import contrastive_metric_loss, coupling
from bisimgym.baselines.recursive_similarity import recursive_similarity_loss
from bisimgym.envs.jumping.env import jumping_mdp
from bisimgym.envs.nav2d.env import nav2d_mdp
from bisimgym.envs.toy_mdps import garnet


@pytest.mark.parametrize("stay", [0.5, 0.75])
def test_dbc_learns_the_w2_of_gaussians_where_the_metric_has_w1(stay):
    # States 0 and 1 lead to 2 and 3, which stay: 0 with probabilities (stay, 1 - stay), 1 surely to 2.
    transition = np.zeros((4, 1, 4))
    transition[0, 0, 2:] = stay, 1 - stay
    transition[1, 0, 2] = transition[2, 0, 2] = transition[3, 0, 3] = 1
    reward = np.array([[0.0], [0.0], [0.3], [0.0]])
    exact = metrics.on_policy_bisimulation(transition, reward, np.ones((4, 1)), GAMMA)
    p, r = th.from_numpy(transition[:, 0]), th.from_numpy(reward[:, 0])
    z = table(4, 1, 1.0)

    def loss():
        mean = p @ z
        std = (p @ z.square() - mean.square()).clamp_min(0).sqrt()
        return dbc_loss(z, r, mean, std, th.tensor([1, 0, 3, 2]), GAMMA).loss

    descend(loss, [z], 2000, 0.02)
    learned = all_pairs(l1_distance, z)
    far = 0.3 / (1 - GAMMA)
    assert exact[2, 3] == pytest.approx(far)
    assert learned[2, 3] == pytest.approx(far, rel=1e-3)
    assert exact[0, 1] == pytest.approx(GAMMA * (1 - stay) * far)
    # Means differ by (1 - stay) far, standard deviations by sqrt(stay (1 - stay)) far.
    w2 = np.sqrt((1 - stay) ** 2 + stay * (1 - stay)) * far
    assert learned[0, 1] == pytest.approx(GAMMA * w2, rel=1e-3)
    assert learned[0, 1] > 1.4 * exact[0, 1]


class TestRecursiveSimilarity:
    @pytest.mark.parametrize("reduction", ["mean", "max"])
    @pytest.mark.parametrize("scale", [None, 1.0])
    def test_on_a_layout_of_nav2d(self, reduction, scale):
        obstacles = np.zeros((4, 4), dtype=bool)
        obstacles[1, 1] = obstacles[2, 1] = obstacles[3, 3] = True
        mdp = nav2d_mdp(obstacles, goal=(0, 3))
        cells = np.argwhere(~obstacles) / 3
        base = np.abs(cells[:, None] - cells).sum(axis=2)
        exact = metrics.recursive_similarity(mdp.transition, base, GAMMA, reduction)
        exact *= 1 - GAMMA if scale is None else scale
        z, base_z, following = table(mdp.num_states, 32, 0.1), th.from_numpy(cells), th.from_numpy(mdp.transition.T)
        options = {"base_weight": scale, "reduction": reduction}
        descend(
            lambda: recursive_similarity_loss(z, base_z, z[following], None, GAMMA, **options).loss,
            [z],
            2000,
            0.005 if scale is None else 0.02,
        )
        learned = all_pairs(l1_distance, z)
        assert error(learned, exact) < 0.02
        assert rank_correlation(learned, exact) > 0.995

    def test_on_a_random_process(self):
        mdp = garnet(12, 3, 1, np.random.default_rng(0))
        base_z = table(12, 3, 0.5, seed=1).detach()
        base = all_pairs(l1_distance, base_z)
        exact = (1 - GAMMA) * metrics.recursive_similarity(mdp.transition, base, GAMMA)
        z, following = table(12, 48, 0.1), th.from_numpy(mdp.transition.T)
        descend(lambda: recursive_similarity_loss(z, base_z, z[following], None, GAMMA).loss, [z], 3000)
        learned = all_pairs(l1_distance, z)
        assert error(learned, exact) < 0.02
        assert rank_correlation(learned, exact) > 0.99


def test_ambs_learns_distances_of_rewards_and_of_predicted_dynamics():
    # Not a fixed point: the second distance is that of the next embeddings, whatever their scale (here frozen).
    states = 6
    mdp = garnet(states, 1, 1, np.random.default_rng(0))
    following, reward = th.from_numpy(mdp.transition[:, 0]), th.from_numpy(mdp.reward[:, 0]).float()
    first = th.arange(states).repeat_interleave(states)
    second = th.arange(states).repeat(states)
    swapped = second * states + first  # the row of the pair the other way round
    th.manual_seed(0)
    models = PairModel(8), PairModel(8)
    z = table(states, 8, 1.0).detach().float()
    rewards_z = z.clone().requires_grad_()
    dynamics = (z[following] / 4, th.zeros(states, 8))

    def loss():
        of_reward = two_view_distances(models[0], rewards_z[first], rewards_z[first], swapped)
        of_dynamics = two_view_distances(models[1], z[first], z[first], swapped)
        mean, std = (part[first] for part in dynamics)
        return ambs_loss(of_reward, of_dynamics, th.tensor([0.4, 0.6]), reward[first], mean, std, swapped).loss

    descend(loss, [rewards_z, *models[0].parameters(), *models[1].parameters()], 1200, 0.02)
    of_reward, of_dynamics = (
        model(embedding[first], embedding[second]).detach().view(states, states).numpy()
        for model, embedding in zip(models, (rewards_z, z), strict=True)
    )
    reward_distance = (reward[:, None] - reward).abs().numpy()
    w2 = all_pairs(lambda x, y: gaussian_w2(x, 0 * x, y, 0 * y), dynamics[0])
    assert error(of_reward, reward_distance) < 0.03
    assert error(of_dynamics, w2) < 0.03
    assert error(0.4 * of_reward + 0.6 * of_dynamics, 0.4 * reward_distance + 0.6 * w2) < 0.03


def partitions(items):
    """Yield all partitions of 0 ... items - 1, as classes by item."""

    def extend(prefix):
        if len(prefix) == items:
            yield np.array(prefix)
            return
        for label in range(max(prefix, default=-1) + 2):
            yield from extend([*prefix, label])

    yield from extend([])


def test_deepmdp_has_no_loss_exactly_for_bisimulations():
    """Of all ways to let states share embeddings, those with zero loss never merge what bisimulation separates."""
    # States 3, 4 and 5 are copies of 0, 1 and 2; which of the copies comes next does not matter.
    small = garnet(3, 2, 1, np.random.default_rng(3))
    copy = np.random.default_rng(0).integers(2, size=(6, 2)) * 3
    transition, reward = np.tile(small.transition, (2, 1)) + copy, np.tile(small.reward, (2, 1))
    distance = metrics.bisimulation(transition, reward, 0.9)
    classes, _ = metrics.equivalence_classes(transition, reward)
    assert classes.max() == 2
    coarsest = None
    for partition in partitions(6):
        z = th.eye(6, dtype=th.float64)[partition]
        share = z.T / z.sum(dim=0).clamp_min(1)[:, None]  # means over each class: the best predictions there are
        losses = []
        for action in range(2):
            next_z, r = z[transition[:, action]], th.from_numpy(reward[:, action])
            losses.append(reward_prediction_loss(z @ share @ r, r))
            losses.append(gaussian_nll(z @ share @ next_z, th.zeros_like(z), next_z))
        merged = partition[:, None] == partition
        bisimulation = all((classes[i] == classes[j]) for i, j in np.argwhere(merged)) and all(
            merged[transition[i, a], transition[j, a]] for i, j in np.argwhere(merged) for a in range(2)
        )
        assert (sum(losses).item() < 1e-20) == bisimulation
        if bisimulation:
            assert distance[merged].max() < 1e-6
            if coarsest is None or partition.max() < coarsest.max():
                coarsest = partition
    assert (coarsest == classes).all()
    # Self-prediction alone is content with one embedding for all states.
    same = th.ones(6, 2, dtype=th.float64)
    assert gaussian_nll(same, th.zeros_like(same), same) == 0


def test_pse_makes_neighbours_of_states_where_one_acts_alike():
    tasks = [jumping_mdp(obstacle_position=position, floor_height=10) for position in (20, 23)]
    actions = []
    for mdp in tasks:
        policy = mdp.optimal_policy(1.0)
        state, taken = 0, []
        while not mdp.terminal[state]:
            taken.append(policy[state].argmax())
            state = mdp.transition[state, taken[-1]]
        actions.append(np.array(taken[:14]))
    jumps = [int(np.flatnonzero(taken)[0]) for taken in actions]
    assert jumps[1] == jumps[0] + 3
    distance = metrics.trajectory_similarity(metrics.policy_cost(*actions), 0.9)
    x, y = table(14, 16, 0.3, seed=0), table(14, 16, 0.3, seed=1)
    coupled = coupling(th.from_numpy(distance), beta=0.1)
    descend(lambda: contrastive_metric_loss(x, y, coupled, temperature=0.1), [x, y], 800, 0.02)
    learned = all_pairs(cosine_distance, th.cat([x, y]))[:14, 14:]
    columns, rows = np.arange(14), np.arange(14)
    # The nearest embedding of the other task is one at the least exact distance, in both directions.
    assert (distance[learned.argmin(axis=0), columns] == distance.min(axis=0)).all()
    assert (distance[rows, learned.argmin(axis=1)] == distance.min(axis=1)).all()
    # Before the jump that is the state as many steps ahead of it, which is no state of equal position.
    for i in range(jumps[0] + 1):
        assert learned[i].argmin() == i + 3
    gaps = [learned[i, i + 3] for i in range(jumps[0] + 1)]
    assert max(gaps) < min(learned[i, j] for i in range(jumps[0] + 1) for j in range(14) if j != i + 3)
