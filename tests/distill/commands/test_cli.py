"""The command line: derived options, nearest names, one clear message for each mistake."""

import re
import subprocess
import sys
import time
from dataclasses import dataclass, field, is_dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import pytest

from handsight.distill.commands import arguments, cli
from handsight.distill.runs.interrupt import Interrupted
from handsight.distill.runs.run import Run, RunError
from handsight.distill.training.teacher_config import TeacherConfig
from handsight.sims.machine import machine


@dataclass(frozen=True)
class Net:
    """Size of things."""

    widths: tuple[int, ...] = (8,)
    """Layers."""


@dataclass(frozen=True)
class LearnConfig:
    """Learn something."""

    sight: Literal["state", "depth"] = "state"
    """What is seen."""
    num_envs: int = 4
    """Worlds."""
    net: Net = field(default_factory=Net)
    """Size."""
    device: str = machine("cpu")
    """Where."""
    threads: int | None = machine(None)
    """How many."""

    @classmethod
    def state(cls):
        return cls()

    @classmethod
    def depth(cls):
        return cls(sight="depth", num_envs=16)


@pytest.fixture
def calls(monkeypatch):
    """train-teacher, train-student and evaluate become functions that note what they were called with."""
    noted = []
    module = SimpleNamespace(
        LearnConfig=LearnConfig, learn=lambda *args, **names: noted.append((*args, names)), fail=lambda config: 1 / 0
    )
    commands = {name: cli.Command("m.learn", "LearnConfig", "learn") for name in (*cli.RESUMABLE, "evaluate")}
    monkeypatch.setattr(cli, "COMMANDS", commands)
    monkeypatch.setattr(cli, "_found", lambda place: getattr(module, place.rpartition(".")[2]))
    monkeypatch.setattr(
        cli, "_default", lambda kind, sight, found, own: getattr(LearnConfig, sight)() if sight else None
    )
    noted.append(module)
    yield noted
    noted.clear()


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_names_a_dataclass_and_a_function(name):
    command = cli.COMMANDS[name]
    assert is_dataclass(getattr(arguments, command.config))
    assert callable(cli._found(command.place))


def test_help_answers_at_once_and_names_every_command(capsys):
    assert cli.main(["--help"]) == cli.main([]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in cli.COMMANDS)
    check = "import sys; from handsight.distill.commands.cli import main; main(['--help'])"
    check += "; print({'torch', 'tyro'} & set(sys.modules))"
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
    assert time.perf_counter() - start < 5.0  # 0.1 s on an idle machine


def test_help_of_the_teachers_imports_nothing_heavy():
    check = "import sys; from handsight.distill.commands.cli import main\ntry: main(['train-teacher', '--help'])"
    check += "\nexcept SystemExit: print({'torch', 'lightning', 'timm', 'tyro'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert "{state,depth}" in done.stdout and done.stdout.splitlines()[-1] == "set()"


def test_options_are_the_fields(calls):
    assert cli.main(["evaluate", "--num-envs", "7", "--net.widths", "3", "5"]) == 0
    assert calls[1:] == [(LearnConfig(num_envs=7, net=Net((3, 5))), {})]


def test_each_teacher_has_its_own_defaults(calls, tmp_path):
    assert cli.main(["train-teacher", "depth", "--net.widths", "3", "--runs", str(tmp_path)]) == 0
    assert cli.main(["train-teacher", "state"]) == 0
    (depth, where), (state, _) = calls[1:]
    assert depth == LearnConfig("depth", 16, Net((3,)))
    assert where["run_root"] == tmp_path
    assert state == LearnConfig()


@pytest.mark.parametrize("words", [["--warm-start", "RUN"], ["--warm-start=RUN"], ["--warm_start", "RUN"]], ids=str)
def test_warm_started_teacher_of_the_command_line_is_the_demos(monkeypatch, words):
    made = []

    def train(config: "TeacherConfig", run_root):
        made.append(config)

    monkeypatch.setattr("handsight.distill.training.train_teacher.train_teacher", train)
    assert cli.main(["train-teacher", "depth", *words, "--seed", "3"]) == 0
    assert made == [replace(TeacherConfig.warm_started(Path("RUN")), seed=3)]


def test_resume_hands_on_the_run_alone(calls, tmp_path):
    run = Run.create("teacher-depth", LearnConfig.depth(), tmp_path)
    for words in (["train-teacher"], ["train-teacher", "depth"], ["train-student"]):
        assert cli.main([*words, "--resume", str(run.path)]) == 0
        assert cli.main([*words, f"--resume={run.path}"]) == 0
    assert calls[1:] == [(LearnConfig.depth(), {"resume": run.path})] * 6


def test_resume_takes_this_machines_settings_and_no_others(calls, tmp_path, capsys):
    run = Run.create("teacher-depth", LearnConfig.depth(), tmp_path)
    assert cli.main(["train-teacher", "--resume", str(run.path), "--threads", "2"]) == 0
    assert calls[1:] == [(replace(LearnConfig.depth(), threads=2), {"resume": run.path})]
    assert cli.main(["train-teacher", "--threads=2", "--resume", str(run.path), "--num-envs", "3"]) == 2
    said = capsys.readouterr().err
    assert "own configuration: found also --num-envs 3; available: --device, --threads" in said


def test_resume_goes_further_and_is_told_where_a_teacher_is(monkeypatch, tmp_path, capsys):
    heard = []
    monkeypatch.setattr(
        "handsight.distill.training.train_student.train_student", lambda config, **names: heard.append(names)
    )
    run = Run.create("student", arguments.StudentRunConfig(teacher=Path("zoo:state"), iterations=3), tmp_path)
    resume = ["train-student", "--resume", str(run.path)]
    assert cli.main([*resume, "--iterations", "5", "--teacher", "elsewhere"]) == 0
    assert cli.main([*resume, "--iterations", "3"]) == 0
    assert heard == [{"resume": run.path, "iterations": 5, "teacher": Path("elsewhere")}, {"resume": run.path}]
    assert cli.main([*resume, "--iterations", "5", "--num-envs", "3"]) == 2
    said = capsys.readouterr().err
    assert "found also --num-envs 3; available: " in said and said.rstrip().endswith("--iterations, --teacher")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["evalute"], r"unknown command 'evalute' \(did you mean evaluate\?\); available: train-teacher, .*evaluate"),
        (["train-teacher"], "expected one of: state, depth"),
        (["train-teacher", "dept"], r"unknown teacher 'dept' \(did you mean depth\?\); available: state, depth"),
        (["train-student", "--resume", "RUN", "--num-envs", "3"], "own configuration: found also --num-envs 3"),
        (["train-teacher", "state", "--resume", "RUN"], "expected a state teacher, found a depth teacher"),
        (["train-teacher", "--resume", "nowhere"], "run nowhere does not exist"),
        (["evaluate", "--device", "cuda:99"], "device 'cuda:99' cannot be used here; available: cpu"),
        (["train-teacher", "depth", "--device", "abacus"], "device 'abacus' cannot be used here; available: cpu"),
    ],
)
def test_mistake_is_one_message_and_exit_code_2(calls, capsys, tmp_path, words, message):
    run = Run.create("teacher-depth", LearnConfig.depth(), tmp_path)
    assert cli.main([str(run.path) if word == "RUN" else word for word in words]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert "Traceback" not in error
    assert calls[1:] == []


def test_unknown_option_names_the_nearest_and_exits_with_2(calls, capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(["evaluate", "--num-env", "3"])
    assert left.value.code == 2
    assert "--num-envs INT" in "".join(capsys.readouterr())


def test_wrong_value_names_the_available_ones(calls, capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(["evaluate", "--sight", "touch"])
    assert left.value.code == 2
    shown = "".join(capsys.readouterr())
    assert "state" in shown and "depth" in shown


def test_typed_error_has_no_traceback_and_a_defect_has(calls, capsys, monkeypatch):
    def fail(config):
        raise RunError("run x: expected y, found z")

    monkeypatch.setattr(calls[0], "learn", fail)
    assert cli.main(["evaluate"]) == 2
    assert capsys.readouterr().err == "handsight evaluate: run x: expected y, found z\n"
    monkeypatch.setattr(calls[0], "learn", calls[0].fail)
    with pytest.raises(ZeroDivisionError):
        cli.main(["evaluate"])


def test_interrupt_is_the_shells_exit_code(calls, capsys, monkeypatch):
    for stop, code in ((Interrupted(15), 143), (KeyboardInterrupt(), 130)):

        def leave(config, stop=stop):
            raise stop

        monkeypatch.setattr(calls[0], "learn", leave)
        assert cli.main(["evaluate"]) == code
    assert "stopped by SIGTERM" in capsys.readouterr().err


def test_run_folder_is_printed(calls, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(calls[0], "learn", lambda config: Run.create("a", config, tmp_path))
    for handler in list(cli.logging.getLogger("handsight").handlers):
        cli.logging.getLogger("handsight").removeHandler(handler)  # it may hold another test's stderr
    assert cli.main(["evaluate"]) == 0
    assert f"run folder: {tmp_path / 'a'}" in capsys.readouterr().err


def test_simulators_and_learner_are_placed_on_the_command_line():
    words = ["--sims", "cuda:0,cuda:1", "--preset", "cpu", "--learner", "cuda:2", "--remote.double-buffer"]
    config = cli.read_training(TeacherConfig, words, "train-teacher depth", "depth")[0]
    assert (config.sims, config.device, config.remote.double_buffer) == ("cuda:0,cuda:1", "cuda:2", True)


def test_a_command_says_what_it_loads_before_it_does(calls, monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(calls[0], "learn", lambda config: sys.stderr.write("loaded"))
    assert cli.main(["evaluate"]) == 0
    assert capsys.readouterr().err == (
        "handsight evaluate: loading PyTorch and MuJoCo, which takes some seconds\nloaded"
    )
