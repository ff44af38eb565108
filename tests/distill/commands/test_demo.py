"""The demo's stages as commands."""

from handsight.distill.commands.demo import STATE, DemoConfig, Stages


def test_a_training_of_the_demo_runs_on_the_demos_device(tmp_path):
    """No run holds the device that it is for, so the command has to say it."""
    words = Stages(tmp_path, DemoConfig(device="cuda:7")).command(STATE)
    assert words[0] == "train-teacher" and words[-2:] == ["--device", "cuda:7"]
