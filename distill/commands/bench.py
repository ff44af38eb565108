"""How fast every part is on this machine, beside the obvious alternative, measured in one run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context

import mujoco
import numpy as np
from torch import Tensor

from ... import sims
from ...errors import HandsightError
from ...files import write_json
from ...sims.checker import random_actions
from ...sims.engines.engine import Engine
from ...sims.engines.mujoco_cpu import MujocoEngine
from ...sims.env_config import SceneConfig
from ...sims.scene import Scene
from ...sims.tasks.grasp import GraspTask
from ..runs.progress import Table, stage, tell
from ..runs.provenance import provenance
from ..training.teacher_config import TeacherConfig
from ..training.teacher_training import TeacherTraining
from .arguments import BenchArgs

OPENGL_BACKENDS = ("egl", "osmesa")
"""Tried in this order when MUJOCO_GL is not set."""


@dataclass(frozen=True)
class Row:
    """One measurement of `bench`."""

    what: str
    """Which part was measured."""
    per_second: float | None
    """Environment steps per second; None where it could not be measured."""
    note: str = ""
    """What it is to be compared with, or why it could not be measured."""


def bench(args: BenchArgs) -> list[Row]:
    """What `handsight bench` does: measure, print a table, write JSON.

    Raises:
        HandsightError: the engine is not the CPU's.
    """
    if args.env.engine != "mujoco":
        wanted = "expected --engine mujoco; benchmarks/engine_table.py measures mujoco_warp"
        raise HandsightError(f"bench: {wanted}, found {args.env.engine}")
    jobs: list[Callable[[], list[Row]]] = [
        lambda: _state(args),
        lambda: [_env(args, "depth", ("state", "proprio", "depth"))],
        lambda: [_env(args, "stereo RGB", ("proprio", "stereo"))],
        lambda: [_env(args, "depth and stereo", ("state", "proprio", "depth", "stereo"))],
        lambda: _training(args),
        lambda: [_divergence(args)],
    ]
    if args.opengl:
        jobs.append(lambda: _opengl(args))
    rows: list[Row] = []
    with stage("bench", len(jobs), "measurements") as progress:
        for job in jobs:
            rows += job()
            progress.advance()
    _show(args, rows)
    if args.out:
        facts = {"rows": [asdict(row) for row in rows], "num_envs": args.num_envs, "provenance": provenance()}
        write_json(args.out, facts, default=str)
    return rows


@contextmanager
def recorded_targets(engine: Engine) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """What a task asks of its engine in every step inside the `with`: actuator targets (N, U) float32, and which
    environments move (N,) bool."""
    step, targets = engine.step, list[tuple[Tensor, Tensor]]()

    def recorded(ctrl: Tensor, active: Tensor) -> Tensor:
        targets.append((ctrl.clone(), active.clone()))
        return step(ctrl, active)

    engine.step = recorded  # type: ignore[method-assign]
    try:
        yield targets
    finally:
        engine.step = step  # type: ignore[method-assign]


def _drive(env: sims.VecEnv, actions: Tensor) -> float:
    """World-steps per second. actions: (steps, N, A)."""
    start = time.perf_counter()
    for action in actions:
        env.step(action)
    return actions.shape[0] * actions.shape[1] / (time.perf_counter() - start)


@contextmanager
def _warm(args: BenchArgs, observe: tuple[str, ...]) -> Iterator[tuple[GraspTask, Tensor]]:
    """Environments after one episode, each at another step of the next, and the actions (steps, N, A) to measure."""
    with closing(sims.make(args.env, observe, args.num_envs)) as env:
        env.reset(0)
        env.stagger()
        actions = random_actions(env, 0, env.episode_steps + args.steps)
        _drive(env, actions[: env.episode_steps])
        yield env, actions[env.episode_steps :]


def _env(args: BenchArgs, what: str, observe: tuple[str, ...]) -> Row:
    rig = args.env.scene.rig
    with _warm(args, observe) as (env, actions):
        return Row(f"{what} with physics, {rig.width} x {rig.height}", _drive(env, actions))


def _state(args: BenchArgs) -> list[Row]:
    """The whole state environment, and physics alone fed with the very joint targets that it computed."""
    with _warm(args, ("state", "proprio")) as (env, actions):
        engine = env.engine
        assert isinstance(engine, MujocoEngine)
        begin = engine.state_dict()
        with recorded_targets(engine) as targets:
            whole = _drive(env, actions)
        engine.load_state_dict(begin)
        start = time.perf_counter()
        for target, active in targets:
            engine.step(target, active)
        alone = len(targets) * args.num_envs / (time.perf_counter() - start)
    return [Row("physics alone", alone), Row("state environment", whole, f"{whole / alone:.2f} of physics alone")]


def _training(args: BenchArgs) -> list[Row]:
    """Everything that a PPO iteration does, on both sights."""
    rows = []
    for config in (TeacherConfig.state(), TeacherConfig.depth()):
        policy_update = replace(config.ppo, aux_warmup_iterations=0)
        config = replace(config.with_worlds(args.env), num_envs=args.num_envs, ppo=policy_update)
        training = TeacherTraining.start(config)
        training.iterate(lambda: False)
        start, count = time.perf_counter(), 5
        parts = [training.iterate(lambda: False) for _ in range(count)]
        rate = count * args.num_envs * config.rollout_steps / (time.perf_counter() - start)
        share = np.mean([part["seconds/update"] / (part["seconds/update"] + part["seconds/collect"]) for part in parts])
        training.close()
        rows.append(Row(f"{config.sight} PPO, everything", rate, f"{share:.0%} of the time in the update"))
    return rows


def _divergence(args: BenchArgs) -> Row:
    count, steps = 0, max(1, args.divergence_steps // args.num_envs)
    with closing(sims.make(args.env, ("state", "proprio"), args.num_envs)) as env:
        env.set_reset_mix({"near": 0.5, "wide": 0.5})
        env.reset(1)
        start = time.perf_counter()
        for action in random_actions(env, 0, steps):
            count += int(env.step(action).log["diverged"].sum())
        rate = steps * args.num_envs / (time.perf_counter() - start)
    return Row("random actions", rate, f"{count} of {steps * args.num_envs:,} world-steps diverged")


def _opengl(args: BenchArgs) -> list[Row]:
    """The usual loop: Gymnasium-style, one world, `mujoco.Renderer` for each image."""
    rig = args.env.scene.rig
    return [
        Row(f"OpenGL loop, {what}, {rig.width} x {rig.height}", *_opengl_in_a_process(args.env.scene, cameras, depth))
        for what, cameras, depth in (("depth", ("left",), True), ("stereo RGB", ("left", "right"), False))
    ]


def _opengl_in_a_process(scene: SceneConfig, cameras: tuple[str, ...], depth: bool) -> tuple[float | None, str]:
    """Rate and note. A process of its own, because OpenGL without a driver or display may end the process."""
    asked = os.environ.get("MUJOCO_GL")
    failures = []
    for backend in (asked,) if asked else OPENGL_BACKENDS:
        os.environ["MUJOCO_GL"] = backend  # MuJoCo reads it when the new process imports it
        try:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                rate = pool.submit(_opengl_rate, scene, cameras, depth).result()
            return rate, f"one world, mujoco.Renderer, MUJOCO_GL={backend}"
        except Exception as error:  # whatever the machine's OpenGL raises when it is missing
            failures.append(f"{backend}: {type(error).__name__}: {error}")
        finally:
            if asked is None:
                del os.environ["MUJOCO_GL"]
    return None, "not measured: " + "; ".join(failures)


def _opengl_rate(scene: SceneConfig, cameras: tuple[str, ...], depth: bool, steps: int = 100) -> float:
    model = Scene(scene).build()
    data = mujoco.MjData(model)
    with mujoco.Renderer(model, scene.rig.height, scene.rig.width) as renderer:
        if depth:
            renderer.enable_depth_rendering()
        start = 0.0
        for step in range(2 * steps):
            if step == steps:  # the first half warms up
                start = time.perf_counter()
            mujoco.mj_step(model, data, scene.substeps)
            for camera in cameras:
                renderer.update_scene(data, camera)
                renderer.render()
    return steps / (time.perf_counter() - start)


def _show(args: BenchArgs, rows: list[Row]) -> None:
    table = Table("what", "world-steps/s", "note", title=f"{args.num_envs} worlds")
    for row in rows:
        table.add_row(row.what, "-" if row.per_second is None else f"{row.per_second:,.0f}", row.note)
    tell(table)
