import pytest

from handsight.distill.training.curriculum import Curriculum, CurriculumConfig
from handsight.errors import HandsightError

CONFIG = CurriculumConfig(
    start={"near": 0.5, "easy": 0.5}, goal={"easy": 0.25, "wide": 0.75}, gate="easy", low=0.2, high=0.6, window=10
)


def fed(*ended):
    curriculum = Curriculum(CONFIG)
    for by_kind in ended:
        curriculum.update(by_kind)
    return curriculum


def test_it_begins_at_the_start():
    assert fed().mix == {"near": 0.5, "easy": 0.5, "wide": 0.0}


def test_it_waits_for_success_of_the_gate():
    curriculum = fed({"easy": (19, 100), "near": (100, 100)})  # .19 < .2, and near does not count
    assert curriculum.progress == 0.0
    assert curriculum.mix["wide"] == 0.0


def test_half_way_between_the_thresholds_is_half_way_between_the_mixes():
    curriculum = fed({"easy": (4000, 10_000)})  # success .4
    assert curriculum.progress == pytest.approx(0.5)
    assert curriculum.mix == pytest.approx({"near": 0.25, "easy": 0.375, "wide": 0.375})


def test_it_arrives_and_stays():
    curriculum = fed({"easy": (900, 1000)}, {"easy": (0, 10_000)})
    assert curriculum.success == pytest.approx(0.0, abs=1e-6)
    assert curriculum.progress == 1.0
    assert curriculum.mix == {"near": 0.0, "easy": 0.25, "wide": 0.75}


def test_success_is_averaged_over_the_window():
    # One episode moves the average by 1/10: 1 win -> .1, then a loss -> .09.
    curriculum = fed({"easy": (1, 1)}, {"easy": (0, 1)})
    assert curriculum.success == pytest.approx(0.09)
    # Ten wins in one message weigh as much as ten messages of one.
    assert fed({"easy": (10, 10)}).success == pytest.approx(fed(*[{"easy": (1, 1)}] * 10).success)


def test_the_mix_is_a_distribution_all_the_way():
    for wins in range(0, 101, 10):
        mix = fed({"easy": (wins, 100)}).mix
        assert sum(mix.values()) == pytest.approx(1.0)
        assert min(mix.values()) >= 0


def test_it_goes_on_where_it_was_saved():
    curriculum, other = fed({"easy": (40, 100)}), Curriculum(CONFIG)
    other.load_state_dict(curriculum.state_dict())
    assert other.mix == curriculum.mix
    assert other.success == curriculum.success


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"low": 0.7}, r"expected low <= high, found low=0.7, high=0.6"),
        ({"low": 0.6}, r"expected low < high, found low=0.6, high=0.6"),
        ({"start": {"near": 0.4, "easy": 0.5}}, r"curriculum.start: expected probabilities that add up to 1"),
        ({"gate": "esay"}, r"curriculum.gate: expected .* found 'esay'; available: near, easy$"),
        ({"gate": "wide"}, r"curriculum.gate: expected .* `start` has, .* found 'wide'; available: near, easy$"),
    ],
)
def test_a_rule_that_cannot_work_is_refused(change, message):
    with pytest.raises(HandsightError, match=message):
        CurriculumConfig(**{**vars(CONFIG), **change})


def test_a_mix_that_does_not_change_needs_no_gate():
    CurriculumConfig(start={"wide": 1.0}, goal={"wide": 1.0}, gate="easy")
