"""Does an environment keep the promises of `VecEnv`? For those who write an engine, a task or an adapter.

Isaac Gym is also compared with the CPU engine, in a report that an owner of the binary can paste. We have none to run,
so this is how anybody who has it finds out whether the engine works there.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import mujoco
import torch
from scipy.spatial.transform import Rotation

from ... import __version__, sims
from ...errors import HandsightError
from ...sims.checker import GOES_ON, REPEATS, ContractError, check_vec_env, promises, random_actions
from ...sims.engines.engine import BodyState
from ...sims.engines.mujoco_cpu import MujocoEngine
from ...sims.env_config import EnvConfig
from ...sims.isaacgym.engine import IsaacEngine
from ...sims.scene import Scene
from ...sims.tasks.grasp import GraspTask
from ...sims.tasks.observations import IMAGE_GROUPS
from ...sims.vec_env import VecEnv
from ..runs.progress import tell
from .arguments import CheckEnvArgs
from .bench import recorded_targets

Verdict = Literal["holds", "BROKEN", "differs", "measured", "not offered"]
NOT_PROMISED = "PhysX on a GPU does not promise it"
STEPS = 12
"""Control steps of each comparison, about a second."""
PLACE, TURN = 1e-3, 2e-3
"""m, and largest element of a rotation matrix's difference: a link is where MuJoCo has it for the same joint angles."""
DEPTH = 5e-3
"""m: pixels nearer to each other than this agree."""
PIXELS = 0.9
"""Least share of pixels that agree."""
PALM_LAG = 0.03
"""m: two simulators, the same joint targets: the palm stays this near."""
REST = 2e-3
"""m: an object left alone rests at the height at which it was put."""


def check_env(args: CheckEnvArgs) -> list[str]:
    """What `handsight check-env` does: check, and print what holds.

    Raises:
        ContractError: the first promise that does not hold; with Isaac Gym all of them, after its report.
    """
    if args.gymnasium is None and args.env.engine == "isaacgym":
        return check_isaac(args.env, args.observe, args.num_envs, args.seed, args.episodes)
    env = _make(args)
    try:
        kept = check_vec_env(env, args.seed, args.episodes)
    finally:
        env.close()
    tell("\n".join(f"holds: {promise}" for promise in kept))
    return kept


def _make(args: CheckEnvArgs) -> VecEnv:
    if args.gymnasium is None:
        return sims.make(args.env, args.observe, args.num_envs, device=sims.worlds_device(args.env, args.device))
    import gymnasium

    from ...sims.gymnasium import GymnasiumVecEnv

    try:
        return GymnasiumVecEnv(gymnasium.make_vec(args.gymnasium, args.num_envs, vectorization_mode="sync"))
    except gymnasium.error.Error as error:
        raise HandsightError(f"check-env: Gymnasium cannot make {args.gymnasium!r}: {error}") from error


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    what: str
    verdict: Verdict
    found: str = ""
    expected: str = ""


def check_isaac(
    config: EnvConfig, observe: Collection[str], num_envs: int, seed: int = 0, episodes: int = 2
) -> list[str]:
    """Run every check, print the report and return its lines.

    Raises:
        ContractError: something is broken; the report has been printed before.
        WorkerError: the worker failed; what was found until then has been printed.
    """
    env = sims.make(config, observe, num_envs)
    engine = env.engine
    assert isinstance(engine, IsaacEngine)
    findings: list[Finding] = []
    failure: HandsightError | None = None
    try:
        for finding in _findings(env, engine, config, seed, episodes):
            findings.append(finding)
    except HandsightError as error:
        failure = error
        findings.append(Finding("the checks came to their end", "BROKEN", str(error).splitlines()[0]))
    finally:
        env.close()
    lines = [*_heading(engine, config, num_envs), "", *_table(findings)]
    tell("\n".join(lines))
    broken = [finding.what for finding in findings if finding.verdict == "BROKEN"]
    if failure or broken:
        raise failure or ContractError(f"{len(broken)} of {len(findings)} checks are broken: {'; '.join(broken)}")
    return lines


def _findings(env: GraspTask, engine: IsaacEngine, config: EnvConfig, seed: int, episodes: int) -> Iterator[Finding]:
    yield from _contract(env, seed, episodes)
    groups = [group for group in IMAGE_GROUPS if group in env.obs_spec]
    twin = MujocoEngine(Scene(config.scene), env.num_envs, groups, config.threads)
    try:
        yield from _same_places(env, engine, twin, seed)
        if "depth" in groups:
            yield from _same_images(engine, twin, groups)
    finally:
        twin.close()
    yield from _same_motion(env, config, seed)
    yield _boundary(env, engine, seed)


def _contract(env: GraspTask, seed: int, episodes: int) -> Iterator[Finding]:
    for promise, check in promises(env, seed, episodes).items():
        try:
            check()
        except NotImplementedError as missing:
            yield Finding(promise, "not offered", str(missing))
        except ContractError as error:
            excused = promise in (REPEATS, GOES_ON)
            yield Finding(promise, "differs" if excused else "BROKEN", str(error), NOT_PROMISED if excused else "")
        else:
            yield Finding(promise, "holds")


def _copy_into(twin: MujocoEngine, engine: IsaacEngine) -> BodyState:
    """Put the CPU engine's worlds into the state that Isaac Gym reports; returns the latter."""
    body = engine.read()
    quat = torch.from_numpy(Rotation.from_matrix(body.object_rot.cpu().numpy()).as_quat(scalar_first=True)).float()
    params = type(engine.params)(**{name: value.cpu() for name, value in engine.params.known.items()})
    everyone = torch.ones(engine.num_worlds, dtype=torch.bool)
    twin.reset(everyone, body.joint_pos.cpu(), body.object_pos.cpu(), quat, params)
    return body


def _same_places(env: GraspTask, engine: IsaacEngine, twin: MujocoEngine, seed: int) -> Iterator[Finding]:
    """Names, order and frames of joints and links: everything that can be confused when a robot is imported."""
    env.reset(seed)
    for action in random_actions(env, seed, STEPS):
        env.step(action)
    body = _copy_into(twin, engine)
    expected = twin.read()
    places, turns = ("joint_anchor", "palm_pos", "grasp_pos", "tip_pos"), ("joint_axis", "palm_rot", "object_rot")
    for what, limit, names in (
        ("positions of joints, palm, grasp site and fingertips", PLACE, places),
        ("axes of joints, orientation of palm and object", TURN, turns),
    ):
        off = {name: float((getattr(body, name).cpu() - getattr(expected, name)).abs().max()) for name in names}
        worst = names[int(torch.tensor([off[name] for name in names]).argmax())]  # NaN is the worst
        yield _judge(f"{what} for the same joint angles", off[worst], limit, f"{worst} off by {off[worst]:.1e}")


def _same_images(engine: IsaacEngine, twin: MujocoEngine, groups: Collection[str]) -> Iterator[Finding]:
    """Eyes: place, direction, focal length, which way is up, units, background."""
    ours, theirs = engine.render(groups), twin.render(groups)
    depth, expected = ours["depth"].cpu(), theirs["depth"]
    agree = float(((depth - expected).abs() < DEPTH).float().mean())
    yield _judge(
        "depth images", -agree, -PIXELS, f"{agree:.1%} of pixels within {1000 * DEPTH:g} mm", f">= {PIXELS:.0%}"
    )
    pixels = [images["object_pixels"].float().mean().item() for images in (ours, theirs)]
    yield Finding("pixels of the object", "measured", f"{pixels[0]:.1f} a world", f"{pixels[1]:.1f} by the CPU engine")
    if "stereo" in groups:
        grey = [images["stereo"].float().mean().item() for images in (ours, theirs)]
        yield Finding(
            "mean of the colour images", "measured", f"{grey[0]:.0f} of 255", f"{grey[1]:.0f} by the CPU engine"
        )


def _same_motion(env: GraspTask, config: EnvConfig, seed: int) -> Iterator[Finding]:
    """Two simulators under the same joint targets, and objects left alone."""
    cpu = sims.make(replace(config, engine="mujoco"), ("state", "proprio"), env.num_envs)
    everyone = torch.ones(env.num_envs, dtype=torch.bool, device=env.device)
    try:
        env.reset(seed)
        cpu.reset(seed)
        apart = torch.zeros(())
        with recorded_targets(cpu.engine) as targets:
            for action in random_actions(env, seed + 1, STEPS):
                cpu.step(action.cpu())
                env.engine.step(targets[-1][0].to(env.device), everyone)
                off = env.engine.read().palm_pos.cpu() - cpu.engine.read().palm_pos
                apart = torch.maximum(apart, off.norm(dim=1).max())  # NaN stays
    finally:
        cpu.close()
    yield _judge("palm under the same joint targets, 1 s", float(apart), PALM_LAG, f"up to {1000 * apart:.1f} mm apart")
    env.reset(seed)
    height = env.engine.read().object_pos[:, 2]
    for _ in range(STEPS):
        env.step(torch.zeros(env.num_envs, env.action_dim, device=env.device))
    fallen = float((env.engine.read().object_pos[:, 2] - height).abs().median())
    yield _judge("height of objects left alone, 1 s", fallen, REST, f"median change {1000 * fallen:.2f} mm")


def _boundary(env: GraspTask, engine: IsaacEngine, seed: int) -> Finding:
    """What the second process costs in a control step: two commands, without the work done in the worker."""
    env.reset(seed)
    call, spent = engine.worker.call, []

    def timed(command: str, **arguments: object) -> dict[str, object]:
        begun = time.perf_counter()
        reply = call(command, **arguments)  # type: ignore[arg-type]
        spent.append(time.perf_counter() - begun - engine.worker.last_seconds)
        return reply

    engine.worker.call = timed  # type: ignore[method-assign]
    for action in random_actions(env, seed, STEPS):
        env.step(action)
    return Finding("cost of the boundary", "measured", f"{1e6 * sum(spent) / STEPS:.0f} us a control step")


def _judge(what: str, value: float, limit: float, found: str, expected: str = "") -> Finding:
    return Finding(what, "holds" if value <= limit else "BROKEN", found, expected or f"<= {limit:g}")


def _heading(engine: IsaacEngine, config: EnvConfig, num_envs: int) -> list[str]:
    hello = engine.worker.hello
    versions = ", ".join(f"{name} {version}" for name, version in hello["versions"].items())
    rig = config.scene.rig
    return [
        "## handsight check-env --engine isaacgym",
        "",
        f"- worker: {versions}, {hello['gpu']}",
        f"- Handsight {__version__}: Python {platform.python_version()}, torch {torch.__version__}, "
        f"mujoco {mujoco.__version__}, {platform.platform()}",
        f"- {num_envs} worlds, {rig.width} x {rig.height} pixels, compute device {config.isaac.compute_device}, "
        f"graphics device {config.isaac.graphics_device}",
    ]


def _table(findings: list[Finding]) -> list[str]:
    rows = [f"| {f.what} | {f.verdict} | {f.found} | {f.expected} |" for f in findings]
    return ["| check | verdict | found | expected |", "| --- | --- | --- | --- |", *rows]
