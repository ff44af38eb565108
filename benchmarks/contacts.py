"""What firmer contacts and other solvers cost and change: `python benchmarks/contacts.py [--policy zoo:state]`.

The same policy acts from the same held-out resets in worlds that differ in contact settings only. For each setting:
success, how deep robot and held object penetrate (the deepest contact of each world and step in which the object is
held), and CPU microseconds of a control step of one world's physics, by settings in turn. Adds to
benchmarks/results/contacts.json.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import mujoco
import numpy as np
import torch
import tyro
from gymnasium_tasks import machine

from handsight.distill.evaluation.evaluate import HELD_OUT_SEED
from handsight.distill.runs.policy_io import load_policy
from handsight.policies.policy import Policy
from handsight.sims.engines import mujoco_cpu
from handsight.sims.env_config import EnvConfig
from handsight.sims.scene import Scene
from handsight.sims.tasks.grasp import GraspTask

RESULTS = Path(__file__).parent / "results" / "contacts.json"
FIRM, FIRMER = (0.95, 0.99, 0.001), (0.98, 0.995, 0.001)


@dataclass(frozen=True)
class Setting:
    """How contacts are solved."""

    name: str
    solref: float = 0.03
    """s: time constant of a contact."""
    solimp: tuple[float, float, float] = (0.8, 0.9, 0.003)
    """Least and most impedance, and the depth in m over which it rises."""
    timestep: float = 0.008
    """s."""
    substeps: int = 10
    """Physics steps in a control step."""
    solver: str = "NEWTON"
    """NEWTON, PGS or CG."""
    iterations: int = 8
    """Most iterations of the solver."""
    priority: bool = False
    """Whether the object's friction decides, and not the larger one of a pair."""

    def apply(self, model: mujoco.MjModel) -> mujoco.MjModel:
        """The compiled scene with these settings."""
        touching = (model.geom_contype | model.geom_conaffinity) > 0
        model.geom_solref[touching, 0] = self.solref
        model.geom_solimp[touching, :3] = self.solimp
        model.geom_priority[[i for i in range(model.ngeom) if model.geom(i).name.startswith("object_")]] = self.priority
        return model


SOFT = Setting("version 1")
SETTINGS = {
    one.name: one
    for one in (
        SOFT,
        Setting("firm", 0.016, FIRM),
        Setting("firm PGS", 0.016, FIRM, solver="PGS"),
        Setting("firm PGS 5 x 16 ms", 0.032, FIRM, 0.016, 5, solver="PGS"),
        Setting("firm PGS 8 x 10 ms, 16 iterations", 0.02, FIRMER, 0.010, 8, "PGS", 16, priority=True),
        Setting("version 2", 0.0178, FIRMER, 0.08 / 9, 9, "PGS", 12, priority=True),
        Setting("version 2, Newton", 0.0178, FIRMER, 0.08 / 9, 9, priority=True),
    )
}


@dataclass(frozen=True)
class SetScene(Scene):
    """The scene with a setting."""

    setting: Setting = SOFT

    def build(self) -> mujoco.MjModel:
        return self.setting.apply(super().build())


class Probe:
    """Depths of the contacts between robot and object, world by world."""

    def __init__(self, engine: mujoco_cpu.MujocoEngine) -> None:
        self.engine, self.model = engine, engine.scene.build()
        self.data = mujoco.MjData(self.model)
        self.object = self.model.body("object").id
        self.model.geom_sameframe[self.model.geom_bodyid == self.object] = 0  # its geoms are moved about in its frame

    def deepest(self, world: int) -> float:
        """m: 0 where nothing touches."""
        model, data, engine = self.model, self.data, self.engine
        for name in ("geom_size", "geom_pos", "geom_aabb"):
            getattr(model, name)[:] = engine._fields[name][world].reshape(getattr(model, name).shape)
        data.qpos[:] = engine._data["qpos"][world]
        mujoco.mj_kinematics(model, data)
        mujoco.mj_collision(model, data)
        bodies = model.geom_bodyid[data.contact.geom]
        ours = (bodies == self.object).any(1) & (bodies != 0).all(1)
        return float(np.maximum(-data.contact.dist[ours], 0).max(initial=0.0))


@torch.no_grad()
def roll_out(policy: Policy, setting: Setting, episodes: int, probing: bool) -> dict[str, Any]:
    """One episode of each of `episodes` worlds, on one thread."""
    config = EnvConfig()
    scene = SetScene(
        replace(config.scene, timestep=setting.timestep, substeps=setting.substeps), setting=setting
    )  # fmt: skip
    mujoco_cpu.SOLVER = getattr(mujoco.mjtSolver, f"mjSOL_{setting.solver}"), setting.iterations
    engine = mujoco_cpu.MujocoEngine(scene, episodes, (), threads=1)
    env = GraspTask(config.task, engine, policy.obs_keys)
    env.set_reset_mix({"wide": 1.0})
    obs, hidden = env.reset(HELD_OUT_SEED), policy.initial_hidden(episodes)
    probe, depths, physics = Probe(engine), [], 0.0
    step_of = engine.step

    def timed(*args: Any) -> torch.Tensor:
        nonlocal physics
        start = time.process_time()
        out = step_of(*args)
        physics += time.process_time() - start
        return out

    engine.step = timed
    success = torch.zeros(episodes, dtype=torch.bool)
    over = torch.zeros(episodes, dtype=torch.bool)
    steps = 0
    while not over.all():
        mean, _, hidden = policy(obs, hidden)
        step = env.step(mean)
        obs, steps = step.obs, steps + 1
        ended = (step.terminated | step.truncated) & ~over
        success |= ended & step.log["success"].bool()
        if probing:
            depths += [probe.deepest(int(i)) for i in torch.nonzero(step.log["held"].bool() & ~over)[:, 0]]
        over |= ended
    env.close()
    row: dict[str, Any] = {"success": float(success.float().mean()), "us": 1e6 * physics / (steps * episodes)}
    if probing:
        mm = 1000 * np.array(depths)
        row |= {"median_mm": np.median(mm), "p90_mm": np.percentile(mm, 90), "max_mm": mm.max()}
    return row


@dataclass(frozen=True)
class Args:
    """What is measured."""

    policy: str = "zoo:state"
    """Run folder, checkpoint or zoo name."""
    settings: tuple[str, ...] = tuple(SETTINGS)
    """Which settings."""
    episodes: int = 256
    """Held-out resets."""
    rounds: int = 2
    """Times that each setting is timed, in turn."""


def main(args: Args) -> None:
    """Measure, print and write."""
    torch.set_num_threads(1)
    policy = load_policy(args.policy).policy
    rows = {name: roll_out(policy, SETTINGS[name], args.episodes, probing=True) for name in args.settings}
    for _ in range(args.rounds):
        for name in args.settings:
            rows[name].setdefault("rounds_us", []).append(roll_out(policy, SETTINGS[name], args.episodes, False)["us"])
    base = min(rows[args.settings[0]]["rounds_us"])
    for name, row in rows.items():
        row["us"] = min(row["rounds_us"])
        row["cost"] = row["us"] / base
        print(
            f"{name:32} success {row['success']:.3f}  {row['us']:6.1f} us  x {row['cost']:.2f}  "
            f"{row['median_mm']:.2f} / {row['p90_mm']:.2f} / {row['max_mm']:.1f} mm"
        )
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    known[args.policy] = {"episodes": args.episodes, "machine": machine(), "settings": rows}
    RESULTS.write_text(json.dumps(known, indent=2) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
