"""Contact forces as an observation group, on the real simulator."""

import mujoco
import numpy as np
import pytest
import torch

from handsight.distill.runs.policy_io import load_policy
from handsight.errors import HandsightError
from handsight.sims import EnvConfig, make
from handsight.sims.engines import mujoco_cpu
from handsight.students import StudentConfig


def forces(env, world):
    """(D,) N: the norm of the sum of MuJoCo's contact forces between each digit and the object in one world."""
    engine, ids = env.engine, env.engine._ids
    model, data = engine.scene.build(), mujoco.MjData(engine.model)
    model.opt.solver, model.opt.iterations = engine.model.opt.solver, engine.model.opt.iterations
    for name, values in engine._fields.items():
        getattr(model, name)[:] = values[world]
    mujoco.mj_setConst(model, mujoco.MjData(model))
    for name in ("qpos", "qvel", "ctrl", "qacc_warmstart"):
        getattr(data, name)[:] = engine._data[name][world]
    mujoco.mj_forward(model, data)
    roots = [model.body(digit.root).id for digit in engine.scene.robot.digits]
    total, one = np.zeros((len(roots), 3)), np.zeros(6)
    for i, contact in enumerate(data.contact):
        pair = [model.geom_bodyid[geom] for geom in contact.geom]
        if ids.object in pair:
            body = pair[1 - pair.index(ids.object)]
            while body and body not in roots:
                body = model.body_parentid[body]
            if body:
                mujoco.mj_contactForce(model, data, i, one)
                total[roots.index(body)] += contact.frame.reshape(3, 3).T @ one[:3]
    return np.linalg.norm(total, axis=1)


def test_touch_is_the_force_between_each_digit_and_the_object():
    policy = load_policy("zoo:state").policy
    env = make(EnvConfig(), (*policy.obs_keys, "touch"), 4)
    env.set_reset_mix({"near": 1.0})
    obs, hidden = env.reset(0), policy.initial_hidden(4)
    assert env.obs_spec["touch"].parts == {"digit_force": 4} and not obs["touch"].any()
    for _ in range(24):
        mean, _, hidden = policy(obs, hidden)
        obs = env.step(mean.detach()).obs
    felt, touching = obs["touch"], env.engine.read().touch[:, :-1]
    assert ((felt > 0) <= touching).all() and ((felt > 0.1).sum(1) >= 2).sum() >= 3  # most hold it by two digits
    for world in range(4):
        assert felt[world].numpy() == pytest.approx(forces(env, world), rel=0.15, abs=0.8)  # twelve iterations of PGS
    env.close()


def held(engine):
    """Force (1, 4) N of each digit after 16 steps of `zoo:state` in one world on an engine, and the environment."""
    policy = load_policy("zoo:state").policy
    env = make(EnvConfig(engine=engine, threads=1), (*policy.obs_keys, "touch"), 1)
    env.set_reset_mix({"near": 1.0})
    obs, hidden = env.reset(0), policy.initial_hidden(1)
    for _ in range(16):
        mean, _, hidden = policy(obs, hidden)
        obs = env.step(mean.detach()).obs
    return obs["touch"], env


def test_touch_is_the_same_on_both_engines_of_mujoco(monkeypatch):
    monkeypatch.setattr(mujoco_cpu, "SOLVER", (mujoco.mjtSolver.mjSOL_NEWTON, 8))
    expected, cpu = held("mujoco")
    felt, warp = held("mujoco_warp")
    assert (expected > 0.5).sum() >= 2 and felt == pytest.approx(expected, rel=0.05, abs=0.1)
    warp.engine.step(warp.engine._data["ctrl"].clone(), torch.ones(1, dtype=torch.bool))
    kept = warp.engine.state_dict()["state"]
    warp.engine.read()
    measured = warp.engine.state_dict()["state"]
    assert all(measured[name].equal(kept[name]) for name in kept)  # to measure is not to touch
    cpu.close()
    warp.close()


def test_touch_is_measured_only_where_it_is_asked_for_and_can_be():
    env = make(EnvConfig(), ("proprio",), 1)
    env.reset(0)
    assert env.engine.read().force is None
    env.close()
    with pytest.raises(HandsightError, match=r"group 'touch': expected an engine of MuJoCo, .* found 'isaacgym'"):
        make(EnvConfig(engine="isaacgym"), ("touch",), 1)
    assert StudentConfig(touch=True).obs_keys == ("stereo", "proprio", "touch")
    assert StudentConfig().obs_keys == ("stereo", "proprio")
