import pytest

from handsight.distill import words
from handsight.distill.words import WordError
from handsight.sims import EnvConfig


def test_words_are_taken_out_wherever_they_stand():
    line = ["--num-envs", "8", "--preset", "gpu", "--seed", "1", "--image=64x48"]
    assert words.take(line, ("--preset", "--image")) == (
        {"--preset": "gpu", "--image": "64x48"},
        ["--num-envs", "8", "--seed", "1"],
    )


@pytest.mark.parametrize("line", [["--preset"], ["--preset="], ["--preset", "--seed", "1"]])
def test_a_word_needs_its_value(line):
    with pytest.raises(WordError, match="--preset: expected a value"):
        words.take(line, ("--preset",))


def test_an_option_is_read_without_being_taken():
    line = ["--learner=cuda:1", "--teacher", "runs/a"]
    assert words.value_of(line, "--device", "--learner") == "cuda:1"
    assert words.value_of(line, "--teacher") == "runs/a"
    assert words.value_of(line, "--data") is None


def test_an_image_is_width_by_height():
    rig = words.change(EnvConfig(), {"--image": "160x120"}).scene.rig
    assert (rig.height, rig.width) == (120, 160)


@pytest.mark.parametrize("size", ["160", "160x", "x120", "axb", "64x64x3"])
def test_a_size_that_is_none_is_refused(size):
    with pytest.raises(WordError, match="expected WIDTHxHEIGHT in pixels"):
        words.change(EnvConfig(), {"--image": size})
