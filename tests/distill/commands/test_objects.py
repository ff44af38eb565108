"""`handsight objects`: what is brought in, what is left out and why, and that no place of this machine is kept."""

import json
import sys

import numpy as np
import pytest

from handsight.distill.commands import object_meshes
from handsight.distill.commands.arguments import EvaluateArgs, ObjectsArgs
from handsight.distill.commands.cli import read, read_training
from handsight.distill.commands.evaluate import kinds_table
from handsight.distill.commands.objects import is_held_out, objects
from handsight.distill.evaluation.evaluation import worst
from handsight.distill.training.teacher_config import TeacherConfig
from handsight.errors import HandsightError
from handsight.sims.assets import VARIABLE, find, named
from handsight.sims.objects.choose import object_set
from handsight.sims.objects.object_set import ObjectSet

FACES = [[0, 2, 1], [1, 2, 3], [4, 5, 6], [5, 7, 6], [0, 1, 4], [1, 5, 4], [2, 6, 3], [3, 6, 7], [0, 4, 2], [2, 4, 6],
         [1, 3, 5], [3, 7, 5]]  # fmt: skip
CUBE = np.array([[x, y, z] for z in (0, 0.06) for y in (0, 0.04) for x in (0, 0.05)])


def obj(corners, faces, first=1):
    lines = [f"v {x} {y} {z}" for x, y, z in corners]
    return "\n".join([*lines, *(f"f {a + first} {b + first} {c + first}" for a, b, c in faces), ""])


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toys")
    two = obj(CUBE, FACES) + obj(CUBE + np.array([0.2, 0, 0]), FACES, first=9)
    for name, text in {
        "brick": obj(CUBE, FACES), "pair": two, "open": obj(CUBE, FACES[1:]),
        "inverted": obj(CUBE, [face[::-1] for face in FACES]), "flat": obj(CUBE * [1, 1, 0], FACES),
        "nan": obj(CUBE, FACES).replace("0.06", "nan"), "millimetres": obj(1000 * CUBE, FACES), "empty": "",
        "words": "v a b c\nf 1 2 3\n",
    }.items():  # fmt: skip
        (folder / f"{name}.obj").write_text(text)
    (folder / "LICENSE").write_text("\nFree Toys License 1.0\n")
    return folder


@pytest.fixture(scope="module")
def folder(source, tmp_path_factory):
    pytest.importorskip("trimesh"), pytest.importorskip("coacd")
    out = tmp_path_factory.mktemp("sets") / "toys"
    objects(ObjectsArgs("import", source, out, held_out_share=0.5))
    return out


@pytest.fixture(autouse=True)
def no_assets(monkeypatch):
    monkeypatch.setenv(VARIABLE, "")


def test_whole_meshes_are_brought_in_and_broken_ones_named(folder):
    facts = json.loads((folder / "objects.json").read_text())
    assert [one["name"] for one in facts["objects"]] == ["brick", "pair"]
    assert facts["licence"] == "LICENSE: Free Toys License 1.0" and facts["source"].startswith("toys")
    reasons = {
        "open": "its surface is open", "inverted": "triangles face inward", "flat": "", "nan": "not finite",
        "millimetres": "are its units metres?", "empty": "", "words": "",
    }  # fmt: skip
    assert {*facts["left_out"]} == {*reasons}
    for name, words in reasons.items():
        assert facts["left_out"][name].startswith(f"{name}: ") and words in facts["left_out"][name]
    assert sorted(path.name for path in folder.iterdir()) == ["contact_sheet.png", "objects.json", "pieces.npz"]
    assert str(folder.parent) not in (folder / "objects.json").read_text()


def test_an_imported_brick_weighs_its_density_and_is_found_by_name(folder, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(folder.parent))
    found = object_set("toys")
    assert isinstance(found, ObjectSet) and found.name == "toys" and {*found.names} == {"brick", "pair"}
    solids = {solid.name: solid for solid in found.meshes.solids}
    assert solids["brick"].mass == pytest.approx(600 * 0.05 * 0.04 * 0.06)
    assert len(solids["pair"].pieces) == 2 and solids["pair"].half.max() == pytest.approx(0.125)
    for name, solid in solids.items():
        assert solid.held_out == is_held_out(name, 0.5)


def test_a_hash_of_its_name_decides_where_an_object_belongs():
    chosen = {name for name in map(str, range(2000)) if is_held_out(name, 0.2)}
    assert 340 < len(chosen) < 460 and chosen <= {name for name in map(str, range(2000)) if is_held_out(name, 0.4)}


def test_a_folder_is_known_by_its_name_from_then_on(folder, monkeypatch):
    config = read_training(TeacherConfig, ["--objects", str(folder)], "x", "state")[0]
    assert config.env.scene.objects == "toys" and find("objects", "toys") == folder
    assert str(folder.parent) not in repr(config)
    monkeypatch.setenv(VARIABLE, "")
    assert named("objects", "procedural") == "procedural"
    args = read(EvaluateArgs, ["zoo:state", "--objects", "procedural", "--objects-split", "held_out"], "x")
    assert (args.objects, args.objects_split) == ("procedural", "held_out")
    with pytest.raises(HandsightError, match=r"expected env\.task\.split 'train', found 'all'"):
        read_training(TeacherConfig, ["--objects", "procedural", "--objects-split", "all"], "x", "state")


def test_a_set_that_is_not_there_is_named(folder, tmp_path, monkeypatch):
    wanted = r"objects 'toyz' is not built in: .* --objects with its path; avail.* none"
    with pytest.raises(HandsightError, match=wanted):
        object_set("toyz")
    monkeypatch.setenv(VARIABLE, str(folder.parent))
    with pytest.raises(HandsightError, match=r"'toyz' is not built in: .* available: .*toys"):
        object_set("toyz")
    (tmp_path / "none").mkdir()
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(HandsightError, match=r"none is no object set: expected objects\.json and pieces\.npz"):
        object_set("none")


def test_what_cannot_be_imported_is_said_before_anything_is_written(source, tmp_path, monkeypatch):
    out = tmp_path / "out"
    (tmp_path / "src").mkdir()
    with pytest.raises(HandsightError, match=r"src holds no objects: expected \.urdf, \.obj or \.stl"):
        objects(ObjectsArgs("import", tmp_path / "src", out))
    (tmp_path / "src" / "open.obj").write_text((source / "open.obj").read_text())
    with pytest.raises(HandsightError, match="none of 1 objects passed:\n  open: its surface is open"):
        objects(ObjectsArgs("import", tmp_path / "src", out))
    monkeypatch.setitem(sys.modules, "trimesh", None)
    with pytest.raises(HandsightError, match=r"needs trimesh, which is not installed: pip install 'handsight\[objects"):
        objects(ObjectsArgs("import", source, out))
    assert not out.exists() and not list(tmp_path.glob(".out*"))


def test_a_urdf_is_its_scaled_collision_meshes(source, tmp_path):
    pytest.importorskip("trimesh"), pytest.importorskip("coacd")
    mesh = '<collision><origin xyz="0 0 {z}" rpy="0 0 0"/><geometry><mesh filename="brick.obj" scale="1 1 .5"/>'
    text = "".join(mesh.format(z=z) + "</geometry></collision>" for z in (0, 0.05))
    (tmp_path / "brick.obj").write_text((source / "brick.obj").read_text())
    (tmp_path / "stack.urdf").write_text(f'<robot name="a"><link name="b">{text}</link></robot>')
    args = ObjectsArgs("import", tmp_path, tmp_path / "out")
    assert object_meshes.listed(tmp_path) == {"stack": tmp_path / "stack.urdf"}
    stack = object_meshes.solid("stack", tmp_path / "stack.urdf", args, False)
    np.testing.assert_allclose(stack.half, [0.025, 0.02, 0.04], atol=1e-9)
    (tmp_path / "stack.urdf").write_text((tmp_path / "stack.urdf").read_text().replace("brick", "../brick"))
    with pytest.raises(HandsightError, match=r"\.\./brick"):
        object_meshes.solid("stack", tmp_path / "stack.urdf", args, False)


def test_of_many_objects_the_worst_ten_are_shown():
    class Found:
        def summary(self):
            return {"by_object_kind": outcomes}

    figure = lambda value: {"value": value, "low": 0.0, "high": 1.0}  # noqa: E731
    outcomes = {
        f"thing_{i}": {"episodes": 3, "success_at_end": figure(i / 200), "success_once": figure(1.0)}
        for i in range(200)
    }
    assert [*worst(outcomes)] == [f"thing_{i}" for i in range(10)]
    table = kinds_table(Found())
    assert table.row_count == 10 and "the worst of 200" in table.caption
