"""Artefacts that somebody made to do harm: nothing runs, nothing outside is read or written, and the file is named."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from handsight.distill.commands import cli
from handsight.distill.commands.capacity import CapacityArgs, capacity
from handsight.distill.commands.demo import DemoConfig, Stages
from handsight.distill.report.illustrate import FILE, Illustrations
from handsight.distill.report.study_results import Study
from handsight.distill.runs import checkpoint, zoo
from handsight.distill.runs.checkpoint import MANIFEST, TENSORS, TREE, CheckpointError
from handsight.distill.runs.metrics import read as read_metrics
from handsight.distill.runs.policy_io import PolicyError, load_policy
from handsight.distill.runs.run import Run, RunError
from handsight.distill.runs.tree import unpack
from handsight.distill.runs.zoo import ZooError
from handsight.distill.study.spec import read_study
from handsight.distill.training.session import config_and_run
from handsight.distill.training.teacher_config import TeacherConfig
from handsight.distill.training.train_teacher import train_teacher
from handsight.errors import HandsightError
from handsight.files import FileError
from handsight.sims import EnvConfig
from handsight.sims.env_config import IsaacConfig, RemoteConfig

DEEP = "[" * 200_000 + "]" * 200_000


@pytest.fixture
def foreign(tmp_path, trap):
    """A teacher's checkpoint whose worlds want that program."""
    tree = checkpoint.load(zoo.resolve("zoo:state"))
    tree["env_config"] |= {"engine": "isaacgym", "threads": 99}
    tree["env_config"]["isaac"] = asdict(IsaacConfig(python=str(trap[0]), compute_device=7))
    checkpoint.save(tmp_path / "foreign.ckpt", tree)
    return tmp_path / "foreign.ckpt"


COMMANDS = {
    "evaluate": ["--episodes", "2", "--num-envs", "2"],
    "compare": ["--episodes", "2", "--num-envs", "2", "--no-videos"],
    "video": ["--episodes", "1"],
    "export": ["--onnx", "--check-steps", "2"],
    "record": ["--policy", "--episodes", "2", "--num-envs", "2"],
    "train-student": ["--teacher", "--num-envs", "2", "--iterations", "1"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_runs_a_program_that_a_checkpoint_names(name, foreign, trap, capfd):
    words = COMMANDS[name]
    front, rest = (words[:1], words[1:]) if words[0] in ("--policy", "--teacher") else ([], words)
    assert cli.main([name, *front, str(foreign), *rest]) == 2  # the simulator is missing, as nobody here named one
    assert not trap[1].exists()
    said = capfd.readouterr().err
    assert f"{foreign}: ignored env.threads" in said or f"{foreign}: ignored threads=99, isaac.python={trap[0]}" in said
    assert "and none is named" in said


def test_a_resumed_run_asks_for_no_program_address_or_device_of_its_maker(tmp_path, trap, caplog):
    config = TeacherConfig(
        env=EnvConfig("isaacgym", isaac=IsaacConfig(python=str(trap[0]))),
        device="cuda:3", sims="cpu*2", remote=RemoteConfig(address="far.example:6379", spares=50),
    )  # fmt: skip
    run = Run.create("teacher-state", TeacherConfig(), tmp_path)
    old = {"type": "TeacherConfig", "config": plain_json(asdict(config))}  # as runs were written before
    (run.path / "config.json").write_text(json.dumps(old))
    found = Run.open(run.path).resume(TeacherConfig)
    assert (found.env, found.device, found.sims, found.remote) == (EnvConfig("isaacgym"), "cpu", "", RemoteConfig())
    for told in ("device=cuda:3", "sims=cpu*2", "remote.address=far.example:6379", f"env.isaac.python={trap[0]}"):
        assert told in caplog.text
    assert str(run.path / "config.json") in caplog.text


def plain_json(tree):
    return json.loads(json.dumps(tree))


def test_nothing_of_a_machine_is_saved_and_people_can_read_what_was_used(tmp_path):
    config = TeacherConfig(env=EnvConfig(threads=3), device="cuda:3", sims="cpu*2")
    run = Run.create("teacher-state", config, tmp_path)
    stored = (run.path / "config.json").read_text()
    assert not any(word in stored for word in ("threads", "cuda:3", "cpu*2", "python", "address"))
    assert run.meta["machine"] == "env.threads=3, device=cuda:3, sims=cpu*2"


def test_a_resumed_run_takes_this_machines_settings(tmp_path, caplog):
    caplog.set_level("INFO")
    run = Run.create("teacher-state", TeacherConfig(seed=4, sims="cpu*2"), tmp_path)
    here = TeacherConfig(seed=5, device="cuda:1", env=EnvConfig(threads=2))
    found = Run.open(run.path).resume(TeacherConfig, here)
    assert found == TeacherConfig(seed=4, device="cuda:1", env=EnvConfig(threads=2))
    assert "on this machine with env.threads=2, device=cuda:1; it began with sims=cpu*2" in caplog.text


def test_a_resume_says_which_of_its_paths_are_read(tmp_path, caplog):
    caplog.set_level("INFO")
    run = Run.create("teacher-depth", TeacherConfig.warm_started(Path("/elsewhere/run")), tmp_path)
    config_and_run(None, run.path, TeacherConfig, "train_teacher")
    assert "reads its warm_start from /elsewhere/run" in caplog.text


def test_worlds_that_simulators_saved_are_gone_on_with_by_as_many_or_not_at_all(tmp_path):
    small = TeacherConfig(num_envs=2, rollout_steps=2, iterations=1, validate_every=0, checkpoint_every=1)
    run = train_teacher(small, run_root=tmp_path)
    (newest,) = run.checkpoints.glob("iteration_*.ckpt")
    tree = checkpoint.load(newest)
    tree["worlds"]["env"] = {"simulators": [tree["worlds"]["env"]] * 2}
    checkpoint.save(newest, tree)
    with pytest.raises(HandsightError, match=r"saved by 2 simulators; expected --sims with as many, e.g. cpu\*2"):
        train_teacher(resume=run.path)


# -- checkpoints ---------------------------------------------------------------------------------------------------


def sealed(folder: Path, tree: str | bytes, tensors: bytes | None = None, **facts) -> Path:
    """A checkpoint whose sums fit, whatever it holds."""
    checkpoint.save(folder / "a.ckpt", {"x": torch.zeros(4)})
    place = folder / "a.ckpt"
    (place / TREE).write_bytes(tree if isinstance(tree, bytes) else tree.encode())
    if tensors is not None:
        (place / TENSORS).write_bytes(tensors)
    files = {
        name: {
            "bytes": (place / name).stat().st_size,
            "sha256": hashlib.sha256((place / name).read_bytes()).hexdigest(),
        }
        for name in (TENSORS, TREE)
    }
    (place / MANIFEST).write_bytes(checkpoint._manifest_text(**({"files": files, "saved_ns": 1} | facts)))
    return place


TREES = {
    "deep": DEEP,
    "deep objects": '{"x":' * 100_000 + "1" + "}" * 100_000,
    "just deep enough for JSON": '{"x":' * 900 + "1" + "}" * 900,
    "a list as key": '{"$dict": [[[1, 2], 3]]}',
    "an unknown marker": '{"$pickle": "x"}',
    "a tensor twice": '{"a": {"$tensor": "x"}, "b": {"$bytes": "x"}}',
    "no such tensor": '{"$tensor": "y"}',
    "Python objects": '{"$array": "x", "dtype": "|O", "shape": [2]}',
    "structured objects": '{"$array": "x", "dtype": {"$tuple": [[{"$tuple": ["a", "|O"]}]]}, "shape": [2]}',
    "a shape of more": '{"$tensor": "x", "dtype": "torch.uint8", "shape": [1000000000000]}',
    "a negative shape": '{"$size": ["x"]}',
    "no dtype": '{"$torch.dtype": "os.system"}',
    "a list": "[1]",
    "no JSON": "{",
    "no text": b"\xff\xfe",
}


@pytest.mark.parametrize("what", TREES)
def test_a_tree_that_was_never_saved_is_an_error_that_names_the_checkpoint(what, tmp_path):
    place = sealed(tmp_path, TREES[what])
    with pytest.raises(CheckpointError, match=r"a.ckpt"):
        checkpoint.load(place)


def test_tensors_that_declare_more_than_there_is_are_refused(tmp_path):
    header = json.dumps({"x": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}).encode()
    with pytest.raises(CheckpointError, match=r"a.ckpt"):
        checkpoint.load(sealed(tmp_path, "{}", len(header).to_bytes(8, "little") + header))
    with pytest.raises(CheckpointError, match=r"a.ckpt"):
        checkpoint.load(sealed(tmp_path, "{}", (10**15).to_bytes(8, "little") + b"{}"))


def test_a_manifest_names_no_other_files(tmp_path):
    (tmp_path / "secret").write_text("x")
    facts = {"bytes": 1, "sha256": hashlib.sha256(b"x").hexdigest()}
    for files in ({"../secret": facts}, {TENSORS: facts, TREE: facts, "../secret": facts}, [], {TENSORS: 1, TREE: 2}):
        with pytest.raises(CheckpointError, match=MANIFEST):
            checkpoint.verify(sealed(tmp_path, "{}", files=files))


def test_a_manifest_is_read_within_bounds(tmp_path):
    place = sealed(tmp_path, "{}")
    for text in (DEEP, json.dumps({"format": "x" * 10_000_000})):
        (place / MANIFEST).write_text(text)
        with pytest.raises(CheckpointError, match=rf"{MANIFEST}.*found 65536 bytes"):
            checkpoint.verify(place)


def test_a_checkpoints_files_are_no_links(tmp_path):
    place = sealed(tmp_path, "{}")
    (place / TREE).rename(tmp_path / "outside.json")
    (place / TREE).symlink_to(tmp_path / "outside.json")
    with pytest.raises(CheckpointError, match=r"expected a file, found a link to .*outside.json"):
        checkpoint.load(place)


def test_no_array_is_given_out_twice():
    tensors = {"x": torch.zeros(4, dtype=torch.uint8)}
    with pytest.raises(KeyError):
        unpack([{"$bytes": "x"}] * 2, tensors)


PARTS = {
    "no signature": {"signature": None},
    "weights of another form": {"policy": {"type": "ActorCritic", "config": {}, "action_dim": 2, "weights": [1]}},
    "another class": {"policy": {"type": "os.system", "config": {}, "action_dim": 2, "weights": {}}},
    "no worlds": {"env_config": [1]},
    "an odd dtype": {"signature": {"obs": {"state": {"shape": [2], "dtype": "load", "parts": {}}}}},
}


@pytest.mark.parametrize("what", PARTS)
def test_a_policy_that_was_never_saved_is_an_error_that_names_the_checkpoint(what, tmp_path):
    tree = checkpoint.load(zoo.resolve("zoo:state"))
    checkpoint.save(tmp_path / "odd.ckpt", tree | PARTS[what])
    with pytest.raises(PolicyError, match=r"odd.ckpt"):
        load_policy(tmp_path / "odd.ckpt")


# -- runs and the zoo ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("link", ["checkpoints/best.ckpt", "metrics.csv", "sequences", "evaluations"])
def test_a_run_with_a_link_that_leads_out_is_refused_before_anything_is_read_or_written(link, tmp_path):
    run = Run.create("teacher-state", TeacherConfig(), tmp_path / "runs")
    (tmp_path / "outside").mkdir()
    (run.path / link).symlink_to(tmp_path / "outside", target_is_directory=True)
    for use in (Run.open, load_policy, lambda path: train_teacher(resume=path)):
        with pytest.raises(RunError, match=rf"{Path(link).name} leads out of"):
            use(run.path)
    assert not list((tmp_path / "outside").iterdir())


def test_links_inside_a_run_are_no_harm(tmp_path):
    run = Run.create("teacher-state", TeacherConfig(), tmp_path / "runs")
    (run.path / "latest").symlink_to("checkpoints")
    assert Run.open(run.path).path == run.path


@pytest.mark.parametrize("text", [DEEP, "{", "[]", '{"type": 3, "config": {}}', '{"type": "TeacherConfig"}'])
def test_a_configuration_that_is_none_is_named(text, tmp_path):
    run = Run.create("teacher-state", TeacherConfig(), tmp_path)
    (run.path / "config.json").write_text(text)
    with pytest.raises(RunError, match=r"config.json"):
        run.config(TeacherConfig)


def test_metrics_that_are_no_numbers_are_named(tmp_path):
    (tmp_path / "metrics.csv").write_text("step,loss\n1,__import__\n")
    with pytest.raises(FileError, match=r"metrics.csv"):
        read_metrics(tmp_path / "metrics.csv")


@pytest.mark.parametrize("name", ["zoo:../../etc", "zoo:/etc", "zoo:.", "zoo:state/../../zoo/state", "zoo:"])
def test_a_name_of_the_zoo_is_no_path(name):
    with pytest.raises(ZooError, match=r"is not in the zoo"):
        zoo.resolve(name)


def test_an_entry_of_the_zoo_does_not_lead_out(tmp_path, monkeypatch):
    (tmp_path / "zoo/bad").mkdir(parents=True)
    (tmp_path / "zoo/bad/checkpoints").symlink_to(zoo.FOLDER / "state/checkpoints")
    monkeypatch.setattr(zoo, "FOLDER", tmp_path / "zoo")
    with pytest.raises(ZooError, match=r"leads out of"):
        zoo.resolve("zoo:bad")


def test_a_stage_of_a_demo_lies_in_the_demo(tmp_path):
    (tmp_path / "stages.json").write_text(json.dumps({"state teacher": {"path": "../other"}}))
    with pytest.raises(FileError, match=r"'../other' leads out of it"):
        Stages(tmp_path, DemoConfig())


# -- studies and results -------------------------------------------------------------------------------------------


def study_file(folder: Path, text: str) -> Path:
    path = folder / "study.toml"
    path.write_text("[scenes.wrist.cells]\nstate-to-stereo = 1\n" + text)
    return path


def test_a_study_file_names_no_program_and_no_device(tmp_path, trap, caplog):
    text = (
        f'[scenes.wrist.env]\nthreads = 9\n[scenes.wrist.env.isaac]\npython = "{trap[0]}"\n[student]\ndevice = "cuda:5"'
    )
    spec = read_study(study_file(tmp_path, text))
    assert (spec.env("wrist").threads, spec.env("wrist").isaac) == (None, IsaacConfig())
    student = next(one for one in spec.trainings if one.sight)
    assert spec.config(student, Path("teacher")).device == "cpu"
    assert "isaac.python" in caplog.text and "device=cuda:5" in caplog.text


def test_a_study_file_writes_nowhere_outside_unless_the_user_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for out in ("../elsewhere", "/elsewhere"):
        path = tmp_path / "study.toml"
        path.write_text(f'out = "{out}"\n[scenes.wrist.cells]\nstate-to-stereo = 1\n')
        with pytest.raises(HandsightError, match=r"elsewhere' leads out of it"):
            read_study(path)
        assert read_study(path, Path("/mine")).out == Path("/mine")


@pytest.mark.parametrize("text", ["x = " + DEEP, "x = 1", "[[["])
def test_a_study_file_that_is_none_is_named(text, tmp_path):
    with pytest.raises(HandsightError, match=r"study.toml"):
        read_study(study_file(tmp_path, text) if text == "x = 1" else _written(tmp_path / "study.toml", text))


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def results(folder: Path, **facts) -> Path:
    whole = {"scenes": [], "spec": {}, "cells": [], "matches": [], "provenance": {}, "notes": []}
    _written(folder / "study.json", json.dumps(whole | facts))
    return folder


def test_results_name_no_folder_but_their_own(tmp_path):
    (tmp_path / "inner").mkdir()
    with pytest.raises(FileError, match=r"'../../etc' leads out of it"):
        Study.load(results(tmp_path / "inner", scenes=["../../etc"]))
    (tmp_path / "inner/wrist").symlink_to("/etc")
    with pytest.raises(FileError, match=r"leads out of"):
        Study.load(results(tmp_path / "inner", scenes=["wrist"]))


@pytest.mark.parametrize("facts", [{"cells": [{"scene": 1}]}, {"scenes": 3}, {"matches": [[]]}])
def test_results_that_are_none_are_named(facts, tmp_path):
    with pytest.raises(HandsightError, match=r"study.json"):
        Study.load(results(tmp_path, **facts))


def test_a_report_shows_no_picture_from_elsewhere(tmp_path):
    picture = {"file": "../../../../etc/passwd", "caption": "x"}
    _written(tmp_path / FILE, json.dumps({"moments": [picture], "films": []}))
    with pytest.raises(FileError, match=r"etc/passwd' leads out of it"):
        Illustrations.load(tmp_path)


@pytest.mark.parametrize("text", [DEEP, "[]", '{"measured": {"split": [{"x": 1}]}, "settings": {}}'])
def test_measurements_that_are_none_are_named(text, tmp_path):
    with pytest.raises(HandsightError, match=r"m.json"):
        capacity(CapacityArgs(measured=_written(tmp_path / "m.json", text)))
