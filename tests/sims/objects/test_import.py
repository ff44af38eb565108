"""What an importer keeps of a file, and what it says of it: scale, pose, weight, licence; and solids' rarer sides."""

import json

import numpy as np
import pytest
import torch

from handsight.distill.commands import object_meshes
from handsight.distill.commands.arguments import ObjectsArgs
from handsight.distill.commands.objects import objects
from handsight.distill.report.portraits import portraits
from handsight.sims.objects.choose import object_set
from handsight.sims.objects.object_set import ObjectSet
from handsight.sims.objects.procedural import procedural
from handsight.sims.objects.solids import MAX_PLANES, Solid, SolidError, _principal, moments, planes, simplified
from handsight.sims.world_params import WorldParams

from .test_solids import BRICK, block

pytest.importorskip("trimesh"), pytest.importorskip("coacd")


def obj(points) -> str:
    """An OBJ file of the convex hull of points (V, 3), its triangles outward."""
    import trimesh

    return trimesh.convex.convex_hull(np.asarray(points, float)).export(file_type="obj")


@pytest.fixture
def source(tmp_path):
    """A folder of objects, whose licence lies one above."""
    folder = tmp_path / "toys"
    (folder / "a").mkdir(parents=True)
    (folder / "b").mkdir()
    (tmp_path / "LICENSE").write_text("\nApache License\n\nVersion 2.0\n")
    return folder


def test_scale_mass_and_facts_are_those_asked_for(source, tmp_path, monkeypatch):
    """6 x 4 x 10 cm given in millimetres; two files of one name are told apart by their folders."""
    for name in ("a/brick", "b/brick", "lone"):
        (source / f"{name}.obj").write_text(obj(1000 * BRICK))
    out = tmp_path / "set"
    objects(ObjectsArgs("import", source, out, scale=0.001, mass=0.25, held_out_share=0.0))
    facts = json.loads((out / "objects.json").read_text())
    assert {one["name"] for one in facts["objects"]} == {"a_brick", "b_brick", "lone"} and not facts["left_out"]
    for one in facts["objects"]:
        assert sorted(one["size"]) == pytest.approx([0.04, 0.06, 0.1]) and one["mass"] == 0.25
    assert facts["licence"] == "LICENSE: Apache License" and facts["source"] == "toys"
    monkeypatch.setenv("HANDSIGHT_ASSETS", str(tmp_path))
    assert [solid.mass for solid in object_set("set").meshes.solids] == [0.25] * 3
    objects(ObjectsArgs("import", source, tmp_path / "own", scale=0.001, licence="mine", origin="me"))
    facts = json.loads((tmp_path / "own" / "objects.json").read_text())
    assert (facts["licence"], facts["source"]) == ("mine", "me")
    (source / "COPYING").write_text("nearer")
    objects(ObjectsArgs("import", source, tmp_path / "near", scale=0.001, held_out_share=1.0))
    found = json.loads((tmp_path / "near" / "objects.json").read_text())
    assert found["licence"] == "COPYING: nearer" and {one["split"] for one in found["objects"]} == {"held_out"}
    assert object_set("near").train == () and len(object_set("near").held_out) == 3


def test_an_inverted_surface_a_concave_one_and_too_many_pieces(source):
    import trimesh

    inside_out = trimesh.load(trimesh.util.wrap_as_stream(obj(BRICK)), file_type="obj", force="mesh")
    inside_out.invert()
    inside_out.export(source / "inverted.obj")
    args = ObjectsArgs("import", source, source)
    with pytest.raises(SolidError, match="its surface is inverted"):
        object_meshes.solid("inverted", source / "inverted.obj", args, False)
    ell = trimesh.Trimesh(*_ell(), process=False)
    ell.export(source / "ell.stl")
    solid = object_meshes.solid("ell", source / "ell.stl", args, False)
    assert len(solid.pieces) >= 2 and sum(moments([piece])[0] for piece in solid.pieces) == pytest.approx(
        float(ell.volume), rel=0.1
    )
    boxes = [trimesh.creation.box((0.02, 0.02, 0.02), np.eye(4) + np.eye(4, k=3) * 0.03 * k) for k in range(4)]
    trimesh.util.concatenate(boxes).export(source / "row.stl")
    with pytest.raises(SolidError, match="row: 4 convex pieces, more than --pieces 3"):
        object_meshes.solid("row", source / "row.stl", ObjectsArgs("import", source, source, pieces=3), False)


def _ell():
    """Vertices and triangles of an L, 10 cm long and 3 cm thick: a fan below, one above, and its sides."""
    flat = [(0, 0), (0.1, 0), (0.1, 0.03), (0.03, 0.03), (0.03, 0.1), (0, 0.1)]
    fan = [(0, k, k + 1) for k in range(1, 5)]
    sides = [(k, (k + 1) % 6, (k + 1) % 6 + 6) for k in range(6)] + [(k, (k + 1) % 6 + 6, k + 6) for k in range(6)]
    faces = [(a, c, b) for a, b, c in fan] + [(a + 6, b + 6, c + 6) for a, b, c in fan] + sides
    return [(x, y, z) for z in (0, 0.03) for x, y in flat], faces


def test_a_urdf_turns_and_moves_its_meshes(source):
    """A brick turned by a right angle about x, and one beside it: 10 cm along y, and 10 + 6 cm along x in all."""
    (source / "brick.obj").write_text(obj(BRICK))
    part = '<collision><origin xyz="{x} 0 0" rpy="1.5707963 0 0"/><geometry><mesh filename="brick.obj"/>'
    part += "</geometry></collision>"
    parts = "".join(part.format(x=x) for x in (0, 0.1))
    (source / "pair.urdf").write_text(f'<robot name="a"><link name="b">{parts}</link></robot>')
    pair = object_meshes.solid("pair", source / "pair.urdf", ObjectsArgs("import", source, source), False)
    assert 2 * pair.half == pytest.approx([0.16, 0.1, 0.04])


def test_what_no_hand_holds_or_no_image_shows_is_refused():
    with pytest.raises(SolidError, match=r"sides of 0.1 x 0.1 x 0.002 m, expected 0.004 to 0.4"):
        Solid.of("leaf", [block((0, 0.1), (0, 0.1), (0, 0.002))])
    ways = np.random.default_rng(0).standard_normal((200, 3))
    ball = 0.05 * ways / np.linalg.norm(ways, axis=1, keepdims=True)
    with pytest.raises(SolidError, match=f"at most {MAX_PLANES} can be shown"):
        Solid.of("ball", [ball])
    few = simplified(ball)
    assert len(planes(few)) <= MAX_PLANES and moments([few])[0] > 0.85 * moments([ball])[0]


def test_principal_axes_are_a_rotation_near_those_given():
    """A half turn of two axes, or a swap of them, is none that anybody asked for; and never a mirror."""
    for seed in range(40):
        rng = np.random.default_rng(seed)
        turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
        axes = _principal(turn @ np.diag([1.0, 2.0, 3.5]) @ turn.T)
        assert np.linalg.det(axes) == pytest.approx(1) and np.trace(axes) > 0
        np.testing.assert_allclose(axes.T @ turn @ np.diag([1.0, 2.0, 3.5]) @ turn.T @ axes, np.diag(
            np.diag(axes.T @ turn @ np.diag([1.0, 2.0, 3.5]) @ turn.T @ axes)), atol=1e-9)  # fmt: skip


def test_the_first_resting_pose_is_the_steadiest_and_lies_on_its_face():
    import mujoco

    solid = Solid.of("brick", [BRICK])
    assert solid.heights[0] == pytest.approx(0.02)  # on its widest side
    for quat, height in zip(solid.rests, solid.heights, strict=True):
        turn = np.zeros(9)
        mujoco.mju_quat2Mat(turn, quat)
        assert (np.concatenate(solid.pieces) @ turn.reshape(3, 3).T)[:, 2].min() == pytest.approx(-height)
    steep = Solid.of("steep", [np.array([[0, 0, 0], [0.06, 0, 0], [0, 0.05, 0], [0.01, 0.01, 0.08]], float)])
    for quat, height in zip(steep.rests, steep.heights, strict=True):
        mujoco.mju_quat2Mat(turn, quat)
        low = (np.concatenate(steep.pieces) @ turn.reshape(3, 3).T)[:, 2]
        assert low.min() == pytest.approx(-height, abs=1e-9) and (low < -height + 1e-6).sum() >= 3


def test_a_set_puts_training_first_and_weighs_by_the_draw():
    """Twice the middle of the range of masses is twice an object's own mass, and its moments."""
    cube = block((-0.02, 0.02), (-0.02, 0.02), (-0.02, 0.02))
    found = ObjectSet.of_solids("two", [Solid.of("late", [BRICK], held_out=True), Solid.of("soon", [cube], mass=0.2)])
    assert (found.train, found.held_out, found.names) == (("soon",), ("late",), ("soon", "late"))
    assert found.drawn(found.train, "train") == ("soon",) and set(found.drawn(("late",), "train")) == {"late"}
    kind, none = torch.zeros(1, dtype=torch.int64), torch.zeros(1, 1, 3)
    mass, com, inertia = found.weigh(kind, torch.tensor([0.28]), 0.14, none, none)
    assert float(mass) == pytest.approx(0.4) and not com.abs().max() > 1e-6
    assert inertia[0].numpy() == pytest.approx([0.4 * 2 * 0.04**2 / 12] * 3)
    with pytest.raises(SolidError, match="different names"):
        ObjectSet.of_solids("twins", [Solid.of("a", [cube]), Solid.of("a", [BRICK])])
    late = found.meshes.solids[1]
    params = WorldParams(*[torch.zeros(1)] * 19)
    params.kind, params.rest = torch.ones(1, dtype=torch.int64), torch.tensor([len(late.heights) - 1])
    assert float(found.resting_height(params)) == pytest.approx(late.heights[-1])


def test_digests_of_objects_change_with_their_mass():
    facts = [ObjectSet.of_solids("x", [Solid.of("a", [BRICK], mass=m)]).facts()["solids"]["a"] for m in (0.1, 0.2, 0.1)]
    assert facts[0] == facts[2] != facts[1]


def test_slots_that_an_object_does_without_hide_in_it():
    found = procedural().meshes
    pieces = found.pieces(torch.device("cpu"), torch.float64)
    for kind, solid in enumerate(found.solids):
        faces = planes(solid.pieces[0])
        for place in pieces.pos[kind, len(solid.pieces) :].numpy():
            assert (faces[:, :3] @ place < faces[:, 3] - 1e-3).all()
        for number, piece in enumerate(solid.pieces):
            reach = np.linalg.norm(piece - pieces.pos[kind, number].numpy(), axis=1).max()
            assert float(pieces.rbound[kind, number]) == pytest.approx(reach, abs=1e-5)
            corners = pieces.aabb[kind, number].numpy()
            assert pieces.size[kind, number].numpy() == pytest.approx(abs(corners[:3]) + corners[3:])


def test_the_handle_of_a_mug_sits_on_its_side():
    mugs = [solid for solid in procedural().meshes.solids if solid.name.startswith("mug")]
    for mug in mugs:
        body, handle = (Solid.of(mug.name, [piece]) for piece in mug.pieces)
        assert mug.half[0] == pytest.approx(body.half[0] + handle.half[0], abs=1e-6)


def test_portraits_show_each_object_alone_and_lit():
    cube = block((-0.02, 0.02), (-0.02, 0.02), (-0.02, 0.02))
    two = ObjectSet.of_solids("two", [Solid.of("a", [cube]), Solid.of("b", [BRICK])])
    pictures = portraits(two, ["a", "b"])
    np.testing.assert_array_equal(portraits(two, ["b"])[0], pictures[1])
    assert pictures.shape == (2, 96, 96, 3) and pictures.dtype == np.uint8
    for picture in pictures:
        seen = (picture < 250).any(2)
        assert 0.15 < seen.mean() < 0.6 and not seen[0].any() and not seen[:, 0].any()  # it fits
        assert len({*map(tuple, picture[seen])}) > 3  # three sides, lit differently
    assert (pictures[0] != pictures[1]).any()
