"""What the loss of labelled sequences measures, and what it does not."""

import copy
import math

import pytest
import torch

from handsight.distill.training.dagger import DaggerConfig, collect
from handsight.distill.training.distiller import Distiller, divergence, executed_error
from handsight.sims import EnvConfig
from handsight.students import AugmentConfig, StereoStudent, StudentConfig

from ..toy_env import Scripted, ToyEnv
from .test_dagger import scene

# mean, label, error: inside; label beyond the range; both beyond the same end; only the student beyond; opposite ends
EXECUTED = [(0.5, 0.2, 0.3), (0.5, 1.7, -0.5), (1.4, 1.7, 0.0), (-3.0, -1.0, 0.0), (1.4, 0.9, 0.5), (1.4, -2.0, 2.4)]


@pytest.mark.parametrize(("mean", "label", "error"), EXECUTED)
def test_error_is_that_of_executed_actions_and_leads_back_into_the_range(mean, label, error):
    value = torch.tensor([mean], requires_grad=True)
    found = executed_error(value, torch.tensor([label]))
    assert found.item() == pytest.approx(error)
    found.sum().backward()
    assert value.grad.item() == (0.0 if error == 0 else 1.0)


def test_divergence_is_that_of_torch():
    mean, label, std, label_std = (torch.rand(5, 3) + 0.1 for _ in range(4))
    ours = divergence(mean - label, label_std, std)
    normal = torch.distributions.Normal
    theirs = torch.distributions.kl_divergence(normal(label, label_std), normal(mean, std)).sum(-1)
    torch.testing.assert_close(ours, theirs)


def batch_of(env, teacher, student) -> dict[str, torch.Tensor]:
    return collect(env, teacher, student, DaggerConfig(beta_start=0.0), 0, seed=3)[0]


def test_losses_by_hand():
    env, teacher, student = scene()
    batch = batch_of(env, teacher, student)
    output = student.sequence(batch, batch["first"], batch["valid"])
    error = executed_error(output.mean, batch["mean"])
    expected = {"sigma": (error / 0.1).square().mean(), "plain": error.square().mean()}
    expected["nll"] = (math.log(0.3 / 0.1) + (0.01 + error.square()) / (2 * 0.09) - 0.5).sum(-1).mean()
    for name, value in expected.items():
        parts = Distiller(student, DaggerConfig(loss=name), 1).losses(batch)
        torch.testing.assert_close(parts["action"], value, rtol=1e-4, atol=1e-5)
        missed = (output.object_position - batch["object"]) / 0.1
        torch.testing.assert_close(parts["object"], missed.square().mean(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("loss", ["sigma", "plain", "nll"])
def test_what_does_not_count_changes_neither_loss_nor_gradient(loss):
    env, teacher, student = scene()
    batch = batch_of(env, teacher, student)
    batch["valid"][2, 1], batch["first"][3, 1] = False, True

    def gradients() -> list[torch.Tensor]:
        student.zero_grad()
        sum(Distiller(student.train(), DaggerConfig(loss=loss), 1).losses(batch).values()).backward()
        return [p.grad.clone() for p in student.parameters() if p.grad is not None]

    before = gradients()
    for name in ("mean", "std", "object", "proprio"):
        batch[name][2, 1] = torch.nan
    batch["stereo"][2, 1] = 255 - batch["stereo"][2, 1]
    assert all(torch.equal(one, other) for one, other in zip(before, gradients(), strict=True))
    batch["mean"][1, 1] += 0.1
    assert not all(torch.equal(one, other) for one, other in zip(before, gradients(), strict=True))


@pytest.mark.parametrize("loss", ["sigma", "plain", "nll"])
def test_the_spread_is_learnt_whatever_the_loss(loss):
    env, teacher, student = scene()
    batch = batch_of(env, teacher, student)
    sum(Distiller(student, DaggerConfig(loss=loss), 1).losses(batch).values()).backward()
    assert student.head.log_std.grad.abs().min() > 0


def test_augmentation_reaches_the_student_in_training_only():
    env, teacher, student = scene()
    batch = batch_of(env, teacher, student)
    student.train()
    seen = []
    student.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].float()))
    Distiller(student, DaggerConfig(augment=AugmentConfig(noise=5.0)), 1).losses(batch)
    Distiller(student, DaggerConfig(), 1).losses(batch)
    student.eval()
    Distiller(student, DaggerConfig(augment=AugmentConfig(noise=5.0)), 1).losses(batch)
    images = batch["stereo"].flatten(0, 2).float()
    assert not torch.equal(seen[0], images) and torch.equal(seen[1], images) and torch.equal(seen[2], images)


def test_the_rate_rises_over_the_first_iteration_and_falls_along_a_cosine_to_its_last_share():
    env, teacher, student = scene()
    batch = batch_of(env, teacher, student)
    config = DaggerConfig(gradient_steps=4, learning_rate=1e-3, final_rate=0.1)
    distiller, rates = Distiller(student, config, iterations=3), []
    for _ in range(12):
        rates.append(1e3 * distiller.optimizer.param_groups[0]["lr"])
        distiller.improve(batch)
    assert rates[0] == pytest.approx(0.25) and rates[1] == pytest.approx(0.5 * (0.1 + 0.9 * 0.98296), rel=1e-4)
    assert rates[3] == pytest.approx(0.1 + 0.9 * 0.853553, rel=1e-5)  # (1 + cos(45 degrees)) / 2
    assert rates[6] == pytest.approx(0.55)
    assert 1e3 * distiller.optimizer.param_groups[0]["lr"] == pytest.approx(0.1)


def test_gradients_are_scaled_down_to_the_norm_that_is_allowed():
    env, teacher, student = scene()
    batch = batch_of(env, teacher, student)

    def norm(allowed: float) -> float:
        Distiller(student.train(), DaggerConfig(max_grad_norm=allowed), 1).improve(batch)
        return float(torch.cat([p.grad.flatten() for p in student.parameters() if p.grad is not None]).norm())

    assert norm(1e6) > 0.02
    assert norm(0.01) == pytest.approx(0.01, rel=1e-3)


def test_weights_decay_as_configured_and_those_that_are_frozen_stay():
    env, teacher, student = scene()
    frozen, free = student.object_head.weight, student.head.mean.weight
    frozen.requires_grad_(False)
    before, other = frozen.clone(), free.detach().clone()
    batch = batch_of(env, teacher, student)
    config = DaggerConfig(gradient_steps=1, learning_rate=1e-2, weight_decay=50.0, max_grad_norm=1e-6)
    distiller = Distiller(student, config, 1)
    distiller.improve(batch)
    assert torch.equal(frozen, before)
    # AdamW: half is taken away by rate x decay; its first step moves each weight by the rate at most
    assert (free.detach() - 0.5 * other).abs().max() <= 1.001e-2


def test_the_spread_is_fitted_without_moving_the_mean():
    env, teacher, student = scene()
    Distiller(student, DaggerConfig(), 1).losses(batch_of(env, teacher, student))["spread"].backward()
    moved = {name for name, p in student.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert moved == {"head.log_std"}


def test_a_student_is_fitted_in_training_mode_and_asked_in_evaluation_mode():
    env, teacher, student = scene()
    batch, modes = batch_of(env, teacher, student), []
    student.register_forward_pre_hook(lambda module, _: modes.append(module.training))
    sequence = student.sequence
    student.sequence = lambda *args: (modes.append(student.training), sequence(*args))[1]
    Distiller(student, DaggerConfig(gradient_steps=2), 1).fit([batch, batch])
    assert modes == [True, True, False]


def test_depth_is_learnt_where_there_is_a_return_only():
    torch.manual_seed(0)
    env = ToyEnv(("state", "proprio", "stereo", "depth"), 6)
    student = StereoStudent(StudentConfig(memory_size=16, depth_head=True), env.obs_spec, env.action_dim)
    batch = collect(env, Scripted("state"), student, DaggerConfig(beta_start=0.0), 0, seed=3)[0]
    batch["depth"][..., :8] = 0
    output, valid = student.sequence(batch, batch["first"], batch["valid"]), batch["valid"]
    label, known = student.depth_label(batch["depth"][valid])
    assert known.any() and not known.all()
    missed = (output.depth - label).square()
    parts = Distiller(student, DaggerConfig(depth_weight=3.0), 1).losses(batch)
    torch.testing.assert_close(parts["depth"], 3 * missed[known].mean())
    assert not torch.allclose(missed[known].mean(), missed.mean(), rtol=0.01)


def test_the_share_of_depth_that_is_explained_does_not_depend_on_its_weight():
    shares = []
    for weight in (1.0, 3.0):
        torch.manual_seed(0)
        env = ToyEnv(("state", "proprio", "stereo", "depth"), 6)
        student = StereoStudent(StudentConfig(memory_size=16, depth_head=True), env.obs_spec, env.action_dim)
        batch = collect(env, Scripted("state"), student, DaggerConfig(beta_start=0.0), 0, seed=3)[0]
        output, valid = student.train().sequence(batch, batch["first"], batch["valid"]), batch["valid"]
        label, known = student.depth_label(batch["depth"][valid])
        expected = 1 - (output.depth - label)[known].square().mean() / label[known].var(correction=0)
        row = Distiller(student, DaggerConfig(depth_weight=weight), 1).improve(batch)
        assert row["depth_explained"].item() == pytest.approx(expected.item(), rel=1e-3)
        shares.append(row["depth_explained"].item())
    assert shares[0] == pytest.approx(shares[1], rel=1e-3)


def test_a_step_that_is_skipped_is_counted_by_the_rate_all_the_same():
    env, teacher, student = scene()
    batch = batch_of(env, teacher, student)
    config = DaggerConfig(gradient_steps=4, learning_rate=1e-3)
    rates = []
    for spoilt in (None, 1):
        distiller = Distiller(student, config, iterations=3)
        for step in range(6):
            bad = {"mean": torch.full_like(batch["mean"], torch.nan)} if step == spoilt else {}
            assert bool(distiller.improve(batch | bad)) == (step != spoilt)
        rates.append(distiller.optimizer.param_groups[0]["lr"])
    assert rates[0] == rates[1]


def test_gradient_steps_go_on_where_they_were_saved():
    env, teacher, student = scene()
    batch, config = batch_of(env, teacher, student), DaggerConfig(gradient_steps=4)
    one, other = Distiller(student.train(), config, 3), Distiller(scene()[2].train(), config, 3)
    for _ in range(3):
        one.improve(batch)
    other.restore(copy.deepcopy(one.checkpoint(env.signature, EnvConfig(), {"path": "a", "sha256": "b"})))
    for distiller in (one, other):
        distiller.improve(batch)
    assert one.schedule.last_epoch == other.schedule.last_epoch == 4
    assert one.optimizer.param_groups[0]["lr"] == other.optimizer.param_groups[0]["lr"]
    for name, value in one.student.state_dict().items():
        assert torch.equal(value, other.student.state_dict()[name]), name
