"""The recognition network: it looks back in time only, and starts as torch's own layers without torch's generator."""

import numpy as np
import torch as th
from torch import nn

from bisimgym.baselines.langevin.encoder import Control, Encoder, drift_network, linear


def seeded(seed=0):
    return th.Generator().manual_seed(seed)


def test_contexts_depend_on_the_past_only():
    encoder, signals = Encoder(3, 8, 4, seeded()), th.randn(6, 2, 3, generator=seeded(1))
    contexts = encoder(signals)
    assert contexts.shape == (6, 2, 4)
    changed = signals.clone()
    changed[3] += 1
    other = encoder(changed)
    assert th.equal(other[:3], contexts[:3])
    assert (other[3:] != contexts[3:]).all()


def test_control_is_a_network_of_state_and_context():
    control = Control(4, 3, 2, 8, 0.2, seeded())
    state, context = th.randn(5, 4, generator=seeded(1)), th.randn(5, 3, generator=seeded(2))
    first = nn.Linear(7, 8)
    with th.no_grad():
        first.weight.copy_(th.cat([control.state.weight, control.context.weight], dim=1))
        first.bias.copy_(control.context.bias)
    whole = nn.Sequential(first, nn.Softplus(), control.middle, nn.Softplus(), control.output)
    th.testing.assert_close(control(state, control.context(context)), whole(th.cat([state, context], dim=1)))
    assert (control.output.bias == 0).all()
    assert control.output.weight.abs().max() <= 0.2 / 8**0.5


def test_weights_come_from_the_generator_alone():
    before = th.get_rng_state()
    twice = [linear(400, 300, seeded(3)) for _ in range(2)]
    Encoder(3, 8, 4, seeded()), Control(4, 3, 2, 8, 0.2, seeded()), drift_network(2, 8, 0.2, seeded())
    assert th.equal(th.get_rng_state(), before)
    assert th.equal(twice[0].weight, twice[1].weight)
    assert not th.equal(twice[0].weight, linear(400, 300, seeded(4)).weight)
    own = nn.Linear(400, 300).weight
    for quantile in (0.0, 0.25, 1.0):
        assert np.isclose(*(np.quantile(w.detach(), quantile) for w in (own, twice[0].weight)), atol=5e-4)
