from dataclasses import replace

import pytest
import torch

from handsight.sims.vec_env import ArraySpec
from handsight.students import BackboneConfig, StereoStudent, StudentConfig, StudentError, gpu_student

SPEC = {
    "state": ArraySpec((7,), torch.float32),
    "proprio": ArraySpec((5,), torch.float32),
    "depth": ArraySpec((1, 32, 32), torch.int16),
    "stereo": ArraySpec((2, 3, 32, 32), torch.uint8),
    "calibration": ArraySpec((4,), torch.float32),
}
STEPS, WORLDS, ACTIONS = 4, 3, 2
SIGHTS = ("stereo", "left", "depth", "state")


def student(**changes) -> StereoStudent:
    torch.manual_seed(0)
    return StereoStudent(StudentConfig(**changes), SPEC, ACTIONS)


def observations(*leading: int) -> dict[str, torch.Tensor]:
    draws = torch.Generator().manual_seed(1)
    return {
        "state": torch.randn(*leading, 7, generator=draws),
        "proprio": torch.randn(*leading, 5, generator=draws),
        "calibration": torch.randn(*leading, 4, generator=draws),
        "depth": torch.randint(0, 1200, (*leading, 1, 32, 32), generator=draws).to(torch.int16),
        "stereo": torch.randint(0, 256, (*leading, 2, 3, 32, 32), generator=draws).to(torch.uint8),
    }


def always(value: bool) -> torch.Tensor:
    return torch.full((STEPS, WORLDS), value)


VARIANTS = [(sight, fusion) for sight in SIGHTS for fusion in ("cross_attention", "concat")]
VARIANTS += [("stereo", "correlation"), ("stereo", "left")]


@pytest.mark.parametrize(("sight", "fusion"), VARIANTS)
def test_every_trainable_parameter_gets_a_finite_gradient(sight, fusion):
    sees = sight in ("stereo", "left")
    model, obs = student(sight=sight, fusion=fusion, depth_head=sees, calibrated=True), observations(STEPS, WORLDS)
    for p in model.parameters():
        if p.requires_grad and not p.any():
            torch.nn.init.constant_(p, 0.1)  # timm starts residual branches at zero, behind which nothing would arrive
    output = model.sequence(obs, always(False), always(True))
    loss = output.mean.square().sum() + output.std.sum() + output.object_position.square().sum()
    (loss + (output.depth.square().sum() if sees else 0.0)).backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    assert not [name for name, g in gradients.items() if g is None or not torch.isfinite(g).all() or not g.any()]


def test_predicted_spread_differs_between_what_is_seen_and_leaves_the_mean_as_it_was():
    constant, predicted, obs = student(), student(std="predicted"), observations(STEPS, WORLDS)
    with torch.no_grad():
        predicted.head.spread.weight.normal_(0, 0.5)
        one, other = (model.eval().sequence(obs, always(False), always(True)) for model in (constant, predicted))
    assert torch.equal(one.mean, other.mean)
    assert one.std.std(dim=1).max() == 0.0 and other.std.std(dim=1).min() > 0.0
    predicted.sequence(obs, always(False), always(True)).std.sum().backward()
    weight = predicted.head.spread.weight.grad
    assert weight is not None and weight.isfinite().all() and weight.any()
    assert predicted.trunk[0].weight.grad is None


def test_frozen_backbone_gets_no_gradient_and_the_rest_does():
    model = student(backbone=BackboneConfig(frozen=True))
    model.sequence(observations(STEPS, WORLDS), always(False), always(True)).mean.square().sum().backward()
    assert all(p.grad is None for p in model.backbone.parameters())
    assert model.fusion.readout.grad is not None


@pytest.mark.parametrize("memory", ["gru", "lstm", "none"])
def test_a_sequence_is_its_steps_one_by_one(memory):
    model, obs = student(memory=memory).eval(), observations(STEPS, WORLDS)
    first = always(False)
    first[0], first[2, 1] = True, True
    whole = model.sequence(obs, first, always(True))
    hidden = model.initial_hidden(WORLDS)
    for t in range(STEPS):
        hidden = torch.where(first[t][:, None], 0.0, hidden)
        mean, std, hidden = model({key: value[t] for key, value in obs.items()}, hidden)
        torch.testing.assert_close(mean, whole.mean[t])
        torch.testing.assert_close(std, whole.std[t])


def test_memory_is_empty_where_an_episode_opens():
    model, obs = student().eval(), observations(STEPS, WORLDS)
    first = always(False)
    first[2] = True
    before = model.sequence(obs, first, always(True)).mean
    obs["proprio"][:2] += 1
    after = model.sequence(obs, first, always(True)).mean
    assert torch.equal(before[2:], after[2:]) and not torch.allclose(before[:2], after[:2])


@pytest.mark.parametrize("training", [True, False])
def test_rows_that_do_not_count_have_no_influence(training):
    first, valid = always(False), always(True)
    valid[1, 0], first[2, 0] = False, True
    obs = observations(STEPS, WORLDS)
    model = student().train(training)
    before = model.sequence(obs, first, valid)
    statistics = model.state_dict()["backbone.net.bn1.running_mean"].clone()
    obs["stereo"][1, 0] = 255 - obs["stereo"][1, 0]
    obs["proprio"][1, 0] = torch.nan
    model = student().train(training)
    after = model.sequence(obs, first, valid)
    assert torch.equal(before.mean[valid], after.mean[valid])
    assert torch.equal(before.object_position[valid], after.object_position[valid])
    assert torch.equal(statistics, model.state_dict()["backbone.net.bn1.running_mean"])


@pytest.mark.parametrize("fusion", ["cross_attention", "concat", "correlation"])
def test_left_and_right_are_not_the_same(fusion):
    model, obs = student(fusion=fusion).eval(), observations(WORLDS)
    hidden = model.initial_hidden(WORLDS)
    seen = model(obs, hidden)[0]
    swapped = model({**obs, "stereo": obs["stereo"].flip(1)}, hidden)[0]
    assert not torch.allclose(seen, swapped, atol=1e-4)


def test_left_eye_only_looks_with_the_left_eye_only():
    model, obs = student(sight="left").eval(), observations(WORLDS)
    hidden = model.initial_hidden(WORLDS)
    seen = model(obs, hidden)[0]
    obs["stereo"][:, 1] = 0
    assert torch.equal(seen, model(obs, hidden)[0])
    obs["stereo"][:, 0] = 0
    assert not torch.allclose(seen, model(obs, hidden)[0], atol=1e-4)


def test_the_left_fusion_is_blind_on_the_right():
    model, obs = student(fusion="left").eval(), observations(WORLDS)
    hidden = model.initial_hidden(WORLDS)
    seen = model(obs, hidden)[0]
    obs["stereo"][:, 1] = 0
    assert torch.equal(seen, model(obs, hidden)[0])


def test_calibration_is_read_only_where_asked_for():
    for calibrated in (False, True):
        model, obs = student(calibrated=calibrated).eval(), observations(WORLDS)
        assert ("calibration" in model.obs_keys) == calibrated
        hidden = model.initial_hidden(WORLDS)
        seen = model(obs, hidden)[0]
        obs["calibration"] += 1
        assert torch.equal(seen, model(obs, hidden)[0]) != calibrated


def test_depth_is_predicted_for_rows_that_count_at_the_places_of_the_finest_map():
    model, obs, valid = student(depth_head=True), observations(STEPS, WORLDS), always(True)
    valid[1, 0] = False
    predicted = model.sequence(obs, always(False), valid).depth
    label, known = model.depth_label(obs["depth"][valid])
    assert predicted.shape == label.shape == known.shape == (STEPS * WORLDS - 1, 4, 4)
    assert student().sequence(obs, always(False), valid).depth is None


def test_a_depth_head_needs_colours_and_a_correlation_two_eyes():
    with pytest.raises(StudentError, match="depth_head: expected sight 'stereo' or 'left', found 'state'"):
        student(sight="state", depth_head=True)
    with pytest.raises(StudentError, match="compares two eyes: expected sight 'stereo', found 'left'"):
        student(sight="left", fusion="correlation")


def test_worlds_do_not_see_each_other():
    model, obs = student().eval(), observations(WORLDS)
    hidden = model.initial_hidden(WORLDS)
    together = model(obs, hidden)[0]
    alone = model({key: value[1:2] for key, value in obs.items()}, hidden[1:2])[0]
    torch.testing.assert_close(together[1:2], alone)


def test_attention_is_one_on_average_and_proprioception_shifts_it():
    model, obs = student().eval(), observations(WORLDS)
    tokens = [m.flatten(2).transpose(1, 2).unflatten(0, (-1, 2)) for m in model.backbone(model._images(obs))]
    weights = model.fusion.attention(tokens, obs["proprio"])
    assert weights.shape == (WORLDS, 4, 2, 4 * 4 + 2 * 2)
    torch.testing.assert_close(weights.mean(dim=(2, 3)), torch.ones(WORLDS, 4))
    assert not torch.allclose(weights, model.fusion.attention(tokens, obs["proprio"] + 1), atol=1e-3)


def test_attention_from_the_inside_out_is_softmax_of_queries_and_keys():
    """The written-out form: keys and values of every token, torch's own scaled dot product."""
    model, obs = student(heads=2).eval(), observations(WORLDS)
    f = model.fusion
    maps = model.backbone(model._images(obs))
    question = f.readout + f.ask(obs["proprio"]).unflatten(1, f.readout.shape)
    keys, values, at = [], [], 0
    for m, key, value in zip(maps, f.key, f.value, strict=True):
        places = m.shape[2] * m.shape[3]
        tokens = m.flatten(2).transpose(1, 2).unflatten(0, (-1, 2))  # (B, eyes, P, C)
        where = (f.place[..., at : at + places] + f.eye).permute(1, 2, 0)  # (eyes, P, K)
        keys.append((torch.einsum("bepc,kc->bepk", tokens, key) + where).flatten(1, 2))
        own = value.unflatten(1, (2, places, -1))  # (heads, eyes, P, C, K)
        values.append(torch.einsum("bepc,hepck->bhepk", tokens, own).flatten(2, 3))
        at += places
    key, value = torch.cat(keys, dim=1)[:, None].expand(-1, 2, -1, -1), torch.cat(values, dim=2)
    answer = torch.nn.functional.scaled_dot_product_attention(question[:, :, None], key, value) * key.shape[2]
    expected = f.out(torch.nn.functional.elu(answer[:, :, 0].flatten(1)))
    torch.testing.assert_close(f(maps, obs["proprio"]), expected, atol=1e-5, rtol=1e-4)


def test_no_gradient_of_the_action_flows_through_the_predicted_position():
    model = student()
    model.sequence(observations(STEPS, WORLDS), always(False), always(True)).mean.sum().backward()
    assert model.object_head.weight.grad is None


def test_normalisers_take_in_rows_that_count_only():
    model, obs, valid = student(sight="state"), observations(STEPS, WORLDS), always(True)
    valid[0] = False
    obs["proprio"][0] = 1e6
    model.update_normalizers(obs, valid)
    torch.testing.assert_close(model.normalize["proprio"].mean.float(), obs["proprio"][1:].flatten(0, 1).mean(0))
    assert model.normalize["state"].count == (STEPS - 1) * WORLDS


def test_missing_group_is_named_with_what_there_is():
    with pytest.raises(StudentError, match=r"sight 'stereo' reads 'stereo', which is not observed; available: proprio"):
        StereoStudent(StudentConfig(), {"proprio": SPEC["proprio"]}, ACTIONS)


def test_images_of_another_type_are_refused():
    wrong = SPEC | {"stereo": ArraySpec((2, 3, 32, 32), torch.float32)}
    with pytest.raises(StudentError, match=r"'stereo': expected 4 axes of torch.uint8, found .*float32"):
        StereoStudent(StudentConfig(), wrong, ACTIONS)


def test_heads_must_divide_the_features():
    with pytest.raises(StudentError, match="image_features 100 must be a multiple of 3"):
        student(image_features=100, heads=3)


def test_gpu_student_is_a_resnet18_with_imagenet_weights():
    config = gpu_student()
    assert (config.backbone.name, config.backbone.pretrained, config.fusion) == ("resnet18", True, "cross_attention")
    plain = replace(config, backbone=replace(config.backbone, pretrained=False))
    assert sum(p.numel() for p in StereoStudent(plain, SPEC, ACTIONS).parameters()) > 2_000_000
