"""Evaluations from the command line: what a file says of where it comes from, and that none replaces another."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from handsight import sims
from handsight.distill.commands.arguments import CompareArgs, RecordArgs, VideoArgs
from handsight.distill.commands.compare import compare
from handsight.distill.commands.evaluate import EvaluateArgs, run_evaluate
from handsight.distill.commands.record import record
from handsight.distill.commands.video import run_video
from handsight.distill.runs import checkpoint, provenance, stored_config
from handsight.errors import HandsightError

from .test_compare import make_teacher


@pytest.fixture
def args(tmp_path, toy_sims) -> EvaluateArgs:
    return EvaluateArgs(make_teacher(tmp_path / "runs", "depth"), episodes=4, num_envs=4)


def read(folder: Path) -> dict:
    return json.loads((folder / "evaluation.json").read_text())


def test_an_evaluation_names_checkpoint_digest_commit_and_versions(args):
    run_evaluate(args)
    found = read(args.policy / "evaluation")
    best = args.policy / "checkpoints" / "best.ckpt"
    assert found["provenance"]["checkpoint"] == {
        "path": str(best), "kind": "ActorCritic", "sha256": checkpoint.digest(best)
    }  # fmt: skip
    assert len(found["provenance"]["git"]["commit"]) == 40 and "torch" in found["provenance"]["versions"]
    assert found["settings"]["policy"] == checkpoint.digest(best) and found["settings"]["episodes"] == 4


def test_another_evaluation_does_not_take_its_place_and_the_same_one_does(args, capsys):
    run_evaluate(args)
    first = (args.policy / "evaluation" / "evaluation.json").read_bytes()
    tree = checkpoint.load(args.policy / "checkpoints" / "best.ckpt")
    for change in (
        {"seed": 1_000_007},
        {"episodes": 3},
        {"num_envs": 2},
        {"reset_kind": None},
        {"deterministic": False},
    ):
        run_evaluate(replace(args, **change))
    checkpoint.save(args.policy / "checkpoints" / "best.ckpt", tree)  # as a training that goes on leaves it
    run_evaluate(args)
    assert (args.policy / "evaluation" / "evaluation.json").read_bytes() == first
    folders = sorted(args.policy.glob("evaluation-*"))
    assert len(folders) == 6 and len({read(one)["settings"]["policy"] for one in folders}) == 2
    said = capsys.readouterr().out
    assert all(f"Saved in {one}\n" in said for one in folders)
    run_evaluate(args)
    assert sorted(args.policy.glob("evaluation-*")) == folders


def test_a_folder_that_was_asked_for_and_holds_another_is_refused_before_the_first_episode(args, tmp_path, toy_sims):
    run_evaluate(replace(args, out=tmp_path / "mine"))
    built = len(toy_sims)
    with pytest.raises(HandsightError, match=r"(?s)mine holds another evaluation; take .*:\n  seed: .*not 1000007"):
        run_evaluate(replace(args, out=tmp_path / "mine", seed=1_000_007))
    assert len(toy_sims) == built
    run_evaluate(replace(args, out=tmp_path / "mine"))


@pytest.mark.parametrize("room", [*provenance.ROOMS, ""])
def test_a_change_anywhere_in_the_package_changes_its_digest(room, tmp_path, monkeypatch):
    for name in (*provenance.ROOMS, "tests", "distill/runs"):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "a.py").write_text("a")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "distill" / "runs" / "provenance.py"))
    before = provenance.sources_digest()
    (tmp_path / "tests" / "a.py").write_text("b")
    assert provenance.sources_digest() == before
    (tmp_path / room / "deep").mkdir(exist_ok=True)
    (tmp_path / room / ("deep" if room else "") / "b.py").write_text("a")
    assert provenance.sources_digest() != before


@pytest.mark.parametrize("command", ["evaluate", "video", "record", "compare"])
def test_a_run_of_the_gpu_engine_is_tried_on_the_cpu_engine_where_there_is_no_gpu(
    command, tmp_path, toy_sims, monkeypatch, caplog
):
    """Its configuration says so as a run of before does: engine mujoco_warp, device cuda:0."""
    run = make_teacher(tmp_path / "runs", "depth")
    best = run / "checkpoints" / "best.ckpt"
    tree = checkpoint.load(best)
    checkpoint.save(best, {**tree, "env_config": {**tree["env_config"], "engine": "mujoco_warp"}})
    facts = json.loads((run / "config.json").read_text())
    facts["config"] |= {"device": "cuda:0"}
    facts["config"].setdefault("env", {})["engine"] = "mujoco_warp"
    (run / "config.json").write_text(json.dumps(facts))
    engines, make = [], sims.make

    def noted(config, *rest, **more):
        engines.append(config.engine)
        return make(config, *rest, **more)

    monkeypatch.setattr(sims, "make", noted)
    stored_config.tell.cache_clear()
    out, few = tmp_path / "out", {"episodes": 4, "num_envs": 4}
    with caplog.at_level("WARNING", "handsight"):
        match command:
            case "evaluate":
                run_evaluate(EvaluateArgs(run, out=out, **few))
            case "video":
                run_video(VideoArgs(run, episodes=1, out=tmp_path / "film.mp4", overview=False))
            case "record":
                record(RecordArgs(run, out=out, groups=("depth", "proprio"), **few))
            case "compare":
                compare(CompareArgs(policies=(run,), out=out, videos=False, report=False, **few))
    assert engines and set(engines) == {"mujoco"}
    assert sum("learnt in worlds of engine mujoco_warp; on device cpu" in line for line in caplog.messages) == 1
    if command == "evaluate":
        assert read(out)["settings"]["env"]["engine"] == "mujoco"
