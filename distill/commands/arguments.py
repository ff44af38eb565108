"""What every command is asked for: one frozen dataclass each. Imports no torch, as help and mistakes do without it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from ...datasets.schema import MAX_DAMAGED
from ...errors import HandsightError
from ...ranges import Checked, Count, Episodes, Gib, Share, Steps, Threads, Within
from ...sims.env_config import EnvConfig, Postures
from ...sims.machine import MACHINE, machine
from ..evaluation import HELD_OUT_SEED, ROUNDS, HeldOutSeed, Rounds, Seed
from ..evaluation.chosen import Chosen
from ..evaluation.trial import TrialConfig
from ..runs.import_args import ImportPolicyArgs as ImportPolicyArgs
from ..runs.listing import RunsArgs as RunsArgs
from ..runs.zoo import RunPath
from ..training.student_config import StudentRunConfig as StudentRunConfig
from ..training.teacher_config import TeacherConfig as TeacherConfig
from .footprint import Measured
from .presets import PresetName
from .view import ViewArgs as ViewArgs

RECORDABLE = ("stereo", "depth", "proprio", "state", "calibration", "touch", "command")


@dataclass(frozen=True)
class DemoConfig(Chosen):
    """Train a state and a depth teacher, distil each into a stereo student, compare all four and write report.html."""

    runs: Path = field(default=Path("runs"), metadata=MACHINE)
    """Where the demo's folder goes."""
    seed: Seed = 0
    """Seed of weights, environments and batches of all four."""
    from_scratch: bool = False
    """Train the depth teacher end to end, as the paper does, instead of after a warm start from the state teacher;
    takes hours on a CPU."""
    state_iterations: Count = 160
    """Rollouts of the state teacher (4,096 steps each)."""
    depth_iterations: Count = 110
    """Rollouts of the warm-started depth teacher, the imitated ones included."""
    scratch_iterations: Count = 800
    """Rollouts of the depth teacher with `from_scratch`."""
    student_iterations: Rounds = 16
    """DAgger rounds of each student."""
    preset: PresetName = "cpu"
    """Engine and sizes: `cpu` for two cores, `gpu` for one GPU, where all four see 64 x 64 pixels."""
    device: str | None = machine(None)
    """Where everything is computed; None: where the preset says."""
    num_envs: Annotated[int | None, Within(2, 1_000_000)] = None
    """Environments of a teacher, of which a student has half; None: as many as the preset says."""
    episodes: Episodes = 512
    """Held-out resets on which all four are evaluated."""
    videos: bool = True
    """Film the first resets with every policy."""
    resume: RunPath | None = field(default=None, metadata=MACHINE)
    """Folder of an interrupted demo to go on with, under its own configuration; `device` may be given anew."""


@dataclass(frozen=True)
class EvaluateArgs(Chosen):
    """Evaluate one policy on held-out resets."""

    policy: Annotated[RunPath, tyro.conf.Positional]
    """Run folder, a checkpoint in one, zoo:NAME, or latest."""
    episodes: Episodes = 512
    """Resets to start from, one episode each."""
    seed: HeldOutSeed = HELD_OUT_SEED
    """Seed of the resets; policies evaluated with equal seed, episodes and num_envs meet the same ones."""
    num_envs: Count = 256
    """Number of environments stepped together."""
    reset_kind: str | None = "wide"
    """Kind of reset that every episode starts from; None takes the mix that the environment was made with."""
    postures: Postures = "held_out"
    """Arm postures with which episodes begin: those that no training meets, or those of trainings."""
    deterministic: bool = True
    """Act by the mean; otherwise by samples."""
    out: Path | None = None
    """Folder for evaluation.json, episodes.csv and episodes.npz; beside the run's checkpoints if not given."""
    device: str = "cpu"
    """Where the policy computes, and the worlds if their engine can be there."""


@dataclass(frozen=True)
class ObjectsArgs(Checked):
    """Bring a folder of OBJ, STL or URDF files in as a set of objects, or draw a set."""

    action: Annotated[Literal["import", "draw"], tyro.conf.Positional]
    """`import SRC OUT` makes the set OUT of the folder SRC; `draw SET OUT.png` draws a set as one picture."""
    source: Annotated[Path, tyro.conf.Positional]
    """Folder of meshes; or with `draw` a set: procedural, an imported one's name, or its folder."""
    out: Annotated[Path | None, tyro.conf.Positional] = None
    """Folder of the new set, whose name is the set's; or with `draw` a PNG file."""
    scale: Annotated[float, Within(1e-6, 1e6)] = 1.0
    """Factor on all lengths: 0.001 for meshes in millimetres."""
    density: Annotated[float, Within(1, 30_000)] = 600.0
    """kg/m^3, from which masses follow."""
    mass: Annotated[float | None, Within(0.001, 100)] = None
    """kg: mass of every object, instead of by density."""
    pieces: Annotated[int, Within(1, 32)] = 8
    """Most convex pieces of an object; the model has as many geoms for every environment."""
    held_out_share: Share = 0.2
    """Share of the objects that is held out, chosen by a hash of their names."""
    origin: str = ""
    """Where the objects come from; the name of SRC if not given."""
    licence: str = ""
    """Their licence; the first line of a licence file beside them if not given."""


@dataclass(frozen=True)
class CompareArgs(Chosen, TrialConfig):
    """Evaluate policies on the same held-out resets, and write a report."""

    policies: Annotated[tuple[RunPath, ...], tyro.conf.Positional] = ()
    """Run folders or checkpoints: teachers and students, in the order of the report. A student's teacher is added."""
    study: Path | None = None
    """TOML file of a study, which is run instead: `handsight study` has its options."""
    videos: bool = True
    """Film the first resets with every policy."""
    report: bool = True
    """Draw the figures and write report.html."""
    out: Path | None = None
    """Folder for comparison.{json,csv,md}, report.html and videos/; runs/comparison/<date> if not given."""


@dataclass(frozen=True)
class StudyArgs(Checked):
    """Run a study: scenes x teachers x students x seeds, cell by cell. Started again, it goes on."""

    file: Annotated[Path, tyro.conf.Positional]
    """TOML file; docs/study.md says what may stand in it."""
    out: Path | None = None
    """Folder of all runs and results, instead of the file's."""
    jobs: Threads | Literal["slurm"] | None = None
    """Trainings side by side, instead of the file's; slurm: each job to a cluster, by submitit."""
    slurm: tuple[str, ...] = ()
    """With --jobs slurm: what a job is given, e.g. partition=gpu timeout_min=240 cpus_per_task=4."""
    collect: bool = False
    """Train nothing: collect the results of what is finished, also while another process trains."""
    report: bool = True
    """Film the policies and write report.html once teachers and students can be compared."""


@dataclass(frozen=True)
class ReportArgs(Checked):
    """Write the report of a study from its results: report.html, report.md, report.json and figures/."""

    results: Annotated[Path, tyro.conf.Positional]
    """Folder with study.json, as `handsight study` leaves it."""
    runs: Path | None = None
    """The study's folder of runs: with it the policies are filmed anew, from their checkpoints."""
    device: str = "cpu"
    """Where they are filmed."""


@dataclass(frozen=True)
class RecordArgs(Chosen):
    """Record whole episodes of a policy, with its teacher's answers, in shards."""

    policy: RunPath
    """Run folder or checkpoint of the policy that acts."""
    teacher: RunPath | None = None
    """Run folder or checkpoint of the teacher whose answers are noted; None: the policy is asked itself."""
    episodes: Count = 512
    """Episodes to record in all."""
    groups: tuple[str, ...] = RECORDABLE[:4]
    """Observation groups to record, e.g. stereo,proprio."""
    out: Path = Path("data/rollouts")
    """Folder of the shards. If it holds some of the same recording already, that is gone on with."""
    beta: Share = 0.0
    """Share of the episodes in which the teacher acts instead of the policy."""
    act: Literal["mean", "sample"] = "mean"
    """Whether the policy acts by its mean or by samples."""
    next_obs: Literal["none", "vectors", "all"] = "none"
    """Also write the observations after each step: none, all but images, or images too (twice the size)."""
    valid_share: Share = 0.05
    """Share of the resets that go to the split "valid"."""
    shard_mib: Annotated[int, Within(0, 1_000_000)] = 256
    """MiB of arrays after which a shard is finished, counted in whole rounds of `num_envs` episodes."""
    num_envs: Count = 128
    """Environments that are stepped together."""
    reset_kind: str | None = "wide"
    """Kind of reset of every episode; None takes the mix that the environment was made with."""
    seed: Seed = 0
    """Seed of the resets, 0..999."""
    device: str = "cpu"
    """Where the policies compute."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "groups", tuple(word for group in self.groups for word in group.split(",") if word))
        unknown = [group for group in self.groups if group not in RECORDABLE]
        if unknown or not self.groups:
            raise HandsightError(f"record: unknown groups {unknown}; available: {', '.join(RECORDABLE)}")
        if self.episodes > ROUNDS * self.num_envs:
            raise HandsightError(f"record: expected at most {ROUNDS:,} x num_envs episodes, found {self.episodes:,}")

    def settings(self) -> dict[str, Any]:
        """What decides about the content of each round, JSON-able."""
        names = ("groups", "beta", "act", "next_obs", "valid_share", "num_envs", "reset_kind", "seed")
        own = {name: list(value) if isinstance(value := getattr(self, name), tuple) else value for name in names}
        return own | self.chosen


@dataclass(frozen=True)
class InspectArgs(Checked):
    """Verify recorded rollouts and summarise them."""

    path: Annotated[Path, tyro.conf.Positional]
    """Folder of shards, or one shard."""
    deep: bool = False
    """Also read every image, and compare every episode with its own CRC; damaged shards always are."""
    sheet: Path | None = None
    """Contact sheet of one episode (png); beside the shards if not given and they hold images."""


@dataclass(frozen=True)
class VideoArgs(Chosen):
    """Film a policy in the first held-out resets."""

    policy: Annotated[RunPath, tyro.conf.Positional]
    """Run folder, a checkpoint in one, zoo:NAME, or latest."""
    episodes: Annotated[int, Within(1, 1000)] = 4
    """Resets to film, the first ones of an evaluation with the same seed."""
    seed: HeldOutSeed = HELD_OUT_SEED
    """Seed of the resets."""
    reset_kind: str | None = "wide"
    """Kind of reset; None takes the mix that the environment was made with."""
    out: Path | None = None
    """The mp4; in the run's folder videos/ if not given. A contact sheet (png) is written beside it."""
    speed: Annotated[float, Within(0.1, 10)] = 0.5
    """Playing speed; 1 is real time."""
    tile: Annotated[int, Within(16, 4096)] = 229
    """Width of what an eye sees, pixels; the view from outside is twice as wide and high."""
    overview: bool = True
    """Show the robot from outside, too, where the environment can."""
    device: str = "cpu"
    """Where the policy and the environment run."""


@dataclass(frozen=True)
class ExportArgs(Checked):
    """Write a policy in a format that needs no torch."""

    policy: Annotated[RunPath, tyro.conf.Positional]
    """Run folder, a checkpoint in one, zoo:NAME, or latest."""
    onnx: bool = True
    """As ONNX, for onnxruntime; the only format there is."""
    out: Path | None = None
    """The file; policy.onnx beside the run's checkpoints if not given."""
    check_steps: Annotated[int, Within(0, 100_000)] = 100
    """Steps of one closed-loop episode over which the file is compared with the original; 0: not at all."""


@dataclass(frozen=True)
class ExportLeRobotArgs(Checked):
    """Write shards in LeRobot's format."""

    path: Annotated[Path, tyro.conf.Positional]
    """Folder of shards, or one shard."""
    out: Annotated[Path, tyro.conf.Positional]
    """Folder that is made."""
    task: str = "grasp the object and lift it"
    """What the episodes are about, in words."""
    privileged: bool = False
    """Also write `state`, which knows what no camera shows; LeRobot's policies take it up as environment_state."""
    quality: Annotated[int, Within(0, 51)] = 18
    """H.264's constant rate factor: 51 is the worst; 0 keeps every pixel as it was recorded, as RGB."""
    max_damaged: Share = MAX_DAMAGED
    """Share of damaged shards beyond which nothing is written."""


@dataclass(frozen=True)
class DeployArgs(Checked):
    """Let an exported policy drive the simulator in real time and measure how fast it answers."""

    model: Annotated[Path, tyro.conf.Positional]
    """What `handsight export` wrote."""
    episodes: Episodes = 8
    """Held-out resets, one after the other."""
    seed: HeldOutSeed = HELD_OUT_SEED
    """Seed of the first reset."""
    reset_kind: str | None = "wide"
    """Kind of reset; None takes the mix that the environment was made with."""
    rate: Annotated[float | None, Within(0.1, 100_000)] = None
    """Control steps per second; None: the rate that the policy was trained at."""
    threads: Threads = 1
    """Threads of onnxruntime; 1 leaves the other cores alone."""
    out: Path | None = None
    """JSON file for the figures."""


@dataclass(frozen=True)
class CapacityArgs(Measured):
    """Measure the memory of a world, and print how many of them fit on several devices."""

    devices: Threads = 4
    """G: devices, of a CPU: processes with a memory of their own."""
    memory_gib: Gib | None = None
    """M: memory of each, GiB; None: an equal share of this machine's."""
    rollout_steps: Steps = 16
    """T of the training that the table is for."""
    minibatch_rows: Count | None = None
    """Rows of a minibatch, whatever the number of worlds; None: the T * N / 4 that the trainings here take."""
    rows_of: Literal["learner", "training"] = "learner"
    """Whether each learner has `minibatch_rows`, or all of them share these."""
    samples: Annotated[tuple[int, int], Within(1, 1_000_000, rising=True)] = (32, 160)
    """Numbers of worlds at which memory is measured."""
    measured: Path | None = None
    """JSON file of an earlier run: its measurements are taken, and none are made."""
    check: bool = False
    """Also find the real maximum of both modes by bisection under `check_cap_gib`, at T = 4, and compare."""
    check_cap_gib: Gib = 2.5
    """Memory of each process in the check, GiB."""
    out: Path | None = None
    """JSON file for all figures."""


@dataclass(frozen=True)
class BenchArgs(Checked):
    """Measure environment and training steps per second on this machine's CPU, and divergence under random actions."""

    env: EnvConfig = field(default_factory=EnvConfig)
    """The environments that are measured."""
    num_envs: Count = 256
    """How many environments are stepped together."""
    steps: Steps = 60
    """Control steps of each measurement, after a warm-up of one episode."""
    divergence_steps: Annotated[int, Within(1, 1_000_000_000)] = 100_000
    """Environment steps under random actions in which diverged environments are counted."""
    opengl: bool = True
    """Also measure the usual loop: one environment, MuJoCo's own OpenGL renderer."""
    out: Path | None = None
    """JSON file for the figures."""


@dataclass(frozen=True)
class RobotInitArgs(Checked):
    """Draft the TOML file of a robot from the MJCF files of its arm and its hand."""

    arm: Annotated[Path, tyro.conf.Positional]
    """MJCF file of the arm, or menagerie:MODEL[/ENTRY]."""
    hand: Annotated[Path, tyro.conf.Positional]
    """MJCF file of the hand, likewise."""
    out: Path | None = None
    """The TOML file; ARM_HAND.toml here if not given. MJCF files of yours must lie below its folder."""


@dataclass(frozen=True)
class RobotCheckArgs(Checked):
    """Check the TOML file of a robot: names, limits, reach, self-collision, what it sees, a scripted grasp; draw it."""

    file: Annotated[Path, tyro.conf.Positional]
    """The robot's TOML file."""
    out: Path | None = None
    """The picture (png); NAME.png here if not given."""


@dataclass(frozen=True)
class CheckEnvArgs(Checked):
    """Drive environments with random actions and check every promise of the VecEnv contract; with `--engine isaacgym`
    also compare it with the CPU engine, and print a report."""

    env: EnvConfig = field(default_factory=EnvConfig)
    """The environments that are checked."""
    gymnasium: str | None = None
    """Check this Gymnasium task instead, e.g. Pendulum-v1."""
    observe: tuple[str, ...] = ("state", "proprio", "depth", "stereo")
    """Which observation groups are asked for."""
    num_envs: Count = 8
    """How many environments are stepped together."""
    episodes: Annotated[int, Within(2, 1000)] = 2
    """Episodes of each environment; at least 2."""
    seed: Seed = 0
    """Seed of resets and actions."""
    device: str = "cpu"
    """Where the environments are, if their engine can be there."""
