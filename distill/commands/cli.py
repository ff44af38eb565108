"""`handsight COMMAND [OPTIONS]`: each command is one frozen dataclass and the one function that takes it.

What the options are is known without torch, so that help and mistakes are answered at once; then what the command
needs is loaded.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import fields, replace
from typing import Any, NamedTuple

from ... import __version__, plugins
from ...errors import HandsightError, unknown
from ...files import FULL, check_writable
from ..runs.interrupt import Unread


class Command(NamedTuple):
    """Where a command lives."""

    place: str
    """Module inside `distill`, and in it the function that takes the command's frozen dataclass."""
    config: str
    """Name of the dataclass in `arguments`."""
    about: str
    """One line for the overview."""


COMMANDS = {
    "demo": Command("commands.demo.demo", "DemoConfig", "the main job: two teachers, two students, one comparison"),
    "train-teacher": Command(
        "training.train_teacher.train_teacher", "TeacherConfig", "state|depth: train a teacher with PPO"
    ),
    "train-student": Command(
        "training.train_student.train_student", "StudentRunConfig", "distil a teacher into a student"
    ),
    "evaluate": Command("commands.evaluate.run_evaluate", "EvaluateArgs", "how well a policy does on held-out resets"),
    "compare": Command("commands.compare.run_compare", "CompareArgs", "policies side by side: report.html"),
    "study": Command("commands.study.study", "StudyArgs", "a whole matrix of teachers and students, unattended"),
    "report": Command("commands.study.run_report", "ReportArgs", "a study's results as one page to read"),
    "runs": Command("runs.listing.list_runs", "RunsArgs", "which runs there are, how far and how good"),
    "record": Command("commands.record.record", "RecordArgs", "record rollouts of a policy: HDF5 shards"),
    "inspect": Command("commands.inspect.inspect", "InspectArgs", "verify recorded rollouts and summarise them"),
    "video": Command("commands.video.run_video", "VideoArgs", "film what a policy sees"),
    "view": Command("commands.view.run_view", "ViewArgs", "watch policies live in a web browser, side by side"),
    "export": Command("commands.export.export", "ExportArgs", "a policy as one ONNX file"),
    "import-policy": Command(
        "commands.import_policy.import_policy", "ImportPolicyArgs", "sb3|rsl_rl FILE: their policy as a run of ours"
    ),
    "export-lerobot": Command(
        "commands.export_lerobot.export_lerobot", "ExportLeRobotArgs", "recorded rollouts as a LeRobotDataset v3.0"
    ),
    "deploy": Command(
        "commands.deploy.deploy", "DeployArgs", "drive the simulator in real time with an exported policy"
    ),
    "objects": Command("commands.objects.objects", "ObjectsArgs", "import SRC OUT|draw SET OUT: your own objects"),
    "capacity": Command("commands.capacity.capacity", "CapacityArgs", "how many worlds fit, together or disaggregated"),
    "bench": Command("commands.bench.bench", "BenchArgs", "steps per second of every part, beside the alternatives"),
    "robot init": Command("commands.robot.robot_init", "RobotInitArgs", "draft a robot's TOML from two MJCF files"),
    "robot check": Command("commands.robot.robot_check", "RobotCheckArgs", "does a robot's file hold? with a picture"),
    "check-env": Command("commands.check_env.check_env", "CheckEnvArgs", "does an environment keep its promises?"),
}
RESUMABLE = ("train-teacher", "train-student")
GOES_ON = {**{name: "--resume RUN" for name in ("demo", *RESUMABLE)}, "record": "the same command"}
"""How whoever was stopped by a full disk goes on."""
ANEW = {f"--{name.replace('_', '-')}": name for name in ("iterations", "teacher", "driver", "warm_start", "data")}
"""Options, and their fields, that `--resume` may be given anew: how far to go, and where what it began with is now."""
COMPLETION = "--tyro-print-completion"
"""Before bash, zsh or tcsh: prints that shell's completion script."""
LIGHT = ("runs",)
"""Commands that need neither PyTorch nor MuJoCo."""
SIGHTS = ("state", "depth")
"""What a teacher may see; each has defaults of its own."""


class UsageError(HandsightError):
    """A command line that means nothing."""


def main(words: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code: 0 done, 2 a mistake that the message explains, 128 + n stopped by
    signal n (130 for Ctrl-C). It works on where nobody reads what it says."""
    with redirect_stdout(Unread(sys.stdout)), redirect_stderr(Unread(sys.stderr)):
        return _answer(list(sys.argv[1:] if words is None else words))


def _answer(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        sys.stdout.write(overview())
        return 0
    if words[0] == "--version":
        sys.stdout.write(f"handsight {__version__}\n")
        return 0
    try:
        with _run_folders_shown():
            if words[0] == COMPLETION:
                sys.stdout.write(_completion(words))
            else:
                _run(words)
    except (HandsightError, OSError) as error:
        message = str(error).removeprefix(f"{words[0]}: ")
        full = isinstance(error, OSError) and error.errno in FULL and words[0] in GOES_ON
        hint = f"; once there is room, {GOES_ON[words[0]]} goes on" if full else ""
        sys.stderr.write(f"handsight {words[0]}: {message}{hint}\n")
        return 2
    except KeyboardInterrupt as stop:
        where = "".join(f": {note}" for note in getattr(stop, "__notes__", [])[:1])
        sys.stderr.write(f"handsight {words[0]}: {str(stop) or 'stopped by SIGINT'}{where}\n")
        return 128 + getattr(stop, "signal_number", 2)
    return 0


def overview() -> str:
    """What `handsight --help` prints."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {command.about}" for name, command in COMMANDS.items()]
    tail = [
        "handsight COMMAND --help lists the options of a command; --config FILE takes them from a file.",
        "--plugin MODULE|FILE.py, with any command, brings in what is your own (docs/plugins.md).",
    ]
    return "\n".join(["usage: handsight COMMAND [OPTIONS]", "", *lines, "", *tail, ""])


def _run(words: list[str]) -> None:
    words = _plugged_in(words) or [""]
    two = " ".join(words[:2])
    name, rest = (two, words[2:]) if two in COMMANDS else (words[0], words[1:])
    if name not in COMMANDS:
        raise UsageError(unknown("command", name, COMMANDS))
    sight, rest = _sight(rest) if name == "train-teacher" else (None, rest)  # before anything heavy is imported
    config_class, extra = _found(f"commands.arguments.{COMMANDS[name].config}"), {}
    if name in RESUMABLE:
        prog = " ".join(filter(None, ["handsight", name, sight]))
        config, start, changes = read_training(config_class, rest, prog, sight)
        extra = {"run_root": start.runs} if start.resume is None else {"resume": start.resume, **changes}
    else:
        config = read(config_class, rest, f"handsight {name}")
    if "torch" not in sys.modules and name not in LIGHT:
        sys.stderr.write(f"handsight {name}: loading PyTorch and MuJoCo, which takes some seconds\n")
    _check_device(config)
    if getattr(config, "out", None) is not None:
        check_writable(config.out)
    _found(COMMANDS[name].place)(config, **extra)


def _plugged_in(words: Sequence[str]) -> list[str]:
    """The words without `--plugin MODULE`, after that module was imported."""
    rest, left = list[str](), iter(words)
    for word in left:
        option, _, value = word.partition("=")
        if option != "--plugin":
            rest.append(word)
        elif value := value or next(left, ""):
            plugins.load(value)
        else:
            raise UsageError("--plugin: expected the name of a module, or a file that ends in .py")
    return rest


def read(config_class: type, words: Sequence[str], prog: str) -> Any:
    """The configuration of a command that trains nothing, from its words."""
    from . import options

    words = options.with_file(config_class, words, prog)
    worlds = next((field for field in fields(config_class) if field.name == "env"), None)
    if worlds is None or not callable(worlds.default_factory):
        return options.parse(config_class, words, prog, start=options.FromFile())
    start = options.beginning(options.Worlds, words, prog)[0].start
    return options.parse(config_class, words, prog, config_class(env=start.change(worlds.default_factory())), start)


def read_training(
    config_class: type, words: Sequence[str], prog: str, sight: str | None
) -> tuple[Any, Any, dict[str, Any]]:
    """The configuration of a training from its words, what it began with, and what --resume changes.

    It begins with the preset that the options change, or with --resume with the configuration of that run, of which
    they change the settings of this machine and `ANEW` only.
    """
    from ...sims import assets
    from ...sims.machine import machine_settings
    from ..runs.run import Run
    from . import options, presets

    words = options.with_file(config_class, words, prog)
    found, others = options.beginning(options.Training, words, prog)
    start = found.start
    own_worlds = any(word.startswith(("--env.", "-h", "--help")) for word in others)
    if start.resume is None:
        default = _default(config_class, sight, found, own_worlds)
        return options.parse(config_class, words, prog, default, start), start, {}
    saved = presets.on_this_machine(Run.open(start.resume).config(config_class))
    if sight is not None and saved.sight != sight:
        raise UsageError(f"--resume {start.resume}: expected a {sight} teacher, found a {saved.sight} teacher")
    if getattr(saved, "env", saved) is None and (own_worlds or start.isaac_python):
        saved = presets.with_own_worlds(saved)
    config = options.parse(config_class, words, prog, saved, start)
    here = machine_settings(saved)
    env = getattr(config, "env", None)
    config = config if env is None else replace(config, env=replace(env, isaac=start.change(env).isaac))
    alone = options.Training(resume=start.resume, runs=start.runs, config=start.config)
    changed = [*options.differing(alone, start)]
    same = start.robot is not None and (env is None or assets.named("robot", start.robot) == env.scene.robot)
    placed = start.objects is None or env is None or assets.named("objects", start.objects) == env.scene.objects
    found_here = {"--isaac-python", *(["--robot"] if same else []), *(["--objects"] if placed else [])}
    changed = [one for one in changed if one[0] not in found_here]
    changed += [one for one in options.differing(saved, config) if one[0][2:].replace("-", "_") not in here]
    anew = {field: value for option, value in changed if (field := ANEW.get(option))}
    if len(anew) < len(changed):
        known = [option for option, field in ANEW.items() if getattr(saved, field, None) is not None]
        raise UsageError(
            f"--resume {start.resume} goes on with that run's own configuration: found also "
            f"{' '.join(f'{option} {value}' for option, value in changed if option not in ANEW)}; "
            f"available: {', '.join([*(f'--{setting}' for setting in here), *known])}"
        )
    return config, start, anew


def _default(config_class: type, sight: str | None, found: Any, own_worlds: bool) -> Any:
    """The configuration that the options of a training change: that of a preset, or of the run that --like names. None
    where there is nothing to begin with: a student needs to know whose."""
    from ..runs import zoo
    from ..runs.run import Run
    from . import presets

    start = found.start
    if start.like is not None:
        saved = presets.on_this_machine(Run.open(zoo.resolve(start.like)).config(config_class))
        if start.preset is not None or (sight is not None and saved.sight != sight):
            kind = f"a {saved.sight} teacher, asked for a {sight} one" if sight else "a configuration of its own"
            raise UsageError(f"--like {start.like}: found {kind}; expected no --preset, and a run of the same command")
        if sight is not None:
            return saved.with_worlds(start.change(saved.env)) if start.any else saved
        saved = presets.with_own_worlds(saved) if saved.env is None and (start.any or own_worlds) else saved
        return replace(saved, env=start.change(saved.env)) if start.any and saved.env else saved
    preset = presets.choose(start.preset)
    if sight is not None:
        return presets.teacher(sight, preset, start, found.warm_start)
    if found.teacher or found.data:
        return presets.student(preset, found.teacher, found.data, start, own_worlds)
    return None


def _completion(words: list[str]) -> str:
    """Raises UsageError: no shell, or one that tyro does not know."""
    from . import options

    shells = ("bash", "zsh", "tcsh")
    if words[1:] not in [[shell] for shell in shells]:
        raise UsageError(f"{COMPLETION}: expected one of {', '.join(shells)}, found {' '.join(words[1:]) or 'nothing'}")
    commands = {}
    for name, command in COMMANDS.items():
        config = _found(f"commands.arguments.{command.config}")
        worlds = any(one.name == "env" for one in fields(config))
        start = options.Training if name in RESUMABLE else options.Worlds if worlds else options.FromFile
        names = [f"{name} {sight}" for sight in SIGHTS] if name == "train-teacher" else [name]
        commands |= dict.fromkeys(names, (start, config))
    return options.completion(commands, words)


def _found(place: str) -> Any:
    """A configuration or a function, by module and name inside `distill`."""
    module, _, name = place.rpartition(".")
    return getattr(importlib.import_module(f"..{module}", __package__), name)


def _sight(words: list[str]) -> tuple[str | None, list[str]]:
    """Which teacher, and the words after it; a resumed run knows by itself."""
    if words and words[0] in SIGHTS:
        return words[0], words[1:]
    if any(word.partition("=")[0] == "--resume" for word in words):
        return None, words
    if words and words[0] in ("-h", "--help"):
        sys.stdout.write("usage: handsight train-teacher {state,depth} [OPTIONS]\n\n")
        sys.stdout.write("handsight train-teacher state --help lists the options of the state teacher.\n")
        raise SystemExit(0)
    raise UsageError(unknown("teacher", words[0], SIGHTS) if words else f"expected one of: {', '.join(SIGHTS)}")


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
