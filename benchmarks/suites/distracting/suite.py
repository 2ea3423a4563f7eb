"""The distracting suite: control from the images of a simulator, with distractions that were never seen.

Protocol: that of PSE (Agarwal et al. 2021, section 6.2), which trains on two videos and scores on 30 held-out ones, and
of the benchmarks that the settings name. Returns are sums over 1000 control steps, and training is counted in them.
Videos are those that need no data, unless ``backgrounds`` says otherwise; images are of one renderer, which is a
setting and stays with the row.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

import gymnasium as gym
import numpy as np

import bisimgym  # noqa: F401  (registers the ids)
from bisimgym.benchmarks.errors import UserError
from bisimgym.benchmarks.suites.base import (
    Monitor,
    Outcome,
    Spec,
    Suite,
    check_columns,
    check_least,
)
from bisimgym.benchmarks.suites.distracting.settings import (
    DISTRACTIONS,
    DMC_TASKS,
    EPISODE_STEPS,
    MEASURES,
    METHODS,
    PRESETS,
    SMALLEST,
    TASKS,
)
from bisimgym.benchmarks.suites.further_settings import Further, further_settings
from bisimgym.benchmarks.suites.training import Reached, learner_of, train_with_evaluations


@dataclass(frozen=True)
class Protocol:
    """Sizes that all runs share.

    Attributes:
        episodes: that an agent is scored in, under training distractions and as many under held-out ones.
        curve_episodes: of each kind, for a row of the curve.
        anchors: observations that the denoising factor is measured at, of one held-out episode.
        positives: distractions that each of them is shown under.
        episode_steps: control steps of an episode, at most dm_control's 1000.
        size: of the images that outside agents see.
        num_envs: that outside agents learn from.
    """

    episodes: int = 30
    curve_episodes: int = 3
    anchors: int = 60
    positives: int = 8
    episode_steps: int = EPISODE_STEPS
    size: int = 84
    num_envs: int = 4


PROTOCOL = Protocol()


def split_task(task: str) -> tuple[str, str]:
    """Return the name of a task of dm_control and that of its setting."""
    name = next(name for name in DMC_TASKS if task.startswith(f"{name}-"))
    return name, task.removeprefix(f"{name}-")


def distracts(task: str) -> bool:
    """Return whether held-out distractions differ from those that agents learn under."""
    return not task.endswith("-clean")


@functools.cache
def steps_per_episode(task: str, protocol: Protocol = PROTOCOL) -> int:
    """Return how many actions an episode takes."""
    from bisimgym.envs.distracting_control.env import default_action_repeat

    return -(-protocol.episode_steps // default_action_repeat(*DMC_TASKS[split_task(task)[0]][:2]))


def env_arguments(task: str, held_out: bool, protocol: Protocol = PROTOCOL, **images: Any) -> dict[str, Any]:
    """Return the keyword arguments of ``bisimgym/DistractingControl-v0`` for a task of the suite.

    Args:
        task: of :data:`TASKS`.
        held_out: whether under the distractions that agents are scored under.
        protocol: sizes.
        **images: size, renderer and backgrounds.
    """
    name, setting = split_task(task)
    domain, dmc_task = DMC_TASKS[name][:2]
    _, learned, scored = DISTRACTIONS[setting]
    shorter = protocol.episode_steps < EPISODE_STEPS
    limit = {"max_episode_steps": steps_per_episode(task, protocol)} if shorter else {}
    return {"domain": domain, "task": dmc_task, **(scored if held_out else learned), **limit, **images}


def make_env(task: str, held_out: bool, protocol: Protocol = PROTOCOL, **images: Any) -> gym.Env:
    """Return one environment of a task; arguments as of :func:`env_arguments`."""
    return gym.make("bisimgym/DistractingControl-v0", **env_arguments(task, held_out, protocol, **images))


def training_envs(task: str, seed: int, protocol: Protocol = PROTOCOL) -> Any:
    """Return the environments that outside agents learn from."""
    arguments = env_arguments(task, False, protocol, size=protocol.size)
    return gym.make_vec("bisimgym/DistractingControl-v0", num_envs=protocol.num_envs, **arguments)


def play(agent: Any, env: gym.Env, episodes: int, seed: int) -> tuple[list[float], list[str]]:
    """Return what a deterministic agent earns in some episodes, and the names of their videos."""
    returns, videos = [], []
    for episode in range(episodes):
        # Seeded once: videos in order go on from there.
        observation, info = env.reset(seed=seed if episode == 0 else None)
        total, ended, state, start = 0.0, False, None, np.ones(1, dtype=bool)
        while not ended:
            action, state = agent.predict(observation[None], state=state, episode_start=start, deterministic=True)
            action = np.asarray(action, dtype=np.float32)
            if action.shape != (1, *env.action_space.shape) or not np.isfinite(action).all():  # type: ignore[misc]
                raise ValueError(
                    "the agent's predict() must return finite actions of shape "
                    f"{(1, *env.action_space.shape)}, got {action!r}"  # type: ignore[misc]
                )
            observation, reward, terminated, truncated, _ = env.step(action[0])
            total, ended, start = total + float(reward), terminated or truncated, np.zeros(1, dtype=bool)
        returns.append(total)
        videos.append(str(info.get("background", "")))
    return returns, videos


def evaluate(
    agent: Any,
    task: str,
    seed: int,
    protocol: Protocol = PROTOCOL,
    episodes: int | None = None,
    images: Mapping[str, Any] | None = None,
) -> Outcome:
    """Score an agent under held-out distractions, each video once, and under those it learned under.

    Args:
        agent: sees batches of one image, ``uint8[1, size, size, 9]``.
        task: of :data:`TASKS`.
        seed: of the run.
        protocol: sizes.
        episodes: of each kind; ``None``: the protocol's.
        images: size, renderer and backgrounds; ``None``: what outside agents see.
    """
    count, start = protocol.episodes if episodes is None else episodes, 1_000_000 + 1000 * seed
    shown = {"size": protocol.size} if images is None else dict(images)
    outcomes: dict[str, list] = {}
    if distracts(task):
        env = make_env(task, True, protocol, order="cycle", **shown)
        outcomes["return"], outcomes["video"] = play(agent, env, count, start)
        env.close()
    env = make_env(task, False, protocol, **shown)
    outcomes["trained_return"], _ = play(agent, env, count, start + 500)
    env.close()
    return Outcome.of(_scores(task, outcomes), outcomes)


def _scores(task: str, outcomes: Mapping[str, list]) -> dict[str, float]:
    random = DMC_TASKS[split_task(task)[0]][3]
    trained = float(np.mean(outcomes["trained_return"]))
    score = float(np.mean(outcomes["return"])) if distracts(task) else trained
    further = {"trained": trained, "gap": trained - score} if distracts(task) else {}
    return {"score": score, **further, "normalized": (score - random) / (EPISODE_STEPS - random)}


def rescore(task: str, seed: int, outcomes: Mapping[str, list], protocol: Protocol = PROTOCOL) -> dict[str, float]:
    """Return the scores that follow from stored outcomes.

    Raises:
        ValueError: if the outcomes are not those of this task.
    """
    columns = {"trained_return", "return", "video"} if distracts(task) else {"trained_return"}
    check_columns(task, outcomes, columns, protocol.episodes)
    if task.endswith("-pse-2video") and len(set(outcomes["video"])) != min(30, protocol.episodes):
        raise ValueError(f"outcomes of {task} are of 30 different videos, got {sorted(set(outcomes['video']))}")
    return _scores(task, outcomes)


def image_settings(spec: Spec) -> dict[str, Any]:
    """Return what decides the images of a run."""
    return {name: spec.settings[name] for name in ("size", "renderer", "backgrounds")}


def check_images(spec: Spec, protocol: Protocol = PROTOCOL) -> None:
    """Raise ``UserError`` if the videos or the renderer of a run are not there."""
    for held_out in {False, distracts(spec.task)}:
        try:
            make_env(spec.task, held_out, protocol, **image_settings(spec)).close()
        except (ImportError, OSError, RuntimeError, ValueError) as error:
            raise UserError(f"the images of {spec.task} cannot be made: {error}") from error


def make_learner(spec: Spec, device: str, env: Any, protocol: Protocol = PROTOCOL) -> Any:
    """Return the untrained agent of a run: the published settings of its learner in the sizes of the preset.

    Raises:
        UserError: if its replay does not fit into memory.
    """
    from bisimgym.baselines.learners import SAC_LEARNERS
    from bisimgym.baselines.pixels import pixel_settings
    from bisimgym.baselines.pse.augmentation import random_shift

    settings = {name: value for name, value in spec.settings.items() if name not in _OF_SUITE}
    learner = settings.pop("learner")
    policy: dict[str, Any] = {"features_extractor_kwargs": {"channels": spec.settings["channels"]}}
    if spec.settings["hidden"] is not None:
        policy["net_arch"] = [spec.settings["hidden"]] * 2
    for name in ("batch_size", "learning_rate"):
        if settings[name] is None:
            del settings[name]
    settings = pixel_settings(learner, {**settings, "policy_kwargs": policy})
    if "augmentation" in settings:
        settings["augmentation"] = functools.partial(random_shift, pad=spec.settings["pad"])
    transitions = spec.settings["episodes"] * steps_per_episode(spec.task, protocol)
    settings["buffer_size"] = min(settings["buffer_size"], transitions)
    try:
        return SAC_LEARNERS[learner]("PixelPolicy", env, seed=spec.seed, device=device, **settings)
    except MemoryError as error:
        raise UserError(f"the replay of {spec.method} does not fit: {error}") from error


#: Settings that are not arguments of a learner.
_OF_SUITE = ("episodes", "evaluate_every", "size", "channels", "hidden", "pad", "backgrounds", "renderer")


def more_settings(settings: Mapping[str, Any]) -> dict[str, Further]:
    """Return what the learner of these settings takes beside them."""
    from bisimgym.baselines.core.settings import SACSettings
    from bisimgym.baselines.learners import SAC_LEARNERS
    from bisimgym.baselines.pixels import pixel_settings

    fixed = pixel_settings(settings["learner"])
    return further_settings(
        SAC_LEARNERS[settings["learner"]], get_type_hints(SACSettings), settings.get("metric"), fixed=fixed
    )


def train(spec: Spec, monitor: Monitor, device: str, protocol: Protocol = PROTOCOL) -> Outcome:
    """Train one agent, from its checkpoint if there is one, and score it.

    Training goes episode by episode. Each has a seed of its own, so that a run that is cut off goes on from its last
    checkpoint as the unbroken run did.
    """
    from stable_baselines3.common.vec_env import DummyVecEnv

    from bisimgym.baselines.core.checkpoint import load_checkpoint, recover_checkpoint, save_checkpoint
    from bisimgym.baselines.learners import SAC_LEARNERS

    check_images(spec, protocol)
    images = image_settings(spec)
    env = DummyVecEnv([lambda: make_env(spec.task, False, protocol, **images)])
    actions = steps_per_episode(spec.task, protocol)
    checkpoint = Path(monitor.checkpoint)
    recover_checkpoint(checkpoint)
    algorithm = SAC_LEARNERS[spec.settings["learner"]]
    model = learner_of(
        monitor,
        checkpoint,
        lambda folder: load_checkpoint(algorithm, folder, device, env=env),
        lambda: make_learner(spec, device, env, protocol),
    )
    episodes = spec.settings["episodes"]

    def rounds(reached: Reached) -> None:
        while model.num_timesteps < episodes * actions:
            episode = model.num_timesteps // actions
            env.seed(10_000_000 * (spec.seed + 1) + episode)
            model._last_obs = None  # start a new episode
            model.learn(actions, reset_num_timesteps=False, log_interval=None)
            reached((episode + 1) * protocol.episode_steps)

    def complete(_: Sequence[float]) -> Outcome:
        outcome = evaluate(model, spec.task, spec.seed, protocol, images=images)
        further = _looked_into(model, spec, monitor, protocol)
        return Outcome(outcome.score, {**outcome.scores, **further}, outcome.outcomes)

    return train_with_evaluations(
        monitor,
        "control_steps",
        done=model.num_timesteps // actions * protocol.episode_steps,
        total=episodes * protocol.episode_steps,
        every=spec.settings["evaluate_every"] * protocol.episode_steps,
        train=rounds,
        evaluate=lambda: evaluate(model, spec.task, spec.seed, protocol, protocol.curve_episodes, images),
        complete=complete,
        save=lambda: save_checkpoint(model, checkpoint, with_env=False),
        columns=lambda: {"updates": model._n_updates},
    )


def _looked_into(model: Any, spec: Spec, monitor: Monitor, protocol: Protocol) -> dict[str, float]:
    """Return the denoising factor of a trained encoder, where something distracts, and draw the run's picture."""
    from bisimgym.benchmarks.measures.denoising import denoising_factor
    from bisimgym.benchmarks.suites.distracting.pictures import figures_of
    from bisimgym.benchmarks.suites.figures import write_figures

    names = {False: "clean"}
    if distracts(spec.task):
        names = {False: "training distractions", True: "held-out distractions"}
    envs = {name: make_env(spec.task, held_out, protocol, **image_settings(spec)) for held_out, name in names.items()}
    monitor.pictures.mkdir(exist_ok=True)
    list(write_figures(figures_of(model, envs, 2_000_000 + spec.seed), monitor.pictures))
    found = {}
    if distracts(spec.task):
        factor = denoising_factor(
            model.embed,
            envs[names[True]],
            policy=model,
            episodes=1,
            positives=protocol.positives,
            max_anchors=protocol.anchors,
            seed=3_000_000 + spec.seed,
        )
        found = {"denoising": float(factor.value)}
    for env in envs.values():
        env.close()
    return found


def check(spec: Spec, protocol: Protocol = PROTOCOL) -> None:
    """Raise ``ValueError`` for settings that cannot be trained with."""
    from stable_baselines3.common.vec_env import DummyVecEnv

    settings = spec.settings
    check_least(settings, episodes=1, evaluate_every=1, channels=1, pad=0, learning_starts=1)
    check_least({name: value for name, value in settings.items() if value is not None}, hidden=1, batch_size=1)
    if settings["size"] < SMALLEST:
        raise ValueError(f"size must be at least {SMALLEST}, what the encoder takes, got {settings['size']} pixels")
    if settings["learner"] not in {method.settings["learner"] for method in METHODS.values()}:
        raise ValueError(f"unknown learner {settings['learner']!r}")
    if spec.variant:  # the suite's own settings are sound, and making networks takes time
        check_images(spec, protocol)
        env = DummyVecEnv([lambda: make_env(spec.task, False, protocol, **image_settings(spec))])
        make_learner(spec, "cpu", env, protocol)


SUITE = Suite(
    name="distracting",
    version=1,
    title="Distracting control",
    description=(
        "Control tasks of dm_control from images, among videos, cameras and colors that do not matter: does a metric "
        "help an agent where the distractions were never seen, beyond shifted images and embeddings that predict "
        "themselves?"
    ),
    score_name="return (of 1000)",
    x_name="control_steps",
    tasks=TASKS,
    methods=METHODS,
    presets=PRESETS,
    measures=MEASURES,
    train=train,
    evaluate=evaluate,
    training_envs=training_envs,
    check=check,
    rescore=rescore,
    further_settings=more_settings,
    bounds=(0.0, float(EPISODE_STEPS)),  # rewards of dm_control's suite are from 0 to 1 in every control step
    columns={
        "return": (0.0, float(EPISODE_STEPS)),
        "trained_return": (0.0, float(EPISODE_STEPS)),
        "video": str,
    },
)
