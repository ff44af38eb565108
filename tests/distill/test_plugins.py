"""Tasks, policies, students, robots, objects and metrics of one's own: the files of docs/plugins, and small ones."""

import os
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest
import torch

from handsight import plugins, sims
from handsight.distill.commands import cli
from handsight.distill.evaluation.evaluation import Evaluation
from handsight.distill.runs import checkpoint, stored_config
from handsight.distill.runs.policy_io import BEST, PolicyError, load_policy
from handsight.errors import HandsightError
from handsight.sims.checker import check_vec_env
from handsight.sims.env_config import EnvConfig, SceneConfig
from handsight.sims.scenes import with_robot, with_task

EXAMPLES = Path(__file__).parents[2] / "docs" / "plugins"
NAMED = ["--plugin", str(EXAMPLES / "reach.py"), f"--plugin={EXAMPLES / 'scripted.py'}"]


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
    """No plugin is loaded, and none stays."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    for variable in ("PYTHONPATH", plugins.VARIABLE):
        monkeypatch.setenv(variable, os.environ.get(variable, ""))
    forget(monkeypatch)
    yield
    for name in set(sys.modules) - before:
        if not name.startswith(("handsight", "torch")) and str(EXAMPLES) in str(
            getattr(sys.modules[name], "__file__", "")
        ):
            del sys.modules[name]


def forget(monkeypatch):
    monkeypatch.setattr(plugins, "_things", {kind: {} for kind in plugins.KINDS})
    monkeypatch.setattr(plugins, "_modules", [])
    monkeypatch.setenv(plugins.VARIABLE, "")


def test_a_scripted_teacher_of_an_own_task_teaches_an_own_network(tmp_path, monkeypatch, capsys):
    """The whole way by the command line, and then without its plugins."""
    taught = tmp_path / "straight"
    assert cli.main(["import-policy", "plugin", "Straight", *NAMED, "--task", "reach", "--out", str(taught)]) == 0
    words = ["--episodes", "8", "--num-envs", "8", "--reset-kind", "easy"]
    assert cli.main(["evaluate", str(taught), *NAMED, *words, "--out", str(tmp_path / "found")]) == 0
    found = Evaluation.load(tmp_path / "found")
    assert found.success_at_end.mean() >= 0.75  # it goes straight there
    assert max(found.measured["closest [m]"]) < 0.2 and "closest" in capsys.readouterr().out
    assert "closest [m]" in (tmp_path / "found" / "episodes.csv").read_text().splitlines()[0]

    small = ["--student.memory-size", "8", "--student.image-features", "8", "--student.hidden", "8"]
    short = ["--num-envs", "4", "--iterations", "1", "--dagger.gradient-steps", "2", "--dagger.batch-sequences", "4"]
    network = ["--plugin", str(EXAMPLES / "small_net.py"), "--student.network", "SmallNet", *small, *short]
    network += ["--runs", str(tmp_path / "runs")]
    assert cli.main(["train-student", "--teacher", str(taught), *NAMED, *network]) == 0
    student = next((tmp_path / "runs").glob("student-stereo-from-state/*"))
    loaded = load_policy(student)
    assert loaded.kind == "SmallNet" and loaded.env_config.task.name == "reach"
    assert loaded.signature["task"] == "reach" and hasattr(loaded.policy, "look")

    forget(monkeypatch)
    capsys.readouterr()
    for run, plugin in ((taught, "scripted"), (student, "small_net")):
        assert cli.main(["evaluate", str(run)]) == 2
        said = capsys.readouterr().err
        assert f"--plugin {plugin}" in said and "--plugin reach" in said and "not loaded" in said
        assert plugins.loaded() == []


def test_a_checkpoint_that_names_a_plugin_does_not_import_it(tmp_path, monkeypatch):
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nPOLICIES = ()\n")
    policy = {"type": "evil", "config": {}, "action_dim": 6, "weights": {}}
    signature = {"task": "evil", "obs": {}}
    environment = {"task": {"name": "evil"}}
    for name in ("evil", "evil:Evil", "evil.Evil", "os", ["evil"]):
        tree = {"policy": policy | {"type": name}, "signature": signature, "env_config": environment}
        checkpoint.save(tmp_path / "a.ckpt", tree | {"plugins": ["evil"]})
        with pytest.raises(PolicyError, match=r"made with plugins that are not loaded: --plugin evil"):
            load_policy(tmp_path / "a.ckpt")
    assert not (tmp_path / "ran").exists() and "evil" not in sys.modules


def test_an_own_task_keeps_the_contract_and_its_configuration_travels():
    plugins.load(str(EXAMPLES / "reach.py"))
    config = with_task(EnvConfig(), "reach")
    config = replace(config, task=replace(config.task, near=0.1, episode_steps=5))
    env = sims.make(config, ("state", "proprio"), 3)
    assert "the same seed and actions repeat bit for bit" in check_vec_env(env)
    assert env.signature["task"] == "reach" and env.episode_steps == 5
    env.close()
    stored = stored_config.dump(config)
    assert stored["task"]["near"] == 0.1
    assert stored_config.read(EnvConfig, stored, "here", HandsightError) == config
    with pytest.raises(HandsightError, match=r"near"):
        stored_config.read(EnvConfig, {**stored, "task": {**stored["task"], "near": -1}}, "here", HandsightError)
    assert sims.describe(config, ("state",))["state"].shape == (46,)


def test_fields_of_an_own_task_are_options():
    asked = cli.read(cli._found("commands.arguments.CheckEnvArgs"), [], "handsight check-env")
    assert asked.env.task.name == "grasp"
    words = cli._plugged_in([*NAMED[:2], "--task", "reach", "--env.task.near", "0.2"])
    asked = cli.read(cli._found("commands.arguments.CheckEnvArgs"), words, "handsight check-env")
    assert (asked.env.task.name, asked.env.task.near) == ("reach", 0.2)


def test_processes_that_are_started_know_what_was_named():
    plugins.load(str(EXAMPLES / "reach.py"))
    program = (
        "from handsight.sims.scenes import with_task\nfrom handsight.sims.env_config import EnvConfig\n"
        "print(type(with_task(EnvConfig(), 'reach').task).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "ReachConfig\n"


def test_robots_and_objects_of_a_plugin_are_used_by_their_names(tmp_path):
    (tmp_path / "things.py").write_text(
        "from dataclasses import replace\n"
        "from handsight.sims.objects.primitives import PRIMITIVES\n"
        "from handsight.sims.robots.kuka_allegro import KUKA_ALLEGRO\n"
        "ROBOTS = [replace(KUKA_ALLEGRO, name='mine'), replace(KUKA_ALLEGRO, name='kuka_allegro')]\n"
        "OBJECTS = [replace(PRIMITIVES, name='few', train=PRIMITIVES.train[:2])]\n"
    )
    plugins.load("things")
    env = sims.make(with_robot(EnvConfig(scene=SceneConfig(objects="few")), "mine"), ("state",), 2)
    assert (env.signature["robot"]["name"], env.signature["objects"]["name"]) == ("mine", "few")
    env.reset(0)
    env.close()
    from handsight.sims.robots.kuka_allegro import KUKA_ALLEGRO
    from handsight.sims.robots.mjcf import named_robot

    assert named_robot("kuka_allegro") is KUKA_ALLEGRO  # a name of ours is never replaced


def test_installed_plugins_are_found_by_name_and_imported_only_then(tmp_path, monkeypatch):
    (tmp_path / "installed.py").write_text((EXAMPLES / "reach.py").read_text())
    mine = {"reach": "installed:ReachTask", "lost": "no:No"}
    points = EntryPoints(EntryPoint(name, value, "handsight.tasks") for name, value in mine.items())
    monkeypatch.setattr(plugins, "entry_points", lambda group: points.select(group=group))
    with pytest.raises(HandsightError, match=r"unknown task 'reech' \(did you mean reach\?\); .* carry, lost, reach"):
        with_task(EnvConfig(), "reech")
    assert "installed" not in sys.modules
    assert with_task(EnvConfig(), "reach").task.name == "reach"
    assert plugins.loaded() == ["installed"]
    with pytest.raises(plugins.PluginError, match="plugin no:No: cannot be imported"):
        with_task(EnvConfig(), "lost")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--plugin"], "--plugin: expected the name of a module, or a file"),
        (["--plugin", "no_such_module"], "--plugin no_such_module: cannot be imported: No module named"),
        (["--plugin=json"], "--plugin json: expected one of TASKS, ROBOTS, OBJECTS, POLICIES, STUDENTS, METRICS in it"),
        (["--student.network", "Smal"], "unknown student.network 'Smal'; available: StereoStudent"),
    ],
)
def test_mistakes_are_said(words, said, capsys, tmp_path):
    runs = ["--runs", str(tmp_path)]
    assert cli.main(["train-student", "--teacher", "zoo:state", "--num-envs", "2", *runs, *words]) == 2
    assert said in capsys.readouterr().err


def test_a_plugin_without_a_command_is_no_command(capsys):
    assert cli.main(NAMED[:2]) == 2
    assert "unknown command ''; available: demo" in capsys.readouterr().err


def test_an_unknown_policy_of_a_plugin_is_said(capsys, tmp_path):
    assert cli.main(["import-policy", "plugin", "Strait", *NAMED, "--out", str(tmp_path / "x")]) == 2
    assert "unknown policy of a plugin 'Strait' (did you mean Straight?)" in capsys.readouterr().err


def test_without_plugins_checkpoints_say_nothing_of_them():
    assert "plugins" not in checkpoint.load(load_policy("zoo:state").path)
    assert BEST and torch.is_grad_enabled()
