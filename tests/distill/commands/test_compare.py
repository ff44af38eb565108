"""A comparison from checkpoints to files: paired, cached, and refused where policies are not alike."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from handsight.datasets.reader import leaves
from handsight.distill.commands import compare as compare_module
from handsight.distill.commands.compare import CompareArgs, compare, run_compare
from handsight.distill.report import tables
from handsight.distill.report.candidates import (
    comparability,
    differences,
    gather,
    load_candidate,
    refuse_incomparable,
)
from handsight.distill.report.contrasts import explored
from handsight.distill.report.policy_kind import read_kind
from handsight.distill.report.results import unique_names
from handsight.distill.runs import checkpoint
from handsight.distill.runs.policy_io import policy_tree
from handsight.distill.runs.run import Run
from handsight.errors import HandsightError
from handsight.sims.make import EnvConfig
from handsight.students import StereoStudent, StudentConfig
from handsight.teachers import ActorCritic, ActorCriticConfig

from .. import synthetic
from ..toy_env import ToyConfig, ToyEnv

EVERYTHING = ("state", "proprio", "depth", "stereo")


def make_teacher(root: Path, sight: str, seed: int = 0, warm: bool = False, **changes) -> Path:
    torch.manual_seed(seed)
    env = ToyEnv(EVERYTHING, 1)
    config = ActorCriticConfig(actor_keys=(sight, "proprio"))
    policy = ActorCritic(config, env.obs_spec, env.action_dim)
    run = Run.create(f"teacher-{sight}", ToyConfig(), root)
    run.log({"success_at_end": 0.5, "seconds/collect": 3.0, "seconds/update": 2.0}, step=4096)
    run.close()
    tree = policy_tree(policy, config, env.action_dim, env.signature | changes, EnvConfig(), policy.train_keys)
    checkpoint.save(run.checkpoints / "best.ckpt", tree | {"warm_started_from": "runs/other" if warm else None})
    return run.path


def make_student(root: Path, teacher: Path, name: str = "student", config: StudentConfig | None = None) -> Path:
    torch.manual_seed(1)
    env, config = ToyEnv(EVERYTHING, 1), config or StudentConfig()
    policy = StereoStudent(config, env.obs_spec, env.action_dim)
    run = Run.create(name, ToyConfig(), root)
    place = teacher / "checkpoints" / "best.ckpt"
    seal = load_candidate(teacher).origin.digest
    tree = policy_tree(policy, config, env.action_dim, env.signature, EnvConfig(), policy.obs_keys)
    checkpoint.save(run.checkpoints / "best.ckpt", tree | {"teacher": {"path": str(place), "sha256": seal}})
    return run.path


@pytest.fixture
def chain(tmp_path):
    teacher = make_teacher(tmp_path / "runs", "depth")
    return teacher, make_student(tmp_path / "runs", teacher)


def args(out: Path, *policies: Path, **changes) -> CompareArgs:
    return CompareArgs(policies, **({"episodes": 8, "num_envs": 4, "videos": False, "out": out} | changes))


def test_comparison_from_checkpoints_to_files(chain, tmp_path, toy_sims):
    _, student = chain
    comparison = compare(args(tmp_path / "out", student, videos=True))
    assert [one.kind.label for one in comparison.policies] == ["depth teacher", "depth → stereo"]
    teacher, pupil = comparison.policies
    assert pupil.teacher == teacher.name
    np.testing.assert_array_equal(teacher.evaluation.kind, pupil.evaluation.kind)
    assert pupil.disagreement is not None and pupil.disagreement.valid.all()
    stored = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert stored["gaps"][0]["student"] == "depth → stereo"
    assert stored["gaps"][0]["unexplained"]["value"] > 0
    assert stored["policies"][0]["training_seconds"] == 5.0
    rows = list(csv.DictReader((tmp_path / "out" / "comparison.csv").open()))
    assert [row["policy"] for row in rows] == ["depth teacher", "depth → stereo"]
    assert "depth → stereo" in (tmp_path / "out" / "comparison.md").read_text()
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("data:video/mp4") == 2 + 4  # two films, and four resets on which they differ most
    assert (tmp_path / "out" / "videos" / "depth-to-stereo.mp4").stat().st_size > 1000


@pytest.fixture
def no_report(monkeypatch):
    """Drawing takes seconds, and some tests are about the figures' numbers only."""
    monkeypatch.setattr(compare_module, "write_page", lambda study, folder: (folder, {}))


def test_what_is_evaluated_already_is_not_evaluated_again(chain, tmp_path, toy_sims, no_report):
    first = compare(args(tmp_path / "a", *chain))
    built = len(toy_sims)
    again = compare(args(tmp_path / "b", *chain))
    assert len(toy_sims) == built
    assert tables.as_csv(again) == tables.as_csv(first)
    compare(args(tmp_path / "c", *chain, seed=1_000_005))
    assert len(toy_sims) == built + 2


def test_ablations_are_run_where_they_mean_something_and_kept(tmp_path, toy_sims, no_report):
    teacher = make_teacher(tmp_path / "runs", "state")
    student = make_student(tmp_path / "runs", teacher)
    found = compare(args(tmp_path / "a", student, ablations=True))
    known, pupil = found.policies
    assert not known.ablations
    alone = [f"{eye} eye {change}" for eye in ("left", "right") for change in ("black", "shuffled", "mean")]
    assert set(pupil.ablations) == {"shuffled", "frozen", *alone}
    assert set(pupil.ablated_disagreements) == set(pupil.ablations)
    assert {one["kind"] for one in tables.figures_dict(found)["ablations"]} == set(pupil.ablations)
    returns = [one.episode_return.tolist() for one in (pupil.evaluation, *pupil.ablations.values())]
    assert len(set(map(tuple, returns))) > 1
    rows = list(csv.DictReader((tmp_path / "a" / "comparison.csv").open()))
    assert rows[1]["success_at_end, shuffled"] and not rows[0]["success_at_end, shuffled"]
    assert "| frozen |" in (tmp_path / "a" / "comparison.md").read_text()
    built = len(toy_sims)
    assert tables.as_csv(compare(args(tmp_path / "b", student, ablations=True))) == tables.as_csv(found)
    assert len(toy_sims) == built


def test_roles_come_from_the_checkpoints(tmp_path):
    state, warm = (make_teacher(tmp_path / name, name, warm=name == "depth") for name in ("state", "depth"))
    expected = {
        (state, StudentConfig()): "state → stereo",
        (state, StudentConfig(fusion="left")): "state → left eye",
        (state, StudentConfig(sight="left")): "state → left eye",
        (state, StudentConfig(sight="state")): "state → control",
        (state, StudentConfig(sight="depth")): "state → depth",
        (warm, StudentConfig(sight="depth")): "depth → control, warm start",
        (warm, StudentConfig()): "depth → stereo, warm start",
    }
    for number, ((teacher, config), role) in enumerate(expected.items()):
        assert load_candidate(make_student(tmp_path, teacher, f"student{number}", config)).kind.label == role
    assert load_candidate(warm).kind.label == "depth teacher, warm start"


def test_changed_checkpoint_is_evaluated_again(chain, tmp_path, toy_sims, no_report):
    teacher, _ = chain
    compare(args(tmp_path / "a", teacher))
    built = len(toy_sims)
    tree = checkpoint.load(teacher / "checkpoints" / "best.ckpt")
    checkpoint.save(teacher / "checkpoints" / "best.ckpt", tree)
    compare(args(tmp_path / "b", teacher))
    assert len(toy_sims) == built + 1


def test_policies_of_unlike_worlds_are_refused_and_told_apart(tmp_path):
    one = load_candidate(make_teacher(tmp_path, "state"))
    rig = load_candidate(make_teacher(tmp_path, "depth", rig={"pixels": 64}, action_space="toy9"))
    with pytest.raises(
        HandsightError, match=r"cannot be compared.*\n  action_space: 'toy3' and 'toy9'\n  rig.pixels: 16 and 64"
    ):
        comparability([one, rig])


def test_policies_of_two_versions_of_the_environments_are_refused(tmp_path):
    one, other = (load_candidate(make_teacher(tmp_path, "state", version=version)) for version in (1, 2))
    with pytest.raises(HandsightError, match=r"cannot be compared.*\n  version: 1 and 2"):
        comparability([one, other])


def test_unlike_training_environments_are_noted(tmp_path):
    one, other = (load_candidate(make_teacher(tmp_path, "state", seed)) for seed in (0, 1))
    assert comparability([one, other]) == []
    changed = replace(other, loaded=replace(other.loaded, env_config=replace(other.loaded.env_config, threads=3)))
    (note,) = comparability([one, changed])
    assert "threads: None and 3" in note


def test_teacher_that_is_gone_leaves_a_note(chain):
    teacher, student = chain
    (teacher / "checkpoints" / "best.ckpt").rename(teacher / "checkpoints" / "other.ckpt")
    assert [c.kind.label for c in gather([student])[0]] == ["depth teacher", "depth → stereo"]  # the same, renamed
    checkpoint.remove(teacher / "checkpoints" / "other.ckpt")
    candidates, notes = gather([student])
    assert [c.kind.label for c in candidates] == ["unknown → stereo"]
    assert "not at" in notes[0]


def test_nothing_to_compare_is_an_error(tmp_path):
    with pytest.raises(HandsightError, match="expected run folders"):
        compare(args(tmp_path))


def test_names_tell_seeds_apart():
    assert unique_names(["a", "b", "a"], [0, 0, 1]) == ["a (seed 0)", "b", "a (seed 1)"]
    assert unique_names(["a", "a"], [None, None]) == ["a (no. 1)", "a (no. 2)"]


def test_flat_names_of_nested_differences():
    assert differences(leaves({"a": {"b": 1, "c": 2}}), leaves({"a": {"b": 1, "c": 3}})) == ["a.c: 2 and 3"]


def test_extra_loss_is_the_difference_of_the_two_gaps():
    comparison = synthetic.comparison()
    (loss,) = explored("", comparison)
    extra = loss.figure.both
    state, depth = (comparison.figure(p.name, "success_gap").value for p in comparison.policies if p.teacher)
    assert extra.value == pytest.approx(state - depth)
    assert extra.low < extra.value < extra.high


def test_several_seeds_give_t_intervals():
    over = synthetic.comparison(seeds=3).over_seeds[read_kind("state → stereo")]["success_gap"]
    assert len(over.each) == 3
    assert over.seeds.low < over.value < over.seeds.high


def test_paths_are_told_from_the_working_directory(tmp_path, monkeypatch):
    run = make_teacher(tmp_path / "runs", "state")
    monkeypatch.chdir(tmp_path)
    origin = load_candidate(run).origin
    assert origin.run == str(run.relative_to(tmp_path))
    assert origin.checkpoint.startswith("runs/")


def test_unlike_budgets_are_noted_and_a_study_refuses_them(tmp_path, chain):
    teacher, student = chain
    other = make_student(tmp_path / "runs", teacher)
    config = json.loads((other / "config.json").read_text())
    config["config"] |= {"task": "other", "seed": 3}
    (other / "config.json").write_text(json.dumps(config))
    candidates = [load_candidate(path) for path in (teacher, student, other)]
    (note,) = comparability(candidates)
    assert "trained otherwise than" in note and "task: 'toy' and 'other'" in note and "seed" not in note
    with pytest.raises(HandsightError, match=r"(?s)policies of scene x differ in more than what is compared:.*task"):
        refuse_incomparable(candidates, "the policies of scene x")


def test_study_is_told_by_its_file_alone():
    with pytest.raises(HandsightError, match="expected only --out"):
        run_compare(CompareArgs(study=Path("study.toml"), episodes=3))
