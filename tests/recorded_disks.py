"""A disk that records what reaches it, for states that a power cut may leave."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from possible_disks import PossibleDisks

if TYPE_CHECKING:
    from system_calls import Call

AFTER = b'{"n":"after the power cut"}\n'


def line_of(number: int, length: int) -> bytes:
    """Return a line of about so many bytes that is like no other."""
    return b'{"n":%d,"text":"%s"}\n' % (number, bytes([97 + number]) * length)


class Recorder:
    """Keeps every state that the disk may be in, after each call, with the lines that are acknowledged by then."""

    def __init__(self, root: str) -> None:
        """Begin with the disk as it is."""
        self._possible = PossibleDisks(root)
        self.acknowledged: frozenset[bytes] = frozenset()
        self.states: dict[tuple[tuple[str, bytes], ...], frozenset[bytes]] = {}
        self.note()

    def __call__(self, call: Call) -> Any:
        """Let the call be made; the power may go then."""
        result = self._possible(call)
        self.note()
        return result

    def acknowledge(self, line: bytes) -> None:
        """Note that the append of this line has returned."""
        self.acknowledged |= {line}
        self.note()

    def note(self) -> None:
        """Keep the states of now.

        Of one that was there before, what is acknowledged now has to be in it.
        """
        for state in self._possible.states():
            self.states[tuple(sorted(state.items()))] = self.acknowledged


def is_in_order(lines: list[bytes], order: list[bytes]) -> bool:
    """Whether the lines are some of the others, in the same order."""
    rest = iter(order)
    return all(line in rest for line in lines)
