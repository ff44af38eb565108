"""`handsight evaluate`: how well a policy does on held-out resets."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from ..evaluation.evaluate import evaluate
from ..evaluation.evaluation import Evaluation
from .arguments import EvaluateArgs


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
