"""A preset is a configuration: what it is, who chooses it, and that every option still changes it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from handsight.distill.commands import cli, demo, presets
from handsight.distill.commands.options import Worlds
from handsight.distill.runs import checkpoint
from handsight.distill.runs.policy_io import policy_tree, saved_worlds
from handsight.distill.runs.run import Run
from handsight.distill.training.student_config import StudentRunConfig
from handsight.distill.training.teacher_config import TeacherConfig
from handsight.errors import HandsightError
from handsight.sims import EnvConfig
from handsight.sims.vec_env import ArraySpec
from handsight.teachers import ActorCritic, ActorCriticConfig

PARTS = {"object_from_palm": 3, "object_size": 3}
SPECS = {
    "state": ArraySpec((6,), torch.float32, PARTS),
    "proprio": ArraySpec((2,), torch.float32),
    "depth": ArraySpec((1, 64, 64), torch.int16),
}


def training(words, sight=None):
    """The configuration of `train-teacher SIGHT` or of `train-student`."""
    return cli.read_training(TeacherConfig if sight else StudentRunConfig, words, "train", sight)[0]


@pytest.fixture(params=["state", "depth"])
def teacher(request, tmp_path):
    """(sight, run folder) of a teacher with random weights, whose depth is 64 x 64."""
    sight = request.param
    config = ActorCriticConfig(actor_keys=(sight, "proprio"), hidden=(8,), depth_channels=(2,), depth_features=4)
    policy = ActorCritic(config, SPECS, 3)
    env = presets.teacher(sight, "gpu").env
    described = {
        name: {"shape": list(spec.shape), "dtype": str(spec.dtype)[6:], "parts": dict(spec.parts)}
        for name, spec in SPECS.items()
    }
    run = Run.create(f"teacher-{sight}", EnvConfig(), tmp_path)
    tree = policy_tree(policy, config, 3, {"task": "grasp", "obs": described}, env, policy.train_keys)
    checkpoint.save(run.checkpoints / "best.ckpt", tree)
    return sight, run.path


def test_the_cpu_preset_is_what_it_was():
    assert presets.teacher("state") == TeacherConfig.state()
    assert presets.teacher("depth") == TeacherConfig.depth()


def test_the_gpu_preset_has_the_promised_sizes():
    state, depth = presets.teacher("state", "gpu"), presets.teacher("depth", "gpu")
    assert (state.num_envs, state.precision, depth.precision) == (4096, "32-true", "bf16-mixed")
    assert depth.num_envs >= 1024
    assert (depth.env.scene.rig.height, depth.env.scene.rig.width) == (64, 64)
    for config in (state, depth):
        assert (config.env.engine, config.device) == ("mujoco_warp", "cuda:0")
        assert config.policy.actor_keys == (config.sight, "proprio")


def test_a_scene_keeps_the_presets_image_and_sees_as_far_as_its_cameras():
    config = presets.teacher("depth", "gpu", Worlds(scene="open"))
    rig = config.env.scene.rig
    assert (rig.mount, rig.width, rig.height) == ("world", 64, 64)
    assert config.policy.depth_max_m == rig.depth_max == 1.1
    assert config.env.engine == "mujoco_warp"


def test_a_warm_started_teacher_has_defaults_of_its_own():
    path = Path("zoo:state")
    assert presets.teacher("depth", "cpu", warm_start=path) == TeacherConfig.warm_started(path)
    line = ["--warm-start", "zoo:state", "--preset", "cpu"]
    assert training(line, "depth") == TeacherConfig.warm_started(path)


def test_larger_images_have_a_deeper_encoder():
    wide = presets.teacher("depth", "gpu", Worlds(image="160x120"))
    assert (wide.env.scene.rig.width, wide.env.scene.rig.height) == (160, 120)
    assert len(wide.policy.depth_channels) == 4
    policy = ActorCritic(wide.policy, SPECS | {"depth": ArraySpec((1, 120, 160), torch.int16)}, 6)
    last = policy.depth.project[0].in_features  # 120 x 160 halved four times: 8 x 10, of 32 channels
    assert last == 32 * 8 * 10
    assert presets.teacher("state", "gpu", Worlds(image="160x120")).policy == TeacherConfig.state().policy


@pytest.mark.parametrize("cuda", [True, False])
@pytest.mark.parametrize(
    ("words", "engine"),
    [
        ([], "mujoco"),
        (["--device", "cuda:0"], "mujoco"),
        (["--preset", "cpu"], "mujoco"),
        (["--preset", "gpu"], "mujoco_warp"),
        (["--engine", "mujoco_warp"], "mujoco_warp"),
    ],
)
def test_nothing_but_its_name_or_the_preset_chooses_the_gpu_engine(monkeypatch, words, engine, cuda):
    monkeypatch.setattr(presets, "gpu_here", lambda: cuda)
    assert training(words, "state").env.engine == training(words, "depth").env.engine == engine


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(HandsightError, match=r"unknown preset 'gpus' \(did you mean gpu\?\); available: cpu, gpu"):
        presets.choose("gpus")


def test_a_student_on_the_gpu_sees_sharply_unless_its_teacher_looks(teacher):
    sight, path = teacher
    config = presets.student("gpu", path)
    rig = config.env.scene.rig
    assert (rig.width, rig.height) == ((160, 120) if sight == "state" else (64, 64))
    assert (config.student.backbone.name, config.env.engine) == ("resnet18", "mujoco_warp")
    assert config.precision == "bf16-mixed"


def test_on_a_cpu_a_student_lives_in_its_teachers_worlds(teacher):
    _, path = teacher
    assert presets.student("cpu", path) == StudentRunConfig(teacher=path)
    changed = presets.student("cpu", path, chosen=Worlds(image="32x24")).env.scene.rig
    assert (changed.width, changed.height) == (32, 24)


def test_options_change_what_the_preset_says(tmp_path):
    line = ["--num-envs", "64", "--preset", "gpu", "--device", "cpu", "--ppo.epochs", "2", "--image", "32x32"]
    config = training(line, "depth")
    expected = presets.teacher("depth", "gpu", Worlds(image="32x32"))
    assert config == replace(expected, num_envs=64, device="cpu", ppo=replace(expected.ppo, epochs=2))


def test_a_students_words_come_from_the_command_line(teacher):
    _, path = teacher
    config = training(["--teacher", str(path), "--preset", "gpu", "--iterations", "3"])
    assert config == replace(presets.student("gpu", path), iterations=3)


def test_options_change_parts_of_the_teachers_worlds(teacher):
    _, path = teacher
    line = ["--teacher", str(path), "--env.task.randomization.baseline", "0.006", "--env.threads", "1"]
    env = training(line).env
    worlds, _ = saved_worlds(path)
    task = replace(worlds.task, randomization=replace(worlds.task.randomization, baseline=0.006))
    assert env == replace(worlds, task=task, threads=1) != worlds


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_the_gpu_preset_without_a_gpu_says_what_to_do(capsys, tmp_path):
    assert cli.main(["train-teacher", "state", "--preset", "gpu", "--runs", str(tmp_path)]) == 2
    assert "device 'cuda:0' cannot be used here; available: cpu (preset `gpu` asks for" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_unknown_preset_is_one_message(capsys):
    assert cli.main(["train-teacher", "state", "--preset", "tpu"]) == 2
    assert "unknown preset 'tpu' (did you mean gpu?); available: cpu, gpu" in capsys.readouterr().err


@pytest.mark.parametrize("place", [0, 2, 4])
def test_what_it_begins_with_may_stand_anywhere(place):
    line = ["--num-envs", "8", "--seed", "1"]
    config = training([*line[:place], "--preset", "gpu", "--image=64x48", "--learner=cpu", *line[place:]], "depth")
    expected = presets.teacher("depth", "gpu", Worlds(image="64x48"))
    assert config == replace(expected, num_envs=8, seed=1, device="cpu")


@pytest.mark.parametrize("line", [["--preset"], ["--preset", "--seed", "1"]])
def test_a_preset_needs_its_value(line, capsys):
    with pytest.raises(SystemExit) as left:
        training(line, "state")
    assert left.value.code == 2
    assert "--preset" in "".join(capsys.readouterr())


def test_an_image_is_width_by_height():
    rig = Worlds(image="160x120").change(EnvConfig()).scene.rig
    assert (rig.height, rig.width) == (120, 160)


@pytest.mark.parametrize("size", ["160", "160x", "x120", "axb", "64x64x3"])
def test_a_size_that_is_none_is_refused(size):
    with pytest.raises(HandsightError, match="expected WIDTHxHEIGHT in pixels"):
        Worlds(image=size).change(EnvConfig())


@pytest.fixture
def stage(tmp_path, monkeypatch):
    """The configuration of a demo's training, as its command reads it, with the zoo's or another teacher."""

    def read(config, task, teacher="zoo:state"):
        monkeypatch.setattr(demo.Stages, "_best", lambda stages, name: Path(teacher))
        name, *words = demo.Stages(tmp_path / "demo", config).command(task)
        return training(words[1:], words[0]) if name == "train-teacher" else training(words)

    return read


def test_the_demo_on_two_cores_is_what_it_was(stage):
    config, teacher = demo.DemoConfig(seed=3), Path("zoo:state")
    assert stage(config, demo.STATE) == replace(TeacherConfig.state(), seed=3, iterations=160)
    assert stage(config, demo.DEPTH) == replace(TeacherConfig.warm_started(teacher), seed=3)
    assert stage(config, demo.DEPTH_STEREO) == StudentRunConfig(teacher, seed=3)
    scratch = replace(TeacherConfig.depth(), seed=3, iterations=800)
    assert stage(replace(config, from_scratch=True), demo.DEPTH) == scratch


def test_the_demo_on_a_gpu_lets_all_four_see_the_same(teacher, stage):
    _, path = teacher
    config = demo.DemoConfig(preset="gpu", device="cpu", num_envs=8)
    depth, student = stage(config, demo.DEPTH, path), stage(config, demo.DEPTH_STEREO, path)
    assert depth.env.scene.rig == student.env.scene.rig
    assert (depth.num_envs, student.num_envs, depth.device, student.device) == (8, 4, "cpu", "cpu")
    usual = demo.DemoConfig(preset="gpu", device="cpu")
    assert stage(usual, demo.DEPTH, path).num_envs == presets.teacher("depth", "gpu").num_envs
