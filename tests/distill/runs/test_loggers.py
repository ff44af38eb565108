"""Where figures go beside metrics.csv, with the real packages where they are installed."""

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from handsight.distill.runs import loggers
from handsight.distill.runs.run import Run
from handsight.distill.training.session import pictures
from handsight.distill.training.teacher_config import TeacherConfig
from handsight.errors import HandsightError

IMAGE = np.full((8, 16, 3), 255, np.uint8)


def logged(tmp_path, *names):
    run = Run.create("teacher-state", TeacherConfig.state(), tmp_path)
    run.loggers = names
    for step in (10, 20):
        run.log({"success_at_end": step / 100, "return": 1.0}, step)
    run.show({"left eye": IMAGE}, 20)
    run.close()
    return run


def test_the_loggers_of_an_option_are_known_installed_and_named_once(monkeypatch):
    assert loggers.chosen("tensorboard,csv,tensorboard") == ("tensorboard",) and loggers.chosen("csv") == ()
    with pytest.raises(HandsightError, match=r"--logger wand: unknown logger 'wand' \(did you mean wandb\?\)"):
        loggers.chosen("wand")
    monkeypatch.setattr(loggers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(HandsightError, match=r"mlflow is not installed: pip install 'handsight\[mlflow\]'"):
        loggers.chosen("mlflow")


def test_tensorboard_has_metrics_hyperparameters_and_pictures(tmp_path):
    run = logged(tmp_path, "tensorboard")
    board = EventAccumulator(str(run.path)).Reload()
    assert [(one.step, round(one.value, 6)) for one in board.Scalars("success_at_end")] == [(10, 0.1), (20, 0.2)]
    assert board.Tags()["images"] == ["left eye"]
    assert b"num_envs" in board.SummaryMetadata("_hparams_/session_start_info").plugin_data.content


def test_metrics_come_back_from_events_that_hold_pictures_too(tmp_path):
    run = logged(tmp_path, "tensorboard")
    rows = run.metrics()
    (run.path / "metrics.csv").unlink()
    Run.open(run.path)._rows.rewind(20, [10, 20])
    again = run.metrics()
    assert [set(row) for row in again] == [set(row) for row in rows] and again[1]["step"] == 20


def test_csv_alone_writes_nothing_but_metrics_csv(tmp_path):
    run = logged(tmp_path, *loggers.chosen("csv"))
    assert not list(run.path.glob("events*")) and len(run.metrics()) == 2


def test_wandb_is_given_the_run_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="wandb is not installed (extra `wandb`)")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    run = logged(tmp_path, "wandb")
    (kept,) = run.path.glob("wandb/offline-run-*")
    assert list(kept.glob("files/media/images/left eye*.png"))
    sent = next(kept.glob("run-*.wandb")).read_bytes()
    assert b"success_at_end" in sent and b"num_envs" in sent


def test_mlflow_is_given_the_run_in_a_folder(tmp_path, monkeypatch):
    pytest.importorskip("mlflow", reason="mlflow is not installed (extra `mlflow`)")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    run = logged(tmp_path, "mlflow")
    (metric,) = run.path.glob("mlruns/*/*/metrics/success_at_end")
    assert [line.split()[1:] for line in metric.read_text().splitlines()] == [["0.1", "10"], ["0.2", "20"]]
    assert (metric.parents[1] / "params" / "num_envs").read_text() == "256"
    assert list((metric.parents[1] / "artifacts").glob("left-eye-20.png"))


def test_pictures_are_what_the_first_environments_see_side_by_side():
    stereo = torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1, 1).expand(5, 2, 3, 4, 6)
    depth = torch.tensor([[100, 200], [0, 50]], dtype=torch.int16).view(1, 1, 2, 2)
    found = pictures({"stereo": stereo, "depth": depth})
    assert {name: image.shape for name, image in found.items()} == {
        "left eye": (4, 24, 3), "right eye": (4, 24, 3), "depth": (2, 2, 3)
    }  # fmt: skip
    assert found["left eye"][0, ::6, 0].tolist() == [0, 1, 2, 3]
    assert found["depth"][..., 0].tolist() == [[127, 255], [0, 63]]
    assert pictures({}) == {}
