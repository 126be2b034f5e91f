"""Any record that was read as JSON again, one that this library would not write included."""

import json
from typing import Any


def json_text(value: Any) -> bytes:
    """Return the JSON text of what a line was decoded to, in ASCII, of whatever depth.

    Lone surrogates are escaped, as they were. A number that was too large for a float is one again:
    every reader that takes the one in the file for an infinity, which JSON has not, takes this for
    the same.
    """
    done: list[bytes] = []
    todo = [value]  # what comes next stands last; bytes are text already
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
