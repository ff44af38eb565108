"""What control students are told of the object's place, and arm postures that no training meets."""

import dataclasses

import mujoco
import pytest
import torch

from handsight.sims import EnvConfig, make
from handsight.sims.env_config import SceneConfig
from handsight.sims.scene import Scene
from handsight.sims.tasks.resets import BANKS, RESETS, PostureBank

PLACES = ("position", "noisy_position", "seen_position")
CPU = torch.device("cpu")


def sigma(metres: float, threads: int = 1) -> EnvConfig:
    config = EnvConfig(threads=threads)
    randomization = dataclasses.replace(config.task.randomization, position_noise=metres)
    return dataclasses.replace(config, task=dataclasses.replace(config.task, randomization=randomization))


def test_position_is_that_of_the_state_and_noise_is_as_large_as_it_says():
    env = make(sigma(0.02), ("state", *PLACES[:2]), 256)
    obs = env.reset(5)
    exact = obs["state"][:, env.obs_spec["state"].part("object_from_palm")]
    assert torch.equal(obs["position"], torch.cat([exact, torch.ones(256, 1)], 1))
    after = env.step(torch.zeros(256, 6)).obs
    errors = [one["noisy_position"][:, :3] - one["position"][:, :3] for one in (obs, after)]
    assert float(errors[0].std()) == pytest.approx(0.02, rel=0.1) and abs(float(errors[0].mean())) < 0.003
    assert float((errors[0] * errors[1]).mean()) == pytest.approx(0, abs=6e-5)  # .02^2 is 4e-4: drawn anew
    assert torch.equal(env.reset(5)["noisy_position"], obs["noisy_position"])
    env.close()


def test_a_place_is_known_while_either_eye_sees_the_object_and_nothing_else_is_observed_for_it():
    env = make(EnvConfig(threads=2), ("position", "seen_position"), 128)
    obs = env.reset(1_000_000)
    assert set(obs.keys()) == {"position", "seen_position"}
    left, right = (env.measure()[name] > 0 for name in ("visible", "visible_right"))
    assert (left & ~right).any() and (right & ~left).any() and not (left | right).all()
    expected = torch.where((left | right)[:, None], obs["position"], 0.0)
    assert torch.equal(obs["seen_position"], expected)
    env.close()


def test_what_else_is_observed_does_not_depend_on_them():
    alone, beside = (make(EnvConfig(threads=1), groups, 4) for groups in (("depth",), ("depth", *PLACES)))
    assert torch.equal(alone.reset(3)["depth"], beside.reset(3)["depth"])
    alone.close(), beside.close()


def banks() -> tuple[PostureBank, PostureBank, mujoco.MjModel]:
    scene = Scene(SceneConfig())
    model = scene.build()
    return *(PostureBank(scene.robot, model, CPU, name) for name in BANKS), model


def test_held_out_postures_are_others_of_the_same_kinds_and_trainings_keep_theirs():
    training, held_out, _ = banks()
    # as version 0.1 drew them: the first posture of "wide", and the sum of all
    assert training.joint_pos[2, 0, :3].tolist() == pytest.approx([0.498607, 0.701962, -0.307166], abs=1e-5)
    assert float(training.joint_pos.double().sum()) == pytest.approx(-941.0377, abs=0.01)
    assert (held_out.joint_pos.flatten(0, 1)[:, None] - training.joint_pos.flatten(0, 1)).norm(dim=2).min() > 1e-3
    reach = torch.tensor([kind.palm_xy for kind in RESETS.values()])
    away = (held_out.grasp_xy - held_out._centre).abs()
    assert (away <= reach[:, None] + 1e-6).all() and (away.amax(1) > 0.9 * reach).all()


def test_an_environment_takes_the_postures_that_it_is_asked_for():
    joints = {}
    for postures in BANKS:
        env = make(EnvConfig(threads=1).with_postures(postures), ("proprio",), 64)
        env.reset(0)
        joints[postures] = env.engine.read().joint_pos[:, :7].clone()
        env.close()
    training, held_out, _ = banks()
    for postures, own, other in (("training", training, held_out), ("held_out", held_out, training)):
        near, far = ((joints[postures][:, None] - bank.joint_pos[2]).norm(dim=2).amin(1) for bank in (own, other))
        assert (near < 1e-5).all() and (far > 1e-3).all()
