"""A file of whole lines that is open for reading, compressed or not."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from ..errors import CorruptSegmentError
from ..fs import calls
from .blocks import Blocks, Compression, DamagedError, codec_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

# What is read at once by any system (pread(2): Linux transfers 2 GiB less a page at the most, macOS
# refuses to).
_MOST_BYTES: Final = 1 << 30


class Source(Protocol):
    """A file of whole lines that is open for reading; a context manager that closes it.

    `path` is the file's name when it was opened, `fd` the descriptor of the file on the disk.
    Offsets count unpacked bytes from the file's beginning.
    """

    path: str
    fd: int

    @property
    def size(self) -> int:
        """The size in bytes, now."""

    def read_at(self, length: int, offset: int) -> bytes:
        """Return `length` bytes from `offset` on; fewer only where the file ends."""

    def close(self) -> None:
        """Close the file; closing again does nothing."""

    def __enter__(self) -> Self:
        """Return the source itself."""

    def __exit__(self, *_: object) -> None:
        """Close it."""


class Closable(Protocol):
    """Anything with a `close`."""

    def close(self) -> None:
        """Close it."""


_Open = TypeVar("_Open", bound=Closable | None)


@contextlib.contextmanager
def closed_on_error(file: _Open) -> Iterator[_Open]:
    """Close a file, if there is one, where the block fails before another owner has taken it."""
    try:
        yield file
    except BaseException:
        if file is not None:
            file.close()
        raise


class PlainFile:
    """A file that is not compressed: the active one, or a sealed segment."""

    def __init__(self, path: str, fd: int | None = None) -> None:
        """Open it (`FileNotFoundError` if it is not there), or take a descriptor that is open."""
        self.path = path
        self.fd = calls.open_read(path) if fd is None else fd

    @property
    def size(self) -> int:
        """The size in bytes, now."""
        return calls.size_of(self.fd)

    def read_at(self, length: int, offset: int) -> bytes:
        """Return `length` bytes from `offset` on; fewer only where the file ends."""
        if length <= _MOST_BYTES:
            return calls.read_at(self.fd, length, offset)
        pieces = []
        while length > 0:
            pieces.append(calls.read_at(self.fd, min(length, _MOST_BYTES), offset))
            if len(pieces[-1]) < _MOST_BYTES:
                break
            length -= _MOST_BYTES
            offset += _MOST_BYTES
        return b"".join(pieces)

    def close(self) -> None:
        """Close the file; closing again does nothing."""
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            calls.close(fd)

    def __enter__(self) -> Self:
        """Return the source itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()


class CompressedFile:
    """A compressed segment of `size` bytes unpacked, read as if it were not compressed."""

    def __init__(self, path: str, size: int, compression: Compression) -> None:
        """Open it; `ImportError` where the library that unpacks it is not installed."""
        codec = codec_of(compression)
        self.path = path
        self._packed = PlainFile(path)
        self.fd = self._packed.fd
        with closed_on_error(self):
            self._blocks = Blocks(codec, size, self._packed.size, self._packed.read_at)

    @property
    def size(self) -> int:
        """The size in bytes, unpacked."""
        return self._blocks.size

    def read_at(self, length: int, offset: int) -> bytes:
        """Return `length` unpacked bytes from `offset` on; fewer only where the file ends.

        Raises `CorruptSegmentError` where the file is damaged.
        """
        try:
            return self._blocks.read_at(length, offset)
        except DamagedError as error:
            raise CorruptSegmentError(self.path, str(error)) from error

    def close(self) -> None:
        """Close the file; closing again does nothing."""
        self._packed.close()

    def __enter__(self) -> Self:
        """Return the source itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()
