"""Encoding any record that was read, also one that this library would refuse to append."""

import json
from typing import Any


def json_text(value: Any) -> bytes:
    """Return the JSON text of a decoded value, in ASCII, however deeply it is nested.

    Lone surrogates are escaped, as they were. A number too large for a float was decoded as an
    infinity, which JSON lacks, and is written as 1e999, which decodes to an infinity again.
    """
    done: list[bytes] = []
    todo = [value]  # a stack without recursion; bytes are encoded already
    while todo:
        item = todo.pop()
        if type(item) is bytes:
            done.append(item)
        elif isinstance(item, dict):
            parts = [
                part
                for key, inner in item.items()
                for part in (b",", json.dumps(key).encode() + b":", inner)
            ]
            todo += [b"}", *reversed(parts[1:]), b"{"]
        elif isinstance(item, list):
            parts = [part for inner in item for part in (b",", inner)]
            todo += [b"]", *reversed(parts[1:]), b"["]
        else:
            text = json.dumps(item).encode()
            done.append(text.replace(b"Infinity", b"1e999") if type(item) is float else text)
    return b"".join(done)
