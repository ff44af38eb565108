import pytest
import torch

from handsight.students import Backbone, BackboneConfig, BackboneError

FAMILIES = [
    BackboneConfig("resnet10t_light"),
    BackboneConfig("mobilenetv4_conv_small_050"),
    BackboneConfig("test_convnext2"),
    BackboneConfig("test_vit", patch_size=8),
    BackboneConfig("swin_tiny_patch4_window7_224", out_indices=(1,)),
]


@pytest.mark.parametrize("config", FAMILIES, ids=lambda config: config.name)
def test_any_family_gives_the_maps_it_announces_and_learns(config):
    size = (64, 64) if "swin" in config.name else (32, 32)
    backbone = Backbone(config, 3, size)
    images = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8)
    maps = backbone(images)
    assert [tuple(m.shape[1:]) for m in maps] == backbone.shapes
    sum(m.square().mean() for m in maps).backward()
    gradients = [p.grad for p in backbone.parameters() if p.grad is not None]
    assert len(gradients) > 3 and all(torch.isfinite(g).all() for g in gradients)


def test_images_are_normalised_as_the_backbone_was_trained():
    backbone = Backbone(BackboneConfig(), 3, (32, 32))
    seen = []
    backbone.net.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    backbone(torch.full((1, 3, 32, 32), 255, dtype=torch.uint8))
    imagenet = (1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(seen[0][0, :, 5, 7], imagenet)


def test_preprocessing_travels_with_the_weights():
    weights = Backbone(BackboneConfig(), 3, (32, 32)).state_dict()
    assert {"mean", "inverse_std"} <= set(weights)
    other = Backbone(BackboneConfig("test_vit", patch_size=8), 3, (32, 32))
    assert not torch.equal(weights["mean"], other.mean)  # or the test above would hold by chance


def test_depth_is_one_channel_of_millimetres():
    backbone = Backbone(BackboneConfig(), 1, (32, 32))
    near, far = (backbone(torch.full((1, 1, 32, 32), mm, dtype=torch.int16))[0] for mm in (200, 900))
    assert not torch.allclose(near, far)


def test_unknown_backbone_names_the_nearest():
    with pytest.raises(BackboneError, match=r"'resnt18' is not in timm .* nearest names: resnet18"):
        Backbone(BackboneConfig("resnt18"), 3, (32, 32))


def test_bad_size_names_the_sizes_it_takes():
    with pytest.raises(
        BackboneError, match=r"test_vit.*24 x 24 px.*takes 16, 32, 48, 64.*--student.backbone.image-size"
    ):
        Backbone(BackboneConfig("test_vit"), 3, (24, 24))


def test_bad_levels_name_those_there_are():
    with pytest.raises(BackboneError, match=r"out-indices \(2, 9\).*levels 0\.\.4"):
        Backbone(BackboneConfig("resnet18", out_indices=(2, 9)), 3, (32, 32))


def test_option_of_another_family_is_named():
    with pytest.raises(BackboneError, match=r"'resnet10t_light' does not take.*patch_size"):
        Backbone(BackboneConfig(patch_size=4), 3, (32, 32))


def test_images_are_resized_where_asked():
    backbone = Backbone(BackboneConfig("test_vit", image_size=32), 3, (24, 24))
    assert backbone.shapes[0][1:] == (2, 2)
    assert backbone(torch.zeros(1, 3, 24, 24, dtype=torch.uint8))[0].shape[2:] == (2, 2)


@pytest.mark.parametrize("name", ["resnet10t_light", "resnet18"])
def test_missing_weights_are_a_warning_that_says_what_to_do(name, monkeypatch):
    def unreachable(*_, **__):
        raise OSError("no network in this test")

    monkeypatch.setattr("handsight.students.backbone.get_session", unreachable)
    monkeypatch.setattr("handsight.students.backbone.try_to_load_from_cache", lambda *_: None)
    with pytest.warns(UserWarning, match=rf"no pretrained weights for backbone '{name}'.*random weights.*HF_HOME"):
        Backbone(BackboneConfig(name, pretrained=True), 3, (32, 32))


def test_frozen_backbone_neither_learns_nor_drifts():
    backbone = Backbone(BackboneConfig(frozen=True), 3, (32, 32)).train()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    backbone(torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8))
    assert not any(p.requires_grad for p in backbone.parameters())
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())
