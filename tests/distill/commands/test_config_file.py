"""Options from a file, a training that begins as another run did, and completion in the shell."""

import json
import subprocess
from dataclasses import replace

import pytest

from handsight.distill.commands import cli
from handsight.distill.commands.arguments import CompareArgs, EvaluateArgs
from handsight.distill.commands.presets import saved_worlds
from handsight.distill.runs.run import Run
from handsight.distill.training.student_config import StudentRunConfig
from handsight.distill.training.teacher_config import TeacherConfig
from handsight.errors import HandsightError
from handsight.sims.scenes import SCENES


def written(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    return ["--config", str(tmp_path / name)]


def test_a_file_says_what_the_options_say_and_the_command_line_has_the_last_word(tmp_path):
    words = written(tmp_path, "a.toml", 'policy = "zoo:state"\nepisodes = 8\nnum-envs = 4\ndeterministic = false\n')
    found = cli.read(EvaluateArgs, words, "handsight evaluate")
    assert (str(found.policy), found.episodes, found.num_envs, found.deterministic) == ("zoo:state", 8, 4, False)
    changed = cli.read(EvaluateArgs, ["zoo:depth", *words, "--episodes", "9", "--deterministic"], "handsight evaluate")
    assert changed == replace(found, policy=changed.policy, episodes=9, deterministic=True)
    assert str(changed.policy) == "zoo:depth"
    several = written(
        tmp_path, "b.json", json.dumps({"policies": ["zoo:state", "zoo:depth"], "videos": False, "out": None})
    )
    compared = cli.read(CompareArgs, several, "handsight compare")
    assert [str(one) for one in compared.policies] == ["zoo:state", "zoo:depth"] and not compared.videos


def test_a_file_of_a_training_holds_its_worlds_and_its_tables(tmp_path):
    text = 'scene = "open"\niterations = 7\n[ppo]\nclip = 0.3\n[policy]\nhidden = [64, 32]\n'
    text += "[env.scene.rig]\nbaseline = 0.2\n"
    words = [*written(tmp_path, "t.toml", text), "--ppo.clip", "0.1"]
    config, start, changes = cli.read_training(TeacherConfig, words, "handsight train-teacher state", "state")
    assert (config.iterations, config.ppo.clip, config.policy.hidden) == (7, 0.1, (64, 32))
    assert config.env.scene.rig == replace(SCENES["open"].scene.rig, baseline=0.2)
    assert start.resume is None and not changes


def test_the_config_json_of_a_run_is_such_a_file(tmp_path):
    wanted = replace(TeacherConfig.state(), iterations=5, num_envs=32)
    run = Run.create("teacher-state", wanted, tmp_path)
    found, *_ = cli.read_training(TeacherConfig, ["--config", str(run.path / "config.json")], "handsight", "state")
    assert found == wanted


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.toml", "episodes = ", "expected a TOML or JSON file, found Invalid value"),
        ("a.json", "[1]", "expected names and values, found a list"),
        ("a.json", "[" * 100_000, "expected a TOML or JSON file"),
        (None, "", "expected a TOML or JSON file, found .*No such file"),
    ],
)
def test_a_file_that_is_none_is_refused_by_name(tmp_path, name, text, message):
    words = written(tmp_path, name, text) if name else ["--config", str(tmp_path / "none.toml")]
    with pytest.raises(HandsightError, match=rf"--config {tmp_path}.*: {message}"):
        cli.read(EvaluateArgs, words, "handsight evaluate")


def test_a_name_in_a_file_that_is_no_option_is_refused_as_an_option(tmp_path, capsys):
    with pytest.raises(SystemExit) as left:
        cli.read(EvaluateArgs, written(tmp_path, "a.toml", 'policy = "zoo:state"\nepisods = 8\n'), "handsight evaluate")
    assert left.value.code == 2 and "--episods" in "".join(capsys.readouterr())


def test_a_training_begins_as_another_run_did_and_options_change_it(tmp_path):
    wanted = replace(TeacherConfig.state().with_worlds(SCENES["open"]), iterations=5, num_envs=32)
    run = Run.create("teacher-state", wanted, tmp_path)
    words = ["--like", str(run.path), "--iterations", "6"]
    config, start, changes = cli.read_training(TeacherConfig, words, "handsight train-teacher state", "state")
    assert config == replace(wanted, iterations=6) and start.resume is None and not changes
    elsewhere, *_ = cli.read_training(TeacherConfig, [*words, "--scene", "occluded"], "handsight", "state")
    assert elsewhere.env.scene == SCENES["occluded"].scene and elsewhere.num_envs == 32
    with pytest.raises(HandsightError, match="found a state teacher, asked for a depth one"):
        cli.read_training(TeacherConfig, words, "handsight", "depth")
    with pytest.raises(HandsightError, match="expected no --preset"):
        cli.read_training(TeacherConfig, [*words, "--preset", "cpu"], "handsight", "state")


def test_a_student_like_another_one_may_have_worlds_of_its_own(tmp_path):
    wanted = StudentRunConfig(teacher="zoo:state", iterations=3)
    run = Run.create("student-stereo-from-state", wanted, tmp_path)
    same, *_ = cli.read_training(StudentRunConfig, ["--like", str(run.path)], "handsight", None)
    assert same == replace(wanted, teacher=same.teacher) and str(same.teacher) == "zoo:state"
    sharper, *_ = cli.read_training(StudentRunConfig, ["--like", str(run.path), "--image", "48x48"], "handsight", None)
    rig = saved_worlds("zoo:state")[0].scene.rig
    assert sharper.env.scene.rig == replace(rig, height=48, width=48) and sharper.iterations == 3


COMPLETE = """
source {script}
try() {{
  COMP_WORDS=(handsight "$@"); COMP_CWORD=$#; COMPREPLY=()
  "$(complete -p handsight | sed 's/.*-F \\([^ ]*\\) .*/\\1/')" handsight "${{@: -1}}" "${{@: -2:1}}"
  echo "${{COMPREPLY[*]}}"
}}
try eval; try evaluate --ep; try train-teacher state --ppo.cl; try robot c; try train-student --student.fusion co
"""


def test_bash_completes_commands_options_and_values(tmp_path, capsys):
    assert cli.main(["--tyro-print-completion", "bash"]) == 0
    script = tmp_path / "handsight.bash"
    script.write_text(capsys.readouterr().out)
    done = subprocess.run(["bash", "-c", COMPLETE.format(script=script)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "evaluate", "--episodes", "--ppo.clip --ppo.clip-critic-apart", "check", "concat correlation"
    ]  # fmt: skip


def test_a_shell_that_is_not_known_is_refused(capsys):
    assert cli.main(["--tyro-print-completion", "fish"]) == 2
    assert "expected one of bash, zsh, tcsh, found fish" in capsys.readouterr().err
