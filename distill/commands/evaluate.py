"""`handsight evaluate`: how well a policy does on held-out resets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from ..evaluation.evaluate import HELD_OUT_SEED, evaluate
from ..evaluation.evaluation import Evaluation


@dataclass(frozen=True)
class EvaluateArgs:
    """Evaluate one policy on held-out resets."""

    policy: Annotated[Path, tyro.conf.Positional]
    """Run folder, a checkpoint in one, or a name of the zoo: zoo:state."""
    episodes: int = 512
    """Resets to start from, one episode each."""
    seed: int = HELD_OUT_SEED
    """Seed of the resets; policies evaluated with equal seed, episodes and num_envs meet the same ones."""
    num_envs: int = 256
    """Number of environments stepped together."""
    reset_kind: str | None = "wide"
    """Kind of reset that every episode starts from; None takes the mix that the environment was made with."""
    deterministic: bool = True
    """Act by the mean; otherwise by samples."""
    out: Path | None = None
    """Folder for evaluation.json, episodes.csv and episodes.npz; beside the run's checkpoints if not given."""
    device: str = "cpu"
    """Where the policy computes, and the worlds if their engine can be there."""


def run_evaluate(args: EvaluateArgs) -> Evaluation:
    """What `handsight evaluate` does: evaluate, save, and print the table of figures."""
    from ..runs.policy_io import load_policy
    from ..runs.progress import stage

    loaded = load_policy(args.policy, device=args.device)
    with stage(f"Evaluate {args.policy}", args.episodes, unit="episodes") as progress:
        result = evaluate(
            loaded.policy,
            loaded.env_config,
            episodes=args.episodes,
            seed=args.seed,
            num_envs=args.num_envs,
            reset_kind=args.reset_kind,
            deterministic=args.deterministic,
            device=args.device,
            advance=progress.advance,
        )
    out = args.out or loaded.results / "evaluation"
    result.save(out)
    console = Console()
    console.print(summary_table({str(args.policy): result}))
    console.print(f"Saved in {out}")
    return result


def summary_table(evaluations: Mapping[str, Evaluation]) -> Table:
    """One row per policy; success at end over all resets, and those with the object in and out of view, with 95 %
    Wilson intervals."""
    heads = ("policy", "success at end", "in view at reset", "out of view", "success once", "return", "lost")
    table = Table(*heads, caption=f"{len(next(iter(evaluations.values())).length)} held-out resets; 95 % intervals")
    for name, evaluation in evaluations.items():
        figures = evaluation.summary()
        views = figures.get("by_view_at_reset", {})
        shares = [figures, views.get("in view"), views.get("out of view")]
        table.add_row(
            name,
            *(_share(o["success_at_end"]) if o and o["episodes"] else "-" for o in shares),
            _share(figures["success_once"]),
            f"{figures['return']['value']:.2f}",
            str(figures["aborted"]),
        )
    return table


def _share(figure: Mapping[str, float]) -> str:
    return f"{figure['value']:.3f}\n{figure['low']:.2f}-{figure['high']:.2f}"
