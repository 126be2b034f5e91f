"""A door that looks at every error that comes through it: does it say all that it has to?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .doors import Door

OUTCOMES: Final = ("nothing was written", "the line may be in the file")


class StrictDoor:
    """Passes everything on.

    An `OSError` without its facts becomes an `AssertionError`, which ends the writer.
    """

    def __init__(self, door: Door, path: str) -> None:
        """Take the door, and the file that it writes to."""
        self._door = door
        self._path = path

    def append(self, fields: dict[str, Any]) -> None:
        """Append, and look at the error."""
        try:
            self._door.append(fields)
        except OSError as error:
            complaint = find_silence(error, self._path)
            if complaint:
                raise AssertionError(f"{error!r} {complaint}") from error
            raise

    def close(self) -> None:
        """Close the door."""
        self._door.close()


def find_silence(error: OSError, path: str) -> str:
    """Return what an error of an append fails to say.

    The errno, the file, or what became of the record; "" for nothing.
    """
    if error.errno is None:
        return "has no errno"
    if error.filename is None:
        return "names no file"
    notes = getattr(error, "__notes__", [])
    if [
        note for note in notes if note in {f"{path}: {outcome}" for outcome in OUTCOMES}
    ] != notes or len(notes) != 1:
        return f"says not just what became of the record in {path}: {notes}"
    return ""
