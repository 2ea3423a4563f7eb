import numpy as np
import pytest
import torch as th

from bisimgym.baselines.pse.losses import contrastive_metric_loss, coupling, metric_regression_loss


def literal_equation_4(x, y, distance, beta, temperature):
    """The paper's formula for anchors y in float64, without the log domain; only usable for mild distances."""
    cosine = (x / np.linalg.norm(x, axis=1, keepdims=True)) @ (y / np.linalg.norm(y, axis=1, keepdims=True)).T
    similarity, score = np.exp(-distance / beta), np.exp(cosine / temperature)
    losses = []
    for j in range(len(y)):
        best = int(np.argmin(distance[:, j]))
        positive = similarity[best, j] * score[best, j]
        negative = sum((1 - similarity[i, j]) * score[i, j] for i in range(len(x)) if i != best)
        losses.append(-np.log(positive / (positive + negative)))
    return np.mean(losses)


@pytest.fixture
def pair():
    generator = th.Generator().manual_seed(0)
    x, y = th.randn(7, 4, generator=generator), th.randn(5, 4, generator=generator)
    return x, y, th.rand(7, 5, generator=generator)


def test_equals_the_papers_formula_in_both_directions(pair):
    x, y, distance = pair
    loss = contrastive_metric_loss(x, y, coupling(distance, beta=0.3), temperature=0.7)
    a, b, d = (t.double().numpy() for t in (x, y, distance))
    expected = literal_equation_4(a, b, d, 0.3, 0.7) + literal_equation_4(b, a, d.T, 0.3, 0.7)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_without_weights_it_is_info_nce(pair):
    x, y, distance = pair
    loss = contrastive_metric_loss(x, y, coupling(distance, weighted=False), temperature=1.0)
    cosine = th.nn.functional.cosine_similarity(x[:, None], y[None], dim=2)
    expected = 0.0
    for logits in (cosine, cosine.T):
        nearest = (distance if logits is cosine else distance.T).argmin(dim=0)
        expected += -logits.log_softmax(dim=0)[nearest, range(logits.shape[1])].mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_pairs_at_distance_zero_are_no_negatives():
    assert coupling(th.zeros(4, 3)).positive_y.tolist() == [0, 0, 0]  # the first of equal ones is the positive
    distance = th.tensor([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    y = th.eye(2, 3)
    x = th.tensor([[1.0, 0, 0], [0.9, 0.1, 0], [0, 1.0, 0]], requires_grad=True)
    weighted = coupling(distance, beta=0.01)
    assert weighted.positive_y.tolist() == [0, 2]
    assert weighted.log_weight_y[1, 0] < -20  # the other zero of the first column: out of the sum
    assert weighted.log_weight_y[2, 0] == pytest.approx(0, abs=1e-6)
    plain = coupling(distance, weighted=False)
    with_zero, without = (contrastive_metric_loss(x, y, c, 0.1).item() for c in (weighted, plain))
    assert with_zero < without


def test_tiny_similarities_stay_finite_and_move_the_gradient():
    # No state of x matches: similarities are exp(-100) and smaller, which underflows outside the log domain.
    distance = th.tensor([[1.0, 2.0], [1.5, 1.0]])
    x = th.randn(2, 3, generator=th.Generator().manual_seed(1), requires_grad=True)
    y = th.randn(2, 3, generator=th.Generator().manual_seed(2))
    loss = contrastive_metric_loss(x, y, coupling(distance, beta=0.01), 1.0)
    loss.backward()
    assert 90 < loss.item() / 2 < 110
    assert x.grad.isfinite().all()
    assert x.grad.abs().sum() > 0


def test_gradients_reach_both_embeddings_and_not_the_metric(pair):
    x, y, distance = (t.clone().requires_grad_() for t in pair)
    contrastive_metric_loss(x, y, coupling(distance.detach(), 0.3), 0.5).backward()
    assert x.grad.abs().sum() > 0
    assert y.grad.abs().sum() > 0


def test_regression_loss_equals_the_formula_and_has_gradients_at_zero(pair):
    x, y, distance = pair
    expected = ((th.cdist(x, y) - distance) ** 2).mean()
    assert metric_regression_loss(x, y, distance).item() == pytest.approx(expected.item(), rel=1e-5)
    same = th.zeros(3, 4, requires_grad=True)
    metric_regression_loss(same, th.zeros(2, 4), th.zeros(3, 2)).backward()
    assert same.grad.isfinite().all()


def test_embeddings_trained_by_regression_reach_the_metric():
    from bisimgym.baselines.metrics import policy_cost, trajectory_similarity

    actions = np.array([0, 0, 1, 0]), np.array([0, 1, 0, 0])
    distance = th.from_numpy(trajectory_similarity(policy_cost(*actions), 0.9)).float()
    generator = th.Generator().manual_seed(0)
    x, y = (th.randn(4, 8, generator=generator, requires_grad=True) for _ in range(2))
    optimizer = th.optim.Adam([x, y], lr=0.05)
    for _ in range(800):
        loss = metric_regression_loss(x, y, distance)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert th.cdist(x, y).sub(distance).abs().max() < 0.1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: coupling(th.zeros(3)), r"must be \[n, m\]"),
        (lambda: coupling(th.zeros(3, 3), beta=0), "beta must be positive"),
        (
            lambda: contrastive_metric_loss(th.ones(2, 2), th.ones(2, 2), coupling(th.zeros(2, 2)), -1),
            "temperature must be positive",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
