"""The engine `mujoco_warp` on Warp's CPU back end: its contract, and its agreement with the CPU engine."""

import math
from dataclasses import replace

import mujoco
import numpy as np
import pytest
import torch

from handsight.errors import HandsightError
from handsight.sims import EnvConfig, GraspConfig, make
from handsight.sims.checker import check_vec_env
from handsight.sims.engines import mujoco_cpu
from handsight.sims.engines.contact_buffers import BufferOverflow
from handsight.sims.engines.mujoco_gpu import WarpEngine
from handsight.sims.engines.world_fields import EXPANDED, PHYSICS
from handsight.sims.env_config import EXACT_DEPTH, Randomization, SceneConfig, WarpConfig
from handsight.sims.memory import PIXEL_BYTES, world_bytes
from handsight.sims.scene import Scene

ALL = ("state", "proprio", "depth", "stereo")
NEAR = {"near": 1.0}
WORLDS = 4


def config(engine="mujoco_warp", substeps=10, warp=None, **task):
    return EnvConfig(
        engine=engine,
        scene=SceneConfig(substeps=substeps),
        task=GraspConfig(**task),
        warp=warp or WarpConfig(),
        threads=1,
    )


@pytest.fixture(scope="module")
def twins():
    """The same worlds on both engines, CPU, then Warp, with the same solver and a depth camera without errors."""
    exact = {"reset_mix": NEAR, "randomization": Randomization(depth=EXACT_DEPTH)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mujoco_cpu, "SOLVER", (mujoco.mjtSolver.mjSOL_NEWTON, 8))
        envs = [make(config(engine, **exact), ALL, WORLDS) for engine in ("mujoco", "mujoco_warp")]
    yield envs
    for env in envs:
        env.close()


@pytest.fixture(scope="module")
def short():
    """Two physics steps in a control step and three control steps in an episode, so that a test costs little."""
    env = make(config(substeps=2, episode_steps=3), ALL, WORLDS)
    yield env
    env.close()


def drive(env, actions):
    return [env.step(action) for action in actions]


def noise(steps, worlds=WORLDS, seed=0):
    return torch.rand(steps, worlds, 6, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def closing(steps):
    """Down, and the hand closes: the fingers meet the object and the table."""
    action = torch.zeros(steps, WORLDS, 6)
    action[..., 2], action[..., 4:] = -0.5, 1.0
    return action


def copy_physics(cpu, warp):
    """Put the Warp engine's worlds, which are in the same episodes, into the very state of the CPU engine's."""
    state = cpu.state_dict()
    physics = {name: torch.from_numpy(value) for name, value in state["engine"]["state"].items()}
    physics["time"] = physics["time"].reshape(-1)
    return warp.load_state_dict(state | {"engine": {"state": physics, "fields": warp.engine.state_dict()["fields"]}})


def apart(a, b):
    return float((a.double() - b.double()).abs().max())


def test_the_engine_keeps_the_contract(short):
    promises = check_vec_env(short)
    assert len(promises) == 7 and not any("not offered" in promise for promise in promises)


def test_both_engines_draw_the_same_and_begin_alike(twins):
    begun = [env.reset(3) for env in twins]
    drawn = [env.drawn() for env in twins]
    assert all(torch.equal(drawn[0][name], drawn[1][name]) for name in drawn[0])
    assert apart(begun[0]["state"], begun[1]["state"]) < 1e-5
    assert apart(begun[0]["proprio"], begun[1]["proprio"]) < 1e-5


def test_every_field_of_a_world_is_what_mujoco_makes_of_its_parameters(twins):
    """Also the constants that follow from inertia, for which MuJoCo is asked; world 2 of each."""
    cpu, warp = twins
    for env in twins:
        env.reset(4)
    model = Scene(SceneConfig()).build()
    for name in (*PHYSICS, "geom_aabb"):
        field = getattr(model, name)
        field[:] = cpu.engine._fields[name][2].reshape(field.shape)
    mujoco.mj_setConst(model, mujoco.MjData(model))
    for name in set(EXPANDED) - {"geom_rgba", "geom_matid", "light_diffuse", "light_dir", "geom_rbound"}:
        ours = warp.engine._fields[name][2].double().numpy()
        expected = getattr(model, name).reshape(ours.shape)
        if name == "geom_aabb":  # the floor's is without end
            ours, expected = (box[list(warp.engine._ids.object_geoms)] for box in (ours, expected))
        np.testing.assert_allclose(ours, expected, rtol=2e-6, atol=1e-6, err_msg=name)
    size = warp.drawn()["geom_size"][2]
    radius = [size[0].norm(), size[1].norm(), size[2, :2].norm()]
    found = warp.engine._fields["geom_rbound"][2, list(warp.engine._ids.object_geoms)]
    assert apart(found, torch.stack(radius)) < 1e-6


def test_one_step_from_the_same_state_agrees(twins):
    """In free motion and in contact, to rounding: 10^-4 rad, 2 10^-5 m, 10^-5 of reward, and the very same touches. But
    for impacts: where an object is struck within the step, rounding decides which way it flies; at most 20 % of steps.
    """
    cpu, warp = twins
    cpu.reset(5), warp.reset(5)
    joints, agrees, touched = warp.obs_spec["proprio"].part("joint_position"), [], 0
    for action in closing(16):
        copy_physics(cpu, warp)
        ours, theirs = warp.step(action), cpu.step(action)
        for name in ("terminated", "truncated", "first", "valid"):
            assert torch.equal(getattr(ours, name), getattr(theirs, name))
        here, there = warp.engine.read(), cpu.engine.read()
        bounds = [
            (ours.reward[:, None], theirs.reward[:, None], 1e-5),
            (ours.obs["proprio"][:, joints], theirs.obs["proprio"][:, joints], 1e-4),
            (here.object_pos, there.object_pos, 2e-5),
            (here.touch.int(), there.touch.int(), 0),
            (ours.obs["depth"].flatten(1).int(), theirs.obs["depth"].flatten(1).int(), 2),
        ]
        agrees.append(torch.stack([((a - b).abs() <= bound).float().mean(1) > 0.998 for a, b, bound in bounds]).all(0))
        touched += int(there.touch.sum())
    assert torch.stack(agrees).float().mean() >= 0.8
    assert touched > 50


def test_a_grasp_goes_on_bit_for_bit_from_a_saved_state(twins):
    _, warp = twins
    warp.reset(5)
    drive(warp, closing(8))
    saved = warp.state_dict()
    once = drive(warp, closing(3))
    drive(warp, noise(2))
    warp.load_state_dict(saved)
    for ours, theirs in zip(drive(warp, closing(3)), once, strict=True):
        assert all(torch.equal(ours.obs[group], theirs.obs[group]) for group in ALL)


def test_a_second_of_free_motion_stays_together(twins):
    """13 control steps (1.04 s): the arm follows its targets, the object falls and tumbles; nothing touches."""
    cpu, warp = twins
    for env in twins:
        env.reset(6)
    joints = cpu.engine.read().joint_pos
    place = torch.tensor([[3.0, 0.0, 8.0]]).repeat(WORLDS, 1)
    upright = torch.tensor([[1.0, 0.0, 0.0, 0.0]]).repeat(WORLDS, 1)
    everyone = torch.ones(WORLDS, dtype=torch.bool)
    spin = torch.tensor([3.0, -2.0, 1.0])
    for env in twins:
        env.engine.reset(everyone, joints, place, upright, env._params)
        env.engine._data["qvel"][:, 26:29] = spin if env is warp else spin.numpy()
    for t in range(13):
        targets = joints + 0.2 * math.sin(0.5 * (t + 1))
        assert not any(env.engine.step(targets, everyone).any() for env in twins)
    ours, theirs = warp.engine.read(), cpu.engine.read()
    assert float(theirs.object_pos[:, 2].max()) < 4.0 and float((theirs.joint_pos - joints).abs().max()) > 0.01
    assert apart(ours.joint_pos, theirs.joint_pos) < 1e-4
    assert apart(ours.object_pos, theirs.object_pos) < 1e-3
    assert apart(ours.object_rot, theirs.object_rot) < 1e-3
    assert apart(ours.tip_pos, theirs.tip_pos) < 1e-4


def test_images_of_the_same_state_agree(twins):
    for env in twins:
        env.reset(7)
    theirs, ours = (env.engine.render(("depth", "stereo")) for env in twins)
    assert apart(ours["object_pixels"], theirs["object_pixels"]) <= 2
    hit = (ours["depth"] > 0) & (theirs["depth"] > 0)
    assert ((ours["depth"] > 0) == (theirs["depth"] > 0)).float().mean() > 0.999
    assert ((ours["depth"] - theirs["depth"]).abs()[hit] < 1e-4).float().mean() > 0.998
    assert ((ours["stereo"].int() - theirs["stereo"].int()).abs() <= 1).float().mean() > 0.998


def test_a_diverged_world_is_invalid_and_the_others_stay_bit_identical(short):
    actions = noise(3)
    short.reset(2)
    healthy = drive(short, actions)
    short.reset(2)
    for i, action in enumerate(actions):
        if i == 1:
            short.engine._data["qvel"][2, 0] = math.nan
        step = short.step(action)
        flags = [False, False, i == 1, False]
        assert step.log["diverged"].tolist() == flags and step.first.tolist() == flags
        assert step.valid.tolist() == [not flag for flag in flags]
        others = [0, 1, 3]
        for group in ALL:
            assert torch.isfinite(step.obs[group].float()).all()
            assert torch.equal(step.obs[group][others], healthy[i].obs[group][others])


def test_a_diverged_world_begins_anew_as_if_nothing_had_been(short):
    """Nothing of the state that was not finite is left: the world goes on as one whose episode merely ended."""
    short.reset(2)
    short._ended[:] = True
    reset = drive(short, noise(2))
    short.reset(2)
    short.engine._data["qpos"][2, 3] = math.inf
    diverged = drive(short, noise(2))
    for ours, theirs in zip(diverged, reset, strict=True):
        assert torch.equal(ours.obs["state"][2], theirs.obs["state"][2])
        assert torch.equal(ours.obs["depth"][2], theirs.obs["depth"][2])


def test_a_recorded_step_is_the_launched_one_bit_for_bit(short):
    short.reset(9)
    recorded = drive(short, noise(2))
    plain = make(config(substeps=2, episode_steps=3, warp=WarpConfig(graphs=False)), ALL, WORLDS)
    plain.reset(9)
    for ours, theirs in zip(drive(plain, noise(2)), recorded, strict=True):
        assert all(torch.equal(ours.obs[group], theirs.obs[group]) for group in ALL)
    plain.close()


def test_worlds_do_not_depend_on_their_neighbours(short):
    """Worlds 0..3 as a whole are world 2 alone, bit for bit."""
    short.reset(8)
    together = drive(short, noise(2))
    alone = make(config(substeps=2, episode_steps=3), ALL, 1, world_offset=2)
    alone.reset(8)
    for whole, single in zip(together, drive(alone, noise(2)[:, 2:3]), strict=True):
        assert all(torch.equal(whole.obs[group][2:3], single.obs[group]) for group in ALL)
    alone.close()


@pytest.mark.parametrize(
    ("room", "words"),
    [
        ({"njmax": 16}, r"world \d needed \d+ constraint rows, .* room for 16: set --env.warp.njmax to at least \d+"),
        (
            {"nconmax": 2},
            r"4 worlds needed \d+ contacts .* room for 8; world \d had most .*--env.warp.nconmax to at least \d",
        ),
    ],
)
def test_contacts_without_room_are_an_error_that_names_world_and_size(room, words):
    env = make(config(warp=WarpConfig(**room), reset_mix=NEAR), ("state",), WORLDS)
    env.reset(5)
    with pytest.raises(BufferOverflow, match=words):
        drive(env, closing(16))
    env.close()


def test_an_overview_shows_the_world(short):
    short.reset(0)
    image = short.render_overview(1, 24, 32)
    assert image.shape == (24, 32, 3) and image.dtype == np.uint8 and image.std() > 10


def test_physics_state_holds_time_positions_and_velocities(short):
    short.reset(0)
    short.step(torch.zeros(WORLDS, 6))
    state = short.physics_state()
    assert state.shape == (WORLDS, 1 + 30 + 29) and state.dtype == torch.float64
    assert state[:, 0].tolist() == pytest.approx([2 * 0.08 / 9] * WORLDS, abs=1e-6)


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(HandsightError, match=r"device 'cuda:7' cannot be used here; available: cpu"):
        make(config(), ("state",), 1, device="cuda:7")
    with pytest.raises(HandsightError, match=r"device 'gpu' cannot be used here.*use engine 'mujoco'"):
        make(config(), ("state",), 1, device="gpu")


def test_more_worlds_than_memory_holds_are_refused_and_those_that_fit_are_told():
    with pytest.raises(HandsightError, match=r"1,000,000,000 worlds of about .* MiB .* at most [\d,]+ fit"):
        make(config(), ("state",), 10**9)


def test_a_feature_that_mujoco_warp_lacks_is_named(monkeypatch):
    model = Scene(SceneConfig()).build()
    model.opt.solver = mujoco.mjtSolver.mjSOL_PGS
    monkeypatch.setattr(Scene, "build", lambda scene: model)
    with pytest.raises(HandsightError, match="'mujoco_warp' cannot simulate this model: mjSOL_PGS"):
        make(config(warp=WarpConfig(nconmax=41)), ("state",), 1)


def test_a_world_with_cameras_and_more_room_takes_more_memory():
    plain = world_bytes(config(), ("state",)).all
    assert 50_000 < plain < 1_000_000
    rig = config().scene.rig
    assert world_bytes(config(), ("depth",)).all - plain == PIXEL_BYTES * rig.height * rig.width
    roomy = config(warp=replace(WarpConfig(), nconmax=96))
    assert world_bytes(roomy, ("state",)).all > plain + 48 * 6_000


def test_an_engine_without_cameras_says_so(twins):
    engine = WarpEngine(Scene(SceneConfig(substeps=1)), 1, ())
    with pytest.raises(RuntimeError, match="made without cameras"):
        engine.render(("depth",))


def test_whatever_touches_the_object_meets_the_friction_that_was_drawn(twins):
    """Fingers and table alike, on both engines: MuJoCo takes the larger one of a pair unless one geom has priority."""
    cpu, warp = twins
    for env in twins:
        env.reset(5)
        for action in closing(12):
            env.step(action)
    ids, drawn, contact = cpu.engine._ids, cpu.drawn()["friction"], warp.engine._d.contact
    touching = slice(0, int(warp.engine._d.nacon.numpy()[0]))
    geoms, worlds = contact.geom.numpy()[touching], contact.worldid.numpy()[touching]
    found = [*zip(worlds, geoms, contact.friction.numpy()[touching, 0], strict=True)]
    model = cpu.engine.model
    data = mujoco.MjData(model)
    for world in range(WORLDS):
        for name in ("geom_size", "geom_pos", "geom_friction"):
            getattr(model, name)[:] = cpu.engine._fields[name][world].reshape(getattr(model, name).shape)
        data.qpos[:] = cpu.engine._data["qpos"][world]
        mujoco.mj_fwdPosition(model, data)
        found += [(world, one.geom.copy(), one.friction[0]) for one in data.contact]
    met = [(pair, mu, float(drawn[world])) for world, pair, mu in found if set(pair) & set(ids.object_geoms)]
    fingers = [pair for pair, _, _ in met if model.geom_contype[pair].min() == 1]
    assert len(met) > 16 and len(fingers) > 4
    assert [one for one in met if one[1] != pytest.approx(one[2], rel=1e-5)] == []
