"""Do the CPU engine and mujoco_warp agree on this device? One step from the same states, and one policy on both.

    python benchmarks/agreement.py --device cuda:0 --out results.json

Writes shares of worlds and pixels within the tolerances of `tests/sims/test_mujoco_gpu.py`, which checks the same on
Warp's CPU back end, and the success of `zoo:state` on both engines. Exits with 1 where a share is below 0.9, or where
the 95 % intervals of success do not meet.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from handsight import sims
from handsight.distill.evaluation.evaluate import evaluate
from handsight.distill.evaluation.statistics import wilson
from handsight.distill.runs.policy_io import load_policy
from handsight.distill.runs.provenance import provenance

GROUPS = ("state", "proprio", "depth", "stereo")
LEAST = 0.9
"""Share that must agree: where an object is struck within a step, rounding decides which way it flies."""


def steps_agree(device: str, worlds: int, steps: int, image: tuple[int, int]) -> dict[str, float]:
    """Share of world-steps, or of their pixels, that agree, by what is compared."""
    base = sims.EnvConfig()
    rig = replace(base.scene.rig, width=image[0], height=image[1])
    base = replace(base, scene=replace(base.scene, rig=rig))
    base = replace(base, task=replace(base.task, reset_mix={"near": 1.0}))
    cpu = sims.make(base, GROUPS, worlds)
    warp = sims.make(replace(base, engine="mujoco_warp"), GROUPS, worlds, device=device)
    cpu.reset(5)
    warp.reset(5)
    joints, shares = cpu.obs_spec["proprio"].part("joint_position"), dict[str, list[float]]()
    action = torch.zeros(worlds, cpu.action_dim)
    action[:, 2], action[:, 4:] = -0.5, 1.0  # down, and the hand closes
    for _ in range(steps):
        state = cpu.state_dict()
        physics = {name: torch.from_numpy(value) for name, value in state["engine"]["state"].items()}
        physics["time"] = physics["time"].reshape(-1)
        warp.load_state_dict(state | {"engine": {"state": physics, "fields": warp.engine.state_dict()["fields"]}})
        theirs, ours = cpu.step(action), warp.step(action.to(device))
        there, here = cpu.engine.read(), warp.engine.read()
        pairs = {
            "flags": (torch.stack([theirs.first, theirs.valid, theirs.truncated], 1).int(),
                      torch.stack([ours.first, ours.valid, ours.truncated], 1).int(), 0.0),
            "reward": (theirs.reward[:, None], ours.reward[:, None], 1e-5),
            "joint_position": (theirs.obs["proprio"][:, joints], ours.obs["proprio"][:, joints], 1e-4),
            "object_position_m": (there.object_pos, here.object_pos, 2e-5),
            "touch": (there.touch.int(), here.touch.int(), 0.0),
        }  # fmt: skip
        for name, (a, b, bound) in pairs.items():
            share = float(((a - b.cpu()).abs() <= bound).all(1).float().mean())
            shares.setdefault(name, []).append(share)
        for name, bound in (("depth", 2), ("stereo", 1)):  # millimetres, grey levels
            same = (theirs.obs[name].int() - ours.obs[name].cpu().int()).abs() <= bound
            shares.setdefault(name, []).append(float(same.float().mean()))
    cpu.close()
    warp.close()
    return {name: sum(found) / len(found) for name, found in shares.items()}


def success(policy: str, device: str, episodes: int) -> dict[str, Any]:
    """Of one policy from the same resets on both engines: rate with its Wilson interval."""
    loaded, found = load_policy(policy, device), dict[str, Any]()
    for engine in ("mujoco", "mujoco_warp"):
        result = evaluate(
            loaded.policy, replace(loaded.env_config, engine=engine), episodes=episodes, num_envs=min(episodes, 256),
            reset_kind="wide", device=device,
        )  # fmt: skip
        found[engine] = asdict(wilson(result.success_at_end))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--worlds", type=int, default=256)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--image", default="64x64", help="WIDTHxHEIGHT, pixels")
    parser.add_argument("--policy", default="zoo:state")
    parser.add_argument("--episodes", type=int, default=512)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    width, height = (int(side) for side in args.image.split("x"))
    shares = steps_agree(args.device, args.worlds, args.steps, (width, height))
    rates = success(args.policy, args.device, args.episodes)
    meet = max(one["low"] for one in rates.values()) <= min(one["high"] for one in rates.values())
    facts = {"device": args.device, "worlds": args.worlds, "shares_within_tolerance": shares, "success_at_end": rates}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(facts | {"provenance": provenance()}, indent=2, default=str) + "\n")
    print("  ".join(f"{name} {share:.3f}" for name, share in shares.items()))
    print(
        "  ".join(f"{engine} {one['value']:.3f} [{one['low']:.3f}, {one['high']:.3f}]" for engine, one in rates.items())
    )
    return int(not meet or min(shares.values()) < LEAST)


if __name__ == "__main__":
    sys.exit(main())
