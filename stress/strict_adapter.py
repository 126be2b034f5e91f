"""An adapter that checks every error of an append: errno, file name, outcome of the record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .adapters import Adapter

OUTCOMES: Final = ("nothing was written", "the line may be in the file")


class StrictAdapter:
    """Passes every call on; an `OSError` that lacks a fact becomes an `AssertionError`."""

    def __init__(self, adapter: Adapter, path: str) -> None:
        """Take the adapter, and the file that it writes to."""
        self._adapter = adapter
        self._path = path

    def append(self, fields: dict[str, Any]) -> None:
        """Append, and check the error."""
        try:
            self._adapter.append(fields)
        except OSError as error:
            complaint = find_silence(error, self._path)
            if complaint:
                raise AssertionError(f"{error!r} {complaint}") from error
            raise

    def close(self) -> None:
        """Close the adapter."""
        self._adapter.close()


def find_silence(error: OSError, path: str) -> str:
    """Return which fact an append's error lacks; "" where it has all of them."""
    if error.errno is None:
        return "has no errno"
    if error.filename is None:
        return "names no file"
    notes = getattr(error, "__notes__", [])
    if [
        note for note in notes if note in {f"{path}: {outcome}" for outcome in OUTCOMES}
    ] != notes or len(notes) != 1:
        return f"has other notes than one about the record in {path}: {notes}"
    return ""
