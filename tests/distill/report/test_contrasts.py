"""Contrasts that a study names before it runs: which passes, what a negative control does to the words, by hand."""

from dataclasses import replace

import numpy as np
import pytest

from handsight.distill.report.comparison import Comparison
from handsight.distill.report.contrasts import ContrastConfig
from handsight.distill.report.findings import claim_sentences, study_headline, study_limits
from handsight.distill.report.policy_kind import read_kind
from handsight.distill.report.results import PolicyResult
from handsight.distill.report.study_results import Study, TrainingResult

from .. import synthetic

BASE = synthetic.invented("state teacher", np.random.default_rng(0))
VIEW = np.arange(512) % 2 == 0
"""Every other reset has the object in view."""
MAIN = {"primary": {"scene": "wrist", "loses": "state-to-stereo", "than": "depth-scratch-to-stereo"}}
HIDDEN = {"hidden": {**MAIN["primary"], "where": "hidden_resets", "claim": 2}}
OPEN = {"open": {**MAIN["primary"], "scene": "open", "claim": 2, "control": True}}


def result(role, seed, failed, teacher=None):
    """A policy that fails in the first so many resets that are hidden, and that are in view: (hidden, seen)."""
    hidden, seen = failed
    order = np.cumsum(~VIEW) * ~VIEW, np.cumsum(VIEW) * VIEW
    lost = ((order[0] > 0) & (order[0] <= hidden)) | ((order[1] > 0) & (order[1] <= seen))
    visible = np.where(VIEW[:, None], 0.1, 0.0).repeat(BASE.visible.shape[1], 1).astype(np.float32)
    evaluation = replace(
        BASE, success_at_end=~lost, visible=visible, visible_right=np.zeros_like(visible), eyes="either"
    )
    origin = synthetic.origin("state → stereo" if teacher else "state teacher", seed, np.random.default_rng(seed))
    return PolicyResult(f"{role} {seed}", read_kind(role), evaluation, replace(origin, seed=seed), teacher)


def scene(name, losses):
    """losses: by seed what the state-taught and the depth-taught student lose, each (hidden, seen) of 256 + 256."""
    policies, cells = [], []
    for seed, (state, depth) in enumerate(losses):
        for teacher, cell, lost in (("state", "state-to-stereo", state), ("depth", "depth-scratch-to-stereo", depth)):
            taught = result(f"{teacher} teacher", seed, (0, 0))
            pupil = result(f"{teacher} → stereo", seed, lost, taught.name)
            policies += [taught, pupil]
            cells.append(TrainingResult(name, seed, cell, "finished", entry=pupil.name))
    return Comparison(tuple(policies), synthetic.SETTINGS | {"scene": name}), cells


def study(contrasts, wrist, opened=(((0, 0), (0, 0)),) * 3, primary="primary"):
    found = {"wrist": scene("wrist", wrist), "open": scene("open", opened)}
    cells = tuple(cell for _, several in found.values() for cell in several)
    spec = {"contrasts": contrasts, "primary": primary}
    return Study({name: one for name, (one, _) in found.items()}, spec, cells)


LOST = [((50, 10), (10, 6)), ((44, 12), (12, 8)), ((56, 8), (8, 8)), ((48, 12), (8, 6))]
"""Extra losses: 44, 36, 48 and 46 of 512 resets."""


def by_name(found):
    return {one.name: one for one in found.contrasts}


def test_a_contrast_is_paired_by_seed_and_its_values_are_those_of_the_hand():
    found = by_name(study({**MAIN, **HIDDEN}, LOST))
    assert found["primary"].values == pytest.approx([44 / 512, 36 / 512, 48 / 512, 46 / 512])
    expected = [((50 - 10) - (10 - 6)) / 256, ((44 - 12) - (12 - 8)) / 256, (48 - 0) / 256, (36 - 2) / 256]
    assert found["hidden"].values == pytest.approx(expected)
    low, high = found["primary"].left_out or (0, 0)
    assert (low, high) == pytest.approx(((44 + 36 + 46) / 3 / 512, (44 + 48 + 46) / 3 / 512))
    assert found["primary"].primary and found["primary"].word == "passes"
    assert found["primary"].apart == (0.0,) * 4


def test_a_scene_is_subtracted_seed_by_seed():
    minus = {"minus": {**MAIN["primary"], "minus": "open", "claim": 2}}
    opened = [((10, 10), (0, 0)), ((0, 0), (10, 2)), ((4, 0), (0, 0))]  # 20, -12, 4; no fourth seed
    (_, one) = study({**MAIN, **minus}, LOST, opened).contrasts
    assert one.seeds == (0, 1, 2)
    assert one.values == pytest.approx([24 / 512, 48 / 512, 44 / 512])


def test_supported_is_said_only_where_the_primary_passes_and_no_control_fires():
    first, second = claim_sentences(study({**MAIN, **HIDDEN, **OPEN}, LOST))
    assert "sees only a depth image. Supported: in the scene wrist state-to-stereo loses 8.5 points" in first
    assert "without any one of them 8.2 to 9.0" in first
    assert second.endswith("Supported: 1 of 1 contrasts pass (hidden).")


def test_a_negative_control_that_is_half_as_large_changes_the_words():
    """The primary is 8.5 points; in `open` 23 of 512 resets are 4.5, whatever their interval."""
    opened = [((0, 69), (0, 0)), ((0, 0), (0, 0)), ((0, 0), (0, 0))]
    fired = study({**MAIN, **HIDDEN, **OPEN}, LOST, opened)
    assert not by_name(fired)["open"].figure.seeds.low > 0
    first, second = claim_sentences(fired)
    assert "Supported" in first
    assert "Not supported, as a negative control fires (open): 1 of 1 contrasts pass" in second
    smaller = study({**MAIN, **HIDDEN, **OPEN}, LOST, [((0, 60), (0, 0)), ((0, 0), (0, 0)), ((0, 0), (0, 0))])
    assert claim_sentences(smaller)[1].endswith("Supported: 1 of 1 contrasts pass (hidden).")


def test_a_negative_control_that_is_small_and_sure_fires_too():
    sure = [((0, 10), (0, 0)), ((0, 11), (0, 0)), ((0, 10), (0, 0))]
    assert "as a negative control fires (open)" in claim_sentences(study({**MAIN, **HIDDEN, **OPEN}, LOST, sure))[1]


def test_without_the_primary_nothing_is_supported():
    none = [((50, 0), (0, 50)), ((44, 0), (0, 46)), ((56, 0), (0, 54)), ((48, 0), (0, 48))]  # 0, -2, 2, 0 over all
    first, second = claim_sentences(study({**MAIN, **HIDDEN}, none))
    assert "No difference shown: " in first
    assert "Not supported: 1 of 1 contrasts pass" in second
    assert "Contradicted: " in claim_sentences(study(MAIN, [(b, a) for a, b in LOST]))[0]
    assert "Not decided by one seed: " in claim_sentences(study(MAIN, LOST[:1]))[0]


def test_secondary_contrasts_share_one_level():
    """Nine further contrasts: the smallest p of ten is multiplied by ten."""
    ten = {f"c{i}": {**HIDDEN["hidden"]} for i in range(10)}
    alone, crowded = by_name(study({**MAIN, **HIDDEN}, LOST)), by_name(study({**MAIN, **ten}, LOST))
    assert crowded["c0"].p == pytest.approx(10 * alone["hidden"].p)
    assert crowded["primary"].p == alone["primary"].p


def test_matched_teachers_must_be_equal_on_the_reported_resets():
    found = study({"primary": {**MAIN["primary"], "matched": True}}, LOST)
    assert "not known yet" in claim_sentences(found)[0]  # nobody was matched
    wrist = found.comparisons["wrist"]
    early = result("state teacher, matched", 0, (3, 3))  # 6 of 512 resets worse than the depth teacher: 1.2 points
    pupil = replace(result("state, matched → stereo", 0, (40, 3), early.name))
    whole = replace(wrist, policies=(*wrist.policies, early, pupil))
    cells = (*found.cells, TrainingResult("wrist", 0, "state-matched-to-stereo", "finished", entry=pupil.name))
    (one,) = replace(found, comparisons=found.comparisons | {"wrist": whole}, cells=cells).contrasts
    assert one.seeds == (0,) and one.apart == pytest.approx((-6 / 512,)) and not one.equal_teachers
    assert one.values == pytest.approx([(43 - 6 - 16) / 512])


def test_a_study_that_named_nothing_supports_nothing():
    found = replace(study({}, LOST), spec={})
    assert found.contrasts == () and claim_sentences(found) == []
    assert "Supported" not in study_headline(found) and study_headline(found).startswith("Difference shown")
    assert any("nothing is called supported" in line for line in study_limits(found))


def test_a_contrast_is_made_of_known_words():
    with pytest.raises(Exception, match="where: expected one of resets, hidden_resets, hidden_steps"):
        ContrastConfig(scene="wrist", loses="state-to-stereo", where="somewhere")  # type: ignore[arg-type]
