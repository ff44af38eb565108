"""Images against geometry worked out by hand."""

import dataclasses

import mujoco
import numpy as np
import pytest
import torch

from handsight.errors import HandsightError
from handsight.sims import CameraRig, EnvConfig, GraspConfig, make
from handsight.sims.cameras import FARTHEST, depth_to_millimetres, sense_depth
from handsight.sims.draws import Draws
from handsight.sims.env_config import EXACT_DEPTH, DepthSensor, Randomization, SceneConfig

STILL = Randomization(camera_shift=0, camera_turn=0, depth=EXACT_DEPTH, pixel_noise=0, textures=False)
ABOVE = CameraRig(
    mount="world",
    position=(0.62, 0.0, 0.8),
    right=(0, -1, 0),
    up=(1, 0, 0),
    height=64,
    width=64,
    fov_y=50,
    depth_max=1.2,
)


def look(rig=ABOVE, randomization=STILL, num_envs=8, observe=("state", "depth", "stereo"), seed=0):
    config = EnvConfig(scene=SceneConfig(rig=rig), task=GraspConfig(randomization=randomization))
    env = make(config, observe, num_envs)
    return env, env.reset(seed)


def test_depth_of_the_table_is_the_distance_along_the_optical_axis():
    """From 0.8 m above, looking straight down, every pixel of the table reads 800 mm, in the corners too."""
    env, obs = look()
    corner = obs["depth"][:, 0, -1, :4]
    assert corner.tolist() == [[800] * 4] * 8
    env.close()


def test_depth_is_clipped_and_zero_where_nothing_is_hit():
    rig = CameraRig(depth_max=0.5)
    depth = torch.tensor([0.0, 0.2, 0.4996, 0.7]).reshape(1, 1, 2, 2)
    assert depth_to_millimetres(depth, rig).flatten().tolist() == [0, 200, 500, 500]
    assert depth_to_millimetres(depth, rig).dtype == torch.int16


def test_objects_are_seen_where_they_stand():
    """Pinhole by hand: the left eye sits 3 cm toward +y, image x runs along -y: u = cx + f (0.03 - y) / Z."""
    rig = dataclasses.replace(ABOVE, height=128, width=128)
    env, _ = look(rig)
    obs = without_arm(env)
    position, size = env.engine.read().object_pos, env._params.size
    for world in range(8):
        top = 2 * float(size[world, 2])
        rows, columns = torch.nonzero(obs["depth"][world, 0] < 1000 * (0.8 - 0.7 * top), as_tuple=True)
        u = 64 + rig.focal_pixels * (0.03 - float(position[world, 1])) / (0.8 - top)
        v = 64 + rig.focal_pixels * (0.62 - float(position[world, 0])) / (0.8 - top)
        middle = [(float(x.min()) + float(x.max())) / 2 for x in (columns, rows)]
        assert middle == pytest.approx([u, v], abs=7), world  # 1 px is 5 mm; a mug's handle sticks out by 14 mm
    env.close()


def test_the_right_eye_sees_the_table_shifted_by_its_disparity():
    rig = dataclasses.replace(ABOVE, height=128, width=128)
    env, _ = look(rig, randomization=dataclasses.replace(STILL, textures=True))
    obs = without_arm(env)
    shift = [_shift_between(*obs["stereo"][world].float().mean(1)) for world in range(8)]
    assert np.median(shift) == pytest.approx(rig.disparity(0.8), abs=1)  # 10.3 px
    env.close()


def without_arm(env):
    """The same worlds with the arm swung aside."""
    engine = env.engine
    engine._data["qpos"][:, 0] = 1.8
    engine._batch.forward()
    return env._observe(engine.read())


def _shift_between(left, right):
    """Columns by which the right image must be moved to look like the left one."""
    costs = [float((left[:, s:] - right[:, : right.shape[1] - s]).abs().mean()) for s in range(1, 24)]
    return 1 + int(np.argmin(costs))


def test_only_the_groups_asked_for_are_rendered_and_any_mix_sees_the_same():
    env, both = look(observe=("depth", "stereo"))
    env.close()
    env, depth = look(observe=("depth",))
    assert sorted(depth.keys()) == ["depth"]
    assert torch.equal(both["depth"], depth["depth"])
    env.close()


def test_looks_differ_between_worlds_and_noise_between_steps():
    env, obs = look(randomization=Randomization())
    assert len({tuple(image.flatten()[:300].tolist()) for image in obs["stereo"]}) == 8
    grain = obs["stereo"].float() - look(randomization=dataclasses.replace(Randomization(), pixel_noise=0))[1]["stereo"]
    assert grain.std() == pytest.approx(3.0, rel=0.15)
    assert abs(float(grain.mean())) < 0.2
    env.close()


def test_visibility_counts_the_objects_pixels_in_the_left_eye():
    env, _ = look()
    visible = env.measure()["visible"]
    area = env._params.size[:, 0] * env._params.size[:, 1] * 4
    assert ((visible == 0) | (visible > 0.0005)).all()
    assert float(visible.max()) < 3 * float(area.max()) / (2 * 0.8 * np.tan(np.radians(25))) ** 2 * 3
    mask = env.object_mask()
    assert mask is not None and mask.dtype == torch.bool
    assert torch.equal(mask.float().mean(dim=(1, 2)), visible)
    assert visible.max() > 0
    env.close()


def test_each_eye_has_its_own_visibility_and_depth_alone_only_the_lefts():
    env, _ = look(observe=("depth", "stereo"))
    left, right = (env.measure()[name] for name in ("visible", "visible_right"))
    env.close()
    moved, _ = look(dataclasses.replace(ABOVE, position=(0.62, -0.06, 0.8)))  # its left eye is where the right one was
    assert torch.equal(moved.measure()["visible"], right) and not torch.equal(left, right)
    moved.close()
    env, _ = look(observe=("depth",))
    assert "visible_right" not in env.measure() and torch.equal(env.measure()["visible"], left)
    env.close()


def calibrated(**changes):
    """Worlds whose cameras differ, and what their calibration says."""
    config = EnvConfig()
    randomization = dataclasses.replace(config.task.randomization, **changes)
    task = dataclasses.replace(config.task, randomization=randomization)
    return make(dataclasses.replace(config, task=task), ("proprio", "calibration", "stereo"), 4)


def test_extrinsics_are_the_poses_that_the_simulator_renders_from():
    env = calibrated(baseline=0.01, eye_turn=0.05, camera_turn=0.1)
    env.reset(3)
    poses, fields, ids = env.drawn()["mount_from_eye"], env.engine._fields, env.engine._ids
    for eye, camera in enumerate(ids.cameras):
        place, rotation = fields["cam_pos"][:, camera], np.empty((4, 9))
        for row, quat in zip(rotation, fields["cam_quat"][:, camera], strict=True):
            mujoco.mju_quat2Mat(row, quat)
        np.testing.assert_allclose(poses[:, eye, :3, 3], place, atol=1e-6)
        np.testing.assert_allclose(poses[:, eye, :3, :3].reshape(4, 9), rotation, atol=1e-5)
    apart = (poses[:, 1, :3, 3] - poses[:, 0, :3, 3]).norm(dim=1)
    assert apart.std() > 1e-3 and ((apart - 0.06).abs() <= 0.01).all()
    env.close()


def test_the_calibration_says_how_the_cameras_differ():
    env = calibrated(baseline=0.01, eye_turn=0.05)
    obs, spec = env.reset(3), env.obs_spec["calibration"]
    poses = env.drawn()["mount_from_eye"]
    apart = (poses[:, 1, :3, 3] - poses[:, 0, :3, 3]).norm(dim=1) - 0.06
    torch.testing.assert_close(obs["calibration"][:, spec.part("baseline")][:, 0], apart, atol=1e-6, rtol=1e-3)
    assert obs["calibration"].shape == (4, 13) and obs["calibration"][:, spec.part("eye_turn")].abs().max() <= 0.05
    env.close()


def test_by_default_both_eyes_keep_their_distance_and_direction():
    env = calibrated()
    obs, spec = env.reset(3), env.obs_spec["calibration"]
    assert not obs["calibration"][:, spec.part("baseline")].abs().max() > 1e-7
    assert not obs["calibration"][:, spec.part("eye_turn")].any()
    env.close()


def sense(depth, **errors):
    """What a camera with only these errors reports, m. depth (N, 1, H, W) m."""
    draws = Draws(7, torch.arange(len(depth)), torch.zeros(len(depth), dtype=torch.int64))
    return sense_depth(dataclasses.replace(EXACT_DEPTH, **errors), depth, CameraRig(), draws)


def step_of_depth(near=0.2, far=0.4, edge=20):
    """(64, 1, 32, 32) m: a wall at `far`, and from column `edge` on something at `near`."""
    depth = torch.full((64, 1, 32, 32), far)
    depth[..., edge:] = near
    return depth


def test_an_exact_depth_camera_reports_the_truth():
    depth = step_of_depth()
    depth[:, :, 3] = 0
    torch.testing.assert_close(sense(depth), depth)


@pytest.mark.parametrize("z", [0.2, 0.4])
def test_depth_errs_by_the_error_of_a_match(z):
    """sigma_z = z^2 / (f b) sigma_d; f = 16 / tan(22.5 deg) = 38.63 px, b = 6 cm, sigma_d = .1 px."""
    error = sense(torch.full((64, 1, 32, 32), z), disparity_noise=0.1) - z
    assert float(error.std()) == pytest.approx(0.1 * z**2 / (38.63 * 0.06), rel=0.05)
    assert abs(float(error.mean())) < 0.1 * float(error.std())


def test_what_something_nearer_hides_from_the_right_eye_has_no_return():
    """From .4 m (5.79 px of disparity) to .2 m (11.59 px): the step is 5.79 px, so wide is its shadow."""
    shadow = (sense(step_of_depth(), shadows=True) == 0)[:, 0]
    assert shadow[0, 0].nonzero()[:, 0].tolist() == [15, 16, 17, 18, 19]
    assert (shadow == shadow[0, 0]).all()
    assert not (sense(step_of_depth(near=0.4, far=0.2), shadows=True) == 0).any()  # to the right of it nothing hides


def test_pixels_beside_a_step_take_their_neighbours_depth():
    seen = sense(step_of_depth(), edge_mix=0.3)
    mixed = (seen - step_of_depth()).abs() > 1e-4
    assert mixed.any(dim=(0, 1, 2)).nonzero()[:, 0].tolist() == [19, 20]
    assert float(mixed[..., 19:21].float().mean()) == pytest.approx(0.3, abs=0.03)
    torch.testing.assert_close(seen[..., 19].unique(), torch.tensor([0.2, 0.4]))


def test_a_share_of_the_pixels_drops_out():
    assert float((sense(step_of_depth(), dropout=0.05) == 0).float().mean()) == pytest.approx(0.05, rel=0.1)


@pytest.mark.parametrize("wrong", [{"disparity_noise": -0.1}, {"dropout": 1.5}, {"edge_mix": float("nan")}])
def test_a_depth_camera_with_impossible_errors_is_refused(wrong):
    with pytest.raises(HandsightError, match=next(iter(wrong))):
        DepthSensor(**wrong)


def test_the_pair_turns_as_one_rigid_body():
    """A turn by .1 about the camera's y axis: the eyes keep their distance and stay on the pair's own x axis, so that
    the images stay rectified."""
    env = calibrated(camera_turn=0.1)
    env.reset(3)
    poses = env.drawn()["mount_from_eye"]
    between = poses[:, 1, :3, 3] - poses[:, 0, :3, 3]
    for eye in range(2):
        torch.testing.assert_close(between, 0.06 * poses[:, eye, :3, 0], atol=1e-6, rtol=0)
    nominal = torch.tensor(CameraRig().right)
    apart = torch.linalg.cross(between / 0.06, nominal.expand(4, 3)).norm(dim=1)
    assert apart.max() > 0.03  # it does turn
    env.close()


def test_a_pixel_looks_through_its_middle():
    """A tilted camera: points at Z (j + .5 - cx) / f, Z (i + .5 - cy) / f lie on the table, at height 0."""
    env, _ = look(dataclasses.replace(ABOVE, up=(0.866, 0.0, 0.5), right=(0.0, -1.0, 0.0)))
    obs, rig = without_arm(env), env.engine.scene.config.rig
    (fx, _, cx), (_, fy, cy), _ = rig.intrinsics()
    poses = env.drawn()["mount_from_eye"][0, 0]
    depth = obs["depth"][0, 0].double() / 1000
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    seen = (depth > 0) & (depth < rig.depth_max)
    points = torch.stack([(columns + 0.5 - cx) / fx * depth, -(rows + 0.5 - cy) / fy * depth, -depth], -1)
    height = (points @ poses[:3, :3].T.double() + poses[:3, 3].double())[..., 2][seen]
    table = height[height < 0.005]  # the object stands above it
    assert len(table) > 1000
    assert float(table.abs().mean()) < 4e-4  # half a pixel off would be 4 mm
    env.close()


def test_what_is_nearest_is_a_return_and_millimetres_are_rounded():
    depth = torch.tensor([1e-4, 0.0016, 0.2494, 0.2496]).reshape(1, 1, 2, 2)
    assert depth_to_millimetres(depth, CameraRig()).flatten().tolist() == [1, 2, 249, 250]


def test_a_match_beyond_the_farthest_is_far_and_never_behind_the_camera():
    """At 20 m the disparity is .1159 px, at 32 m .0724: an error of 1 px leaves .483 of the matches below that."""
    seen = sense(torch.full((64, 1, 32, 32), 20.0), disparity_noise=1.0)
    assert seen.min() > 0 and seen.max().item() == pytest.approx(FARTHEST)
    assert float((seen > FARTHEST - 1e-3).float().mean()) == pytest.approx(0.483, abs=0.02)
