"""From a configuration to environments: choosing the engine."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from functools import partial
from typing import Any, get_args

from .. import plugins
from ..errors import HandsightError
from .env_config import EngineName, EnvConfig, RemoteConfig, TaskConfig
from .memory import check_worlds
from .remote.remote_vec_env import RemoteVecEnv
from .scene import Scene
from .tasks.carry import CarryTask
from .tasks.grasp import GraspTask
from .tasks.observations import group_spec, rendered
from .vec_env import ArraySpec, plain_tensors


@plain_tensors
def make(
    config: EnvConfig, observe: Collection[str], num_envs: int, world_offset: int = 0, device: str = "cpu"
) -> GraspTask:
    """Make `num_envs` environments that compute the observation groups `observe`.

    Args:
        config: of the environments.
        observe: observation groups, any of `GROUPS` and of those that the task tells; only these are rendered.
        num_envs: how many.
        world_offset: global index of the first one: workers that split a set of them give each its own.
        device: where the observations live; `worlds_device` says it for the learner's.

    Raises:
        HandsightError: unknown engine, observation group or device, none, or more than memory can hold.
    """
    if num_envs < 1:
        raise HandsightError(f"num_envs must be at least 1, not {num_envs}")
    if config.engine == "mujoco" and device != "cpu":
        raise HandsightError(f"engine 'mujoco' runs on device 'cpu', not {device!r}")
    check_worlds(config, observe, num_envs, device)
    further = [group for group in observe if group in config.scene.camera_groups]
    if further and config.engine != "mujoco":
        raise HandsightError(f"group {further[0]!r}: expected engine 'mujoco', which has it, found {config.engine!r}")
    groups = (*rendered(observe), *further)
    if "touch" in observe and config.engine == "isaacgym":
        raise HandsightError("group 'touch': expected an engine of MuJoCo, which measures forces, found 'isaacgym'")
    scene = replace(Scene(config.scene), forces="touch" in observe, distractors=config.task.most_distractors)
    if config.engine == "isaacgym":
        _check_isaac(config, scene)
    match config.engine:
        case "mujoco":
            from .engines.mujoco_cpu import MujocoEngine  # mujoco_warp takes a second to import

            engine = MujocoEngine(scene, num_envs, groups, config.threads)
        case "mujoco_warp":
            from .engines.mujoco_gpu import WarpEngine

            engine = WarpEngine(scene, num_envs, groups, config.warp, device)
        case "isaacgym":
            from .isaacgym.engine import IsaacEngine  # as is scipy

            engine = IsaacEngine(scene, num_envs, groups, config.isaac, device)
        case _:
            raise HandsightError(f"unknown engine {config.engine!r}; available: {', '.join(get_args(EngineName))}")
    return task_class(config.task)(config.task, engine, observe, world_offset)


def task_class(config: TaskConfig) -> Any:
    """The task of a configuration, ours or a plugin's."""
    return {"grasp": GraspTask, "carry": CarryTask}.get(config.name) or plugins.find("tasks", config.name)


def _check_isaac(config: EnvConfig, scene: Scene) -> None:
    """Raise HandsightError: worlds that Isaac Gym cannot have."""
    if scene.objects.meshes is not None:
        raise HandsightError(
            f"engine 'isaacgym' has no meshes: expected objects 'primitives', found {scene.objects.name!r}"
        )
    if scene.distractors or config.task.randomization.background or config.task.hardest.background:
        raise HandsightError(
            "engine 'isaacgym' has no distractors and no backgrounds: expected distractors (0, 0) and background None"
        )


def describe(config: EnvConfig, observe: Collection[str]) -> dict[str, ArraySpec]:
    """`VecEnv.obs_spec` of environments that are not made yet."""
    scene = Scene(config.scene)
    space = scene.robot.action_space(config.task.action_space)
    own = task_class(config.task).own_state
    return {group: group_spec(group, space, scene, own) for group in observe}


def action_dim(config: EnvConfig) -> int:
    """`VecEnv.action_dim` of environments that are not made yet."""
    return Scene(config.scene).robot.action_space(config.task.action_space).dim


def worlds_device(config: EnvConfig, learner: str) -> str:
    """Where the environments of a learner belong: on its device, unless their engine knows the CPU only."""
    return "cpu" if config.engine == "mujoco" else learner


def make_remote(
    config: EnvConfig,
    observe: Collection[str],
    num_envs: int,
    placement: str,
    remote: RemoteConfig | None = None,
    learner: str = "cpu",
    rank: int = 0,
    ranks: int = 1,
) -> RemoteVecEnv:
    """The same environments in simulators elsewhere; see `RemoteVecEnv`.

    Args:
        config: of the environments.
        observe: see `make`.
        num_envs: how many this learner has.
        placement: where the simulators run, e.g. "cpu*3" or "cuda:0,cuda:1".
        remote: how the learner deals with them.
        learner: device on which their observations arrive.
        rank: which of several learners this is; each has its share of the simulators and of the environments.
        ranks: how many learners there are.

    Raises:
        HandsightError: as `make`; no Ray, or no such placement.
    """
    from .remote.placement import parse_placement
    from .remote.remote_vec_env import local_threads

    slots = parse_placement(placement)
    if len(slots) < ranks:
        raise HandsightError(f"placement {placement!r}: {len(slots)} simulators for {ranks} learners")
    if config.threads is None:
        config = replace(config, threads=local_threads(slots))
    maker = partial(make, config, tuple(observe))
    return RemoteVecEnv(maker, slots[rank::ranks], num_envs, remote, learner, rank * num_envs)
