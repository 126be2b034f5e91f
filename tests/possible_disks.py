"""What a disk may hold when the power goes: built from the calls that were made on it before.

What was synced is there. What was not may be missing, be there in part or in full, or read as NULs, by sectors of 512 bytes; a cut
may have happened or not; a name whose directory was not synced may be gone. (ALICE, Pillai et al., OSDI 2014, has the model.)
"""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from system_calls import Call

SECTOR_BYTES = 512


class File:
    """A file's contents since it was last synced: what they were then, and after each call."""

    def __init__(self, content: bytes = b"") -> None:
        """Begin with a content that is on the disk."""
        self.versions = [content]
        self._start = len(content)  # from here on it may be otherwise

    def change(self, content: bytes) -> None:
        """Take what the file holds now."""
        self._start = min(self._start, len(content))
        self.versions.append(content)

    def sync(self) -> None:
        """Have what the file holds now on the disk."""
        del self.versions[:-1]
        self._start = len(self.versions[0])

    def possible(self) -> set[bytes]:
        """Return every content that the file may have after the loss of power."""
        start = self._start
        found = set(self.versions)
        for number, version in enumerate(self.versions):
            size = len(version)
            edges = [start, *range(start - start % SECTOR_BYTES + SECTOR_BYTES, size, SECTOR_BYTES), size]
            for edge, following in itertools.pairwise(edges):
                found.add(version[:edge])
                found.add(version[:edge] + bytes(size - edge))
                found.add(version[:start] + bytes(edge - start) + version[edge:])
                found.add(version[:edge] + bytes(following - edge) + version[following:])
            for older in self.versions[:number]:
                found.add(version + bytes(max(0, len(older) - size)))  # written after a cut, and the cut is undone
                found.update(version[:edge] + older[edge:] for edge in edges)
        return found


class PossibleDisks:
    """Listens to calls as they are made; tells what the disk may hold if the power goes now."""

    def __init__(self, root: str) -> None:
        """Take a directory whose name, and all that is in it now, is on the disk."""
        self._root = root
        self._files: dict[str, File] = {}
        self._unsynced_names: set[str] = set()
        for directory, _, names in os.walk(root):
            for path in (os.path.join(directory, name) for name in names):
                with open(path, "rb") as file:
                    self._files[path] = File(file.read())

    def __call__(self, call: Call) -> Any:
        """Let the call be made, and note what it changes."""
        is_new = call.name in {"open", "mkdir"} and not os.path.lexists(call.path)
        result = call.perform()
        if is_new:
            self._unsynced_names.add(call.path)
            if call.name == "open":
                self._files[call.path] = File()
        elif call.name in {"write", "ftruncate"}:
            with open(call.path, "rb") as file:
                self._files[call.path].change(file.read())
        elif call.name == "fsync":
            if call.path in self._files:
                self._files[call.path].sync()
            else:
                self._unsynced_names = {name for name in self._unsynced_names if os.path.dirname(name) != call.path}
        return result

    def states(self) -> Iterator[dict[str, bytes]]:
        """Yield every state of the disk: the content of each file that is there, by its path from the root."""
        names = sorted(self._unsynced_names)
        for gone in {(), *((name,) for name in names), tuple(names)}:
            there = [path for path in self._files if not any(f"{path}/".startswith(f"{name}/") for name in gone)]
            for contents in itertools.product(*(self._files[path].possible() for path in there)):
                yield {os.path.relpath(path, self._root): content for path, content in zip(there, contents, strict=True)}
