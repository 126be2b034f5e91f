"""What a disk may hold after a power cut, built from the calls that were made on it before.

What was synced is there. What was not synced may be missing, be there in part or in full, or read
as NULs, in sectors of 512 bytes; a cut of a file may be done or not; a name whose directory was not
synced may be missing. Changes to the names of a directory reach the disk in their order, as on a
file system with a journal. (The model is that of ALICE, Pillai et al., OSDI 2014.)
"""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from system_calls import Call

SECTOR_BYTES = 512


class File:
    """A file's contents since its last sync: at the sync, and after each call."""

    def __init__(self, content: bytes = b"") -> None:
        """Begin with a content that is on the disk."""
        self.versions = [content]
        self._start = len(content)  # what is behind it may differ

    def change(self, content: bytes) -> None:
        """Take what the file holds now."""
        self._start = min(self._start, len(content))
        self.versions.append(content)

    def sync(self) -> None:
        """Make what the file holds now durable."""
        del self.versions[:-1]
        self._start = len(self.versions[0])

    def possible(self) -> set[bytes]:
        """Return every content that the file may have after the loss of power."""
        start = self._start
        found = set(self.versions)
        for number, version in enumerate(self.versions):
            size = len(version)
            edges = [
                start,
                *range(start - start % SECTOR_BYTES + SECTOR_BYTES, size, SECTOR_BYTES),
                size,
            ]
            for edge, following in itertools.pairwise(edges):
                found.add(version[:edge])
                found.add(version[:edge] + bytes(size - edge))
                found.add(version[:start] + bytes(edge - start) + version[edge:])
                found.add(version[:edge] + bytes(following - edge) + version[following:])
            for older in self.versions[:number]:
                # Written after a cut, and the cut is undone.
                found.add(version + bytes(max(0, len(older) - size)))
                found.update(version[:edge] + older[edge:] for edge in edges)
        return found


class Change(NamedTuple):
    """What a call did to the names of a directory: `made` is the file it made, 0 a directory."""

    directory: str
    name: str
    made: int | None = None
    new_name: str = ""

    def apply(self, names: dict[str, int]) -> None:
        """Make the change: a name is made, renamed or removed."""
        if self.made is not None:
            names[self.name] = self.made
        elif self.new_name:
            names[self.new_name] = names.pop(self.name)
        else:
            del names[self.name]


class PossibleDisks:
    """Watches calls, and lists what the disk may hold if the power fails now."""

    def __init__(self, root: str) -> None:
        """Take a directory whose name and content are durable."""
        self._root = root
        self._files: dict[int, File] = {}
        self._names: dict[str, int] = {}  # those that are durable
        self._changes: list[Change] = []
        for directory, _, names in os.walk(root):
            for path in (os.path.join(directory, name) for name in names):
                self._names[path] = os.stat(path).st_ino
                with open(path, "rb") as file:
                    self._files[self._names[path]] = File(file.read())

    def __call__(self, call: Call) -> Any:
        """Let the call be made, and note what it changes."""
        is_new = call.name in {"open", "mkdir"} and not os.path.lexists(call.path)
        result = call.perform()
        directory = os.path.dirname(call.path)
        if is_new:
            made = os.fstat(result).st_ino if call.name == "open" else 0
            self._changes.append(Change(directory, call.path, made))
            if made:
                self._files[made] = File()
        elif call.name == "rename":
            self._changes.append(Change(directory, call.path, new_name=call.arguments[1]))
        elif call.name == "unlink":
            self._changes.append(Change(directory, call.path))
        elif call.name in {"write", "ftruncate"}:
            self._note_content(os.fstat(call.arguments[0]).st_ino)
        elif call.name == "fsync":
            self._note_sync(os.fstat(call.arguments[0]).st_ino, call.path)
        return result

    def _note_content(self, number: int) -> None:
        (path,) = (path for path, named in self._named(self._changes).items() if named == number)
        with open(path, "rb") as file:
            self._files[number].change(file.read())

    def _note_sync(self, number: int, path: str) -> None:
        if number in self._files:
            self._files[number].sync()
        else:
            self._names = self._named(
                [change for change in self._changes if change.directory == path]
            )
            self._changes = [change for change in self._changes if change.directory != path]

    def _named(self, changes: Iterable[Change]) -> dict[str, int]:
        names = dict(self._names)
        for change in changes:
            change.apply(names)
        return names

    def _possible_names(self) -> Iterator[dict[str, int]]:
        """Yield the names that may be durable: some changes in order, or all but one new name."""
        for count in range(len(self._changes) + 1):
            yield self._named(self._changes[:count])
        for change in self._changes:
            if change.made is not None:
                names = self._named(self._changes)
                names.pop(change.name, None)
                yield names

    def states(self) -> Iterator[dict[str, bytes]]:
        """Yield every possible state of the disk: the content of each file by its path."""
        made = {change.name for change in self._changes if change.made == 0}
        for names in self._possible_names():
            gone = made - names.keys()
            there = [
                path
                for path, number in names.items()
                if number and not any(path.startswith(f"{name}/") for name in gone)
            ]
            for contents in itertools.product(
                *(self._files[names[path]].possible() for path in there)
            ):
                yield {
                    os.path.relpath(path, self._root): content
                    for path, content in zip(there, contents, strict=True)
                }
