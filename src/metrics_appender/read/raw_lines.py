"""Lines as bytes: whether each is a JSON object, without decoding any to a dict."""

from __future__ import annotations

import sys
from collections import deque
from typing import Final

import msgspec


class _AnyObject(msgspec.Struct, frozen=True, gc=False):
    """A JSON object, whose fields are skimmed and not kept."""


_skim: Final = msgspec.json.Decoder(_AnyObject).decode


def are_objects(block: bytes) -> bool:
    """Return whether `decode_line` would take each line of a block.

    `False` where that is not sure; they may be objects all the same. Measured: 3 times the rate of
    decoding each to a dict (2.6 and 0.8 million lines of 154 bytes a second).
    """
    lines = block[:-1].split(b"\n")
    # Skimming leaves numbers as they are, and `decode_line` refuses what Python does not convert.
    most_digits = sys.get_int_max_str_digits()
    if 0 < most_digits < max(map(len, lines)):
        return False
    try:
        block.decode()  # skimming leaves the bytes of texts unchecked too
        deque(map(_skim, lines), maxlen=0)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True
