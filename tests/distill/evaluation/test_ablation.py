"""Ablations: other images, the same everything else, right with memory and with resets in the middle."""

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torch import Tensor

from handsight.distill.evaluation.ablation import AblatedPolicy, kinds_of, other_world
from handsight.distill.evaluation.disagreement import disagreement
from handsight.distill.evaluation.evaluate import evaluate, evaluate_in
from handsight.distill.report.candidates import Origin
from handsight.distill.report.comparison import figures_of
from handsight.distill.report.policy_kind import PolicyKind
from handsight.distill.report.results import PolicyResult
from handsight.errors import HandsightError
from handsight.policies.policy import Policy, zero_where_first

from ..toy_env import Scripted, ToyConfig, ToyEnv


class Diary(Policy):
    """Notes what it sees, and counts its steps in its memory."""

    def __init__(self, *keys: str) -> None:
        super().__init__()
        self.obs_keys = keys
        self.seen: list[TensorDict] = []
        self.steps: list[list[int]] = []

    def initial_hidden(self, n: int) -> Tensor:
        return torch.zeros(n, 1)

    def forward(self, obs: TensorDict, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        self.seen.append(obs.clone())
        self.steps.append(hidden[:, 0].int().tolist())
        mean = torch.zeros(len(hidden), 3)
        return mean, mean + 0.1, hidden + 1


def images(n: int, t: int) -> TensorDict:
    """Every number tells the step and the world: 10 t + world (left eye), + 100 (right)."""
    number = (10 * t + torch.arange(n)).to(torch.uint8)
    stereo = torch.stack([number, number + 100], dim=1)[:, :, None, None, None].expand(n, 2, 3, 4, 4)
    depth = (1000 * t + torch.arange(n)).to(torch.int16)[:, None, None, None].expand(n, 1, 4, 4)
    return TensorDict({"stereo": stereo, "depth": depth, "proprio": torch.zeros(n, 2)}, batch_size=[n])


def shown(kind: str, group: str, steps: int = 4, n: int = 5, first: dict[int, list[int]] | None = None):
    """(steps, n, eyes) what the policy sees; `first`: worlds whose memory is zeroed before a step."""
    diary = Diary(group, "proprio")
    policy = AblatedPolicy(diary, kind)
    hidden = policy.initial_hidden(n)
    for t in range(steps):
        opens = torch.zeros(n, dtype=torch.bool)
        opens[(first or {}).get(t, [])] = True
        hidden = policy(images(n, t).select(*policy.obs_keys), zero_where_first(hidden, opens))[2]
    return torch.stack([seen[group].flatten(2)[..., 0] for seen in diary.seen]), diary.steps


def test_shuffled_shows_both_eyes_of_one_other_world_at_this_step():
    seen, _ = shown("shuffled", "stereo")
    other = other_world(5)
    for t in range(4):
        assert seen[t, :, 0].tolist() == (10 * t + other).tolist()
        assert seen[t, :, 1].tolist() == (10 * t + other + 100).tolist()
    assert (other != torch.arange(5)).all() and sorted(other.tolist()) == list(range(5))


def test_who_sees_through_whose_eyes_is_drawn_from_the_seed():
    assert torch.equal(other_world(64, 1), other_world(64, 1))
    assert not torch.equal(other_world(64, 1), other_world(64, 2))
    assert other_world(2).tolist() == [1, 0]
    with pytest.raises(HandsightError, match="at least two worlds"):
        other_world(1)


@pytest.mark.parametrize("group", ["stereo", "depth"])
def test_frozen_shows_the_first_image_of_each_worlds_own_episode(group):
    seen, steps = shown("frozen", group, steps=6, first={3: [1], 4: [0, 1]})
    scale = 10 if group == "stereo" else 1000
    start = [[0, 0, 0, 0, 4, 4], [0, 0, 0, 3, 4, 4], [0] * 6]
    for world, opened in enumerate(start):
        assert seen[:, world, 0].tolist() == [scale * t + world for t in opened]
    assert [row[1] for row in steps] == [0, 1, 2, 0, 0, 1]  # its own memory goes on behind that of the image


def test_frozen_depth_is_exact_over_the_whole_range_of_its_integers():
    policy, values = AblatedPolicy(Diary("depth"), "frozen"), torch.tensor([0, 1, 32767, -32768], dtype=torch.int16)
    obs = TensorDict({"depth": values[:, None, None, None]}, batch_size=[4])
    hidden = policy(obs, policy.initial_hidden(4))[2]
    policy(TensorDict({"depth": torch.zeros(4, 1, 1, 1, dtype=torch.int16)}, batch_size=[4]), hidden)
    diary = policy.policy
    assert isinstance(diary, Diary)
    assert diary.seen[1]["depth"].flatten().tolist() == values.tolist() and diary.seen[1]["depth"].dtype == torch.int16


@pytest.mark.parametrize(("kind", "eyes"), [("left eye black", [0, 1]), ("right eye black", [1, 0]), ("black", [0, 0])])
def test_black_eyes_see_zeros_and_the_other_one_sees_on(kind, eyes):
    seen, _ = shown(kind, "stereo", n=3)
    assert (seen[1].bool().int() == torch.tensor(eyes)).all()
    if eyes[1]:
        assert seen[1, :, 1].tolist() == [110, 111, 112]


@pytest.mark.parametrize("eye", ["left", "right"])
def test_one_eye_sees_what_another_worlds_does_and_the_other_its_own(eye):
    seen, _ = shown(f"{eye} eye shuffled", "stereo")
    own, other = torch.arange(5), other_world(5)
    for t in range(4):
        left, right = (other, own) if eye == "left" else (own, other)
        assert seen[t].tolist() == torch.stack([10 * t + left, 10 * t + right + 100], 1).tolist()


def test_mean_images_are_the_mean_of_all_worlds_and_of_one_eye_where_it_is_named():
    """Worlds 0 to 4 at step t show 10 t + world: their mean is 10 t + 2."""
    assert (shown("mean", "depth")[0][3] == 3002).all()
    seen, _ = shown("right eye mean", "stereo")
    assert seen[2, :, 1].tolist() == [122] * 5 and seen[2, :, 0].tolist() == [20, 21, 22, 23, 24]


def test_a_mean_image_keeps_what_stands_where_and_in_which_colour():
    stereo = torch.zeros(2, 2, 3, 4, 4, dtype=torch.uint8)
    stereo[0, :, 1, 2, 3], stereo[1, :, 1, 2, 3] = 50, 101
    diary = Diary("stereo")
    AblatedPolicy(diary, "mean")(TensorDict({"stereo": stereo}, batch_size=[2]), torch.zeros(2, 1))
    expected = torch.zeros_like(stereo)
    expected[:, :, 1, 2, 3] = 76  # 75.5
    assert torch.equal(diary.seen[0]["stereo"], expected)


def test_what_is_observed_is_not_changed_for_anyone_else():
    obs = images(3, 1)
    before = obs.clone()
    AblatedPolicy(Diary("stereo", "proprio"), "left eye black")(obs, torch.zeros(3, 1))
    assert (obs == before).all()


def test_frozen_eyes_follow_autoreset_in_a_real_rollout():
    diary = Diary("depth", "proprio")
    env = ToyEnv(("depth", "proprio"), 4, diverge={(1, 3)})
    policy = AblatedPolicy(diary, "frozen")
    obs, hidden, first = env.reset(0), policy.initial_hidden(4), torch.ones(4, dtype=torch.bool)
    expected = obs["depth"]
    for _ in range(2 * env.episode_steps):
        expected = torch.where(first[:, None, None, None], obs["depth"], expected)
        mean, _, hidden = policy(obs.select(*policy.obs_keys), hidden)
        assert torch.equal(diary.seen[-1]["depth"], expected)
        step = env.step(mean + 0.3)
        obs, first = step.obs, step.first
        hidden = zero_where_first(hidden, first)


def test_a_policy_that_looks_gets_worse_and_one_that_does_not_stays_as_it_is():
    env = ToyEnv(("proprio", "depth"), 16)
    whole = evaluate_in(env, Scripted("depth"), episodes=32, seed=3)
    for kind in ("shuffled", "frozen", "black"):
        worse = evaluate_in(env, AblatedPolicy(Scripted("depth"), kind), episodes=32, seed=3)
        assert worse.success_at_end.mean() < whole.success_at_end.mean() - 0.2
    blind = evaluate_in(env, Diary("depth", "proprio"), episodes=32, seed=3)
    also = evaluate_in(env, AblatedPolicy(Diary("depth", "proprio"), "shuffled"), episodes=32, seed=3)
    np.testing.assert_array_equal(blind.episode_return, also.episode_return)


def test_teacher_that_is_asked_sees_what_is_there(toy_sims):
    student, teacher = AblatedPolicy(Scripted("stereo"), "left eye black"), Scripted("depth")
    whole = evaluate(student, ToyConfig(), episodes=4, num_envs=4)
    ablated, both = disagreement(student, teacher, ToyConfig(), episodes=4, num_envs=4)
    np.testing.assert_array_equal(whole.episode_return, ablated.episode_return)
    assert (both.student[..., :2] == 0).all() and np.abs(both.teacher[..., :2]).max() > 0.5
    kind = PolicyKind("state", "stereo")
    student = PolicyResult("s", kind, whole, Origin("c", "d"), None, None, {"left eye black": ablated},
                           {"left eye black": both})  # fmt: skip
    figures = figures_of(student)
    assert figures["success_lost, left eye black"].value == 0.0
    assert figures["success_at_end, left eye black"].value == ablated.success_at_end.mean()
    assert figures["unexplained_action_variance, left eye black"] == both.unexplained()


def test_only_what_means_something_is_tried():
    assert kinds_of("state") == ()
    assert kinds_of("depth") == kinds_of("left eye") == ("shuffled", "frozen", "black", "mean")
    each = [f"{eye} eye {how}" for eye in ("left", "right") for how in ("black", "shuffled", "mean")]
    assert kinds_of("stereo") == ("shuffled", "frozen", *each)
    with pytest.raises(HandsightError, match=r"'frozen' of a policy that reads state, proprio"):
        AblatedPolicy(Scripted("state"), "frozen")
    with pytest.raises(HandsightError, match="expected one of shuffled, frozen, black"):
        AblatedPolicy(Scripted("depth"), "fogged")
    with pytest.raises(HandsightError, match="and a policy that reads stereo"):
        AblatedPolicy(Scripted("depth"), "left eye black")
