"""`handsight COMMAND [OPTIONS]`: each command is one frozen dataclass and the one function that takes it.

Only the module of the command asked for is imported, so that `handsight --help` answers at once.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from ... import __version__
from ...errors import HandsightError, unknown


class Command(NamedTuple):
    """Where a command lives."""

    module: str
    """In `distill`."""
    config: str
    """Its frozen dataclass."""
    function: str
    """What takes it."""
    about: str
    """One line for the overview."""


COMMANDS = {
    "demo": Command("commands.demo", "DemoConfig", "demo", "the main job: two teachers, two students, one comparison"),
    "train-teacher": Command(
        "training.train_teacher", "TeacherConfig", "train_teacher", "state|depth: train a teacher with PPO"
    ),
    "train-student": Command(
        "training.train_student", "StudentRunConfig", "train_student", "distil a teacher into a student"
    ),
    "evaluate": Command(
        "commands.evaluate", "EvaluateArgs", "run_evaluate", "how well a policy does on held-out resets"
    ),
    "compare": Command("commands.compare", "CompareArgs", "run_compare", "policies side by side: report.html"),
    "study": Command("commands.study", "StudyArgs", "study", "a whole matrix of teachers and students, unattended"),
    "report": Command("commands.report", "ReportArgs", "run_report", "a study's results as one page to read"),
    "record": Command("commands.record", "RecordArgs", "record", "record rollouts of a policy: HDF5 shards"),
    "inspect": Command("commands.inspect", "InspectArgs", "inspect", "verify recorded rollouts and summarise them"),
    "video": Command("commands.video", "VideoArgs", "run_video", "film what a policy sees"),
    "export": Command("commands.export", "ExportArgs", "export", "a policy as one ONNX file"),
    "export-lerobot": Command(
        "commands.export_lerobot", "ExportLeRobotArgs", "export_lerobot", "recorded rollouts as a LeRobotDataset v3.0"
    ),
    "deploy": Command(
        "commands.deploy", "DeployArgs", "deploy", "drive the simulator in real time with an exported policy"
    ),
    "capacity": Command(
        "commands.capacity", "CapacityArgs", "capacity", "how many worlds fit, together or disaggregated"
    ),
    "bench": Command("commands.bench", "BenchArgs", "bench", "steps per second of every part, beside the alternatives"),
    "check-env": Command("commands.check_env", "CheckEnvArgs", "check_env", "does an environment keep its promises?"),
}
RESUMABLE = ("train-teacher", "train-student")
SIGHTS = ("state", "depth")
"""Of a teacher; each has defaults of its own."""


class UsageError(HandsightError):
    """A command line that means nothing."""


def main(words: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code: 0 done, 2 a mistake that the message explains, 128 + n stopped by
    signal n (130 for Ctrl-C)."""
    words = list(sys.argv[1:] if words is None else words)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # waiting OpenMP threads must not take cores from the simulator
    if not words or words[0] in ("-h", "--help"):
        sys.stdout.write(overview())
        return 0
    if words[0] == "--version":
        sys.stdout.write(f"handsight {__version__}\n")
        return 0
    try:
        with _run_folders_shown():
            _run(words)
    except (HandsightError, OSError) as error:
        message = str(error).removeprefix(f"{words[0]}: ")
        sys.stderr.write(f"handsight {words[0]}: {message}\n")
        return 2
    except KeyboardInterrupt as stop:
        sys.stderr.write(f"handsight {words[0]}: {stop or 'stopped'}\n")
        return 128 + getattr(stop, "signal_number", 2)
    return 0


def overview() -> str:
    """What `handsight --help` prints."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {command.about}" for name, command in COMMANDS.items()]
    tail = "handsight COMMAND --help lists the options of a command."
    return "\n".join(["usage: handsight COMMAND [OPTIONS]", "", *lines, "", tail, ""])


def _run(words: list[str]) -> None:
    name, rest = words[0], words[1:]
    if name not in COMMANDS:
        raise UsageError(unknown("command", name, COMMANDS))
    from . import options

    command = COMMANDS[name]
    module = _module(command)
    config_class, function = getattr(module, command.config), getattr(module, command.function)
    if name not in RESUMABLE:
        default, about, rest = _of_worlds(config_class, rest)
        config = options.parse(config_class, rest, f"handsight {name}", default, about)
        _check_device(config)
        function(config)
        return
    sight, rest = _sight(rest) if name == "train-teacher" else (None, rest)
    resume, words_here = _resumed(rest)
    if resume is not None:
        _check_sight(resume, config_class, sight)
        function(_going_on(resume, config_class, words_here, f"handsight {name}"), resume=resume)
        return
    default, rest = _default(sight, rest)
    prog, about = " ".join(filter(None, ["handsight", name, sight])), _about(config_class, options.about_preset())
    training = options.parse_training(config_class, rest, prog, default, about)
    _check_device(training.config)
    function(training.config, run_root=training.runs)


def _default(sight: str | None, words: list[str]) -> tuple[Any, list[str]]:
    """The configuration that the options change, and the options: a preset, as changed by words. None where there is
    nothing to begin with: a student needs to know whose."""
    from . import options, presets

    chosen, rest = options.take(words, (options.PRESET, *options.WORDS))

    def path_of(option: str) -> Path | None:
        value = options.value_of(rest, option, f"--{option[2:].replace('-', '_')}")
        return Path(value) if value and value != "None" else None

    preset = presets.choose(chosen.pop(options.PRESET, None), options.value_of(rest, "--device", "--learner"))
    if sight is not None:
        return presets.teacher(sight, preset, chosen, path_of("--warm-start")), rest
    teacher, data = path_of("--teacher"), path_of("--data")
    own_worlds = any(options.of_worlds(word) or word in ("-h", "--help") for word in rest)
    return presets.student(preset, teacher, data, chosen, own_worlds) if teacher or data else None, rest


def _of_worlds(config_class: type, words: list[str]) -> tuple[Any, str | None, list[str]]:
    """For a command with worlds of its own: the configuration that the options change, what the help says first, and
    the options without the words that chose the worlds."""
    from . import options

    worlds = next((field for field in fields(config_class) if field.name == "env"), None)
    if worlds is None or not callable(worlds.default_factory):
        return None, None, words
    chosen, rest = options.take(words, options.WORDS)
    default = config_class(env=options.change(worlds.default_factory(), chosen)) if chosen else None
    return default, _about(config_class), rest


def _about(config_class: type, *more: str) -> str:
    from . import options

    return "\n\n".join([str(config_class.__doc__), *more, options.about()])


def _module(command: Command) -> ModuleType:
    return importlib.import_module(f"..{command.module}", __package__)


def _sight(words: list[str]) -> tuple[str | None, list[str]]:
    """Which teacher, and the words after it; a resumed run knows by itself."""
    if words and words[0] in SIGHTS:
        return words[0], words[1:]
    if _resumed(words)[0] is not None:
        return None, words
    if words and words[0] in ("-h", "--help"):
        sys.stdout.write("usage: handsight train-teacher {state,depth} [OPTIONS]\n\n")
        sys.stdout.write("handsight train-teacher state --help lists the options of the state teacher.\n")
        raise SystemExit(0)
    raise UsageError(unknown("teacher", words[0], SIGHTS) if words else f"expected one of: {', '.join(SIGHTS)}")


def _resumed(words: list[str]) -> tuple[Path | None, list[str]]:
    """The run folder of `--resume RUN`, and the words beside it."""
    option = next((word for word in words if word.partition("=")[0] == "--resume"), None)
    if option is None:
        return None, words
    joined = option.partition("=")[2]
    index = words.index(option)
    value = joined or next(iter(words[index + 1 :]), "")
    others = words[:index] + words[index + (1 if joined else 2) :]
    if not value or value.startswith("-"):
        raise UsageError("--resume: expected a run folder")
    return Path(value), others


def _going_on(resume: Path, config_class: type, words: list[str], prog: str) -> Any:
    """A run's configuration with the settings of this machine: of the command line, and a GPU for worlds of a GPU."""
    from ..runs.run import Run
    from . import options, presets

    config = presets.on_this_machine(Run.open(resume).config(config_class))
    if getattr(config, "env", config) is None and any(map(options.of_worlds, words)):
        config = presets.with_own_worlds(config)
    others = options.not_of_machine(config, words)
    if others:
        raise UsageError(
            f"--resume {resume} goes on with that run's own configuration: found also {' '.join(others)}; "
            f"available: {', '.join(f'--{setting}' for setting in options.machine_settings(config))}"
        )
    config = options.parse(config_class, words, prog, config)
    _check_device(config)
    return config


def _check_sight(resume: Path, config_class: type, sight: str | None) -> None:
    from ..runs.run import Run

    found = getattr(Run.open(resume).config(config_class), "sight", None)
    if sight is not None and found != sight:
        raise UsageError(f"--resume {resume}: expected a {sight} teacher, found a {found} teacher")


def _check_device(config: object) -> None:
    """Every `device` on the command line is one that torch can use here."""
    device = getattr(config, "device", "cpu")
    if device == "cpu":
        return
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        here = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
        raise UsageError(
            f"device {device!r} cannot be used here; available: {', '.join(here)} (preset `gpu` asks for cuda:0: "
            "--preset cpu has sizes for a CPU, --device cpu rehearses the GPU's on one)"
        ) from error


@contextmanager
def _run_folders_shown() -> Iterator[None]:
    """Runs say where they lie through the log; here is where it is shown."""
    log, handler = logging.getLogger(__name__.partition(".")[0]), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)  # whoever calls `main` from Python may close this stderr


if __name__ == "__main__":
    sys.exit(main())
