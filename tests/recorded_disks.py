"""A disk that records every state that a power cut may leave."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from possible_disks import PossibleDisks

if TYPE_CHECKING:
    from system_calls import Call

AFTER = b'{"n":"after the power cut"}\n'


def line_of(number: int, length: int) -> bytes:
    """Return a line of about so many bytes that is unlike any other."""
    return b'{"n":%d,"text":"%s"}\n' % (number, bytes([97 + number]) * length)


class Recorder:
    """Records every possible state of the disk after each call, with the acknowledged lines."""

    def __init__(self, root: str) -> None:
        """Begin with the disk as it is."""
        self._possible = PossibleDisks(root)
        self.acknowledged: frozenset[bytes] = frozenset()
        self.states: dict[tuple[tuple[str, bytes], ...], frozenset[bytes]] = {}
        self.note()

    def __call__(self, call: Call) -> Any:
        """Let the call be made, and record the states after it."""
        result = self._possible(call)
        self.note()
        return result

    def acknowledge(self, line: bytes) -> None:
        """Note that the append of this line has returned."""
        self.acknowledged |= {line}
        self.note()

    def note(self) -> None:
        """Record the states of now.

        A state that was possible before has to hold what is acknowledged now.
        """
        for state in self._possible.states():
            self.states[tuple(sorted(state.items()))] = self.acknowledged


def is_in_order(lines: list[bytes], order: list[bytes]) -> bool:
    """Return whether the lines are some of the others, in the same order."""
    rest = iter(order)
    return all(line in rest for line in lines)
