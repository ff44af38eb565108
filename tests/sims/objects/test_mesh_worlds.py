"""Worlds whose objects are meshes: contacts, pictures, resting poses, splits, and saving."""

import copy
from dataclasses import dataclass, replace

import mujoco
import numpy as np
import pytest
import torch

from handsight.distill.training.student_config import StudentRunConfig
from handsight.distill.training.teacher_config import TeacherConfig
from handsight.errors import HandsightError
from handsight.sims import EnvConfig, GraspConfig, make
from handsight.sims.engines.ray_cameras import RayCameras
from handsight.sims.engines.ray_caster import RayCaster
from handsight.sims.env_config import KINDS, SceneConfig
from handsight.sims.objects.object_set import ObjectSet
from handsight.sims.objects.procedural import HELD_OUT, TRAIN, procedural
from handsight.sims.objects.solids import MAX_PLANES, Solid, directions, planes, support
from handsight.sims.scene import Scene

WORLDS = 12
CONFIG = EnvConfig(scene=SceneConfig(objects="procedural"), threads=1)


@pytest.fixture(scope="module")
def env():
    made = make(CONFIG, ("state", "depth", "stereo"), WORLDS)
    yield made
    made.close()


def test_the_set_has_160_things_to_train_on_and_40_others():
    objects = procedural()
    facts = objects.meshes.facts()
    assert (len(objects.train), len(objects.held_out)) == (TRAIN, HELD_OUT) == (160, 40)
    assert len({*facts}) == len({*facts.values()}) == 200  # no name and no shape is in both
    assert all("held_out" in name for name in objects.held_out) and not any("held_out" in n for n in objects.train)
    for solid in objects.meshes.solids:
        assert len(solid.pieces) <= 3 and max(len(planes(piece)) for piece in solid.pieces) <= MAX_PLANES
        assert 0.01 < solid.mass < 0.4 and solid.half.max() < 0.065 and (solid.inertia > 0).all()
        assert (solid.inertia.sum() - 2 * solid.inertia > 0).all()  # no axis has more than the others together


@dataclass(frozen=True)
class Alone(ObjectSet):
    """One object of the set, whose meshes MuJoCo itself compiles into the geoms."""

    kind: int = 0

    def add_to(self, spec, body, **geom):
        self.meshes.add_to(spec)
        for number in range(len(self.meshes.solids[self.kind].pieces)):
            mesh = f"object_{self.kind}_{number}"
            body.add_geom(name=f"object_piece_{number}", type=mujoco.mjtGeom.mjGEOM_MESH, meshname=mesh, **geom)


def contacts(model, count, qpos):
    """(C, 4): depth and place of the contacts of the object's first geoms, in order."""
    data = mujoco.MjData(model)
    data.qpos[:] = qpos
    mujoco.mj_forward(model, data)
    pieces = [model.geom(f"object_piece_{number}").id for number in range(count)]
    return np.array(sorted((c.dist, *c.pos) for c in data.contact if {c.geom1, c.geom2} & {*pieces}))


def test_a_world_has_the_contacts_of_a_model_with_its_object_alone(env):
    """Pushed into the table and into the hand: the contacts that MuJoCo finds where it compiled this object itself."""
    env.reset(1)
    engine, found = env.engine, []
    for world in range(4):
        kind = int(env._params.kind[world])
        solid = procedural().meshes.solids[kind]
        alone = Scene(objects=Alone(**vars(procedural()), kind=kind)).build()
        shared = copy.copy(engine.model)
        for name, values in engine._fields.items():
            getattr(shared, name)[:] = values[world].reshape(getattr(shared, name).shape)
        for place in (engine.read().grasp_pos[world], [0.6, 0.1, float(solid.heights[0]) - 0.004]):
            qpos = engine._data["qpos"][world].copy()
            qpos[-7:-4], qpos[-4:] = place, solid.rests[0]
            theirs, ours = (contacts(model, len(solid.pieces), qpos) for model in (alone, shared))
            assert ours.shape == theirs.shape
            np.testing.assert_allclose(ours, theirs, atol=1e-5)
            found.append(len(ours))
    assert sum(found) > 20


def test_things_rest_as_they_were_laid_down(env):
    """A second without an action: only what the hand stands on may move."""
    env.reset(2)
    begun = env.engine.read()
    for _ in range(12):
        step = env.step(torch.zeros(WORLDS, env.action_dim))
    body = env.engine.read()
    cosine = ((begun.object_rot * body.object_rot).sum((1, 2)) - 1) / 2
    still = ((body.object_pos - begun.object_pos).norm(dim=1) < 0.002) & (cosine > 0.999)
    assert still.sum() >= WORLDS - 2
    assert step.log["lift"][still].abs().max() < 0.002
    turned = begun.object_rot[:, 2, 2].abs()
    assert (turned < 0.99).any() and (turned > 0.99).any()  # some stand, some lie


def test_resets_look_as_mujoco_warp_shows_them(env):
    env.reset(3)
    engine, both = env.engine, ("depth", "stereo")
    ours, caster = engine.render(both), engine._cameras
    shown = RayCameras(engine.model, engine._ids, engine.scene.config.rig, WORLDS, both, 1)
    shown.set_looks(np.arange(WORLDS), engine._looks)
    engine._cameras = shown
    theirs = engine.render(both)
    engine._cameras = caster
    assert isinstance(caster, RayCaster) and ours["object_mask"].any(dim=(1, 2)).sum() > 3
    assert ((ours["depth"] - theirs["depth"]).abs() > 1e-4).float().mean() < 3e-4
    assert (ours["object_mask"] != theirs["object_mask"]).float().mean() < 3e-4
    assert ((ours["stereo"].int() - theirs["stereo"].int()).abs() > 1).float().mean() < 6e-4
    shown.close()


def test_state_tells_the_shape_and_not_the_name(env):
    obs, spec = env.reset(4), env.obs_spec["state"]
    assert "object_kind" not in spec.parts and spec.parts["object_shape"] == 32
    for world, kind in enumerate(env._params.kind.tolist()):
        solid = procedural().meshes.solids[kind]
        reach = support(np.concatenate(solid.pieces), directions())
        np.testing.assert_allclose(obs["state"][world, spec.part("object_shape")], reach, atol=1e-6)
        np.testing.assert_allclose(obs["state"][world, spec.part("object_size")], solid.half, atol=1e-6)
    np.testing.assert_allclose(obs["state"][:, spec.part("object_lift")], 5e-4, atol=1e-5)


def test_a_saved_world_goes_on_bit_for_bit(env):
    env.reset(5)
    actions = torch.rand(8, WORLDS, env.action_dim, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for action in actions[:4]:
        env.step(action)
    saved = env.state_dict()
    once = [env.step(action) for action in actions[4:]]
    env.reset(6)
    env.load_state_dict(saved)
    for action, before in zip(actions[4:], once, strict=True):
        after = env.step(action)
        assert all(torch.equal(after.obs[group], before.obs[group]) for group in env.obs_spec)


def test_episodes_meet_their_split_alone():
    objects = procedural()
    assert objects.drawn(KINDS, "train") == objects.train and objects.drawn(KINDS, "held_out") == objects.held_out
    assert objects.drawn(KINDS, "all") == objects.names and objects.drawn(("mug_0",), "held_out") == ("mug_0",)
    with pytest.raises(HandsightError, match=r"'procedural': unknown kind of object 'mug_00' \(did you mean mug_0\?\)"):
        objects.drawn(("mug_00",), "train")
    for split, names in (("train", objects.train), ("held_out", objects.held_out)):
        env = make(replace(CONFIG, task=GraspConfig(split=split)), ("state",), 256)
        met = set()
        for seed in range(4):
            env.reset(seed)
            met |= {env.kinds[kind] for kind in env._params.kind.tolist()}
        env.close()
        assert met <= {*names} and len(met) > 0.9 * len(names)


@pytest.mark.parametrize("config", [TeacherConfig, lambda env: StudentRunConfig(teacher="zoo:state", env=env)])
def test_no_training_draws_held_out_objects(config):
    for split in ("held_out", "all"):
        with pytest.raises(HandsightError, match=f"expected env.task.split 'train', found '{split}'"):
            config(env=replace(CONFIG, task=GraspConfig(split=split)))


def test_what_does_not_fit_the_hand_is_named():
    wide = np.array([[x, y, z] for x in (-0.15, 0.15) for y in (-0.15, 0.15) for z in (-0.15, 0.15)])
    scene = Scene(objects=ObjectSet.of_solids("crates", [Solid.of("crate", [wide])]))
    with pytest.raises(HandsightError, match=r"'crates' does not fit .* kuka_allegro: 'crate' is 0\.300 m wide"):
        scene.check_fit(scene.build(), ("crate",))


def test_isaac_gym_refuses_meshes():
    with pytest.raises(HandsightError, match="engine 'isaacgym' has no meshes: expected objects 'primitives'"):
        make(replace(CONFIG, engine="isaacgym"), ("state",), 1)
