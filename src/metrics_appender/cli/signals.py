"""The signals that end a command.

They break off what may be broken off, once, and wait while the rest is done.
"""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_BY_SIGNAL = 128  # and the signal's number, as a shell reports it


class Signals:
    """What has come so far, and whether it may break off what is under way."""

    def __init__(self) -> None:
        """Nothing has come, and nothing may be broken off."""
        self._number = 0
        self._is_let_through = False

    @contextlib.contextmanager
    def let_through(self) -> Iterator[None]:
        """Let the first signal raise `SystemExit` in here.

        Behind it, whatever way it is left, none is raised any more.
        """
        try:
            self._is_let_through = True
            self.answer()
            yield
        finally:
            self._is_let_through = False

    def answer(self) -> None:
        """Raise `SystemExit` if one has come."""
        if self._number:
            raise SystemExit(_BY_SIGNAL + self._number)

    def note(self, number: int, _frame: FrameType | None) -> None:
        """Take a signal. Those after the first change nothing: it is being answered."""
        if not self._number:
            self._number = number
            if self._is_let_through:
                self.answer()


@contextlib.contextmanager
def held_signals() -> Iterator[Signals]:
    """Hold SIGINT, SIGTERM and SIGHUP back, but where they are let through.

    One that came ends the command after this block.

    Those that are ignored, as in a shell's background or under `nohup`, stay so.
    """
    signals = Signals()
    before = {number: signal.getsignal(number) for number in _ENDING}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, signals.note)
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    signals.answer()
