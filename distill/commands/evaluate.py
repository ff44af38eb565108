"""`handsight evaluate`: how well a policy does on held-out resets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from ...errors import HandsightError
from ...files import check_writable, read_json
from ..evaluation.chosen import Chosen
from ..evaluation.evaluate import evaluate
from ..evaluation.evaluation import Evaluation, worst
from ..runs import stored_config
from ..runs.policy_io import LoadedPolicy, load_policy, origin_of
from ..runs.progress import Table, stage, tell
from .arguments import EvaluateArgs


def run_evaluate(args: EvaluateArgs) -> Evaluation:
    """What `handsight evaluate` does: evaluate, save, and print the table of figures. Raises HandsightError, before the
    first episode, where nothing can be saved, or another evaluation is."""
    from ..runs.provenance import provenance, sources_digest

    loaded = tried(load_policy(args.policy, device=args.device), args, args.device)
    chosen = args.by_name().chosen
    origin = origin_of(loaded)
    who = {"policy": origin["sha256"], "sources": sources_digest()}
    names = ("seed", "episodes", "num_envs", "reset_kind", "postures", "level", "deterministic")
    met = who | dict.fromkeys(one.name for one in fields(Chosen)) | chosen
    met["objects_split"] = args.objects_split or "train"  # the only one that policies learn with
    out = _place(args, loaded.results / "evaluation", met | {name: getattr(args, name) for name in names})
    check_writable(out)
    with stage(f"Evaluate {args.policy}", args.episodes, unit="episodes") as progress:
        result = evaluate(
            loaded.policy,
            loaded.env_config,
            episodes=args.episodes,
            seed=args.seed,
            num_envs=args.num_envs,
            reset_kind=args.reset_kind,
            postures=args.postures,
            level=args.level,
            deterministic=args.deterministic,
            device=args.device,
            advance=progress.advance,
        )
    result = replace(result, settings=result.settings | met)
    result.save(out, {"checkpoint": origin, **provenance()})
    tell(summary_table({str(args.policy): result}), kinds_table(result), f"Saved in {out}")
    return result


def tried(loaded: LoadedPolicy, chosen: Chosen, device: str) -> LoadedPolicy:
    """A policy as it is tried on a device, in the worlds that were asked for.

    Raises:
        HandsightError: no such worlds, or its robot or objects are here others of the same name.
        SignatureError: it reads observations that are others there; says what differs.
    """
    loaded = loaded.tried_on(device)
    if chosen.chosen:
        stored_config.tell(f"{loaded.name} is tried in other worlds than its own: {' '.join(chosen.words)}")
        loaded = loaded.moved_to(chosen.change(loaded.env_config))
    loaded.check_scene(loaded.env_config)
    return loaded


def kinds_table(evaluation: Evaluation) -> Table:
    """One row per object, the worst first; of many the worst ten, and a word of how many there are."""
    found = evaluation.summary()["by_object_kind"]
    shown = worst(found)
    more = f", the worst of {len(found)}" if len(shown) < len(found) else ""
    table = Table("object", "episodes", "success at end", "success once", caption=f"by object{more}; 95 % intervals")
    for name, one in shown.items():
        table.add_row(name, str(one["episodes"]), _share(one["success_at_end"]), _share(one["success_once"]))
    return table


def _place(args: EvaluateArgs, usual: Path, wanted: Mapping[str, Any]) -> Path:
    """Where an evaluation goes, so that none takes the place of another: the usual folder, or one of its own beside it.

    Raises:
        HandsightError: the folder asked for holds another evaluation; says what differs.
    """
    out = args.out or usual
    file = out / "evaluation.json"
    found = read_json(file).get("settings", {}) if file.is_file() else wanted
    differing = [
        f"{name}: {found.get(name)}, not {value}" for name, value in wanted.items() if found.get(name) != value
    ]
    if differing and args.out:
        raise HandsightError("\n  ".join([f"{out} holds another evaluation; take another --out:", *differing]))
    own = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()[:12]
    return usual.with_name(f"{usual.name}-{own}") if differing else out


def summary_table(evaluations: Mapping[str, Evaluation]) -> Table:
    """One row per policy; success at end over all resets, and those with the object in and out of view, with 95 %
    Wilson intervals."""
    own = dict.fromkeys(name for evaluation in evaluations.values() for name in evaluation.measured)
    heads = ("policy", "success at end", "in view at reset", "out of view", "success once", "return", "lost", *own)
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
            *(f"{figures['metrics'][name]['value']:.4g}" if name in evaluation.measured else "-" for name in own),
        )
    return table


def _share(figure: Mapping[str, float]) -> str:
    return f"{figure['value']:.3f}\n{figure['low']:.2f}-{figure['high']:.2f}"
