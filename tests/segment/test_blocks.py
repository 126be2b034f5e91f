"""Compressed files: random access works, other programs read them, and damage is detected."""

from __future__ import annotations

import gzip
import random
from typing import TYPE_CHECKING

import pytest
import zstandard

from metrics_appender.segment.blocks import BLOCK_BYTES, ENDINGS, Blocks, DamagedError, codec_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from metrics_appender.segment.blocks import Codec, Compression

DATA = random.Random(7).randbytes(BLOCK_BYTES // 2) + b"line\n" * (BLOCK_BYTES // 2)
LENGTHS = (1, 17, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, len(DATA))
of_both = pytest.mark.parametrize("compression", ENDINGS)


def pack(codec: Codec, data: bytes) -> bytes:
    """Pack block by block."""
    return b"".join(
        codec.pack(data[start : start + BLOCK_BYTES]) for start in range(0, len(data), BLOCK_BYTES)
    )


def blocks_of(codec: Codec, packed: bytes, size: int) -> tuple[Blocks, list[int]]:
    """Return a reader of these bytes, and a list to which it adds the length of each read."""
    taken: list[int] = []

    def read_packed(length: int, offset: int) -> bytes:
        taken.append(length)
        return packed[offset : offset + length]

    return Blocks(codec, size, len(packed), read_packed), taken


@of_both
@pytest.mark.parametrize("size", LENGTHS)
def test_every_range_reads_as_it_was_written(compression: Compression, size: int) -> None:
    """Forwards, backwards, across blocks, and beyond the end."""
    codec = codec_of(compression)
    data = DATA[:size]
    blocks, _ = blocks_of(codec, pack(codec, data), size)
    offsets = {0, 1, size // 2, BLOCK_BYTES - 1, BLOCK_BYTES, size - 1, size, size + 1}
    for offset in sorted(offsets, reverse=True):
        for length in (0, 1, 100, BLOCK_BYTES, size + 1):
            assert blocks.read_at(length, offset) == data[offset : offset + length]


@of_both
def test_other_programs_read_it(compression: Compression) -> None:
    """The standard libraries unpack the whole file."""
    packed = pack(codec_of(compression), DATA)
    if compression == "gzip":
        assert gzip.decompress(packed) == DATA
    else:
        reader = zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True)
        assert reader.read() == DATA


@of_both
def test_a_file_that_another_program_compressed_is_read_too(compression: Compression) -> None:
    """Without lengths in its blocks it is one block, also if it has several members."""
    codec = codec_of(compression)
    other: Callable[[bytes], bytes] = (
        gzip.compress if compression == "gzip" else zstandard.ZstdCompressor().compress
    )
    for packed in (
        other(DATA),
        other(DATA[:5]) + other(DATA[5:]),
        pack(codec, DATA[:BLOCK_BYTES]) + other(DATA[BLOCK_BYTES:]),
    ):
        blocks, _ = blocks_of(codec, packed, len(DATA))
        assert blocks.read_at(10, len(DATA) - 7) == DATA[-7:]
        assert blocks.read_at(len(DATA), 0) == DATA


@of_both
def test_reading_the_end_unpacks_the_last_block_alone(compression: Compression) -> None:
    """The cost is a header for each block, and one block."""
    codec = codec_of(compression)
    data = random.Random(3).randbytes(4 * BLOCK_BYTES + 100)
    blocks, taken = blocks_of(codec, pack(codec, data), len(data))
    assert blocks.read_at(100, len(data) - 100) == data[-100:]
    assert len(taken) == 6
    assert sum(taken) < 5 * 32 + 200


@of_both
@pytest.mark.parametrize("harm", ["cut short", "a byte changed", "a block lost", "NULs"])
def test_damage_is_detected(compression: Compression, harm: str) -> None:
    """Whatever happened to the bytes, wrong data is never returned."""
    codec = codec_of(compression)
    packed = pack(codec, DATA[: BLOCK_BYTES // 2])
    if harm == "a block lost":
        packed = b""
    elif harm == "cut short":
        packed = packed[:-1]
    elif harm == "a byte changed":
        packed = packed[:1000] + bytes([packed[1000] ^ 1]) + packed[1001:]
    elif harm == "NULs":
        packed = bytes(len(packed))
    blocks, _ = blocks_of(codec, packed, BLOCK_BYTES // 2)
    with pytest.raises(DamagedError):
        blocks.read_at(BLOCK_BYTES // 2, 0)
