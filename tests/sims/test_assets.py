"""Robots and objects by name: where they are looked for, and what is said where they are not."""

import pytest

from handsight.sims import EnvConfig
from handsight.sims.assets import AssetError, find, named
from handsight.sims.env_config import SceneConfig
from handsight.sims.scene import Scene
from handsight.sims.scenes import SCENES, with_robot, with_scene


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Two folders that are searched; `arm.toml` lies in both."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "arm.toml").touch()
    monkeypatch.setenv("HANDSIGHT_ASSETS", f"{tmp_path / 'first'}:{tmp_path / 'second'}")
    return tmp_path


def test_folders_are_searched_in_their_order(folders):
    assert find("robot", "arm", ".toml") == folders / "first" / "arm.toml"
    (folders / "second" / "things").mkdir()
    assert find("objects", "things") == folders / "second" / "things"


def test_a_file_on_the_command_line_goes_before_them_all(folders, tmp_path):
    (tmp_path / "third").mkdir()
    (tmp_path / "third" / "arm.toml").touch()
    assert named("robot", str(tmp_path / "third" / "arm.toml")) == "arm"
    assert find("robot", "arm", ".toml").parent.name == "third"


def test_what_is_not_here_is_named_with_what_is(folders):
    with pytest.raises(
        AssetError, match=r"robot 'leg' is not built in: expected leg.toml .* --robot .* available: arm"
    ):
        find("robot", "leg", ".toml")
    with pytest.raises(AssetError, match="expected a TOML file, found none"):
        named("robot", "nowhere.toml")


@pytest.mark.parametrize("name", ["../arm", "/etc/arm", "", ".hidden"])
def test_a_name_of_a_stranger_leads_nowhere(folders, name):
    with pytest.raises(AssetError, match="expected a name of letters"):
        find("robot", name, ".toml")


def test_the_robot_of_a_configuration_is_the_scenes():
    assert Scene(SceneConfig()).robot.name == "kuka_allegro"
    with pytest.raises(AssetError, match="robot 'no_such' is not built in"):
        Scene(SceneConfig(robot="no_such"))


def test_our_own_robot_in_every_scene_is_what_it_was():
    for name, env in SCENES.items():
        assert with_robot(with_scene(EnvConfig(), name), "kuka_allegro") == env
