"""benchmarks/gpu.sh: its commands are commands, what is done is not done again, and a training goes on."""

import argparse
import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from handsight.distill.commands import arguments, cli
from handsight.distill.runs.run import Run
from handsight.distill.training.teacher_config import TeacherConfig

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def load(name):
    """A script of benchmarks/ as a module."""
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


gpu, train_for = load("gpu"), load("train_for")
ROOT = BENCHMARKS.parent
HERE = Path("out")
STEPS = [pytest.param(step, id=f"{kind}-{step.name}") for kind, size in (("gpu", gpu.GPU), ("toy", gpu.TOY))
         for step in gpu.steps(size, HERE)]  # fmt: skip


class Parsed(Exception):
    """A command line was understood."""


def handsight(words):
    """Parse as the command line would, without running."""
    name, rest = words[0], list(words[1:])
    config_class = getattr(arguments, cli.COMMANDS[name].config)
    if name not in cli.RESUMABLE:
        return cli.read(config_class, rest, name)
    sight, rest = cli._sight(rest)
    return cli.read_training(config_class, rest, name, sight)[0]


@pytest.mark.parametrize("step", STEPS)
def test_every_command_is_understood(step, monkeypatch):
    words = [word.replace("{minutes}", "9").replace("@", "run-") for word in step.words]
    if words[0] == "handsight":
        handsight(words[1:])
    elif words[1] == "-m":
        assert words[2] == "pytest"
    elif words[1].endswith("train_for.py"):
        assert (ROOT / words[1]).is_file() and float(words[3]) == 9
        handsight(words[4:])
    else:
        parse = argparse.ArgumentParser.parse_args

        def stop(parser, *args):
            raise Parsed(parse(parser, *args))

        monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
        monkeypatch.setattr(sys, "argv", words[1:])
        with pytest.raises(Parsed):
            load(Path(words[1]).stem).main()


def test_results_name_no_path_outside_the_checkout(monkeypatch, tmp_path):
    assert gpu.from_root(ROOT / "benchmarks" / "results") == Path("benchmarks/results")
    assert gpu.from_root(tmp_path) == tmp_path
    assert not any(word.startswith("/") for step in gpu.steps(gpu.GPU, gpu.RESULTS) for word in step.words)


def test_the_sizes_are_those_that_were_promised():
    names = {step.name: step.words for step in gpu.steps(gpu.GPU, HERE)}
    assert gpu.GPU.worlds == (256, 1024, 4096) and set(gpu.GPU.images) == {"64x64", "160x120"}
    state = handsight(names["state"][4:])
    assert (state.num_envs, state.env.engine, state.device) == (4096, "mujoco_warp", "cuda:0")
    samples = [
        config.num_envs * config.rollout_steps * config.iterations
        for config in (handsight(names[f"batch_{worlds}"][4:]) for worlds in gpu.GPU.worlds)
    ]
    assert max(samples) - min(samples) < 0.01 * max(samples)


def step_of(name, code, *needs):
    return gpu.Step(name, ("python", "-c", code), needs)


def test_what_is_done_is_skipped_and_what_failed_is_tried_again(tmp_path, capsys):
    flag = repr(str(tmp_path / "again"))
    again = f"import pathlib, sys; f = pathlib.Path({flag}); e = f.exists(); f.touch(); sys.exit(not e)"
    count = f"open({str(tmp_path / 'count')!r}, 'a').write('x')"
    chosen = [step_of("good", count), step_of("flaky", again), step_of("after", count, "flaky")]
    assert gpu.run_all(chosen, tmp_path / "out", None) == 1
    assert (tmp_path / "count").read_text() == "x"
    assert "after: waits for flaky" in capsys.readouterr().out
    assert gpu.run_all(chosen, tmp_path / "out", None) == 0
    assert (tmp_path / "count").read_text() == "xx"
    assert "good: done before" in capsys.readouterr().out
    ledger = json.loads((tmp_path / "out" / "steps.json").read_text())
    assert {name: one["state"] for name, one in ledger["steps"].items()} == dict.fromkeys(
        ("good", "flaky", "after"), "done"
    )
    assert {"git", "hardware"} <= set(ledger["provenance"])
    assert str(tmp_path / "out") not in (tmp_path / "out" / "steps.json").read_text()


def test_an_unfinished_training_asks_for_another_call(tmp_path, capsys):
    assert gpu.run_all([step_of("long", f"raise SystemExit({gpu.UNFINISHED})")], tmp_path, None) == gpu.UNFINISHED
    assert "long: unfinished" in capsys.readouterr().out


def test_no_step_is_begun_when_the_minutes_are_up(tmp_path, capsys):
    assert gpu.run_all([step_of("late", "raise SystemExit(3)")], tmp_path, minutes=0.1) == gpu.UNFINISHED
    assert "late: no time left" in capsys.readouterr().out


def test_a_step_that_hangs_is_ended(tmp_path, monkeypatch):
    outcome = gpu.run(step_of("hangs", "import time; time.sleep(60)"), tmp_path, minutes=-0.07)
    assert (outcome["state"], outcome["code"]) == ("failed", 124)
    assert outcome["seconds"] < 20


def test_a_run_is_named_by_its_step(tmp_path):
    run = Run.create("teacher-state", TeacherConfig.state(), tmp_path / "runs" / "state")
    words = gpu.command(gpu.Step("x", ("handsight", "evaluate", "@state", "{minutes}")), tmp_path, 3)
    assert words[-3:] == ["evaluate", str(run.path), "3.00"]


def test_a_training_begins_once_and_is_then_resumed(tmp_path):
    words = ["train-teacher", "state", "--preset", "gpu"]
    assert train_for.command(tmp_path, words)[3:] == [*words, "--runs", str(tmp_path)]
    run = Run.create("teacher-state", TeacherConfig.state(), tmp_path)
    assert train_for.command(tmp_path, words)[3:] == ["train-teacher", "--resume", str(run.path)]


@pytest.mark.parametrize(
    ("code", "expected"),
    [("pass", 0), ("import time; time.sleep(60)", train_for.UNFINISHED), ("raise SystemExit(2)", 2)],
    ids=["finished", "minutes are up", "refused"],
)
def test_minutes_end_a_training_as_ctrl_c_does(tmp_path, monkeypatch, code, expected):
    monkeypatch.setattr(train_for, "command", lambda folder, words: [sys.executable, "-c", code])
    monkeypatch.setattr(train_for, "GRACE", 5.0)
    start = time.monotonic()
    assert train_for.train_for(tmp_path, 0.15, []) == expected
    assert time.monotonic() - start < 30


def test_without_a_gpu_the_script_says_what_else_there_is():
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    done = subprocess.run([BENCHMARKS / "gpu.sh", "no_sync"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "no CUDA device here; --rehearse runs everything at toy size on the CPU" in done.stderr


@pytest.mark.slow
def test_the_rehearsal_does_all_of_it(tmp_path):
    words = [BENCHMARKS / "gpu.sh", "--rehearse", "--out", tmp_path]
    chosen = [step.name for step in gpu.steps(gpu.TOY, tmp_path) if step.name != "tests"]
    done = subprocess.run([*words, *chosen], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    states = json.loads((tmp_path / "steps.json").read_text())["steps"]
    assert set(states) == set(chosen)
