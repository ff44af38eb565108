"""What a training is going to take, said in one line before it takes any of it, and refused if it does not fit."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ... import sims
from ...sims.env_config import EnvConfig
from ...sims.memory import TooManyWorldsError, usable, world_bytes
from ...sims.remote.placement import DEVICE, Slot, parse_placement
from ...sims.vec_env import ArraySpec
from ...students import StudentConfig, build_student
from ...teachers import ActorCritic, RolloutBuffer
from .student_config import StudentRunConfig
from .teacher_config import TeacherConfig

_log = logging.getLogger(__name__)


class Part(NamedTuple):
    """One kind of allocation."""

    name: str
    device: str
    """Where; one of several simulators of a kind stands for all of them."""
    per_world: float
    """Bytes for each world of the training."""
    fixed: float = 0.0
    """Bytes however many worlds there are."""

    def bytes(self, num_envs: int) -> float:
        """Bytes for so many environments."""
        return self.fixed + num_envs * self.per_world


FOR_TEACHERS = (
    "Ask for fewer (--num-envs), smaller images (--image), shorter --rollout-steps or more --ppo.minibatches."
)
FOR_STUDENTS = (
    "Ask for fewer (--num-envs), smaller images (--image), a smaller network (--student.backbone.name), fewer "
    "--dagger.batch-sequences or a smaller --dagger.buffer-gib."
)


def announce(parts: list[Part], num_envs: int, advice: str, available: Callable[[str], int] = usable) -> str:
    """Log what is going to be allocated; returns the line.

    Raises:
        TooManyWorldsError: it would not fit; says how many worlds do, and gives the `advice`, which names options.
    """
    pieces = []
    for device in dict.fromkeys(part.device for part in parts):
        here = [part for part in parts if part.device == device]
        memory = available(device) if device == "cuda" or DEVICE.fullmatch(device) else math.inf
        need = sum(part.bytes(num_envs) for part in here)
        listed = " + ".join(f"{part.name} {shown(part.bytes(num_envs))}" for part in here)
        pieces.append(f"{listed} = {shown(need)}{f' of {shown(memory)}' if memory < math.inf else ''} on {device}")
        if need > memory:
            each, fixed = sum(part.per_world for part in here), sum(part.fixed for part in here)
            fits = max(0, int((memory - fixed) // each)) if each else 0
            raise TooManyWorldsError(
                f"{num_envs:,} worlds need {shown(need)} on {device} ({listed}), of which {shown(memory)} may be used; "
                f"{f'at most {fits:,} worlds fit' if fits else 'not even one world fits'}. {advice}"
            )
    line = f"memory: {num_envs:,} worlds: {'; '.join(pieces)}"
    _log.info(line)
    return line


def of_teacher(config: TeacherConfig) -> list[Part]:
    """Parts of the memory: environments, rollout buffers and one minibatch of one rank of a teacher's training."""
    keys, spec = config.policy.train_keys, sims.describe(config.env, config.policy.train_keys)
    actions, place = sims.action_dim(config.env), sims.worlds_device(config.env, config.device)
    with torch.random.fork_rng(devices=[]):
        policy = ActorCritic(config.policy, spec, actions)
    buffers = 1 + config.lag + (config.warm.iterations if config.warm_start else 0)
    rollout = RolloutBuffer.bytes(spec, keys, config.rollout_steps, 1, actions, policy.core.hidden_size)
    row = row_bytes(config.env, keys) + _kept_by_teacher(policy, spec, config.precision)
    parts = _worlds(config.env, keys, config.sims, config.device)
    if count := min(config.validation_episodes, config.num_envs) if config.validate_every else 0:
        each = world_bytes(config.env, config.policy.actor_keys).all
        parts.append(Part("validation", place, 0.0, float(count * each)))
    parts.append(Part("rollout", config.device, float(buffers * rollout)))
    return [*parts, Part("minibatch", config.device, config.rollout_steps / config.ppo.minibatches * row)]


def row_bytes(env: EnvConfig, keys: tuple[str, ...]) -> int:
    """Bytes that one step of one environment takes in the rollout buffer."""
    spec, actions = sims.describe(env, keys), sims.action_dim(env)
    one, two = (RolloutBuffer.bytes(spec, keys, steps, 1, actions) for steps in (1, 2))
    return two - one


def of_student(config: StudentRunConfig, env: EnvConfig, groups: tuple[str, ...], student: StudentConfig) -> list[Part]:
    """Memory of a student's training by DAgger: environments, the newest and all kept sequences, and one batch."""
    spec, task = sims.describe(env, groups), env.task
    kept = (*student.obs_keys, *(["depth"] if student.depth_head else []))
    row = sum(spec[group].dtype.itemsize * math.prod(spec[group].shape) for group in kept)
    place = "cpu" if config.sims else sims.worlds_device(env, config.device)
    rows = task.episode_steps * config.dagger.batch_sequences
    batch = rows * (row + _kept_by_student(student, spec, sims.action_dim(env), config.precision))
    return [
        *_worlds(env, groups, config.sims, config.device),
        Part("rollout", place, 2.0 * task.episode_steps * row),  # as rows, then stacked
        Part("sequences at most", "cpu", 0.0, config.dagger.buffer_gib * 2**30),
        Part("minibatch", config.device, 0.0, batch),
    ]


def _worlds(env: EnvConfig, groups: tuple[str, ...], placement: str, learner: str) -> list[Part]:
    """Bytes of the simulators on each device; one that Ray places somewhere has that to itself."""
    each, shares = world_bytes(env, groups), dict[str, float]()
    slots = parse_placement(placement) if placement else [Slot(sims.worlds_device(env, learner))]
    for slot in slots:
        somewhere = "+".join(f"{name}={count:g}" for name, count in slot.resources.items())
        device = somewhere or slot.device
        shares[device] = 1 / len(slots) + (0.0 if somewhere else shares.get(device, 0.0))
    kinds = {"simulator": each.simulator, "cameras": each.cameras}
    return [
        Part(kind, device, share * size) for device, share in shares.items() for kind, size in kinds.items() if size
    ]


def _kept_by_teacher(policy: ActorCritic, spec: dict[str, ArraySpec], precision: str) -> float:
    """Bytes that a row of a minibatch leaves for the backward pass."""

    def forward(rows: int) -> Any:
        shape = (1, rows) if policy.core.hidden_size else (rows,)
        hidden, first = policy.initial_hidden(rows), torch.zeros(shape, dtype=torch.bool)
        return policy.predict(_zeros(spec, policy.train_keys, shape), hidden, first)

    return per_row(forward, precision)


def _kept_by_student(config: StudentConfig, spec: dict[str, ArraySpec], actions: int, precision: str) -> float:
    config = replace(config, backbone=replace(config.backbone, pretrained=False))
    with torch.random.fork_rng(devices=[]):
        student = build_student(config, spec, actions)

    def forward(rows: int) -> Any:
        flags = torch.ones(1, rows, dtype=torch.bool)
        return student.sequence(_zeros(spec, student.obs_keys, flags.shape), flags, flags)

    return per_row(forward, precision)


def _zeros(spec: dict[str, ArraySpec], keys: tuple[str, ...], rows: tuple[int, ...]) -> dict[str, Tensor]:
    return {key: torch.zeros(*rows, *spec[key].shape, dtype=spec[key].dtype) for key in keys}


def per_row(forward: Callable[[int], Any], precision: str = "32-true") -> float:
    """Bytes that autograd keeps for one row more; `forward(rows)` computes with gradients."""
    mixed = torch.autocast("cpu", torch.bfloat16) if precision.startswith("bf16") else nullcontext()
    kept = []
    for rows in (2, 4):
        held: dict[int, Tensor] = {}

        def keep(tensor: Tensor, held: dict[int, Tensor] = held) -> Tensor:
            held[tensor.untyped_storage().data_ptr()] = tensor  # held, or its address is given to the next one
            return tensor

        hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
        with torch.random.fork_rng(devices=[]), mixed, hooks:
            forward(rows)
        kept.append(sum(tensor.untyped_storage().nbytes() for tensor in held.values()))
    return (kept[1] - kept[0]) / 2


def shown(count: float) -> str:
    """A count of bytes as people read it, e.g. "1.5 GiB"."""
    return f"{count / 2**30:,.1f} GiB" if count >= 2**30 else f"{count / 2**20:,.1f} MiB"
