"""A planted gap is found at its analytic size, and where none is planted the figures read 0 within their intervals."""

import numpy as np
import pytest

from handsight import sims
from handsight.distill.evaluation.disagreement import Disagreement, disagreement
from handsight.distill.evaluation.evaluate import evaluate
from handsight.distill.evaluation.evaluation import Evaluation
from handsight.distill.evaluation.observability import observability_gaps, success_gaps
from handsight.distill.runs import checkpoint
from handsight.distill.runs.policy_io import LoadedPolicy, load_policy
from handsight.distill.training import train_student
from handsight.distill.training.dagger import DaggerConfig
from handsight.distill.training.student_config import StudentRunConfig
from handsight.policies.policy import Policy
from handsight.sims import EnvConfig
from handsight.students import StudentConfig

from ..coin_env import SUCCESS_GAP, UNEXPLAINED, Caller, CoinConfig, CoinEnv

WHERE = {"episodes": 4096, "num_envs": 2048, "seed": 11}
NOISE = 0.05


@pytest.fixture
def coin_sims(monkeypatch):
    """`sims.make` builds the coin's world; whoever trains in it trains in `config.shown`'s."""
    made = lambda config, observe, num_envs, *_, **__: CoinEnv(observe, num_envs, getattr(config, "shown", False))  # noqa: E731
    monkeypatch.setattr(sims, "make", made)


def asked(student: Policy, shown: bool) -> tuple[Evaluation, Disagreement]:
    return disagreement(student, Caller("state"), CoinConfig(shown), **WHERE)


def sums(both: Disagreement):
    return both.sums()


def test_planted_gap_is_found_at_its_analytic_size(coin_sims):
    teacher = evaluate(Caller("state"), CoinConfig(), **WHERE)
    students = [asked(Caller("depth", NOISE, seed), False) for seed in (1, 2, 3)]
    controls = [asked(Caller("state", NOISE, seed), False) for seed in (4, 5, 6)]
    lost = success_gaps([(teacher, evaluation) for evaluation, _ in students])
    assert lost.value == pytest.approx(SUCCESS_GAP, rel=0.05)
    assert lost.both.low < SUCCESS_GAP < lost.both.high
    gap = observability_gaps([sums(both) for _, both in students], [sums(both) for _, both in controls])
    assert gap.value == pytest.approx(UNEXPLAINED, rel=0.05)
    assert gap.both.low < UNEXPLAINED < gap.both.high
    assert gap.seeds.low < UNEXPLAINED < gap.seeds.high


def test_optimal_student_leaves_exactly_the_coin_unexplained(coin_sims):
    evaluation, both = asked(Caller("depth"), False)
    assert both.unexplained().value == pytest.approx(UNEXPLAINED, rel=0.02)
    assert evaluation.success_at_end.mean() == pytest.approx(0.5, abs=0.02)


def test_without_a_planted_gap_the_figures_read_zero_within_their_intervals(coin_sims):
    teacher = evaluate(Caller("state"), CoinConfig(shown=True), **WHERE)
    students = [asked(Caller("depth", NOISE, seed), True) for seed in (1, 2, 3)]
    controls = [asked(Caller("state", NOISE, seed), True) for seed in (4, 5, 6)]
    gap = observability_gaps([sums(both) for _, both in students], [sums(both) for _, both in controls])
    assert gap.both.low < 0 < gap.both.high and abs(gap.value) < 0.01 * UNEXPLAINED
    assert gap.seeds.low < 0 < gap.seeds.high
    unexplained = np.mean([both.unexplained().value for _, both in students])
    assert unexplained > 0.02  # the noise is there, and is called optimisation error
    lost = success_gaps([(teacher, evaluation) for evaluation, _ in students])
    assert lost.both.low <= 0 <= lost.both.high


@pytest.fixture
def trained(coin_sims, tmp_path, monkeypatch):
    """What trains a student by DAgger and loads it: `trained(control, shown)`."""
    path = tmp_path / "teacher" / "best.ckpt"
    checkpoint.save(path, {"seal": 1})
    teacher = LoadedPolicy(
        Caller("state"), CoinEnv(("state", "proprio"), 1).signature, EnvConfig(), "Caller", path, None
    )
    monkeypatch.setattr(train_student, "load_policy", lambda path, device="cpu": teacher)

    def train(control: bool, shown: bool) -> Policy:
        monkeypatch.setattr(sims, "make", lambda config, observe, num_envs, *_, **__: CoinEnv(observe, num_envs, shown))
        student = StudentConfig("depth", memory="none", hidden=32, image_features=32, proprio_features=16)
        dagger = DaggerConfig(gradient_steps=30, batch_sequences=64, learning_rate=5e-3, object_weight=0.0)
        config = StudentRunConfig(path, student, control=control, dagger=dagger, num_envs=128, iterations=6)
        run = train_student.train_student(config, run_root=tmp_path)
        return load_policy(run.path).policy

    return train


def test_a_trained_control_student_leaves_the_planted_gap_to_the_one_that_is_blind(trained):
    control, blind = asked(trained(True, False), False), asked(Caller("depth"), False)
    gap = observability_gaps([sums(blind[1])], [sums(control[1])])
    assert 0 < control[1].unexplained().value < 0.03
    assert gap.value == pytest.approx(UNEXPLAINED, rel=0.05)
    lost = success_gaps([(control[0], blind[0])])
    assert lost.value == pytest.approx(SUCCESS_GAP, rel=0.05)


@pytest.mark.slow
def test_trained_students_find_the_planted_gap_and_none_where_the_coin_is_shown(trained):
    for shown, expected in ((False, UNEXPLAINED), (True, 0.0)):
        both = [asked(trained(control, shown), shown) for control in (False, True)]
        gap = observability_gaps([sums(both[0][1])], [sums(both[1][1])])
        assert gap.value == pytest.approx(expected, abs=0.05 * UNEXPLAINED)
        lost = both[1][0].success_at_end.mean() - both[0][0].success_at_end.mean()
        assert lost == pytest.approx(0.0 if shown else SUCCESS_GAP, abs=0.05 * SUCCESS_GAP)
