"""Each loss against the exact metric it claims to learn.

Embeddings are free tables, one row per state, and rewards and next states are the process's own: what is wrong then is
the loss, not a model. All rewards and transitions of a stochastic process are in the batch as often as they are likely,
so that a mean over all pairs of rows is an exact expectation. Where a loss learns something else than the metric, the
test says what theory makes of it, and compares with that.
"""

import numpy as np
import pytest
import torch as th
from tabular import GAMMA, all_pairs, descend, error, rank_correlation, table

from bisimgym.baselines import metrics
from bisimgym.baselines.dbc import dbc_loss
from bisimgym.baselines.losses import (
    cosine_distance,
    huber,
    l1_distance,
    l2_distance,
    mico_distance,
    rap_distance,
)
from bisimgym.baselines.metrics.operators import Operator, TableCost
from bisimgym.baselines.mico import mico_loss
from bisimgym.baselines.rap import rap_loss
from bisimgym.baselines.robust_dbc import robust_dbc_loss
from bisimgym.baselines.simsr import simsr_loss
from bisimgym.envs.jumping.env import jumping_mdp
from bisimgym.envs.toy_mdps import garnet


def iterate(loss, z, rounds=25, steps=20):
    """Minimise ``loss(z, target_z)`` by L-BFGS, again and again for the target embeddings it has led to."""
    for _ in range(rounds):
        target_z = z.detach().clone()
        optimizer = th.optim.LBFGS(
            [z], max_iter=steps, line_search_fn="strong_wolfe", tolerance_grad=1e-10, tolerance_change=1e-14
        )

        def closure(optimizer=optimizer, target_z=target_z):
            optimizer.zero_grad()
            value = loss(z, target_z)
            value.backward()
            return value

        optimizer.step(closure)


def on_policy(mdp, policy=None):
    """Return next states ``int64[S]``, rewards ``float64[S]`` and the exact distance, of a deterministic process."""
    policy = np.full(mdp.reward.shape, 1 / mdp.num_actions) if policy is None else policy
    taken = policy.argmax(axis=1)
    rows = np.arange(mdp.num_states)
    exact = metrics.on_policy_bisimulation(mdp.transition, mdp.reward, policy, GAMMA)
    return th.from_numpy(mdp.transition[rows, taken]), th.from_numpy(mdp.reward[rows, taken]), exact


def garnet_under_policy(seed):
    return on_policy(garnet(12, 1, 1, np.random.default_rng(seed)))


def end_of_jumping(steps=15):
    """The last states of an optimal episode, rewards divided by that of the exit."""
    mdp = jumping_mdp(obstacle_position=45, floor_height=10)
    policy = mdp.optimal_policy(1.0)
    path = mdp.reachable_states(policy=policy)
    mdp_next = mdp.transition[np.arange(mdp.num_states), policy.argmax(axis=1)]
    last = path[-steps - 1 :]
    number = {state: i for i, state in enumerate(last)}
    following = np.array([[number[mdp_next[state]]] for state in last])
    reward = mdp.reward[last, policy.argmax(axis=1)[last]][:, None] / 101
    exact = metrics.on_policy_bisimulation(following, reward, np.ones((len(last), 1)), GAMMA)
    return th.from_numpy(following[:, 0]), th.from_numpy(reward[:, 0]), exact


PROCESSES = {"garnet": lambda: garnet_under_policy(1), "jumping": end_of_jumping}


class TestDeterministicProcesses:
    """On-policy bisimulation is a sum of differences of rewards, so an L1 distance in enough dimensions."""

    @pytest.mark.parametrize(("process", "steps", "rate"), [("garnet", 1000, 0.01), ("jumping", 3000, 0.005)])
    def test_robust_dbc_with_l1_learns_on_policy_bisimulation(self, process, steps, rate):
        following, reward, exact = PROCESSES[process]()
        z = table(len(reward), 24, 0.1)
        descend(
            lambda: robust_dbc_loss(z, reward, z[following], th.zeros_like(z), None, GAMMA, norm="l1").loss,
            [z],
            steps,
            rate,
        )
        learned = all_pairs(l1_distance, z)
        assert error(learned, exact) < 0.02
        assert rank_correlation(learned, exact) > 0.995

    @pytest.mark.parametrize("process", PROCESSES)
    def test_simsr_learns_it_scaled_into_its_range(self, process):
        # A sum of differences is a squared Euclidean distance too, and one below 2 fits on the sphere.
        following, reward, exact = PROCESSES[process]()
        z = table(len(reward), 24, 0.1)
        descend(lambda: simsr_loss(z, reward, z[following], None, GAMMA, reward_weight=1 - GAMMA).loss, [z], 1000, 0.03)
        learned = all_pairs(cosine_distance, z)
        assert error(learned, (1 - GAMMA) * exact) < 0.01
        assert rank_correlation(learned, (1 - GAMMA) * exact) > 0.995

    def test_simsr_with_the_published_scale_is_squeezed_below_two(self):
        following, reward, exact = garnet_under_policy(1)
        z = table(len(reward), 24, 0.1)
        descend(lambda: simsr_loss(z, reward, z[following], None, GAMMA).loss, [z], 800, 0.04)
        learned = all_pairs(cosine_distance, z)
        assert exact.max() > 3
        assert learned.max() <= 2
        assert error(learned, exact) > 0.4
        assert rank_correlation(learned, exact) > 0.9

    def test_one_random_permutation_per_update_learns_the_same(self):
        following, reward, exact = garnet_under_policy(1)
        z, generator = table(len(reward), 24, 0.1), th.Generator().manual_seed(0)

        def loss():
            other = th.randperm(len(reward), generator=generator)
            return robust_dbc_loss(z, reward, z[following], th.zeros_like(z), other, GAMMA, norm="l1").loss

        descend(loss, [z], 1500, 0.02)
        learned = all_pairs(l1_distance, z)
        assert error(learned, exact) < 0.02
        assert rank_correlation(learned, exact) > 0.99

    def test_dbc_learns_it_in_one_dimension(self):
        # Rewards that fall along a chain: the distance is a difference of values, |x - y| on a line, where the
        # Euclidean norm in W2 is the L1 norm of the embeddings.
        states = 8
        reward = th.linspace(0.7, 0, states, dtype=th.float64)
        following = th.arange(1, states + 1).clamp(max=states - 1)
        exact = metrics.on_policy_bisimulation(
            following[:, None].numpy(), reward[:, None].numpy(), np.ones((states, 1)), GAMMA
        )
        z = reward[:, None].clone().requires_grad_()
        descend(lambda: dbc_loss(z, reward, z[following], th.zeros_like(z), None, GAMMA).loss, [z], 1000, 0.02)
        assert error(all_pairs(l1_distance, z), exact) < 1e-3

    def test_dbc_falls_short_of_it_in_many_dimensions(self):
        # The Euclidean norm of a target is below the L1 norm that it is a target of: discounted differences shrink.
        following, reward, exact = garnet_under_policy(1)
        z = table(len(reward), 24, 0.1)
        loss = descend(lambda: dbc_loss(z, reward, z[following], th.zeros_like(z), None, GAMMA).loss, [z], 1000, 0.01)
        learned = all_pairs(l1_distance, z)
        assert loss < 1e-4  # it is content
        assert (learned < exact + 0.02).all()
        assert error(learned, exact) > 0.5
        reward_difference = (reward[:, None] - reward).abs().numpy()
        lower = reward_difference + GAMMA / np.sqrt(24) * learned[following][:, following]
        assert (learned > lower - 0.02).all()

    @pytest.mark.parametrize("gap", [0.2, 2.0])
    def test_two_states_that_stay_have_closed_forms(self, gap):
        """Where the Huber functions of released code lead, in one dimension: H(d) = H(gap) + gamma d, for example."""
        reward, other = th.tensor([0.0, gap], dtype=th.float64), th.tensor([1, 0])
        apart = huber(reward[1]).item()
        root = GAMMA + np.sqrt(GAMMA**2 + 2 * apart)  # of d^2 / 2 = apart + gamma d, if below 1
        half = (0.5 + apart) / (1 - GAMMA)  # of d - 1/2 = apart + gamma d
        whole = apart / (1 - GAMMA)  # = H(d)
        squared = np.sqrt(2 * whole) if whole < 0.5 else whole + 0.5
        expected = {
            ("dbc", "paper"): gap / (1 - GAMMA),
            ("dbc", "original"): root if root < 1 else half,
            ("dbc", "study"): root if root < 1 else half,
            ("robust", "l1"): gap / (1 - GAMMA),
            ("robust", "l2"): gap / (1 - GAMMA),
            ("robust", "huber"): squared,
            ("robust", "study"): squared,
        }
        for (family, form), distance in expected.items():
            function, option = (dbc_loss, "form") if family == "dbc" else (robust_dbc_loss, "norm")
            z = th.tensor([[0.0], [3.0]], dtype=th.float64, requires_grad=True)
            descend(
                lambda z=z, f=function, o={option: form}: f(z, reward, z, th.zeros_like(z), other, GAMMA, **o).loss,
                [z],
                250,
                0.4,
            )
            assert l1_distance(z[0], z[1]).item() == pytest.approx(distance, rel=0.01), (family, form)

    def test_robust_dbc_with_l2_learns_euclidean_metrics_only(self):
        following, reward, exact = garnet_under_policy(0)
        z = table(len(reward), 24, 0.1)
        descend(
            lambda: robust_dbc_loss(z, reward, z[following], th.zeros_like(z), None, GAMMA, norm="l2").loss,
            [z],
            1000,
            0.01,
        )
        learned = all_pairs(l2_distance, z)
        assert 0.05 < error(learned, exact) < 0.25
        assert rank_correlation(learned, exact) > 0.93


class TestIndependentCouplings:
    """MICo's distance and RAP's, whose parametrisation has a term per state and an angle."""

    # Two groups that lead to different pairs of states, rewards rising by state: what the self-distances leave of the
    # metric is a distance on a line, so an angle on a circle.
    successors = np.array([[0, 5]] * 4 + [[2, 7]] * 4)
    reward = 0.02 * np.arange(8)

    def transition(self):
        transition = np.zeros((8, 1, 8))
        np.put_along_axis(transition[:, 0], self.successors, 0.5, axis=1)
        return transition

    def exact(self):
        return metrics.mico(self.transition(), self.reward[:, None], np.ones((8, 1)), GAMMA)

    def learn(self, noise):
        """Train on every state, reward (its mean plus or minus the noise) and next state, equally likely."""
        rows = [(s, self.reward[s] + e, n) for s in range(8) for e in noise for n in self.successors[s]]
        state, reward, following = (th.tensor(column) for column in zip(*rows, strict=True))
        z = table(8, 8, 0.3)
        iterate(lambda z, target: mico_loss(z[state], reward, target[following], None, GAMMA).loss, z)
        return all_pairs(mico_distance, z)

    def test_mico_learns_the_mico_distance(self):
        learned, exact = self.learn(noise=[0.0]), self.exact()
        assert error(learned, exact) < 0.005
        assert rank_correlation(learned, exact) > 0.99
        assert np.diagonal(exact).min() > 0.5 * exact.max()  # self-distances, too

    def test_mico_learns_a_shifted_distance_from_noisy_rewards(self):
        # Sampled rewards differ by E|r - r'|, which is more than the difference of their means.
        spread = 0.1
        both = self.reward[:, None, None, None] + np.array([-spread, spread])[:, None]
        cost = np.abs(both - (self.reward[:, None] + np.array([-spread, spread]))[None, :, None]).mean(axis=(2, 3))
        transition = self.transition()
        shifted = metrics.solve(
            Operator("shifted MICo", TableCost(cost[None]), transition, transition, GAMMA, None, True, False)
        )
        learned = self.learn(noise=[-spread, spread])
        assert error(learned, shifted) < 0.005
        assert np.diagonal(shifted).min() > 2 * np.diagonal(self.exact()).max()
        assert (learned > self.exact() + 0.2).all()

    def test_what_mico_cannot_express_it_approximates_as_well_as_regression_on_the_metric(self):
        mdp = garnet(10, 1, 2, np.random.default_rng(0))
        transition, reward = (mdp.transition > 0) / 2, 0.05 * mdp.reward
        exact = metrics.mico(transition, reward, np.ones((10, 1)), GAMMA)
        following = th.from_numpy(np.nonzero(transition[:, 0])[1])
        state, r = th.arange(10).repeat_interleave(2), th.from_numpy(reward[:, 0]).repeat_interleave(2)
        z, best = table(10, 16, 0.3), table(10, 16, 0.3)
        iterate(lambda z, target: mico_loss(z[state], r, target[following], None, GAMMA).loss, z, rounds=40)
        iterate(lambda z, _: (mico_distance(z[:, None], z[None]) - th.from_numpy(exact)).square().mean(), best, 20)
        learned, regressed = all_pairs(mico_distance, z), all_pairs(mico_distance, best)
        assert 0.02 < error(learned, exact) < 0.12
        assert error(learned, exact) < error(regressed, exact) + 0.03
        assert rank_correlation(learned, exact) > 0.97

    # RAP: a chain whose two actions lead to the same state and are rewarded differently.
    spread = 0.1

    def chain(self):
        following = np.minimum(np.arange(8) + 1, 7)
        mean = 0.06 * np.arange(7, -1, -1)
        spread = np.where(np.arange(8) < 7, self.spread, 0)
        reward = np.stack([mean - spread, mean + spread], axis=1)
        exact = metrics.rap(np.stack([following] * 2, axis=1), reward, np.full((8, 2), 0.5), GAMMA)
        state = th.arange(8).repeat_interleave(2)
        return exact, state, th.from_numpy(reward.ravel()), th.from_numpy(spread)[state], th.from_numpy(following)

    def disturbed(self, exact, beta):
        """Short vectors along an arc whose angles are the distances, with a fifth of noise."""
        angle = th.from_numpy(exact[0]) / beta
        arc = th.stack([angle.cos(), angle.sin()], dim=1)
        return (0.1 * th.nn.functional.pad(arc, (0, 6)) + table(8, 8, 0.02).detach()).requires_grad_()

    def test_rap_returns_to_the_rap_distance(self):
        beta = 0.5
        exact, state, reward, std, following = self.chain()
        z = self.disturbed(exact, beta)
        before = all_pairs(rap_distance, z, beta)
        assert error(before, exact) > 0.3
        assert rank_correlation(before, exact) < 0.9
        iterate(
            lambda z, target: rap_loss(z[state], reward, std, target[following[state]], None, GAMMA, beta=beta).loss, z
        )
        learned = all_pairs(rap_distance, z, beta)
        # Close to 0 the loss is of fourth order, so that the last of the norms hardly shrinks.
        assert error(learned, exact) < 0.05
        assert rank_correlation(learned, exact) > 0.995

    def test_without_the_variances_raps_distances_are_too_large(self):
        beta = 0.5
        exact, state, reward, std, following = self.chain()
        z = self.disturbed(exact, beta)
        iterate(
            lambda z, target: (
                rap_loss(z[state], reward, 0 * std, target[following[state]], None, GAMMA, beta=beta).loss
            ),
            z,
        )
        learned = all_pairs(rap_distance, z, beta)
        assert error(learned, exact) > 0.2
        assert (learned - exact).mean() > 0.1

    def test_from_random_embeddings_rap_often_settles_elsewhere(self):
        # Each pair has two solutions, discounted distance plus or minus difference of rewards, and a hill between.
        exact, state, reward, std, following = self.chain()
        errors = []
        for seed in (1, 2, 3):
            z = table(8, 8, 1.0, seed)
            iterate(
                lambda z, target: rap_loss(z[state], reward, std, target[following[state]], None, GAMMA, beta=0.5).loss,
                z,
                rounds=20,
            )
            errors.append(error(all_pairs(rap_distance, z, 0.5), exact))
        assert sum(e > 0.5 for e in errors) >= 2

    def test_with_its_published_weight_rap_learns_a_number_per_state(self):
        exact, state, reward, std, following = self.chain()
        z = table(8, 8, 1.0)
        iterate(lambda z, target: rap_loss(z[state], reward, std, target[following[state]], None, GAMMA).loss, z)
        learned = all_pairs(rap_distance, z)
        norms = z.detach().square().sum(dim=1).numpy()
        assert np.abs(learned - norms[:, None] - norms).max() < 1e-4
        assert rank_correlation(learned, exact) < 0.5
