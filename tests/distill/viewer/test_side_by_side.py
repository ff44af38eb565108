"""Policies side by side: one reset, one clock; what is hidden is not seen, and a bad run is a word and no end."""

from pathlib import Path

import numpy as np
import pytest
import torch

from handsight import sims
from handsight.distill.commands.export import write_onnx
from handsight.distill.evaluation import HELD_OUT_SEED
from handsight.distill.evaluation.ablation import AblatedPolicy
from handsight.distill.evaluation.evaluate import evaluate
from handsight.distill.runs import checkpoint
from handsight.distill.runs.policy_io import load_policy, policy_tree
from handsight.distill.runs.run import Run
from handsight.distill.training.teacher_config import TeacherConfig
from handsight.distill.viewer import side_by_side
from handsight.distill.viewer.bodies import bodies, poses
from handsight.distill.viewer.page import eyes
from handsight.distill.viewer.side_by_side import Column, SideBySide
from handsight.sims import EnvConfig
from handsight.students import StereoStudent, StudentConfig

STATE, DEPTH = Path("zoo:state"), Path("zoo:depth")


@pytest.fixture(scope="module")
def both():
    """A state and a depth teacher; every test begins its own reset."""
    view = SideBySide([Column(STATE), Column(DEPTH)])
    yield view
    for one in view.columns:
        one.close()


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """Checkpoint of a small stereo student that learnt nothing."""
    env = sims.make(EnvConfig(), ("proprio", "stereo"), 1)
    config = StudentConfig(image_features=16, proprio_features=16, memory_size=16, hidden=16)
    torch.manual_seed(0)
    policy = StereoStudent(config, env.obs_spec, env.action_dim)
    for parameter in policy.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    tree = policy_tree(policy, config, env.action_dim, env.signature, EnvConfig(), policy.obs_keys)
    path = tmp_path_factory.mktemp("student") / "policy.ckpt"
    checkpoint.save(path, tree)
    env.close()
    return path


def test_policies_meet_the_reset_of_that_number_in_an_evaluation(both):
    both.change(reset=5)
    config = load_policy(STATE).env_config.with_postures("held_out")
    env = sims.make(config, ("proprio",), 8)
    env.reset(HELD_OUT_SEED)
    for one in both.columns:
        assert torch.equal(one.env.physics_state()[0], env.physics_state()[5])
        assert all(torch.equal(value[0], env.drawn()[name][5]) for name, value in one.env.drawn().items())
    env.reset(HELD_OUT_SEED + 1)
    both.change(reset=256 + 3)
    assert torch.equal(both.columns[1].env.physics_state()[0], env.physics_state()[3])
    env.close()


def test_each_acts_as_in_an_evaluation_and_its_steps_are_told(both):
    both.change(reset=0)
    while not both.over:
        both.step()
    for one in both.columns:
        loaded = load_policy(one.path)
        alone = evaluate(loaded.policy, loaded.env_config, num_envs=1, episodes=1, reset_kind="wide")
        assert (one.over == "success") == bool(alone.success_at_end[0])
        assert len(one.history) == alone.length[0] == both.t
        assert sum(row["reward"] for row in one.history) == pytest.approx(float(alone.episode_return[0]), abs=1e-4)
        for row in one.history:
            assert sum(row["terms"].values()) == pytest.approx(row["reward"], abs=1e-5)
            assert len(row["action"]) == one.env.action_dim and row["sigma"] > 0 and np.isfinite(row["value"])
    t = both.t
    both.step()
    assert len(both.columns[0].history) == t  # who is done stands still


def test_the_value_is_the_critics_of_the_state_that_was_answered(both):
    both.change(reset=1)
    one = both.columns[0]
    before = one.obs.clone()
    both.step()
    with torch.no_grad():
        value = one.loaded.policy.value(before, one.loaded.policy.initial_hidden(1))
    assert one.history[0]["value"] == pytest.approx(float(value[0]))


def test_a_hidden_eye_is_black_to_the_policy_and_on_the_page(both, student):
    both.change(reset=2)
    both.change(hidden="left eye")
    assert both.t == 0 and both.begun  # no new reset for it
    state, depth = both.columns
    ablated = AblatedPolicy(depth.loaded.policy, "black")
    with torch.no_grad():
        told = ablated(depth.obs, depth.loaded.policy.initial_hidden(1))[0]
        seen = depth.loaded.policy(depth.obs, depth.loaded.policy.initial_hidden(1))[0]
        free = state.loaded.policy(state.obs, state.loaded.policy.initial_hidden(1))[0]
    assert (told - seen).abs().max() > 1e-3
    both.step()
    assert depth.history[0]["action"] == pytest.approx(told[0].tolist())
    assert state.history[0]["action"] == pytest.approx(free[0].tolist())
    panels = depth.sees()
    assert not panels["left eye"].any() and not panels["depth"].any() and panels["right eye"].any()
    both.change(hidden="nothing")
    assert depth.sees()["depth"].any()
    alone = SideBySide([Column(student)])
    alone.change(hidden="right eye")
    one = alone.columns[0]
    ablated = AblatedPolicy(one.loaded.policy, "right eye black")
    with torch.no_grad():
        told = ablated(one.obs, one.loaded.policy.initial_hidden(1))[0]
    alone.step()
    assert one.history[0]["action"] == pytest.approx(told[0].tolist())
    assert not one.sees()["right eye"].any() and one.sees()["left eye"].any()
    assert np.isnan(one.history[0]["value"])  # a student has no critic
    one.close()


def test_a_push_moves_the_object_and_nothing_else(both):
    both.change(reset=3)
    both.step()
    before = [one.env.engine.read() for one in both.columns]
    both.push(0.4)
    for one, was in zip(both.columns, before, strict=True):
        now = one.env.engine.read()
        assert (now.object_linvel - was.object_linvel)[0].tolist() == pytest.approx([0, 0.4, 0], abs=1e-6)
        assert torch.equal(now.joint_vel, was.joint_vel) and torch.equal(now.object_pos, was.object_pos)
    both.step()
    assert (
        float(both.columns[0].env.engine.read().object_pos[0, 1] - before[0].object_pos[0, 1]) > 0.001
    )  # it rubs on the table


def test_difficulty_object_and_scene_are_those_asked_for(both):
    both.change(reset=4, level=10, kind="mug")
    config = load_policy(STATE).env_config.with_postures("held_out").at_level(10)
    env = sims.make(config, ("proprio",), 8)
    env.reset(HELD_OUT_SEED)
    for one in both.columns:
        drawn = one.env.drawn()
        assert one.env.kinds[int(drawn["kind"][0])] == "mug"
        assert drawn["gravity"][0] == env.drawn()["gravity"][4] != 1
    env.close()
    both.change(level=None, kind=None, scene="open")
    state, depth = both.columns
    assert not state.error and state.env.engine.scene.config.rig.mount == "world"
    assert "does not fit this environment" in depth.error and "rig.mount" in depth.error
    assert both.sound == [state]
    both.step()
    both.change(reset=5)
    assert both.sound == [state]  # it fits no better the next time
    both.change(scene=None)
    assert both.sound == [state, depth] and "gravity" not in depth.env.drawn()


def test_a_bad_run_is_its_columns_error_and_the_others_act(tmp_path, both):
    view = SideBySide([Column(tmp_path / "nowhere"), Column(STATE)])
    assert "does not exist: expected a folder with config.json" in view.columns[0].error
    view.step()
    assert len(view.columns[1].history) == 1 and view.columns[0].error
    view.columns[1].close()


def test_a_policy_that_turns_bad_while_it_acts_stops_alone(both):
    both.change(reset=6)
    state, depth = both.columns
    loaded, state.loaded = state.loaded, None  # one of its own: the zoo's is not spoilt for other tests
    state.load()
    with torch.no_grad():
        next(state.loaded.policy.head.parameters()).fill_(float("nan"))
    both.change()
    both.step()
    assert "finite" in state.error and both.sound == [depth] and len(depth.history) == 1
    state.loaded, state.eyes = loaded, side_by_side.Blinkers(loaded.policy)
    both.change(reset=7)
    assert both.sound == [state, depth]


def test_resets_on_which_they_differ_are_those_of_evaluations(both, monkeypatch):
    monkeypatch.setattr(side_by_side, "TRIED", 16)
    both.change(reset=0)
    both.change(hidden="left eye")  # and the depth teacher fails
    good = {}
    for one in both.columns:
        loaded = load_policy(one.path)
        policy = AblatedPolicy(loaded.policy, "black") if "depth" in loaded.policy.obs_keys else loaded.policy
        trial = evaluate(policy, loaded.env_config, num_envs=16, episodes=16, reset_kind="wide")
        good[one.name] = trial.success_at_end
    expected = np.flatnonzero(~good["zoo:depth"] & good["zoo:state"]).tolist()
    assert 0 < len(expected) < 16 or good["zoo:state"].all()
    look = both.differing("zoo:depth", "zoo:state")
    both.change(hidden="nothing")  # which was not so when it was asked
    before = [one.eyes.before for one in both.columns]
    assert look() == expected
    assert [one.eyes.before for one in both.columns] == before, "the policies that act were left alone"
    with pytest.raises(side_by_side.HandsightError, match="expected two policies that act"):
        both.differing("zoo:depth", "zoo:depth")


def test_an_exported_policy_acts_as_the_original(both, tmp_path):
    write_onnx(load_policy(STATE), tmp_path / "policy.onnx")
    view = SideBySide([Column(tmp_path / "policy.onnx"), Column(STATE)], 8)
    for _ in range(5):
        view.step()
    exported, original = view.columns
    assert not exported.error and len(exported.history) == 5
    for a, b in zip(exported.history, original.history, strict=True):
        assert a["action"] == pytest.approx(b["action"], abs=1e-3)
    for one in view.columns:
        one.close()


def test_an_exported_student_keeps_its_memory(student, tmp_path):
    write_onnx(load_policy(student), tmp_path / "student.onnx")
    view = SideBySide([Column(tmp_path / "student.onnx"), Column(student)])
    for _ in range(4):
        view.step()
    exported, original = ([row["action"] for row in one.history] for one in view.columns)
    np.testing.assert_allclose(exported, original, atol=1e-4)
    for one in view.columns:
        one.close()


def test_a_training_is_watched_from_its_first_checkpoint_on(tmp_path, both):
    run = Run.create("teacher-state", TeacherConfig.state(), tmp_path)
    view = SideBySide([Column(run.path, watched=True)])
    assert not view.sound and "(newest)" in view.columns[0].name
    tree = checkpoint.load(load_policy(STATE).path)
    checkpoint.save(run.checkpoints / "iteration_000001.ckpt", tree)
    checkpoint.save(run.checkpoints / "best.ckpt", tree)  # which is what others load of a run
    view.change()
    one = view.columns[0]
    assert view.sound and one.loaded.path.name == "iteration_000001.ckpt"
    first = one.loaded
    view.change(reset=1)
    assert one.loaded is first  # nothing new, nothing read
    checkpoint.save(run.checkpoints / "iteration_000002.ckpt", tree)
    view.change(reset=2)
    assert one.loaded.path.name == "iteration_000002.ckpt" and not one.error
    one.close()


def test_meshes_stand_where_the_bodies_are_and_go_half_way(both):
    both.change(reset=9)
    one = both.columns[0]
    found = {geom: (rgb, mesh) for geom, rgb, mesh in bodies(one.env.engine.model, one.now)}
    table = one.env.engine.model.geom("table").id
    assert found[table][1].extents.tolist() == pytest.approx([0.9, 1.2, 0.04])
    state, drawn = one.env.engine.read(), one.env.drawn()
    object_geom = one.env.engine.model.geom("object_box_a").id
    rgb, mesh = found[object_geom]
    assert np.allclose(np.array(rgb), drawn["object_rgb"][0].numpy() * 255, atol=1)
    assert mesh.extents.max() == pytest.approx(2 * float(drawn["size"][0].max()), rel=0.05)
    place, quat = (part[0] for part in poses(one.now, one.now, np.array([object_geom]), 1.0))
    assert np.linalg.norm(place - state.object_pos[0].numpy()) < 0.05 and np.linalg.norm(quat) == pytest.approx(1)
    for _ in range(8):
        before = one.now
        both.step()
    assert one.was is before
    palm = np.array([one.env.engine.model.geom("palm").id])
    soon = poses(one.was, one.now, palm, 0.25)[0]
    assert np.allclose(soon, 0.75 * one.was["geom_xpos"][palm] + 0.25 * one.now["geom_xpos"][palm])
    assert not np.allclose(one.was["geom_xpos"][palm], one.now["geom_xpos"][palm])


def test_eyes_are_enlarged_and_the_object_is_outlined():
    blank = np.zeros((16, 16, 3), np.uint8)
    mask = np.zeros((16, 16, 1), bool)
    mask[4:6, 8] = True
    image = eyes({"left eye": blank, "right eye": blank, "depth": blank, "object mask": mask})
    assert image.shape == (144, 3 * (144 + 4), 3)
    pink = (image == (0xFF, 0x2D, 0x95)).all(-1)
    assert pink[4 * 9, 8 * 9] and not pink[4 * 9 + 4, 8 * 9 + 4] and not pink[4 * 9, 7 * 9]
    assert pink[:, :144].sum() == pink[:, 2 * 148 :].sum() > 0 and not pink[:, 148 : 2 * 148].any()
