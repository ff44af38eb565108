"""Cameras beside the pair: what they give, where they are, and who refuses them."""

from dataclasses import replace

import pytest
import torch

from handsight.distill.commands import cli
from handsight.distill.commands.arguments import CheckEnvArgs
from handsight.errors import HandsightError
from handsight.sims import EnvConfig, make
from handsight.sims.checker import check_vec_env
from handsight.sims.env_config import CameraConfig, GraspConfig, SceneConfig
from handsight.sims.scenes import FIXED, with_cameras

from .draws_probe import ABOVE, ONE

TOP = CameraConfig(
    "top", ("rgb", "depth", "segmentation"), position=ABOVE.position, right=ABOVE.right, up=ABOVE.up, fov_y=50,
    depth_max=1.2,
)  # fmt: skip


def worlds(*cameras, **task):
    scene = SceneConfig(rig=ABOVE, cameras=cameras)
    return EnvConfig(scene=scene, task=GraspConfig(randomization=ONE, **task), threads=1)


def same(one, other, within=0):
    """Share of the pixels that are the same, or as near as that."""
    return ((one.int() - other.int()).abs() <= within).float().mean()


def test_a_camera_in_the_left_eyes_place_sees_what_that_sees():
    """Above the table like the pair's left eye, and beside it: the same pixels without the pair's noise."""
    eye = replace(TOP, position=tuple(p - 0.03 * r for p, r in zip(ABOVE.position, ABOVE.right, strict=True)))
    env = make(worlds(eye), ("stereo", "depth", "top_rgb", "top_depth", "top_segmentation"), 4)
    obs = env.reset(0)
    assert same(obs["top_rgb"], obs["stereo"][:, 0]) > 0.999 and same(obs["top_depth"], obs["depth"], 1) > 0.999
    assert same(obs["top_segmentation"][:, 0], env.object_mask()) > 0.999 and obs["top_segmentation"].any()
    assert [env.obs_spec[f"top_{kind}"].shape for kind in TOP.gives] == [(3, 64, 64), (1, 64, 64), (1, 64, 64)]
    moved = env.step(torch.ones(4, 6)).obs
    assert same(moved["top_rgb"], moved["stereo"][:, 0]) > 0.999 > same(moved["top_rgb"], obs["top_rgb"])
    env.close()


def test_the_pair_and_all_else_is_bit_for_bit_what_it_was_without():
    groups = ("state", "proprio", "depth", "stereo")
    plain, more = (make(EnvConfig(scene=SceneConfig(cameras=c), threads=1), groups, 3) for c in ((), (TOP,)))
    seen = [(plain.reset(1), more.reset(1))]
    seen += [(plain.step(action).obs, more.step(action).obs) for action in torch.ones(3, 3, 6)]
    for one, other in seen:
        assert all(torch.equal(one[group], other[group]) for group in groups)
    assert plain.signature == more.signature
    plain.close(), more.close()


def test_worlds_with_a_camera_alone_keep_the_contract():
    place = {"mount": "palm", "position": (0.11, 0, -0.14), "right": (0, -1, 0), "up": (-0.96, 0, 0.28)}
    wrist = CameraConfig("palm", ("depth",), **place, height=16, width=24)
    env = make(worlds(wrist, TOP, episode_steps=4), ("proprio", "palm_depth"), 2)
    assert len(check_vec_env(env)) == 7 and env.obs_spec["palm_depth"].shape == (1, 16, 24)
    assert "visible" not in env.measure()
    env.close()


def test_a_calibration_stands_for_the_field_of_view():
    """64 pixels high and focal length 32: 90 degrees. What is not rectified is refused."""
    assert replace(TOP, intrinsics=(32.0, 32.0, 32.0, 32.0)).opening == pytest.approx(90)
    assert TOP.opening == 50
    for wrong in ((32.0, 40.0, 32.0, 32.0), (32.0, 32.0, 20.0, 32.0), (32.0, 32.0, 32.0, 40.0), (0.0, 0.0, 32.0, 32.0)):
        with pytest.raises(HandsightError, match=r"camera 'top': expected intrinsics fx = fy > 0, cx = 32 and cy = 32"):
            replace(TOP, intrinsics=wrong)


def test_a_file_on_the_command_line_says_which_cameras_there_are(tmp_path):
    file = tmp_path / "eyes.toml"
    file.write_text('[rig]\nbaseline = 0.1\n[[cameras]]\nname = "side"\ngives = ["rgb", "depth"]\nheight = 16\n')
    env = cli.read(CheckEnvArgs, ["--cameras", str(file), "--scene", "open"], "x").env
    assert env.scene.rig == replace(FIXED, baseline=0.1) and [*env.scene.camera_groups] == ["side_rgb", "side_depth"]
    assert env.scene.cameras == (CameraConfig("side", ("rgb", "depth"), height=16),)
    for text, words in (
        ('[[cameras]]\nnam = "side"', r"cameras.nam: unknown name 'nam' \(did you mean name\?\)"),
        ('[[cameras]]\nname = "a b"', "camera 'a b': expected a name of letters"),
        ('[[cameras]]\nname = "a"\ngives = ["heat"]', "gives.0: Input should be 'rgb', 'depth' or 'segmentation'"),
        ("[wall]", "unknown table 'wall'"), ("[[cameras]]", "cameras.0.name: expected it, found nothing"),
    ):  # fmt: skip
        file.write_text(text)
        with pytest.raises(HandsightError, match=words):
            with_cameras(EnvConfig(), file)


def test_what_cannot_have_them_says_so():
    with pytest.raises(HandsightError, match=r"group 'top_rgb': expected engine 'mujoco', which has it, found"):
        make(replace(worlds(TOP), engine="mujoco_warp"), ("top_rgb",), 1)
    with pytest.raises(HandsightError, match=r"camera 'top': unknown mount 'plam' \(did you mean palm\?\)"):
        make(worlds(replace(TOP, mount="plam")), ("top_rgb",), 1)
    with pytest.raises(HandsightError, match=r"unknown observation groups \['top_rgb'\]"):
        make(worlds(), ("top_rgb",), 1)
