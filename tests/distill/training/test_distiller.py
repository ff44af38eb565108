"""What the loss of labelled sequences measures, and what it does not."""

import math

import pytest
import torch

from handsight.distill.training.dagger import DaggerConfig, collect
from handsight.distill.training.distiller import Distiller, divergence, executed_error
from handsight.students import AugmentConfig

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
