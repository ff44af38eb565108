"""A study's file: what it means, what is refused, and with which words."""

from dataclasses import replace
from pathlib import Path

import pytest

from handsight.distill.study.spec import StudyConfig, read_study
from handsight.distill.study.training import StudyError, Training, trainings_of
from handsight.distill.training.student_config import StudentRunConfig
from handsight.distill.training.teacher_config import TeacherConfig
from handsight.ranges import from_tree
from handsight.sims.scenes import SCENES

STUDY = Path(__file__).resolve().parents[3] / "benchmarks" / "study" / "study.toml"
BEST = Path("best.ckpt")
WANTED = {
    "wrist": {"state-to-stereo": 5, "depth-to-stereo": 5, "matched-to-stereo": 5, "depth-teacher-scratch": 3},
    "open": {"state-to-stereo": 5, "depth-to-stereo": 5},
}
"""The least that the study is to hold: cells and numbers of seeds."""


def spec(**more) -> StudyConfig:
    return from_tree(StudyConfig, {"scenes": {"wrist": {"cells": {"state-to-stereo": 1}}}, **more}, error=StudyError)


def test_cells_come_by_seed_after_what_they_need_and_those_from_scratch_last():
    cells = trainings_of("wrist", {"depth-scratch-to-stereo": 1, "depth-to-stereo": [3, 1], "matched-to-left": [1]})
    assert [(cell.seed, cell.name) for cell in cells] == [
        (1, "state-teacher"), (1, "depth-teacher"), (1, "depth-to-stereo"), (1, "matched-to-left"),
        (3, "state-teacher"), (3, "depth-teacher"), (3, "depth-to-stereo"),
        (0, "depth-teacher-scratch"), (0, "depth-scratch-to-stereo"),
    ]  # fmt: skip


def test_what_a_cell_is_made_of():
    cell = Training("wrist", 2, "depth-scratch-to-left")
    assert (cell.teacher, cell.sight, cell.kind.matched) == ("depth-teacher-scratch", "left", False)
    assert cell.kind.label == "depth → left eye"
    assert cell.key == "wrist/seed2/depth-scratch-to-left"
    matched = Training("wrist", 2, "matched-to-stereo").settle("depth-teacher")
    assert (matched.name, matched.teacher, matched.kind.matched) == ("depth-matched-to-stereo", "depth-teacher", True)
    assert Training("wrist", 0, "state-to-control").kind.sight == "state"


def test_cells_train_what_the_commands_do_without_options():
    study = spec()
    configs = {name: study.config(Training("wrist", 3, name), BEST) for name in ("state-teacher", "depth-teacher")}
    assert configs["state-teacher"] == replace(TeacherConfig.state(), seed=3)
    assert configs["depth-teacher"] == replace(TeacherConfig.warm_started(BEST), seed=3)
    scratch = study.config(Training("wrist", 3, "depth-teacher-scratch"))
    assert scratch == replace(TeacherConfig.depth(), seed=3)
    assert study.config(Training("wrist", 3, "state-to-stereo"), BEST) == StudentRunConfig(BEST, seed=3)
    control = study.config(Training("wrist", 3, "state-to-control"), BEST, Path("driver"))
    assert control == StudentRunConfig(BEST, seed=3, control=True, driver=Path("driver"))
    stereo = study.config(Training("wrist", 3, "state-to-stereo"), BEST, Path("driver"))
    assert isinstance(stereo, StudentRunConfig) and stereo.driver is None
    left = study.config(Training("wrist", 3, "state-to-left"), BEST)
    assert isinstance(left, StudentRunConfig) and left.student.sight == "left" and not left.control


def test_tables_change_some_fields_and_leave_the_others():
    changes = {
        "iterations": 7,
        "ppo": {"rate": {"minimum": 1e-5}},
        "curriculum": {"start": {"near": 1.0}, "gate": "near"},
    }
    config = spec(**{"state-teacher": changes}).config(Training("wrist", 0, "state-teacher"))
    base = TeacherConfig.state()
    assert isinstance(config, TeacherConfig) and config.iterations == 7
    assert config.ppo == replace(base.ppo, rate=replace(base.ppo.rate, minimum=1e-5))
    assert config.curriculum == replace(
        base.curriculum, start={"near": 1.0}, gate="near"
    )  # a mix is replaced as a whole


def test_worlds_are_the_scenes_with_changes():
    scenes = {"open": {"cells": {"state-teacher": 1}, "env": {"scene": {"rig": {"height": 16}}}}}
    study = from_tree(StudyConfig, {"scenes": scenes})
    rig = SCENES["open"].scene.rig
    assert study.env("open").scene.rig == replace(rig, height=16)
    config = study.config(Training("open", 0, "state-teacher"))
    assert isinstance(config, TeacherConfig) and config.env == study.env("open")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("studnt = {}", r"studnt: unknown name 'studnt' \(did you mean student\?\)"),
        ("student.dagger.gradient-stps = 3", r"student.dagger.gradient-stps: .*did you mean gradient_steps\?"),
        ('student.iterations = "many"', r"student.iterations: Input should be a valid integer.*found 'many'"),
        ("student.seed = 3", "student.seed is set by the study itself"),
        ("student.iterations = 0", r"StudentRunConfig.iterations: expected a whole number in 1\.\.10,000, found 0"),
        ("jobs = 0", r"StudyConfig.jobs: expected a whole number in 1\.\.1,024, found 0"),
        (
            "evaluation.seed = 600_000",
            r"TrialConfig.seed: expected .* 1,000,000\.\.1,900,000, found 600000",
        ),
        (
            "scenes.wrist.cells.state-to-setreo = 1",
            r"unknown cell 'state-to-setreo' \(did you mean state-to-stereo\?\)",
        ),
        (
            "scenes.wrist.cells.depth-to-stereo = -1",
            r"StudySceneConfig.cells: expected names, each with .* in 1\.\.1,000 or",
        ),
        ("scenes.wrst.cells.depth-to-stereo = 1", r"unknown scene 'wrst' \(did you mean wrist\?\)"),
        ("scenes.wrist.cels = {}", r"scenes.wrist.cels: .*did you mean cells\?"),
        ("jobs = ", "is not TOML"),
    ],
)
def test_mistake_is_named_with_the_nearest_known_name(tmp_path, text, message):
    path = tmp_path / "study.toml"
    path.write_text(f"scenes.wrist.cells.state-to-stereo = 1\n{text}\n")
    with pytest.raises(StudyError, match=rf"(?s)study .*study.toml.*{message}"):
        read_study(path)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(StudyError, match=r"nowhere.toml: expected a TOML file"):
        read_study(tmp_path / "nowhere.toml")


def test_committed_study_is_the_one_that_was_asked_for():
    study = read_study(STUDY)
    asked = {scene: {name: [] for name in WANTED[scene]} for scene in WANTED}
    for cell in study.trainings:
        if cell.name in asked.get(cell.scene, {}):
            asked[cell.scene][cell.name].append(cell.seed)
    assert {scene: {name: len(seeds) for name, seeds in names.items()} for scene, names in asked.items()} == WANTED
    assert study.config(Training("wrist", 1, "state-to-stereo"), BEST).iterations == 60


@pytest.mark.parametrize("name", ["study", "small"])
def test_committed_studies_name_a_primary_contrast_negative_controls_and_a_constant_rate(name):
    study = read_study(STUDY.with_name(f"{name}.toml"))
    primary = study.contrasts[str(study.primary)]
    assert primary.claim == 1 and not primary.control
    assert {one.scene for one in study.contrasts.values() if one.control} == {"wrist", "open"}
    student = study.config(Training("wrist", 0, "state-to-seen-position"), BEST)
    assert isinstance(student, StudentRunConfig) and student.dagger.final_rate == 1.0
    assert student.student.sight == "seen_position" and study.evaluation.postures == "held_out"


@pytest.mark.parametrize(
    ("contrast", "message"),
    [
        (
            {"loses": "state-to-steroe"},
            r"contrasts.c, scene wrist: unknown cell 'state-to-steroe' .did you mean state-to-s",
        ),
        ({"loses": "state-to-stereo", "minus": "open"}, r"contrasts.c, scene open: unknown cell 'state-to-stereo'"),
        (
            {"loses": "state-to-stereo", "control": True},
            r"primary: expected one of the contrasts of claim 1 \(\), found c",
        ),
        ({"loses": "state-to-stereo", "wher": "resets"}, r"contrasts.c.wher: .*did you mean where"),
    ],
)
def test_a_contrast_of_what_is_not_in_the_study_is_refused(contrast, message):
    with pytest.raises(StudyError, match=message):
        spec(primary="c", contrasts={"c": {"scene": "wrist", **contrast}})
