"""Settings of agents with metric losses: how they combine, and which are refused."""

import inspect

import gymnasium as gym
import pytest
import torch as th
from methods import env_of, make
from stable_baselines3.common.torch_layers import FlattenExtractor

import bisimgym  # noqa: F401
from bisimgym.baselines.ambs import Balance
from bisimgym.baselines.core.loss_log import DivergedError
from bisimgym.baselines.core.metric_learning import MetricDQN, MetricSAC
from bisimgym.baselines.core.metric_loss import MetricLoss
from bisimgym.baselines.core.settings import DQNSettings, SACSettings
from bisimgym.baselines.dbc import DBCSAC
from bisimgym.baselines.mico import MICo, MICoDQN, MICoSAC
from bisimgym.baselines.pse.augmentation import random_shift
from bisimgym.baselines.recursive_similarity import RSSDQN


def test_a_file_of_another_class_is_refused(tmp_path):
    make(MICoSAC).save(tmp_path / "mico")
    with pytest.raises(ValueError, match="saved by MICoSAC: load it with that class, not DBCSAC"):
        DBCSAC.load(tmp_path / "mico")


def test_what_a_metric_of_ones_own_must_have():
    class Scalar(MetricLoss):
        def forward(self, batch, permutation, model, generator):
            return batch.z.square().mean()

    for metric, error, message in (
        (Scalar, TypeError, "forward of Scalar must return a PairLoss .* got Tensor"),
        (MetricLoss, NotImplementedError, "MetricLoss has no forward"),
    ):
        model = make(MetricSAC, env_of(MICoSAC), metric=metric)
        with pytest.raises(error, match=message):
            model.learn(22)


def test_any_optimizer_is_taken():
    for method in (MICoSAC, MICoDQN):
        model = make(method, policy_kwargs={"optimizer_class": th.optim.RMSprop})
        model.learn(22)
        assert isinstance(model.main_optimizers()[0], th.optim.RMSprop)


def test_switches_combine_freely():
    for norm in ("layer", "l2", "cap", "none"):
        for prediction in (0.0, 1.0):
            for reward in (0.0, 0.5):
                for metric in (None, "mico", "dbc"):
                    model = make(
                        MetricSAC, norm=norm, self_prediction=prediction, reward_prediction=reward, metric=metric
                    )
                    model.learn(22)
                    names = set(model.auxiliary_losses(model.encoded(model.replay_buffer.sample(4))))
                    needs_model = prediction > 0 or reward > 0 or metric == "dbc"
                    assert names == (
                        ({"metric_loss"} if metric else set())
                        | ({"transition_loss"} if needs_model else set())
                        | ({"reward_loss"} if reward else set())
                    )


def test_a_model_that_only_the_metric_asks_for_leaves_the_encoder_alone():
    model = make(DBCSAC, self_prediction=0.0, reward_prediction=0.0)
    model.learn(22)
    losses = model.auxiliary_losses(model.encoded(model.replay_buffer.sample(4)))
    encoder = list(model.encoders()[0].parameters())
    assert all(g is None for g in th.autograd.grad(losses["transition_loss"], encoder, allow_unused=True))


def test_logs(tmp_path):
    from stable_baselines3.common.logger import configure

    model = make(DBCSAC)
    model.set_logger(configure(str(tmp_path), ["csv", "stdout"]))
    model.learn(210, log_interval=1)
    header = (tmp_path / "progress.csv").read_text().splitlines()[0].split(",")
    for name in (
        "metric_loss",
        "transition_loss",
        "reward_loss",
        "critic_loss",
        "actor_loss",
        "embedding_norm",
        "effective_rank",
        "encoder_gradient_norm",
        "distance_mean",
        "distance_std",
        "target_mean",
    ):
        assert f"train/{name}" in header, name


def test_divergence_is_named_though_the_embeddings_are_looked_at_first():
    model = make(MICoDQN, learning_starts=0, batch_size=8)
    model.learn(31)
    model.dump_logs()
    model.representation.metric.beta = float("nan")
    with pytest.raises(DivergedError, match=r"metric_loss is nan at update 31"):
        model.learn(200, reset_num_timesteps=False)


def test_a_metric_loss_that_is_no_number_is_named():
    model = make(MICoSAC, metric_settings={"beta": float("nan")})
    with pytest.raises(DivergedError, match="metric_loss is nan at update 0"):
        model.learn(150)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metric": "euclid"}, "metric must be None, one of .*'mico'"),
        ({"metric_weight": -1.0, "metric": "mico"}, "metric_weight must be a finite weight of at least 0, got -1.0"),
        ({"reward_from": "state"}, "reward_from must be 'next' or 'embedding'"),
        ({"norm": "batch"}, "norm must be one of"),
        ({"metric": dict}, "metric must be None, one of .* or a MetricLoss, got <class 'dict'>"),
        ({"metric": "dbc", "model_kind": "ensemble"}, "model_kind must be 'gaussian' with DBC, got 'ensemble'"),
        ({"metric": "dbc", "metric_settings": {"form": "orig"}}, r"form must be one of .*'study'.*got 'orig'"),
        ({"metric": "rap", "metric_settings": {"outer": "abs"}}, r"outer must be one of .*got 'abs'"),
        ({"metric": "mico", "metric_settings": {"second": "other"}}, r"second must be one of .*got 'other'"),
        ({"metric_weight": float("inf"), "metric": "mico"}, "metric_weight must be a finite weight"),
        ({"metric_weight": "1", "metric": "mico"}, "metric_weight must be a finite weight of at least 0, got '1'"),
        ({"batch_size": 0}, "batch_size must be an integer of at least 1, got 0"),
        ({"gamma": float("nan")}, r"gamma must be a number in \[0, 1\], got nan"),
        ({"gamma": 1.5}, r"gamma must be a number in \[0, 1\], got 1.5"),
        ({"features_dim": 0}, "features_dim must be an integer of at least 1, got 0"),
        ({"features_dim": None}, "features_dim must be an integer of at least 1, got None"),
        ({"metric": "mico", "model_kind": "zz"}, "model_kind must be one of .*, got 'zz'"),
        ({"augmentation": "random_shift"}, "augmentation must be a function"),
        ({"metric": "ambs", "features_dim": 7}, "features_dim must be even, got 7"),
        (
            {"metric": "mico", "metric_settings": {"betta": 1}},
            r"metric_settings of MICo are \['beta'.*got \['betta'\]",
        ),
    ],
)
def test_wrong_settings_are_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        make(MetricSAC, **arguments)


def test_ambs_needs_a_critic_beside_an_actor():
    assert isinstance(make(MetricSAC, metric="ambs").policy.critic_input, Balance)
    assert isinstance(make(MICoSAC).policy.critic_input, th.nn.Identity)
    with pytest.raises(ValueError, match="AMBS needs an actor and a critic that share an encoder: use SAC"):
        make(MetricDQN, metric="ambs")


def test_misspelt_arguments_are_refused_with_the_nearest():
    with pytest.raises(TypeError, match=r"MICoSAC\(\) has no argument 'mertic_weight': did you mean 'metric_weight'"):
        make(MICoSAC, mertic_weight=3)
    with pytest.raises(TypeError, match=r"RSSDQN\(\) has no argument 'ent_coef'$"):
        make(RSSDQN, ent_coef=0.1)


@pytest.mark.parametrize(("method", "settings"), [(MICoSAC, SACSettings), (MICoDQN, DQNSettings)])
def test_help_lists_every_argument_and_type_checkers_know_them(method, settings):
    shown = inspect.signature(method).parameters
    assert {*shown} == {"policy", "env", "learning_rate", "monitor_wrapper", *settings.__annotations__} - {
        name for name in ("monitor_wrapper",) if name not in shown
    }
    assert {"norm", "metric_weight", "encoder_tau", "batch_size", "gamma"} <= set(shown)
    for name, value in method.defaults.items():
        assert shown[name].default == value


def test_settings_of_the_user_join_those_of_the_class():
    metric = make(MICoDQN, metric_settings={"beta": 0.3}).representation.metric
    assert (metric.beta, metric.all_pairs, metric.second) == (0.3, True, "target")
    assert not make(MICoDQN, metric_settings={"all_pairs": False}).representation.metric.all_pairs


def test_settings_that_mean_nothing_are_errors():
    with pytest.raises(ValueError, match="n_steps must be 1 .*got 3"):
        make(MICoSAC, n_steps=3)

    with pytest.raises(ValueError, match="n_steps must be 1 .*got 3"):
        make(MetricSAC, n_steps=3, metric=MICo())
    with pytest.raises(ValueError, match="must take features_dim and norm, got FlattenExtractor"):
        make(MICoSAC, policy_kwargs={"features_extractor_class": FlattenExtractor})
    with pytest.raises(ValueError, match=r"must be wrapped: .*SB3VecEnv"):
        make(MICoSAC, gym.make_vec("Pendulum-v1", num_envs=2))
    with pytest.raises(ValueError, match="augmentation .* got a dictionary"):
        make(MICoDQN, gym.make("bisimgym/Nav2DGoal-v0"), "MultiInputPolicy", augmentation=random_shift)
    with pytest.raises(ValueError, match=r"augmentation is for images, got observations of shape \(3,\)"):
        make(MICoSAC, augmentation=random_shift).learn(22)
