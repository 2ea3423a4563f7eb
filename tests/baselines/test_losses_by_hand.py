"""Each loss on two or three samples whose values are worked out by hand."""

import math

import pytest
import torch as th

from bisimgym.baselines.ambs import (
    PairModel,
    ambs_loss,
    ambs_original_loss,
    crossed_view_distances,
    two_view_distances,
)
from bisimgym.baselines.dbc import dbc_loss
from bisimgym.baselines.losses import cap_norm, gaussian_nll, norm_radius, reward_prediction_loss
from bisimgym.baselines.mico import mico_loss
from bisimgym.baselines.rap import rap_loss
from bisimgym.baselines.recursive_similarity import interaction_loss, recursive_similarity_loss
from bisimgym.baselines.robust_dbc import intrinsic_reward, inverse_dynamics_loss, robust_dbc_loss
from bisimgym.baselines.simsr import simsr_loss

G = 0.5


SWAP = th.tensor([1, 0])


class TestByHand:
    # Two rows that are compared with each other, so that both pairs have the same distance.
    z = th.tensor([[0.0, 1.0], [0.5, 3.0]])
    reward = th.tensor([0.0, 0.25])
    mean = th.tensor([[0.0, 0.0], [3.0, 0.0]])
    std = th.tensor([[1.0, 1.0], [1.0, 5.0]])

    def dbc(self, **options):
        return dbc_loss(self.z, self.reward, self.mean, self.std, SWAP, G, **options)

    def test_dbc(self):
        loss, distance, target = self.dbc()
        assert distance.tolist() == [2.5, 2.5]
        assert target.tolist() == [0.25 + G * 5] * 2
        assert loss.item() == pytest.approx(0.25**2)

    def test_dbc_original(self):
        loss, distance, target = self.dbc(form="original")
        apart = 0.5 * 0.25**2
        residuals = [0.125 - apart - G * 3, 1.5 - apart - G * 4]
        assert loss.item() == pytest.approx(sum(r**2 for r in residuals) / 2)
        assert distance[0].item() == pytest.approx((0.125 + 1.5) / 2)
        assert target[0].item() == pytest.approx(apart + G * 3.5)

    def test_dbc_study(self):
        loss, distance, target = self.dbc(form="study")
        assert distance[0].item() == pytest.approx(0.8125)
        assert target[0].item() == pytest.approx(0.03125 + G * 3.5)
        assert loss.item() == pytest.approx((0.8125 - 0.03125 - G * 3.5) ** 2)

    def test_dbc_clamps_the_next_distance_and_weighs_rewards(self):
        assert self.dbc(clamp=2.0, reward_weight=2.0).target.tolist() == [0.5 + G * 2] * 2
        assert self.dbc(form="study", clamp=2.0).target[0].item() == pytest.approx(0.03125 + G * 2)
        assert self.dbc(form="original", clamp=3.5).target[0].item() == pytest.approx(0.03125 + G * 3.25)

    @pytest.mark.parametrize(
        ("norm", "distance", "target"),
        [
            ("l1", 2.5, 0.25 + G * (3 + 4)),
            ("l2", math.sqrt(4.25), 0.25 + G * 5),
            ("study", 0.8125, 0.03125 + G * (2.5 / 2 + 3.5 / 2)),
        ],
    )
    def test_robust_dbc(self, norm, distance, target):
        result = robust_dbc_loss(self.z, self.reward, self.mean, self.std, SWAP, G, norm=norm)
        assert result.distance.tolist() == pytest.approx([distance] * 2)
        assert result.target.tolist() == pytest.approx([target] * 2)
        assert result.loss.item() == pytest.approx((distance - target) ** 2)

    def test_robust_dbc_huber_is_element_by_element(self):
        result = robust_dbc_loss(self.z, self.reward, self.mean, self.std, SWAP, G, reward_weight=2.0)
        residuals = [0.125 - 0.0625 - G * 2.5, 1.5 - 0.0625 - G * 3.5]
        assert result.loss.item() == pytest.approx(sum(r**2 for r in residuals) / 2)
        assert result.distance[0].item() == pytest.approx(0.8125)
        clamped = robust_dbc_loss(self.z, self.reward, self.mean, self.std, SWAP, G, clamp=3.0)
        assert clamped.target[0].item() == pytest.approx(0.03125 + G * 2.75)

    def test_mico(self):
        z, following = th.tensor([[2.0, 0.0], [0.0, 1.0]]), th.tensor([[1.0, 0.0], [3.0, 0.0]])
        loss, distance, target = mico_loss(z, self.reward, following, SWAP, G)
        assert distance.tolist() == pytest.approx([2.5 + 0.05 * math.pi] * 2)
        assert target.tolist() == pytest.approx([0.25 + G * 5] * 2)
        assert loss.item() == pytest.approx((2.5 + 0.05 * math.pi - 2.75) ** 2 / 2, rel=1e-4)
        summed = mico_loss(z, self.reward, following, SWAP, G, beta=0, norm_factor=1)
        assert summed.distance.tolist() == [5, 5]
        assert summed.target.tolist() == [0.25 + G * 10] * 2

    def test_mico_of_all_pairs_counts_self_distances(self):
        z = th.tensor([[2.0, 0.0], [0.0, 1.0]])
        result = mico_loss(z, self.reward, th.zeros(2, 2), None, 0.0, beta=0)
        assert result.distance.tolist() == [4, 2.5, 2.5, 1]
        assert result.target.tolist() == [0, 0.25, 0.25, 0]
        assert result.loss.item() == pytest.approx((3.5 + 1.75 + 1.75 + 0.5) / 4)

    def test_micos_huber_is_no_mean_of_far_targets(self):
        # Of four draws one next state is far: the targets are 0, 0, 0 and 8. Their mean is 2; H settles at 1/3.
        far = th.tensor([[math.sqrt(20.0), 0.0]])
        following = th.cat([th.zeros(7, 2), far])  # rows 0-3 and 4-7 are draws from two states
        other = th.arange(8).roll(4)
        z = th.ones(2, 2, requires_grad=True)
        optimizer = th.optim.SGD([z], lr=0.1)
        for _ in range(300):
            loss = mico_loss(z.repeat_interleave(4, dim=0), th.zeros(8), following, other, 0.8, beta=0).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        distance = mico_loss(z, th.zeros(2), th.zeros(2, 2), SWAP, beta=0).distance[0]
        assert distance.item() == pytest.approx(1 / 3, rel=1e-3)

    def test_rap_has_two_solutions(self):
        z, following = th.tensor([[1.0, 0.0], [1.0, 0.0]]), th.tensor([[1.0, 0.0], [0.0, 1.0]])
        std = th.tensor([0.3, 0.4])
        loss, distance, target = rap_loss(z, 2 * self.reward, std, following, SWAP, G, beta=0, outer="square")
        assert distance.tolist() == [2, 2]
        assert loss.item() == pytest.approx(((2 - G * 2) ** 2 - (0.25 - 0.25)) ** 2)
        assert target.tolist() == pytest.approx([G * 2] * 2)
        huber = rap_loss(2 * z, 2 * self.reward, std, following, SWAP, G, beta=0)
        assert huber.loss.item() == pytest.approx((8 - 1) ** 2 - 0.5)
        for distance in (G * 2 + 0.5, G * 2 - 0.5):
            solved = rap_loss(
                z * math.sqrt(distance / 2), 2 * self.reward, th.zeros(2), following, SWAP, G, beta=0, outer="square"
            )
            assert solved.loss.item() == pytest.approx(0, abs=1e-10)
            assert solved.target.tolist() == pytest.approx([1.5, 1.5])

    def test_raps_reward_term_may_be_negative(self):
        result = rap_loss(th.zeros(2, 2), self.reward, th.ones(2), th.zeros(2, 2), SWAP, G, beta=0, outer="square")
        assert result.loss.item() == pytest.approx((0.0625 - 2) ** 2)
        assert result.target.tolist() == [0, 0]

    def test_ambs(self):
        of_reward, of_dynamics = th.tensor([[1.0, 2.0], [0.5, 0.5]]), th.tensor([[5.0, 4.0], [3.0, 3.0]])
        balance = th.tensor([0.25, 0.75])
        loss, distance, target = ambs_loss(of_reward, of_dynamics, balance, self.reward, self.mean, self.std, SWAP)
        views = [
            sum(0.25 * (f - 0.25) ** 2 + 0.75 * (g - 5) ** 2 for f, g in zip(fs, gs, strict=True)) / 2
            for fs, gs in zip(of_reward.tolist(), of_dynamics.tolist(), strict=True)
        ]
        assert loss.item() == pytest.approx(sum(views))
        assert distance.tolist() == pytest.approx([4, 3.5, 2.375, 2.375])
        assert target.tolist() == pytest.approx([0.0625 + 0.75 * 5] * 4)
        other = ambs_loss(
            of_reward, of_dynamics, balance, self.reward, self.mean, self.std, SWAP, 0.5, reduction="mean"
        )
        assert other.target.tolist() == pytest.approx([0.0625 + 0.75 * 0.5 * 3.5] * 4)

    def test_ambs_as_released(self):
        of_reward, of_dynamics = th.tensor([[1.0, 2.0], [3.0, 4.0]]), th.tensor([[0.0, 1.0], [2.0, 3.0]])
        reward, balance = th.tensor([0.0, 2.0]), th.tensor([0.25, 0.75])
        mean, std = th.tensor([[0.0, 0.0], [3.0, 0.0]]), th.tensor([[1.0, 1.0], [1.0, 5.0]])
        loss, distance, target = ambs_original_loss(of_reward, of_dynamics, balance, reward, mean, std, SWAP, 0.5)
        # Rewards differ by H(2) = 1.5, predictions by 3 and 4 in their two coordinates: 0.5 * 3.5 = 1.75.
        first = (0.125**2 + (0.75 * 1.75) ** 2 + 0.125**2 + (0.75 * 0.75) ** 2) / 2
        second = (0.375**2 + (0.75 * 0.25) ** 2 + 0.625**2 + (0.75 * 1.25) ** 2) / 2
        assert (first, second) == (1.03515625, 0.72265625)
        assert loss.item() == pytest.approx((first + second) / 2)
        assert distance.tolist() == pytest.approx([0.25, 1.25, 2.25, 3.25])
        assert target.tolist() == pytest.approx([0.25 * 1.5 + 0.75 * 1.75] * 4)
        given = (of_reward, of_dynamics, balance, reward, mean, std, SWAP)
        assert th.equal(ambs_original_loss(*given).loss, ambs_original_loss(*given, 0.99).loss)

    def test_released_pairs_of_ambs_cross_views(self):
        th.manual_seed(0)
        model, (first, second) = PairModel(3), th.randn(2, 4, 3, generator=th.Generator().manual_seed(0))
        other = th.tensor([1, 2, 3, 0])
        distance = crossed_view_distances(model, first, second, other)
        assert th.equal(distance[0], model(first, first[other]))
        assert th.equal(distance[1], model(first[other], second))

    def test_robust_dbc_with_the_released_distance_of_predictions(self):
        z = th.tensor([[0.0, 0.0], [1.0, 2.0]])
        mean, std = th.tensor([[0.0, 0.0], [1.0, 2.0]]), th.tensor([[1.0, 1.0], [3.0, 3.0]])
        reward = th.tensor([0.0, 0.5])
        sum_ = robust_dbc_loss(z, reward, mean, std, SWAP, 0.5, norm="l1")
        root = robust_dbc_loss(z, reward, mean, std, SWAP, 0.5, norm="l1-original")
        assert sum_.target.tolist() == pytest.approx([0.5 + 0.5 * (3 + 4)] * 2)
        assert root.target.tolist() == pytest.approx([0.5 + 0.5 * 5] * 2)
        assert root.distance.tolist() == [3, 3]
        assert root.loss.item() == 0

    def test_the_second_view_of_ambs_is_swapped(self):
        th.manual_seed(0)
        model, (first, second) = PairModel(3), th.randn(2, 4, 3, generator=th.Generator().manual_seed(0))
        other = th.tensor([1, 2, 3, 0])
        distance = two_view_distances(model, first, second, other)
        assert th.equal(distance[0], model(first, first[other]))
        assert th.equal(distance[1], model(second[other], second))

    def test_simsr(self):
        z, sample = th.tensor([[2.0, 0.0], [3.0, 3.0]]), th.tensor([[1.0, 0.0], [0.0, 9.0]])
        result = simsr_loss(z, self.reward, sample, SWAP, G)
        assert result.distance.tolist() == pytest.approx([1 - math.sqrt(0.5)] * 2)
        assert result.target.tolist() == pytest.approx([0.25 + G] * 2)
        assert result.loss.item() == pytest.approx(0.5 * (0.75 - 1 + math.sqrt(0.5)) ** 2)
        assert simsr_loss(z, self.reward, sample, SWAP, G, reward_weight=2.0).target[0].item() == pytest.approx(1)
        assert simsr_loss(z, self.reward, sample, discount=G).distance.shape == (4,)

    def test_recursive_similarity(self):
        base, following = th.tensor([[1.0], [5.0]]), th.tensor([[[0.0, 0], [1, 1]], [[0, 0], [2, -4]]])
        result = recursive_similarity_loss(self.z, base, following, SWAP, 0.75)
        assert result.distance.tolist() == [2.5, 2.5]
        assert result.target.tolist() == [0.25 * 4 + 0.75 * (2 + 6) / 2] * 2
        assert result.loss.item() == 1.5 - 0.5
        options = {"base_weight": 1.0, "reduction": "max", "outer": "square"}
        result = recursive_similarity_loss(self.z, base, following, SWAP, 0.75, **options)
        assert result.target.tolist() == [4 + 0.75 * 6] * 2
        assert result.loss.item() == 36
        assert recursive_similarity_loss(self.z, base, following).distance.tolist() == [0, 2.5, 2.5, 0]

    def test_interaction_loss(self):
        logits, action = th.tensor([[0.0, 0.0], [math.log(3), 0.0]]), th.tensor([0, 1])
        inverse = (math.log(2) + math.log(4)) / 2
        loss = interaction_loss(logits, action, self.mean, th.zeros(2, 2))
        assert loss.item() == pytest.approx(0.2 * inverse + 0.8 * 9 / 4)
        assert interaction_loss(logits, action, self.mean, self.mean, 1.0).item() == pytest.approx(inverse)

    def test_predictions(self):
        mean, std, target = th.tensor([[1.0, 2.0]]), th.tensor([[0.5, 2.0]]), th.tensor([[0.0, 2.0]])
        assert gaussian_nll(mean, std, target).item() == pytest.approx((2 + math.log(0.5) + math.log(2)) / 2)
        assert gaussian_nll(mean, th.zeros(1, 2), target).item() == 0.25
        predicted, reward = th.tensor([1.0, 3.0]), th.tensor([0.0, 1.0])
        assert reward_prediction_loss(predicted, reward).item() == 2.5

    def test_robust_dbc_s_other_parts(self):
        assert norm_radius(0.99) == pytest.approx(50)
        assert norm_radius(0.5, reward_weight=2) == 2
        z = th.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]], requires_grad=True)
        capped = cap_norm(z, 2.5)
        assert capped.tolist() == [pytest.approx([1.5, 2]), pytest.approx([0.3, 0.4]), [0, 0]]
        capped.sum().backward()
        assert z.grad.isfinite().all()
        assert z.grad[1:].tolist() == [[1, 1], [1, 1]]
        assert (z.grad[0] @ z[0]).item() == pytest.approx(0, abs=1e-6)  # along z nothing changes any more
        assert cap_norm(z, 3.5, order=1)[0].tolist() == pytest.approx([1.5, 2])
        assert inverse_dynamics_loss(th.tensor([[1.0, 2.0]]), th.tensor([[0.0, 4.0]])).item() == 1.5
        rewards = intrinsic_reward(th.tensor([[1.0, 3.0], [9.0, 9.0]]), th.zeros(2, 2), weight=2.0)
        assert rewards.tolist() == [5, 5]  # the cap is of the mean square, before it is halved
        assert intrinsic_reward(th.ones(1, 2, requires_grad=True), th.zeros(1, 2), cap=0.1).tolist() == [
            pytest.approx(0.05)
        ]
