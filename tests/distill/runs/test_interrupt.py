"""Ctrl-C: once to save and leave, twice to leave at once."""

import os
import signal

import pytest

from handsight.distill.runs.interrupt import Interrupt, Interrupted


@pytest.fixture
def heard():
    """The end of the terminal is not ignored, as it is where the tests themselves run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_first_signal_is_a_flag_and_leaving_says_so(number, heard):
    before = signal.getsignal(number)
    saved = []
    with pytest.raises(Interrupted) as caught, Interrupt() as interrupted:
        for step in range(10):
            if step == 3:
                os.kill(os.getpid(), number)
            if interrupted.requested:
                saved.append(step)
                break
    assert saved == [3]
    assert caught.value.signal_number == number
    assert signal.getsignal(number) is before


def test_second_signal_leaves_at_once():
    with pytest.raises(KeyboardInterrupt) as caught, Interrupt():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("went on after the second Ctrl-C")
    assert not isinstance(caught.value, Interrupted)


def test_nothing_happens_without_a_signal():
    with Interrupt() as interrupted:
        pass
    assert not interrupted.requested


def test_a_failure_inside_is_not_hidden():
    with pytest.raises(ZeroDivisionError), Interrupt() as interrupted:
        interrupted.requested = True
        _ = 1 / 0


def test_a_loop_that_leaves_by_system_exit_was_interrupted_all_the_same():
    with pytest.raises(Interrupted), Interrupt():
        os.kill(os.getpid(), signal.SIGTERM)
        raise SystemExit  # what a Lightning Trainer makes of SIGTERM


def test_nohup_is_obeyed():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupt() as interrupted:
            os.kill(os.getpid(), signal.SIGHUP)
        assert not interrupted.requested
    finally:
        signal.signal(signal.SIGHUP, before)
