"""Configurations that have been chosen for a kind of machine: `cpu` for two cores, `gpu` for one GPU.

A preset is a function that returns a configuration; every option changes it. Where none is named, it is `cpu`: the GPU
engine is asked for by name.

The GPU presets were rehearsed on a CPU, at small size; their sizes follow from these considerations, not from a search:

- **Worlds.** A GPU simulates thousands of worlds in the time of hundreds: 4,096 for states, and 1,024 where each world
  renders an image, which costs about as much as the physics of several.
- **Rollout.** 16 steps, as on the CPU: with `stagger` any 16 steps of a thousand worlds hold every part of an episode,
  and what a longer rollout adds is memory and policy lag.
- **Minibatches.** Four a pass, as on the CPU: each is 16 (4 for depth) times as large, so that a gradient step fills
  the device and its noise falls; Adam's rate needs no scaling, for it follows the KL of the update (`AdaptiveRate`).
- **Iterations.** About as many updates as on the CPU, each on more samples: the number of updates bounds how far a
  policy gets from where it began, and more samples only make each of them better.
"""

from __future__ import annotations

import ctypes
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeVar, get_args

from ...errors import HandsightError, unknown
from ...sims.env_config import EnvConfig
from ...students.config import gpu_student
from ..training.student_config import DaggerConfig, StudentRunConfig
from ..training.teacher_config import TeacherConfig
from .options import Worlds

PresetName = Literal["cpu", "gpu"]
Config = TypeVar("Config")
GPU = "cuda:0"
AS_THEY_COME = Worlds()
DEPTH_IMAGE, STUDENT_IMAGE = "64x64", "160x120"
LARGE_IMAGE = 96
"""Pixels: from this height on a depth encoder has one convolution more, or its last layer would be most of it."""


def choose(named: str | None) -> PresetName:
    """The preset that was named, or else `cpu`. Raises HandsightError: there is no such preset."""
    if named is not None and named not in get_args(PresetName):
        raise HandsightError(unknown("preset", named, get_args(PresetName)))
    return named or "cpu"  # type: ignore[return-value]


def gpu_here() -> bool:
    """Whether torch can use a GPU; it is not loaded to ask where NVIDIA's driver is missing."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    import torch

    return torch.cuda.is_available()


def saved_worlds(path: Path) -> tuple[EnvConfig, bool]:
    """See `policy_io`; to read a checkpoint takes torch, which most command lines do without."""
    from ..runs import policy_io

    return policy_io.saved_worlds(path)


def teacher(
    sight: str, preset: PresetName = "cpu", chosen: Worlds = AS_THEY_COME, warm_start: Path | None = None
) -> TeacherConfig:
    """A teacher's configuration.

    Args:
        sight: "state" or "depth".
        preset: for which machine.
        chosen: how the environments are to differ from the preset's.
        warm_start: state teacher that a depth teacher imitates first.
    """
    if sight == "state":
        config = gpu_state(TeacherConfig.state()) if preset == "gpu" else TeacherConfig.state()
    else:
        config = TeacherConfig.warm_started(warm_start) if warm_start else TeacherConfig.depth()
        if preset == "gpu":
            config, chosen = gpu_depth(config), replace(chosen, image=chosen.image or DEPTH_IMAGE)
    config = config.with_worlds(chosen.change(config.env)) if chosen.any else config
    deep = sight == "depth" and config.env.scene.rig.height >= LARGE_IMAGE
    return replace(config, policy=replace(config.policy, depth_channels=(16, 32, 32, 32))) if deep else config


def gpu_state(config: TeacherConfig) -> TeacherConfig:
    """4,096 worlds of states. In full precision: the networks are small, and bfloat16 knows half a metre only in steps
    of 4 millimetres."""
    return replace(_on_gpu(config), num_envs=4096, iterations=300, validation_episodes=512)


def gpu_depth(config: TeacherConfig) -> TeacherConfig:
    """1,024 worlds of depth images. bf16-mixed: the convolutions take the time, what they look at is clipped and noisy,
    and weights, losses and the distribution of the action stay in full precision."""
    return replace(_on_gpu(config), num_envs=1024, validation_episodes=512, precision="bf16-mixed")


def _on_gpu(config: TeacherConfig) -> TeacherConfig:
    """Worlds and learner on one GPU; a checkpoint is written often, so that it can be trained in short sessions."""
    return replace(
        config, env=_gpu_worlds(config.env), device=GPU, checkpoint_every=10, validate_every=25, memory_budget_gib=32.0
    )


def _gpu_worlds(env: EnvConfig) -> EnvConfig:
    return replace(env, engine="mujoco_warp") if env.engine == "mujoco" else env


def student(
    preset: PresetName = "cpu",
    teacher: Path | None = None,
    data: Path | None = None,
    chosen: Worlds = AS_THEY_COME,
    own_worlds: bool = False,
) -> StudentRunConfig:
    """A student's configuration, for a teacher or for recorded rollouts. With the preset `gpu`: ResNet-18, ImageNet
    weights where they can be had, in the teacher's worlds on the GPU engine.

    A state teacher does not look, so its student may see as sharply as it likes: 160 x 120. A depth teacher's student
    sees what its teacher does, as the depth image is the left eye's.

    Args:
        preset: for which machine.
        teacher: run folder, checkpoint or zoo name.
        data: folder of shards.
        chosen: how the environments are to differ from the preset's.
        own_worlds: name the teacher's worlds in full, so that options can change parts of them.
    """
    env = None
    if teacher is not None and (preset == "gpu" or chosen.any or own_worlds):
        env, looks = saved_worlds(teacher)
        if preset == "gpu":
            env, chosen = _gpu_worlds(env), chosen if looks else replace(chosen, image=chosen.image or STUDENT_IMAGE)
        env = chosen.change(env)
    config = StudentRunConfig(teacher=teacher, data=data, env=env)
    return gpu_distillation(config) if preset == "gpu" else config


def on_this_machine(config: Config) -> Config:
    """A stored configuration, its learner on this machine's GPU if its worlds are made for one and there is one."""
    engine = getattr(getattr(config, "env", None), "engine", "mujoco")
    return replace(config, device=GPU) if engine == "mujoco_warp" and gpu_here() else config  # pyright: ignore


def with_own_worlds(config: StudentRunConfig) -> StudentRunConfig:
    """The configuration with its teacher's worlds named, so that options can change parts of them."""
    return config if config.teacher is None else replace(config, env=saved_worlds(config.teacher)[0])


def gpu_distillation(config: StudentRunConfig) -> StudentRunConfig:
    """256 worlds a round: at 160 x 120 pixels their episodes are 1 GiB of host memory, and 24 rounds stay in 32 GiB. 64
    gradient steps a round, so that a sequence is met 8 times in all (on the CPU 4.5 times); a lower rate, as the
    backbone's pretrained weights are to be adapted and not overwritten. bf16-mixed: the backbone takes the time."""
    dagger = DaggerConfig(gradient_steps=64, batch_sequences=32, learning_rate=5e-4, buffer_gib=32.0)
    return replace(
        config, student=gpu_student(), dagger=dagger, num_envs=256, iterations=24, device=GPU, precision="bf16-mixed"
    )
