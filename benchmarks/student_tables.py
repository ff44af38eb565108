"""Two tables of students, a row at a time, each row written as it comes; run again to go on.

    python benchmarks/student_tables.py backbones --teacher RUN   # size, speed, memory of timm models; success of some
    python benchmarks/student_tables.py fusion --teacher RUN      # what two eyes, their fusion and depth are worth

Every student of a table is distilled from the same teacher with the same worlds, iterations and gradient steps, and
evaluated on the same held-out resets. Rows and tables go to benchmarks/results/backbones and benchmarks/results/fusion,
runs to --runs. A row that is there is not made again; an interrupted run is gone on with.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from handsight.distill.evaluation.evaluate import evaluate
from handsight.distill.evaluation.statistics import t_interval
from handsight.distill.runs import checkpoint
from handsight.distill.runs.policy_io import load_policy
from handsight.distill.runs.provenance import provenance
from handsight.distill.runs.run import runs_under
from handsight.distill.training.allocator import keep_freed_memory
from handsight.distill.training.dagger import DaggerConfig
from handsight.distill.training.distiller import Distiller
from handsight.distill.training.student_config import StudentRunConfig
from handsight.distill.training.train_student import train_student
from handsight.errors import HandsightError
from handsight.sims.vec_env import ArraySpec
from handsight.students import BackboneConfig, StereoStudent, StudentConfig

RESULTS = Path(__file__).parent / "results"
BACKBONES = {
    "resnet10t_light": (BackboneConfig(), True),
    "test_convnext2": (BackboneConfig("test_convnext2"), True),
    "test_vit, patch 8": (BackboneConfig("test_vit", patch_size=8), True),
    "test_efficientnet": (BackboneConfig("test_efficientnet"), True),
    "mobilenetv4_conv_small_050": (BackboneConfig("mobilenetv4_conv_small_050"), False),
    "resnet10t": (BackboneConfig("resnet10t"), False),
    "resnet18": (BackboneConfig("resnet18"), False),
    "efficientnet_lite0": (BackboneConfig("efficientnet_lite0"), False),
    "regnety_002": (BackboneConfig("regnety_002"), False),
    "convnextv2_atto": (BackboneConfig("convnextv2_atto"), False),
    "efficientvit_b0": (BackboneConfig("efficientvit_b0"), False),
    "fastvit_t8": (BackboneConfig("fastvit_t8"), False),
    "vit_tiny_patch16_224": (BackboneConfig("vit_tiny_patch16_224", image_size=64), False),
    "vit_small_patch14_dinov2": (BackboneConfig("vit_small_patch14_dinov2", image_size=56), False),
    "swin_tiny_patch4_window7_224": (BackboneConfig("swin_tiny_patch4_window7_224", image_size=64), False),
    "maxvit_rmlp_pico_rw_256": (BackboneConfig("maxvit_rmlp_pico_rw_256", image_size=64), False),
}
"""timm models, and whether they are distilled, too."""
FUSIONS: dict[str, tuple[StudentConfig, bool]] = {
    "cross-attention": (StudentConfig(), False),
    "concat": (StudentConfig(fusion="concat"), False),
    "correlation": (StudentConfig(fusion="correlation"), False),
    "left eye only": (StudentConfig(fusion="left"), False),
    "cross-attention + depth head": (StudentConfig(depth_head=True), False),
    "cross-attention, cameras vary": (StudentConfig(), True),
    "cross-attention, cameras vary and are known": (StudentConfig(calibrated=True), True),
}
"""Students, and whether their cameras vary beyond the default."""
VIEWS = ("in view", "out of view")
VARIED = {"baseline": 0.006, "eye_turn": 0.01}
"""m and rad: a tenth of the baseline; at 20 cm a turn of 2 mm."""


def measure(name: str, pixels: int) -> dict[str, Any]:
    """Size, latency, training speed and memory of one backbone in the default student, in this process.

    Times are CPU time on one thread: on a machine with other jobs too, that is what one core needs for it.
    """
    torch.set_num_threads(1)
    keep_freed_memory()
    spec = {
        "stereo": ArraySpec((2, 3, pixels, pixels), torch.uint8),
        "proprio": ArraySpec((94,), torch.float32),
    }
    student = StereoStudent(StudentConfig(backbone=BACKBONES[name][0]), spec, 6).eval()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    obs = {key: torch.zeros(1, *s.shape, dtype=s.dtype) for key, s in spec.items()}
    hidden, seconds = student.initial_hidden(1), []
    with torch.no_grad():
        for _ in range(30):
            start = time.process_time()
            student(obs, hidden)
            seconds.append(time.process_time() - start)
    steps, worlds = 8, 4
    module = Distiller(student.train(), DaggerConfig(object_weight=0), 1)
    batch = {key: torch.zeros(steps, worlds, *s.shape, dtype=s.dtype) for key, s in spec.items()}
    rows = torch.ones(steps, worlds, dtype=torch.bool)
    batch |= {"first": ~rows, "valid": rows, "mean": torch.zeros(steps, worlds, 6), "std": torch.ones(steps, worlds, 6)}
    learnt = []
    for _ in range(4):
        start = time.process_time()
        torch.stack(list(module.losses(batch).values())).sum().backward()
        learnt.append(time.process_time() - start)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "pixels": pixels, "parameters": sum(p.numel() for p in student.parameters()),
        "backbone_parameters": sum(p.numel() for p in student.backbone.parameters()),
        "latency_ms": 1e3 * statistics.median(seconds[5:]), "train_mib": (after - before) / 1024,
        "train_images_per_s": 2 * steps * worlds / statistics.median(learnt[1:]),
    }  # fmt: skip


def apart(function: Callable[..., dict[str, Any]], *args: Any) -> dict[str, Any]:
    """What a function returns in a process of its own, which starts with this one's imports and nothing else of it."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        try:
            return pool.submit(function, *args).result()
        except (HandsightError, BrokenProcessPool) as error:
            return {"error": str(error) or "killed"}


def distil(config: StudentRunConfig, runs: Path, episodes: int) -> dict[str, Any]:
    """Train, or go on, or read what is finished; then evaluate.

    Raises:
        HandsightError: what is gone on with has another budget.
    """
    unfinished = [path for path in runs_under(runs) if (path / "checkpoints").is_dir()]
    run = train_student(resume=unfinished[-1]) if unfinished else train_student(config, run_root=runs)
    budget, found = budget_of(config), budget_of(run.config(StudentRunConfig))
    if found != budget:
        raise HandsightError(f"{run.path}: expected a student with {budget}, found {found}; remove it to begin anew")
    loaded = load_policy(run.path)
    result = evaluate(loaded.policy, loaded.env_config, episodes=episodes, reset_kind="wide")
    last = run.metrics()[-1]
    summary, keys = result.summary(), ("imitation_error", "depth_explained", "loss/object")
    views = {view: part["success_at_end"]["value"] for view, part in summary.get("by_view_at_reset", {}).items()}
    return {
        "success_at_end": summary["success_at_end"], "by_view_at_reset": views,
        "seconds": sum(row.get("seconds/collect", 0) + row.get("seconds/fit", 0) for row in run.metrics()),
        "budget": budget | {"episodes": episodes},
        "checkpoint": checkpoint.latest(run.checkpoints).name, **{key: last[key] for key in keys if key in last},
    }  # fmt: skip


def budget_of(config: StudentRunConfig) -> dict[str, int]:
    """What every student of a table must have had alike."""
    dagger = config.dagger
    steps = {"gradient_steps": dagger.gradient_steps, "batch_sequences": dagger.batch_sequences}
    return {"iterations": config.iterations, "num_envs": config.num_envs, **steps}


def caption(rows: Sequence[Mapping[str, Any]]) -> str:
    """The budget of a table's students, in words.

    Raises:
        HandsightError: they had different ones.
    """
    budgets = [row["budget"] for row in rows]
    if any(budget != budgets[0] for budget in budgets):
        raise HandsightError(f"a table needs students of one budget, found {budgets}")
    if not rows:
        return "No student was distilled."
    return (
        "Each student: {iterations} iterations of one episode in {num_envs} worlds and {gradient_steps} gradient steps "
        "of {batch_sequences} sequences; {episodes} held-out resets.".format(**budgets[0])
    )


def student_run(args: argparse.Namespace, student: StudentConfig, seed: int, varied: bool) -> StudentRunConfig:
    """The same budget for everyone."""
    env = load_policy(args.teacher).env_config
    if varied:
        task = replace(env.task, randomization=replace(env.task.randomization, **VARIED))
        env = replace(env, task=task)
    return StudentRunConfig(
        teacher=args.teacher, student=student, env=env, iterations=args.iterations, num_envs=args.num_envs, seed=seed
    )


def backbones(args: argparse.Namespace) -> None:
    """One row for each timm model: all are measured first, each in a fork of a process that has computed nothing."""
    for name in BACKBONES:
        if kept("backbones", name, "measured") is None:
            keep("backbones", name, "measured", apart(measure, name, args.pixels))
            write_backbones()
    for name, (config, learns) in BACKBONES.items():
        if learns and args.teacher and kept("backbones", name, "distilled") is None:
            run = student_run(args, StudentConfig(backbone=config), args.seeds[0], varied=False)
            keep("backbones", name, "distilled", distil(run, args.runs / "backbones" / slug(name), args.episodes))
            write_backbones()


def fusion(args: argparse.Namespace) -> None:
    """One row for each way to use two eyes, over seeds; seed by seed, so that a row of each is there early."""
    for seed in args.seeds:
        for name, (student, varied) in FUSIONS.items():
            if kept("fusion", name, f"seed{seed}") is None:
                run = student_run(args, student, seed, varied)
                place = args.runs / "fusion" / f"{slug(name)}-{seed}"
                keep("fusion", name, f"seed{seed}", distil(run, place, args.episodes))
            write_fusion()


def slug(name: str) -> str:
    """A name as a file name."""
    return "".join(c if c.isalnum() else "-" for c in name)


def kept(table: str, name: str, part: str) -> dict[str, Any] | None:
    """A part of a row, if it was made before."""
    path = RESULTS / table / f"{slug(name)}.json"
    return json.loads(path.read_text()).get(part) if path.exists() else None


def keep(table: str, name: str, part: str, row: Mapping[str, Any]) -> None:
    """Add a part to a row's file."""
    path = RESULTS / table / f"{slug(name)}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = json.loads(path.read_text()) if path.exists() else {"name": name}
    facts = provenance()
    machine = {"git": facts["git"], "hardware": facts["hardware"], "started": facts["started"]}
    path.write_text(json.dumps(rows | {part: {**row, "provenance": machine}}, indent=2) + "\n")
    print(f"{table}: {name}, {part}: {dict(row)}", flush=True)


def write_backbones() -> None:
    """backbones.md from the rows that there are."""
    lines = [
        "| backbone | its parameters | the student's | latency, ms | train images/s | train memory, MiB "
        "| success at end | in view | out of view |",
        "|" + " --- |" * 9,
    ]
    for name in BACKBONES:
        row, learnt = kept("backbones", name, "measured"), kept("backbones", name, "distilled")
        if row and "error" not in row:
            success = interval(learnt["success_at_end"]) if learnt else ""
            views = [f"{learnt['by_view_at_reset'][view]:.3f}" if learnt else "" for view in VIEWS]
            lines.append(
                f"| {name} | {row['backbone_parameters'] / 1e6:.2f} M | {row['parameters'] / 1e6:.2f} M | "
                f"{row['latency_ms']:.1f} | {row['train_images_per_s']:,.0f} | {row['train_mib']:,.0f} | "
                f"{success} | {' | '.join(views)} |"
            )
    distilled = [row for name in BACKBONES if (row := kept("backbones", name, "distilled"))]
    (RESULTS / "backbones" / "backbones.md").write_text("\n".join([*lines, "", caption(distilled)]) + "\n")


def write_fusion() -> None:
    """fusion.md from the rows that there are: means over seeds with t-intervals."""
    shown_rows: list[Mapping[str, Any]] = []
    lines = ["| student | seeds | success at end | in view | out of view | depth explained |", "|" + " --- |" * 6]
    for name in FUSIONS:
        path = RESULTS / "fusion" / f"{slug(name)}.json"
        rows = [v for k, v in json.loads(path.read_text()).items() if k.startswith("seed")] if path.exists() else []
        if not rows:
            continue
        shown_rows += rows
        values = [row["success_at_end"]["value"] for row in rows]
        shown = f"{statistics.mean(values):.3f}"
        if len(values) > 1:
            found = t_interval(values)
            shown += f" [{found.low:.3f}, {found.high:.3f}]"
        views = [
            f"{statistics.mean(row['by_view_at_reset'].get(view, float('nan')) for row in rows):.3f}" for view in VIEWS
        ]
        depth = [row["depth_explained"] for row in rows if "depth_explained" in row]
        explained = f"{statistics.mean(depth):.2f}" if depth else ""
        lines.append(f"| {name} | {len(rows)} | {shown} | {' | '.join(views)} | {explained} |")
    (RESULTS / "fusion" / "fusion.md").write_text("\n".join([*lines, "", caption(shown_rows)]) + "\n")


def interval(figure: Mapping[str, float]) -> str:
    """A share with its 95 % interval."""
    return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=("backbones", "fusion"))
    parser.add_argument("--teacher", type=Path, help="run folder; backbones without one are only measured")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--iterations", type=int, default=16)
    parser.add_argument("--num-envs", type=int, default=128)
    parser.add_argument("--episodes", type=int, default=512, help="held-out resets of an evaluation")
    parser.add_argument("--pixels", type=int, default=64, help="size at which backbones are measured")
    args = parser.parse_args()
    if args.table == "backbones":
        backbones(args)
    elif args.teacher is None:
        parser.error("fusion needs --teacher RUN")
    else:
        fusion(args)


if __name__ == "__main__":
    main()
