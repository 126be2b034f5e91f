"""Signals that end a command: they interrupt only code that may be interrupted, and only once."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_BY_SIGNAL = 128  # plus the number of the signal, as a shell reports it


class Signals:
    """The first signal that was received, and whether signals may interrupt at this moment."""

    def __init__(self) -> None:
        """Start with no signal received, and hold signals back."""
        self._number = 0
        self._is_delivering = False

    @contextlib.contextmanager
    def delivered(self) -> Iterator[None]:
        """Let the first signal raise `SystemExit` within this block, and none after it."""
        try:
            self._is_delivering = True
            self.raise_pending()
            yield
        finally:
            self._is_delivering = False

    def raise_pending(self) -> None:
        """Raise `SystemExit` if a signal was received."""
        if self._number:
            raise SystemExit(_BY_SIGNAL + self._number)

    def receive(self, number: int, _frame: FrameType | None) -> None:
        """Handle a signal; those after the first are ignored, as the command is ending already."""
        if not self._number:
            self._number = number
            if self._is_delivering:
                self.raise_pending()


@contextlib.contextmanager
def held_signals() -> Iterator[Signals]:
    """Hold SIGINT, SIGTERM and SIGHUP back within this block, except where they are delivered.

    A signal that was held back ends the command after the block. Ignored signals, as in a shell's
    background or under `nohup`, stay ignored.
    """
    signals = Signals()
    before = {number: signal.getsignal(number) for number in _ENDING}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, signals.receive)
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    signals.raise_pending()
