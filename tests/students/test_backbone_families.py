"""Every family of timm at the sizes of this field: a training step, and gradients that reach the first layer."""

import pytest
import torch

from handsight.students import Backbone, BackboneConfig, BackboneError

FAMILIES = {
    "resnet18": [(48, 48), (64, 96), (320, 320)],
    "convnextv2_atto": [(48, 48), (64, 96), (320, 320)],
    "mobilenetv4_conv_small": [(48, 48), (64, 96), (320, 320)],
    "efficientnet_b0": [(48, 48), (64, 96), (320, 320)],
    "regnety_002": [(48, 48), (64, 96), (320, 320)],
    "swin_tiny_patch4_window7_224": [(64, 64), (64, 96), (320, 320)],
    "vit_tiny_patch16_224": [(48, 48), (64, 96), (320, 320)],
    "vit_small_patch14_dinov2": [(56, 56), (70, 98), (322, 322)],
    "efficientvit_b0": [(64, 64), (64, 96), (320, 320)],
    "fastvit_t8": [(64, 64), (64, 96), (320, 320)],
    "maxvit_rmlp_pico_rw_256": [(64, 64), (64, 96), (320, 320)],
}
QUICK = (
    "resnet18",
    "convnextv2_atto",
    "mobilenetv4_conv_small",
    "regnety_002",
    "vit_tiny_patch16_224",
    "efficientvit_b0",
)
CASES = [(name, size) for name, sizes in FAMILIES.items() for size in sizes]
ALL = [
    pytest.param(*case, marks=() if case[0] in QUICK and case[1] == FAMILIES[case[0]][0] else pytest.mark.slow)
    for case in CASES
]


@pytest.mark.parametrize(("name", "size"), ALL, ids=str)
def test_a_family_learns_at_a_size(name, size):
    torch.manual_seed(0)
    backbone = Backbone(BackboneConfig(name), 3, size).train()
    for p in backbone.parameters():
        if not p.any():
            torch.nn.init.constant_(p, 0.1)  # timm starts residual branches at zero, behind which nothing would arrive
    maps = backbone(torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8))
    assert [tuple(m.shape[1:]) for m in maps] == backbone.shapes
    assert all(1 <= side <= 8 for shape in backbone.shapes for side in shape[1:])
    weights = {key: p for key, p in backbone.net.named_parameters() if p.requires_grad}
    torch.stack([(m * torch.randn_like(m)).sum() for m in maps]).sum().backward()
    reached = {
        key for key, p in weights.items() if p.grad is not None and torch.isfinite(p.grad).all() and p.grad.any()
    }
    first = next(iter(key for key, p in weights.items() if p.ndim == 4))
    assert first in reached and len(reached) > 0.9 * len(weights), sorted(weights.keys() - reached)
    before = weights[first].detach().clone()
    torch.optim.AdamW(backbone.parameters(), 1e-3).step()
    assert not torch.equal(before, weights[first])


@pytest.mark.parametrize(
    ("name", "layout"), [("fastvit_t8", torch.contiguous_format), ("resnet18", torch.channels_last)]
)
def test_a_strided_pointwise_convolution_of_images_is_not_given_the_layout_that_corrupts_memory(name, layout):
    backbone, seen = Backbone(BackboneConfig(name), 3, (64, 64)), []
    backbone.net.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].is_contiguous(memory_format=layout)))
    backbone(torch.zeros(2, 3, 64, 64, dtype=torch.uint8))
    assert seen == [True]


def test_levels_are_chosen_by_their_resolution():
    names = ("resnet18", "test_convnext2", "test_vit")
    chosen = {name: Backbone(BackboneConfig(name), 3, (64, 64)) for name in names}
    assert chosen["resnet18"].config.out_indices == (2, 3) and len(chosen["test_vit"].shapes) == 1
    assert [shape[1:] for shape in chosen["test_convnext2"].shapes] == [(8, 8), (4, 4)]


def test_large_maps_are_averaged_down():
    whole = Backbone(BackboneConfig(most_places=100), 3, (96, 80)).eval()
    small = Backbone(BackboneConfig(most_places=4), 3, (96, 80)).eval()
    small.load_state_dict(whole.state_dict())
    images = torch.randint(0, 256, (1, 3, 96, 80), dtype=torch.uint8)
    fine, coarse = whole(images)[0], small(images)[0]
    assert whole.shapes[0][1:] == (12, 10) and small.shapes[0][1:] == coarse.shape[2:] == (4, 4)
    torch.testing.assert_close(coarse[0, :, 1, 2], fine[0, :, 3:6, 6:9].mean(dim=(1, 2)))
    torch.testing.assert_close(coarse[0, :, 0, 3], fine[0, :, 0:3, 9:].mean(dim=(1, 2)))  # what is left of a place


@pytest.mark.parametrize("name", ["resnet18", "test_vit"])
def test_partly_frozen_keeps_the_first_levels_and_trains_the_rest(name):
    backbone = Backbone(BackboneConfig(name, frozen_levels=2, out_indices=(3,)), 3, (64, 64)).train()
    frozen = {key for key, p in backbone.net.named_parameters() if not p.requires_grad}
    free = {key for key, p in backbone.net.named_parameters() if p.requires_grad}
    marks = {"resnet18": ("conv1", "layer1", "layer2"), "test_vit": ("patch_embed", "blocks.0", "blocks.2")}[name]
    assert all(any(mark in key for key in frozen) for mark in marks[:2]) and frozen and free
    assert any(marks[2] in key for key in free) and not any(marks[2] in key for key in frozen)
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    maps = backbone(torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8))
    maps[0].square().mean().backward()
    torch.optim.SGD([p for p in backbone.parameters() if p.requires_grad], 0.1).step()
    changed = {
        key.removeprefix("net.") for key, value in backbone.state_dict().items() if not torch.equal(value, before[key])
    }
    assert changed & free and not changed & frozen
    statistics = {key for key in changed if "running" in key or "num_batches" in key}
    assert not [key for key in statistics if any(key.startswith(f.rpartition(".")[0] + ".") for f in frozen)]


def test_images_are_resized_to_a_rectangle():
    backbone = Backbone(BackboneConfig("resnet10t_light", image_size=(32, 64)), 3, (48, 48))
    assert backbone.shapes[0][1:] == (4, 8)


@pytest.mark.parametrize("name", ["mobilenetv4_conv_small", "test_vit"])
def test_what_no_chosen_level_depends_on_is_taken_away(name):
    whole = Backbone(BackboneConfig(name, out_indices=(-1,)), 3, (64, 64))
    part = Backbone(BackboneConfig(name, out_indices=(1,)), 3, (64, 64))
    assert len(part.net.state_dict()) < 0.8 * len(whole.net.state_dict())
    part(torch.zeros(2, 3, 64, 64, dtype=torch.uint8))[0].sum().backward()
    assert all(p.grad is not None for p in part.net.parameters() if p.requires_grad)


@pytest.mark.slow
def test_a_size_that_a_family_cannot_take_names_those_that_it_can():
    with pytest.raises(BackboneError, match=r"dinov2' cannot take images of 64 x 64 px.*it takes .*56, .*image_size"):
        Backbone(BackboneConfig("vit_small_patch14_dinov2"), 3, (64, 64))
