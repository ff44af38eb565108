"""Our ray caster beside mujoco_warp's renderer on scenes that nobody made up: the same pictures but for edge pixels."""

import tomllib
from pathlib import Path
from types import SimpleNamespace

import mujoco
import numpy as np
import pytest
import torch
from torch.nn.functional import max_pool2d

from handsight.sims import EnvConfig, make
from handsight.sims.cameras import CameraRig
from handsight.sims.engines import ray_cameras, ray_caster
from handsight.sims.engines.ray_cameras import RayCameras, batch_cameras, seen_by
from handsight.sims.engines.ray_caster import RayCaster, cannot_cast
from handsight.sims.objects.solids import directions

SHAPES = ("plane", "sphere", "capsule", "ellipsoid", "cylinder", "box", "mesh", "box", "cylinder", "capsule", "plane")
IDS = SimpleNamespace(object_geoms=(4, 5, 6))
WORLDS = 48
BOTH = ("depth", "stereo")
OCTAHEDRON = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]]) * [0.08, 0.06, 0.1]
PIECES = [OCTAHEDRON, [[x, y, z] for x in (-0.1, 0.05) for y in (0, 0.08) for z in (-0.04, 0.2)], directions(34) * 0.1]
"""Vertices of the meshes that take turns: 8, 6 and 64 planes, the second one's middle apart from the origin."""


def scene(rig, change=lambda spec: None):
    """A geom of every shape, some with a material; two lights and the cameras' own; the last geom is hidden,
    and what is farther than 0.8 m."""
    spec = mujoco.MjSpec()
    spec.visual.headlight.ambient, spec.visual.headlight.diffuse = [0.2, 0.25, 0.3], [0.3, 0.2, 0.1]
    spec.add_texture(
        name="checks", type=mujoco.mjtTexture.mjTEXTURE_2D, builtin=mujoco.mjtBuiltin.mjBUILTIN_CHECKER,
        width=16, height=8, rgb1=[0.9, 0.8, 0.7], rgb2=[0.2, 0.3, 0.4],
        mark=mujoco.mjtMark.mjMARK_EDGE, markrgb=[0.8, 0.1, 0.1],
    )  # fmt: skip
    for name, uniform in (("painted", False), ("uniform", True), ("plain", False)):
        material = spec.add_material(name=name, texrepeat=[3, 2], texuniform=uniform, rgba=[0.3, 0.9, 0.6, 1])
        if name != "plain":
            material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "checks"
    for name, piece in zip(("octahedron", "box", "ball"), PIECES, strict=True):
        spec.add_mesh(name=name, uservert=np.ravel(piece))
    for i, shape in enumerate(SHAPES):
        geom = spec.worldbody.add_geom(type=getattr(mujoco.mjtGeom, f"mjGEOM_{shape.upper()}"), size=[0.1] * 3, group=1)
        geom.rgba = [0.5, 0.5, 0.5, 1] if i in (1, 5) else [0.1 + 0.08 * i, 0.9 - 0.07 * i, 0.5, 1]
        geom.material = {1: "plain", 5: "painted", 7: "uniform"}.get(i, "")
        geom.meshname = "octahedron" if shape == "mesh" else ""
    spec.geoms[-1].group = 3
    for ambient in (0.1, 0.05):
        spec.worldbody.add_light(type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL, ambient=[ambient] * 3)
    for eye in ("left", "right"):
        spec.worldbody.add_camera(name=eye, fovy=rig.fov_y)
    change(spec)
    model = spec.compile()
    model.vis.map.zfar = 0.8 / model.stat.extent
    return model


def turns(draw, *shape):
    """Random rotations, (..., 9)."""
    quats, matrices = draw.standard_normal((*shape, 4)), np.empty((*shape, 9))
    for place in np.ndindex(*shape):
        mujoco.mju_quat2Mat(matrices[place], quats[place] / np.linalg.norm(quats[place]))
    return matrices


def worlds(model, seed):
    """Poses and looks: geoms ahead of the cameras; then all around them; with the eyes in geoms; square to the axes,
    the tops of two in one plane."""
    draw, n, g = np.random.default_rng(seed), WORLDS, model.ngeom
    poses = {
        "geom_xpos": draw.uniform((-0.4, -0.3, -1.0), (0.4, 0.3, -0.25), (n, g, 3)), "geom_xmat": turns(draw, n, g),
        "cam_xpos": draw.uniform(-0.05, 0.05, (n, 2, 3)), "cam_xmat": np.tile(np.eye(3).ravel(), (n, 2, 1)),
        "light_xdir": turns(draw, n, 2)[..., :3],
    }  # fmt: skip
    kind = np.arange(n) % 4
    poses["geom_xpos"][kind == 1] = draw.uniform(-0.4, 0.4, ((kind == 1).sum(), g, 3))
    poses["cam_xmat"][kind == 1] = turns(draw, (kind == 1).sum(), 2)
    within = np.arange(n)[:, None] // 4 % g + [0, 1]
    poses["cam_xpos"][kind == 2] = np.take_along_axis(poses["geom_xpos"], within[..., None] % g, 1)[kind == 2] + 0.01
    poses["cam_xmat"][kind == 2] = turns(draw, (kind == 2).sum(), 2)
    poses["geom_xmat"][kind == 3] = np.eye(3).ravel()
    poses["cam_xpos"][kind == 3] = np.round(poses["cam_xpos"][kind == 3], 2)
    looks = {
        "geom_size": draw.uniform(0.03, 0.15, (n, g, 3)) * np.where(model.geom_type == 0, 2.0, 1.0)[:, None],
        "geom_rgba": np.tile(model.geom_rgba, (n, 1, 1)), "geom_matid": np.tile(model.geom_matid, (n, 1)),
        "geom_dataid": np.tile(model.geom_dataid, (n, 1)),
        "light_diffuse": draw.uniform(0.1, 0.6, (n, 2, 3)),
    }  # fmt: skip
    for values in (poses["geom_xpos"], looks["geom_size"]):
        values[3::4, 7, 2] = values[3::4, 5, 2]
    poses["geom_xpos"][3::4, 7, :2] = poses["geom_xpos"][3::4, 5, :2]
    looks["geom_size"][::5, 0, 0] = 0  # a plane without an end
    looks["geom_rgba"][::7, 3, 3] = 0  # one that cannot be seen
    looks["geom_matid"][::3, 7] = -1
    looks["geom_dataid"][:, 6] = np.arange(n) // 4 % 4 - 1  # one of the pieces, or no geom
    return poses, looks


def pictures(camera, poses, looks):
    camera.set_looks(np.arange(WORLDS), looks)
    images = {name: image.clone() for name, image in camera.render(poses, BOTH).items()}
    camera.close()
    return images


def near(where):
    """Pixels with one of `where` (..., H, W) among their eight neighbours or themselves."""
    return max_pool2d(where.float().flatten(0, -3)[:, None], 3, 1, 1).reshape(where.shape) > 0


def spread(image):
    """How much the values (..., H, W) differ within 3 x 3 pixels."""
    flat = image.float().flatten(0, -3)[:, None]
    return (max_pool2d(flat, 3, 1, 1) + max_pool2d(-flat, 3, 1, 1)).reshape(image.shape)


def disagreement(ours, theirs):
    """Shares of pixels that differ, and of those that differ where the picture has no edge: depth, mask, colour."""
    depth, other = ours["depth"][:, 0], theirs["depth"][:, 0]
    wrong = {
        "depth": (depth - other).abs() > 2e-5 * (1 + other),
        "mask": ours["object_mask"] != theirs["object_mask"],
        "colour": (ours["stereo"].int() - theirs["stereo"].int()).abs().amax(2) > 1,
    }
    edge = {
        "depth": spread(other) > 0.01,
        "mask": spread(theirs["object_mask"]) > 0,
        "colour": near(spread(theirs["stereo"]).amax(2) > 3),
    }
    return {name: (float(w.float().mean()), float((w & ~edge[name]).float().mean())) for name, w in wrong.items()}


@pytest.mark.parametrize(("height", "width", "fov"), [(48, 64, 60.0), (31, 33, 45.0), (32, 32, 120.0)])
@pytest.mark.parametrize("seed", [0, 1])
def test_random_scenes_look_as_mujoco_warp_shows_them(height, width, fov, seed):
    """Sizes 3 to 15 cm, any pose, cameras among, behind and inside the geoms; 33 x 31 has rays along the axes."""
    rig = CameraRig(mount="palm", height=height, width=width, fov_y=fov)
    model = scene(rig)
    poses, looks = worlds(model, seed)
    ours = pictures(RayCaster(model, seen_by(rig, IDS), WORLDS, 2), poses, looks)
    theirs = pictures(RayCameras(model, IDS, rig, WORLDS, BOTH, 1), poses, looks)
    assert 0.2 < (theirs["depth"] > 0).float().mean() < 0.6 and theirs["object_mask"].any()
    for name, (anywhere, off_edges) in disagreement(ours, theirs).items():
        assert anywhere < 5e-4 and off_edges < 2e-5, name
    assert torch.equal(ours["object_pixels"][:, 0], ours["object_mask"].sum((1, 2)))
    assert ((ours["object_pixels"] - theirs["object_pixels"]).abs() <= 2).all()  # of both eyes
    assert not torch.equal(*theirs["object_pixels"].unbind(1))


def test_a_scene_without_a_light_is_dim_but_seen():
    def dark(spec):
        spec.visual.headlight.active = 0
        for light in list(spec.lights):
            spec.delete(light)

    rig = CameraRig(mount="palm")
    model = scene(rig, dark)
    poses, looks = worlds(model, 4)
    poses["light_xdir"], looks["light_diffuse"] = np.zeros((WORLDS, 0, 3)), np.zeros((WORLDS, 0, 3))
    ours = pictures(RayCaster(model, seen_by(rig, IDS), WORLDS, 2), poses, looks)
    del looks["light_diffuse"], poses["light_xdir"]
    theirs = pictures(RayCameras(model, IDS, rig, WORLDS, BOTH, 1), poses, looks)
    for name, (anywhere, off_edges) in disagreement(ours, theirs).items():
        assert anywhere < 5e-4 and off_edges < 2e-5, name


def test_real_resets_look_as_mujoco_warp_shows_them():
    env = make(EnvConfig(), ("depth", "stereo"), 32)
    env.reset(0)
    engine, rig = env.engine, env.engine.scene.config.rig
    ours = engine.render(BOTH)
    shown = RayCameras(engine.model, engine._ids, rig, 32, BOTH, 1)
    engine._cameras, caster = shown, engine._cameras
    shown.set_looks(np.arange(32), {name: engine._looks[name] for name in ray_caster.LOOKS if name in engine._looks})
    theirs = engine.render(BOTH)
    assert isinstance(caster, RayCaster)
    for name, (anywhere, off_edges) in disagreement(ours, theirs).items():
        assert anywhere < 3e-4 and off_edges < 2e-5, name
    caster.close()
    env.close()


def test_films_look_as_mujoco_warp_shows_them(monkeypatch):
    env = make(EnvConfig(), ("state",), 1)
    env.reset(0)
    ours = env.engine.render_overview(0)
    env.engine._overview = None
    monkeypatch.setattr(ray_cameras, "cannot_cast", lambda model, view: "nothing")
    theirs = env.engine.render_overview(0)
    apart = np.abs(ours.astype(int) - theirs).max(-1)
    assert ours.shape == theirs.shape == (240, 240, 3) and ours.dtype == theirs.dtype
    assert (apart > 1).mean() < 5e-4 and np.ptp(theirs) > 100
    env.close()


def test_images_do_not_depend_on_threads_nor_on_what_else_is_rendered():
    rig = CameraRig(height=31, width=33)
    model = scene(rig)
    poses, looks = worlds(model, 2)
    view = seen_by(rig, IDS)
    one, many = (pictures(RayCaster(model, view, WORLDS, threads), poses, looks) for threads in (1, 5))
    alone = RayCaster(model, view, WORLDS, 1)
    alone.set_looks(np.arange(WORLDS), looks)
    depth = alone.render(poses, ("depth",))
    assert sorted(depth) == ["depth", "object_mask", "object_pixels"]
    for name, image in one.items():
        left = image[:, :1] if name == "object_pixels" else image
        assert torch.equal(image, many[name]) and torch.equal(left, depth.get(name, left))


def test_a_mesh_of_six_faces_is_a_box():
    rig = CameraRig(height=48, width=64)
    sides = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * [0.12, 0.1, 0.07]

    def change(spec):
        spec.add_mesh(name="sides", uservert=sides.ravel())
        spec.geoms[5].material, spec.geoms[6].meshname = "", "sides"

    model = scene(rig, change)
    assert ray_caster.mesh_planes(model, 3).shape == (6, 4)
    poses, looks = worlds(model, 3)
    looks["geom_dataid"][:, 6], looks["geom_size"][:, 5] = 3, [0.12, 0.1, 0.07]
    looks["geom_rgba"][:, 6] = looks["geom_rgba"][:, 5] = [0.2, 0.4, 0.6, 1]
    turn = np.empty(9)
    mujoco.mju_quat2Mat(turn, model.mesh_quat[3])
    seen = []
    for shown, hidden in ((5, 6), (6, 5)):
        looks["geom_rgba"][:, shown, 3], looks["geom_rgba"][:, hidden, 3] = 1, 0
        at = {name: poses[name].copy() for name in poses}
        at["geom_xpos"][:, 6] = at["geom_xpos"][:, 5]
        at["geom_xmat"][:, 6] = (at["geom_xmat"][:, 5].reshape(-1, 3, 3) @ turn.reshape(3, 3)).reshape(-1, 9)
        view = seen_by(rig, SimpleNamespace(object_geoms=(shown,)))
        seen.append(pictures(RayCaster(model, view, WORLDS, 1), at, looks))
    assert seen[0]["object_mask"].float().mean() > 0.01
    for name, (anywhere, off_edges) in disagreement(seen[1], seen[0]).items():
        assert anywhere < 5e-4 and off_edges < 2e-5, name


def test_the_wheel_takes_the_cpp_along():
    root = Path(ray_caster.__file__).parents[2]
    patterns = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["handsight"]
    assert "sims/engines/*.h" in patterns and (root / "sims/engines/ray_caster.h").is_file()


def test_what_it_cannot_show_is_named_and_left_to_mujoco_warp():
    rig = CameraRig(height=32, width=32)
    model = scene(rig)
    assert cannot_cast(model, seen_by(rig, IDS)) is None

    def fine(spec):
        spec.add_mesh(name="fine", uservert=0.1 * directions(60).ravel())
        spec.geoms[6].meshname = "fine"

    model = scene(rig, fine)
    with pytest.warns(UserWarning, match="meshes that are not convex or have more than 64 faces: mujoco_warp renders"):
        cameras = batch_cameras(model, IDS, rig, 2, BOTH, 1)
    assert isinstance(cameras, RayCameras)
    cameras.close()

    def reason(change):
        return cannot_cast(scene(rig, change), seen_by(rig, IDS))

    point = lambda spec: spec.worldbody.add_light(type=mujoco.mjtLightType.mjLIGHT_POINT)  # noqa: E731
    assert reason(point) == "lights that are not directional"
    assert reason(lambda spec: setattr(spec.geoms[4], "material", "painted")) == "textures on geoms that are not boxes"
    flat = lambda spec: setattr(spec.cameras[0], "proj", mujoco.mjtProjection.mjPROJ_ORTHOGRAPHIC)  # noqa: E731
    assert reason(flat) == "cameras with a sensor size or without perspective"
    assert reason(lambda spec: [spec.worldbody.add_light() for _ in range(9)]) is not None
