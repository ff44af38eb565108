"""The rules of DAgger: who acts, what is labelled, what is counted."""

import pytest
import torch

from handsight.distill.evaluation.rollout import play
from handsight.distill.training.dagger import DaggerConfig, collect
from handsight.students import StereoStudent, StudentConfig

from ..toy_env import Counting, Scripted, ToyEnv

WORLDS = 6


class Recording(ToyEnv):
    """Keeps the actions that it was given."""

    def reset(self, seed):
        self.actions = []
        return super().reset(seed)

    def step(self, action):
        self.actions.append(action.clone())
        return super().step(action)


def scene(worlds: int = WORLDS, **changes) -> tuple[Recording, Scripted, StereoStudent]:
    torch.manual_seed(0)
    env = Recording(("state", "proprio", "stereo"), worlds, **changes)
    return env, Scripted("state"), StereoStudent(StudentConfig(memory_size=16), env.obs_spec, env.action_dim)


def beta(value: float) -> DaggerConfig:
    return DaggerConfig(beta_start=value)


def replayed(student: StereoStudent, columns: dict[str, torch.Tensor]) -> torch.Tensor:
    obs = {key: columns[key] for key in student.obs_keys}
    everything = torch.ones_like(columns["valid"])
    return student.eval().sequence(obs, columns["first"], everything).mean.detach()


def test_at_beta_one_the_worlds_feel_the_teacher_only():
    env, teacher, student = scene()
    columns, metrics = collect(env, teacher, student, beta(1.0), 0, seed=3)
    assert torch.equal(torch.stack(env.actions), columns["mean"])
    assert metrics["beta"] == 1 and "success_at_end" not in metrics and "imitation_error" not in metrics


def test_at_beta_zero_the_worlds_feel_the_student_only():
    env, teacher, student = scene()
    columns, metrics = collect(env, teacher, student, beta(0.0), 0, seed=3)
    torch.testing.assert_close(torch.stack(env.actions), replayed(student, columns), atol=1e-5, rtol=1e-4)
    assert metrics["beta"] == 0 and 0 <= metrics["success_at_end"] <= 1


def test_a_behaviour_policy_acts_in_every_episode_with_its_own_hidden_state_and_the_teacher_labels_it():
    env, teacher, student = scene()
    behaviour = Counting()
    columns, metrics = collect(env, teacher, student, beta(1.0), 0, seed=3, behaviour=behaviour)
    alone = Recording(("state", "proprio", "stereo"), WORLDS)
    list(play(alone, Counting(), alone.reset(3)))
    assert torch.equal(torch.stack(env.actions), torch.stack(alone.actions))
    assert [int(seen[0]) for seen in behaviour.seen] == [*range(env.episode_steps)]
    assert metrics["beta"] == 0 and not columns["by_teacher"].any()
    own, labels = replayed(student, columns).clamp(-1, 1), columns["mean"].clamp(-1, 1)
    missed, spread = (own - labels).square().sum(), (labels - labels.mean((0, 1))).square().sum()
    assert metrics["imitation_error"] == pytest.approx(float(missed / spread), rel=1e-3)  # not the behaviour policy's


def test_between_one_policy_acts_in_each_episode_and_the_share_is_right():
    env, teacher, student = scene(1000, end_on_success=True)
    columns, _ = collect(env, teacher, student, beta(0.3), 0, seed=3)
    acts, opens = columns["by_teacher"], columns["first"]
    assert float(acts[0].float().mean()) == pytest.approx(0.3, abs=0.05)
    changes = acts[1:] != acts[:-1]
    assert changes.any() and not (changes & ~opens[1:]).any()


def test_a_mixture_is_the_teacher_here_and_the_student_there():
    env, teacher, student = scene(16)
    columns, _ = collect(env, teacher, student, beta(0.5), 0, seed=1)
    actions, own = torch.stack(env.actions), replayed(student, columns)
    of_teacher = (actions == columns["mean"]).all(dim=2)
    of_student = torch.isclose(actions, own, atol=1e-5).all(dim=2)
    assert (of_teacher.all(dim=0) ^ of_student.all(dim=0)).all()
    assert 0 < int(of_teacher[0].sum()) < 16


def test_the_share_falls_to_zero_on_schedule():
    config = DaggerConfig(beta_start=0.8, beta_iterations=4)
    assert [config.beta(i) for i in range(6)] == pytest.approx([0.8, 0.6, 0.4, 0.2, 0.0, 0.0])
    assert DaggerConfig(beta_iterations=0).beta(0) == 1.0 and DaggerConfig(beta_iterations=0).beta(1) == 0.0


def test_every_visited_state_carries_the_teachers_answer_to_it():
    env, teacher, student = scene()
    columns, _ = collect(env, teacher, student, beta(0.0), 0, seed=3)
    assert (
        columns["stereo"].shape == (env.episode_steps, WORLDS, 2, 3, 16, 16) and columns["stereo"].dtype == torch.uint8
    )
    offset = columns["object"]
    expected = torch.cat([(offset[..., :2] / 0.2).clamp(-1, 1), torch.ones_like(offset[..., :1])], dim=2)
    torch.testing.assert_close(columns["mean"], expected)
    assert (columns["std"] == 0.1).all() and columns["first"][0].all() and not columns["first"][1:].any()


def test_both_memories_are_zeroed_where_an_episode_opens_and_rows_of_a_reset_do_not_count():
    env, _, student = scene(end_on_success=True, diverge=[(0, 2)])
    counting = Counting()
    columns, metrics = collect(env, counting, student, beta(1.0), 0, seed=3)
    counted, first, valid = torch.stack(counting.seen), columns["first"], columns["valid"]
    assert first[1:].any() and metrics["diverged"] == 0  # of where the student acted
    assert (counted[first] == 0).all() and (counted[~first] > 0).all()
    assert torch.equal(valid[:-1], ~first[1:])  # the action of a row that does not count is followed by a new episode


def test_an_aborted_episode_is_a_failure():
    env, teacher, student = scene(1, diverge=[(0, 2)])
    _, metrics = collect(env, teacher, student, beta(0.0), 0, seed=3)
    assert metrics["diverged"] == 1 and metrics["success_at_end"] <= 0.5


class Losing(ToyEnv):
    """The simulator of environment 0 is away for three steps, as `RemoteVecEnv` says it."""

    def step(self, action):
        step = super().step(action)
        away = torch.zeros(self.num_envs, dtype=torch.bool)
        away[0] = 2 <= int(self.clock[1]) < 5
        step.first, step.valid = step.first | away, step.valid & ~away
        step.terminated, step.truncated = step.terminated & ~away, step.truncated & ~away
        step.log |= {"lost": away}
        return step


def test_an_episode_whose_simulator_was_lost_is_one_failure():
    _, teacher, student = scene()
    env = Losing(("state", "proprio", "stereo"), 4)
    columns, metrics = collect(env, teacher, student, beta(0.0), 0, seed=3)
    ended = columns["done"] & columns["valid"]
    assert int(ended.sum()) == 4 and metrics["diverged"] == 0
    assert metrics["success_at_end"] == int((ended & columns["success"]).sum()) / 5


def test_the_label_is_the_teachers_action_as_it_would_be_executed():
    env, teacher, student = scene()
    teacher.forward = lambda obs, hidden: (5 * Scripted.forward(teacher, obs, hidden)[0], torch.ones(WORLDS, 3), hidden)
    columns, _ = collect(env, teacher, student, beta(1.0), 0, seed=3)
    assert torch.equal(columns["mean"], torch.stack(env.actions).clamp(-1, 1)) and columns["mean"].abs().max() == 1


def test_imitation_error_is_the_unexplained_share_of_executed_actions():
    env, teacher, student = scene(64)
    columns, metrics = collect(env, teacher, student, beta(0.0), 0, seed=3)
    label, own = columns["mean"].flatten(0, 1), replayed(student, columns).clamp(-1, 1).flatten(0, 1)
    expected = (own - label).square().sum() / (label.var(dim=0, correction=0) * len(label)).sum()
    assert metrics["imitation_error"] == pytest.approx(float(expected), rel=1e-3)


def test_sampled_actions_are_spread_as_the_student_says():
    env, teacher, student = scene(256)
    config = DaggerConfig(beta_start=0.0, act="sample")
    columns, _ = collect(env, teacher, student, config, 0, seed=3)
    noise = torch.stack(env.actions) - replayed(student, columns)
    assert noise.std() == pytest.approx(student.config.initial_std, rel=0.05)


def test_a_rollout_depends_on_its_seed_alone():
    one, again, other = (collect(*scene(), beta(0.5), 0, seed=seed)[0] for seed in (3, 3, 4))
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["stereo"], other["stereo"])


class LosingAfter(ToyEnv):
    """The simulator of environment 0 is away in the row that would have reset it."""

    def step(self, action):
        ended, step = self.over.clone(), super().step(action)
        away = ended & (torch.arange(self.num_envs) == 0)
        step.log |= {"lost": away}
        return step


def test_a_simulator_that_is_lost_between_two_episodes_lost_none():
    _, teacher, student = scene()
    env = LosingAfter(("state", "proprio", "stereo"), 4, end_on_success=True)
    columns, metrics = collect(env, teacher, student, beta(0.0), 0, seed=3, behaviour=Counting())
    ended = columns["done"] & columns["valid"]
    assert (ended[:-1, 0]).any()
    assert metrics["success_at_end"] == int((ended & columns["success"]).sum()) / int(ended.sum())


def test_what_is_said_of_the_student_is_of_the_episodes_in_which_it_acted():
    env, teacher, student = scene(64)
    columns, metrics = collect(env, teacher, student, beta(0.5), 0, seed=3)
    own = ~columns["by_teacher"]
    assert own.any() and not own.all()
    label, said = columns["mean"][own], replayed(student, columns).clamp(-1, 1)[own]
    spread = (label - label.mean(0)).square().sum()
    assert metrics["imitation_error"] == pytest.approx(float((said - label).square().sum() / spread), rel=1e-3)
    ended = columns["done"] & own
    assert metrics["success_at_end"] == pytest.approx(float(columns["success"][ended].float().mean()))
