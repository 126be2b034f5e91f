"""Payloads of the lines: texts of 0 B to 1 MB with every awkward character, and their digests."""

from __future__ import annotations

import hashlib
import random
from typing import Final

# What JSON encoders, UTF-8 decoders, terminals or naive line readers get wrong.
_AWKWARD: Final = (
    *map(chr, range(0x20)),  # control characters, newline and carriage return among them
    '"',
    "\\",
    "\\n",
    "/",
    "}\n{",
    '","payload":"',
    "\x7f",
    "\x85",  # a line end to str.splitlines, as are the next two
    "\u2028",
    "\u2029",
    "\ufeff",
    "\u200b",
    "\u202e",
    "e\u0301",
    "ß",
    "漢字",
    "שלום",
    "👩‍👩‍👧‍👦",
    "\ud7ff",
    "\ue000",
    "\uffff",
    "\U0010ffff",
)
_PLAIN: Final = "the quick brown fox jumps over the lazy dog 0123456789 "
# Prime, so that a text has another character at each block boundary.
_CHUNK_CHARACTERS: Final = 61
_DIGEST_BYTES: Final = 8


def make(seed: int, caller: int, number: int, largest: int) -> str:
    """Return the text of one caller's line: empty at first, then of any size up to `largest`."""
    chance = random.Random(f"{seed}/{caller}/{number}")
    if number == 0:
        size = 0
    elif number == 1 and caller % 8 == 0:
        size = largest
    else:
        size = int(largest ** chance.random())  # as many of 10 as of 100 or 1,000
    alphabet = (_PLAIN, _AWKWARD, (*_PLAIN, *_AWKWARD))[chance.randrange(3)]
    chunk = "".join(chance.choices(alphabet, k=min(size, _CHUNK_CHARACTERS)))
    return (chunk * (size // max(1, len(chunk)) + 1))[:size]


def digest(payload: str) -> str:
    """Return the payload's checksum, as hexadecimal digits."""
    return hashlib.blake2b(payload.encode(), digest_size=_DIGEST_BYTES).hexdigest()
