"""How much room contacts need on the engine `mujoco_warp`: `python benchmarks/contact_room.py [--policy RUN]`.

Rolls out with far too much room, by random actions that press down and close the hand half of the time, or by a policy,
and prints the most that one world needed and that all needed together; the defaults of `WarpConfig` are 1.5 times that.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
import tyro
from torch import Tensor

from handsight import sims
from handsight.distill.evaluation.rollout import ask
from handsight.distill.runs.policy_io import load_policy
from handsight.distill.runs.provenance import provenance
from handsight.policies.policy import zero_where_first
from handsight.sims.engines.mujoco_gpu import WarpEngine
from handsight.sims.env_config import WarpConfig

ROOM = WarpConfig(nconmax=256, njmax=768)
HEADROOM = 1.5


@dataclass(frozen=True)
class Args:
    """What is rolled out."""

    policy: Path | None = None
    """Run folder or checkpoint; None for random actions."""
    num_envs: int = 64
    """Worlds."""
    steps: int = 80
    """Control steps."""
    reset_kind: str = "near"
    """Kind of reset; near ones touch most."""
    device: str = "cpu"
    """Where."""
    seed: int = 0
    """Of resets and actions."""
    out: Path | None = None
    """JSON file for the figures."""


def pressing(args: Args, dim: int) -> Tensor:
    """(steps, N, A): each world does something else for eight steps at a time; half of the time it grasps downwards."""
    draws = torch.Generator().manual_seed(args.seed)
    action = torch.rand(-(-args.steps // 8), args.num_envs, dim, generator=draws) * 2 - 1
    grasps = torch.rand(action.shape[:2], generator=draws) < 0.5
    action[..., 2] = torch.where(grasps, -0.6, action[..., 2])
    action[..., 4:] = torch.where(grasps[..., None], 1.0, action[..., 4:])
    return action.repeat_interleave(8, 0)[: args.steps]


def main(args: Args) -> None:
    policy = load_policy(args.policy, args.device) if args.policy else None
    config = policy.env_config if policy else sims.EnvConfig()
    config = replace(config, engine="mujoco_warp", warp=ROOM)
    observe = {"state", *(policy.policy.obs_keys if policy else ())}
    env = sims.make(config, observe, args.num_envs, device=args.device)
    env.set_reset_mix({args.reset_kind: 1.0})
    assert isinstance(env.engine, WarpEngine)
    obs, held = env.reset(args.seed), 0.0
    env.stagger()
    actions = pressing(args, env.action_dim)
    hidden = policy.policy.initial_hidden(args.num_envs).to(args.device) if policy else torch.zeros(args.num_envs, 0)
    with torch.no_grad():
        for t in range(args.steps):
            action = actions[t]
            if policy:
                action, _, hidden = ask(policy.policy, obs, hidden)
            step = env.step(action.to(env.device))
            hidden, obs = zero_where_first(hidden, step.first.to(hidden.device)), step.obs
            held += float(step.log["held"].float().mean())
    peaks = env.engine.buffers.peaks()
    env.close()
    rows, contacts = int(peaks["rows"].max()), max(int(peaks["contacts"]), int(peaks["pairs"])) / args.num_envs
    figures = {
        "rows_of_one_world": rows,
        "rows_of_half_of_the_worlds": int(peaks["rows"].median()),
        "contacts_per_world_on_average": round(int(peaks["contacts"]) / args.num_envs, 2),
        "pairs_per_world_on_average": round(int(peaks["pairs"]) / args.num_envs, 2),
        "share_of_steps_with_the_object_held": round(held / args.steps, 3),
        "njmax": round(HEADROOM * rows),
        "nconmax": round(HEADROOM * max(contacts, rows / 4)),
    }
    how = {"worlds": args.num_envs, "steps": args.steps, "reset_kind": args.reset_kind, "policy": bool(policy)}
    print(json.dumps(figures, indent=2))
    if args.out:
        where = {
            name: fact for name, fact in provenance().items() if name != "command"
        }  # it names the machine's folders
        args.out.write_text(json.dumps(figures | how | where, indent=2) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Args))
