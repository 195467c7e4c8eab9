"""Signals: once to finish, twice to stop, and nothing left behind."""

import signal

import pytest

from cdeval.stopping import Stopped, finishing, terminable


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_kept_and_the_second_raises(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with finishing() as stop:
        assert stop.number is None
        signal.raise_signal(number)
        assert stop.number == number
        with pytest.raises(Stopped) as stopped:
            signal.raise_signal(number)
    assert stopped.value.number == number
    assert signal.getsignal(number) is before


def test_a_command_hears_sigterm_as_it_hears_ctrl_c() -> None:
    with terminable(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
