"""Compressed files with random access: blocks of a megabyte, each compressed by itself.

`gunzip` and `unzstd` can read them. Each block carries its compressed length, so that a reader can
skip blocks without unpacking them: gzip in an extra field of the header (RFC 1952, section 2.3.1.1;
as bgzip does), zstd in a skippable frame before the block (RFC 8878, section 3.1.2; as pzstd does).
A file that another program compressed is read as one block.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Final, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

Compression = Literal["gzip", "zstd"]

ENDINGS: Final[dict[Compression, str]] = {"gzip": ".gz", "zstd": ".zst"}
BLOCK_BYTES: Final = 1 << 20
# The header with an extra field, whose only subfield is the length of the block.
_GZIP_HEADER: Final = struct.Struct("<4sIBBH2sHI")
_GZIP_START: Final = (b"\x1f\x8b\x08\x04", 0, 0, 255, 8, b"MA", 4)
_GZIP_TRAILER: Final = struct.Struct("<II")
_ZSTD_HEADER: Final = struct.Struct("<III")
_ZSTD_START: Final = (0x184D2A50, 4)


class DamagedError(Exception):
    """The compressed bytes are not those that were written."""


class Codec(Protocol):
    """One kind of compression: packing, unpacking, and the length of a packed block."""

    header_bytes: int

    def pack(self, block: bytes) -> bytes:
        """Return the compressed block, with its length in it."""

    def length(self, header: bytes) -> int | None:
        """Return the length of a packed block by its first bytes, `None` if it is not in them."""

    def unpack(self, packed: bytes) -> bytes:
        """Return the content of one or more packed blocks; raise `DamagedError` for damage."""


class _Gzip:
    header_bytes = _GZIP_HEADER.size

    def pack(self, block: bytes) -> bytes:
        deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        body = deflate.compress(block) + deflate.flush()
        length = _GZIP_HEADER.size + len(body) + _GZIP_TRAILER.size
        return (
            _GZIP_HEADER.pack(*_GZIP_START, length)
            + body
            + _GZIP_TRAILER.pack(zlib.crc32(block), len(block))
        )

    def length(self, header: bytes) -> int | None:
        *start, length = _GZIP_HEADER.unpack(header)
        return length if tuple(start) == _GZIP_START else None

    def unpack(self, packed: bytes) -> bytes:
        unpacked = []
        while packed:
            inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
            try:
                unpacked.append(inflate.decompress(packed))
            except zlib.error as error:
                raise DamagedError(str(error)) from error
            if not inflate.eof:
                raise DamagedError("it ends in the middle")
            packed = inflate.unused_data
        return b"".join(unpacked)


class _Zstd:
    header_bytes = _ZSTD_HEADER.size

    def __init__(self) -> None:
        import zstandard

        self._library = zstandard

    def pack(self, block: bytes) -> bytes:
        frame = self._library.ZstdCompressor(write_checksum=True).compress(block)
        return _ZSTD_HEADER.pack(*_ZSTD_START, len(frame)) + frame

    def length(self, header: bytes) -> int | None:
        *start, length = _ZSTD_HEADER.unpack(header)
        return _ZSTD_HEADER.size + length if tuple(start) == _ZSTD_START else None

    def unpack(self, packed: bytes) -> bytes:
        unpacked = []
        while packed:
            inflate = self._library.ZstdDecompressor().decompressobj()
            try:
                unpacked.append(inflate.decompress(packed))
            except self._library.ZstdError as error:
                raise DamagedError(str(error)) from error
            if not inflate.eof:
                raise DamagedError("it ends in the middle")
            packed = inflate.unused_data
        return b"".join(unpacked)


def codec_of(compression: Compression) -> Codec:
    """Return the codec of a compression; raise `ImportError` if its library is not installed."""
    return _Gzip() if compression == "gzip" else _Zstd()


class Blocks:
    """A compressed file of `size` unpacked bytes, to be read at any offset; caches one block."""

    def __init__(
        self, codec: Codec, size: int, packed_size: int, read_packed: Callable[[int, int], bytes]
    ) -> None:
        """Take the codec, the size unpacked and packed, and `read_packed(length, offset)`."""
        self.size = size
        self._codec = codec
        self._read_packed = read_packed
        self._packed_size = packed_size
        self._extents: list[tuple[int, int]] | None = None
        self._cached = -1
        self._block = b""

    def read_at(self, length: int, offset: int) -> bytes:
        """Return the unpacked bytes at an offset, fewer only where the file ends.

        Raise `DamagedError` where they are not those that were written.
        """
        end = min(offset + length, self.size)
        pieces = []
        while offset < end:
            block_bytes = self.size if len(self._table()) == 1 else BLOCK_BYTES
            number, begin = divmod(offset, block_bytes)
            piece = self._unpack(number)[begin : begin + end - offset]
            if not piece:
                raise DamagedError(f"it holds fewer than the {self.size} bytes of its name")
            pieces.append(piece)
            offset += len(piece)
        return b"".join(pieces)

    def _unpack(self, number: int) -> bytes:
        if number != self._cached:
            extents = self._table()
            if number >= len(extents):
                return b""
            self._block = self._codec.unpack(self._read_packed(*extents[number]))
            self._cached = number
        return self._block

    def _table(self) -> list[tuple[int, int]]:
        """Return length and offset of every packed block: a single one if one lacks its length."""
        if self._extents is None:
            extents = []
            offset = 0
            while offset < self._packed_size:
                header = self._read_packed(self._codec.header_bytes, offset)
                length = (
                    self._codec.length(header) if len(header) == self._codec.header_bytes else None
                )
                if not length:
                    extents = [(self._packed_size, 0)]
                    break
                extents.append((length, offset))
                offset += length
            self._extents = extents
        return self._extents
