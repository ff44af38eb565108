"""Environments against their number: steps per CPU second and memory, physics alone and `mujoco.Renderer` beside them.

    python benchmarks/num_envs.py [--counts 16 64 256 1024 4096] [--threads 1]

Each point is measured in a process of its own, which steps environments of one kind in turn with physics alone (the
very actuator targets that they computed) and tells by how much the most memory that it held grew. CPU seconds, as the
machine may be shared. `mujoco.Renderer` draws one environment's images at a time, which is what a Gymnasium environment
of MuJoCo does. Writes benchmarks/results/num_envs.json and draws docs/num_envs.svg; the memory is
beside what `sims/memory.py` predicts.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

RESULTS = Path(__file__).parent / "results" / "num_envs.json"
FIGURE = Path(__file__).parent.parent / "docs" / "num_envs.svg"
KINDS = {
    "state": (("state", "proprio"), 32), "depth, 32 x 32": (("state", "proprio", "depth"), 32),
    "stereo, 32 x 32": (("proprio", "stereo"), 32), "depth, 64 x 64": (("state", "proprio", "depth"), 64),
    "stereo, 64 x 64": (("proprio", "stereo"), 64),
}  # fmt: skip
RENDERERS = {"depth, 32 x 32": (("left",), True, 32), "stereo, 32 x 32": (("left", "right"), False, 32),
             "depth, 64 x 64": (("left",), True, 64), "stereo, 64 x 64": (("left", "right"), False, 64)}  # fmt: skip
ENOUGH = 3.0
"""CPU seconds that each of the two is stepped at least."""


def most_held() -> int:
    """Most bytes of memory that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def point(kind: str, count: int, threads: int) -> dict[str, Any]:
    """Measure `count` environments of one kind in this process."""
    from handsight import sims
    from handsight.distill.commands.bench import recorded_targets
    from handsight.sims.checker import random_actions
    from handsight.sims.env_config import CameraRig, EnvConfig, SceneConfig
    from handsight.sims.memory import world_bytes

    groups, side = KINDS[kind]
    config = EnvConfig(scene=SceneConfig(rig=CameraRig(height=side, width=side)), threads=threads)
    with closing(sims.make(config, groups, 1)) as one:  # whatever is loaded or compiled once
        one.reset(0)
        one.step(random_actions(one, 0, 1)[0])
    before = most_held()
    with closing(sims.make(config, groups, count)) as env:
        env.reset(0)
        env.stagger()
        actions = random_actions(env, 0, env.episode_steps)
        for action in actions[:4]:
            env.step(action)
        whole = alone = steps = 0.0
        while min(whole, alone) < ENOUGH:
            begin = env.engine.state_dict()
            with recorded_targets(env.engine) as targets:
                start = time.process_time()
                for action in actions[:8]:
                    env.step(action)
                whole += time.process_time() - start
            end = env.engine.state_dict()
            env.engine.load_state_dict(begin)
            start = time.process_time()
            for target, active in targets:
                env.engine.step(target, active)
            alone += time.process_time() - start
            env.engine.load_state_dict(end)
            steps += 8 * count
    held = most_held() - before
    predicted = world_bytes(config, groups).all * count
    return {
        "kind": kind, "num_envs": count, "steps_per_cpu_second": round(steps / whole),
        "physics_alone": round(steps / alone), "bytes": held, "predicted_bytes": predicted,
    }  # fmt: skip


def renderer(kind: str) -> dict[str, Any]:
    """Measure one environment's physics and images by `mujoco.Renderer` in this process."""
    import mujoco

    from handsight.sims.env_config import CameraRig, SceneConfig
    from handsight.sims.scene import Scene

    cameras, depth, side = RENDERERS[kind]
    config = SceneConfig(rig=CameraRig(height=side, width=side))
    model = Scene(config).build()
    data = mujoco.MjData(model)
    with mujoco.Renderer(model, side, side) as draw:
        if depth:
            draw.enable_depth_rendering()
        start = steps = 0.0
        for step in range(400):
            if step == 100:
                start = time.process_time()
            mujoco.mj_step(model, data, config.substeps)
            for camera in cameras:
                draw.update_scene(data, camera)
                draw.render()
            steps += step >= 100
    return {"kind": kind, "steps_per_cpu_second": round(steps / (time.process_time() - start))}


def in_a_process(*words: str) -> dict[str, Any] | None:
    """What this file measures in a process of its own; None where it did not come to its end."""
    environment = os.environ | {"MUJOCO_GL": os.environ.get("MUJOCO_GL", "egl"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, __file__, *words], env=environment, capture_output=True, text=True)
    if done.returncode:
        print(f"{' '.join(words)}: not measured: {done.stderr.strip().splitlines()[-1:]}", flush=True)
        return None
    print(done.stdout.strip(), flush=True)
    return json.loads(done.stdout)


def draw(found: dict[str, Any]) -> None:
    """Both curves as one figure."""
    import matplotlib.pyplot as plt

    figure, (speed, memory) = plt.subplots(1, 2, figsize=(9.6, 3.6), layout="constrained")
    for kind in KINDS:
        rows = [row for row in found["points"] if row["kind"] == kind]
        x = [row["num_envs"] for row in rows]
        (line,) = speed.plot(x, [row["steps_per_cpu_second"] for row in rows], marker="o", label=kind)
        memory.plot(x, [row["bytes"] / 2**20 for row in rows], marker="o", color=line.get_color())
        memory.plot(x, [row["predicted_bytes"] / 2**20 for row in rows], ls=":", color=line.get_color())
        for row in found["renderer"]:
            if row["kind"] == kind:
                speed.axhline(row["steps_per_cpu_second"], ls="--", lw=0.8, color=line.get_color())
    rows = [row for row in found["points"] if row["kind"] == "state"]
    speed.plot([r["num_envs"] for r in rows], [r["physics_alone"] for r in rows], color="black", label="physics alone")
    speed.set(xscale="log", yscale="log", xlabel="environments", title="steps per CPU second (dashed: mujoco.Renderer)")
    memory.set(xscale="log", yscale="log", xlabel="environments", title="memory, MiB (dotted: predicted)")
    speed.set_yticks([500, 1000, 2000, 4000], ["500", "1,000", "2,000", "4,000"])
    speed.minorticks_off()
    for axis in (speed, memory):
        axis.set_xticks(x, [f"{count:,}" for count in x])
    speed.legend(fontsize=7)
    figure.savefig(FIGURE)


def main() -> None:
    """Measure every point, or the one that is named by `--one`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", nargs="+", type=int, default=[16, 64, 256, 1024, 4096])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--one", nargs=2, metavar=("KIND", "COUNT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        kind, count = options.one[0], int(options.one[1])
        print(json.dumps(point(kind, count, options.threads) if count else renderer(kind)))
        return
    from gymnasium_tasks import machine

    def at(kind: str, count: int) -> dict[str, Any] | None:
        return in_a_process("--threads", str(options.threads), "--one", kind, str(count))

    points = [at(kind, count) for count in options.counts for kind in KINDS]
    drawn = [at(kind, 0) for kind in RENDERERS]
    found = {
        "threads": options.threads, "machine": machine(), "points": [row for row in points if row],
        "renderer": [row for row in drawn if row],
    }  # fmt: skip
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    draw(found)


if __name__ == "__main__":
    main()
