"""A follower in a thread for tests, and the ways in which others rotate a file away."""

from __future__ import annotations

import gzip
import os
import shutil
import sys
import threading
from typing import TYPE_CHECKING
from unittest import mock

from metrics_appender.fs.watch import FileWatcher
from metrics_appender.read.follower import Follower

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Self

    from metrics_appender.read.good_lines import Followed

NOTIFY = [True, False] if sys.platform == "linux" else [False]
SECONDS = 30.0  # a guard against hanging


def put(path: str, data: bytes) -> None:
    """Write bytes at the end, as another program would."""
    with open(path, "ab") as file:
        file.write(data)


class Listening:
    """Follows in a thread, and keeps the records."""

    def __init__(self, path: str, start: str = "end", **options: Any) -> None:
        self.followed: list[Followed] = []
        self.errors: list[Exception] = []
        self.follower = Follower(path, start, **options)
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.followed.extend(self.follower)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.errors.append(error)

    def records(self) -> list[Any]:
        """Return the numbers of the records so far."""
        return [followed.record["n"] for followed in self.followed]

    def end(self) -> None:
        """Close the follower, and wait for the end of its thread."""
        self.follower.close()
        self.thread.join(SECONDS)
        assert not self.thread.is_alive(), "the follower did not end"

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the follower."""
        self.end()


def take(follower: Follower, count: int) -> list[Any]:
    """Return the next records; fail with a message where they do not come."""
    timer = threading.Timer(SECONDS, follower.close)
    timer.start()
    try:
        return [next(follower).record["n"] for _ in range(count)]
    finally:
        timer.cancel()


def rest(path: str, start: str, **options: Any) -> list[Any]:
    """Return what a new follower yields without waiting."""
    with (
        Follower(path, start, notify=False, **options) as follower,
        mock.patch.object(FileWatcher, "sleep", side_effect=lambda *_: follower.close()),
    ):
        return [followed.record["n"] for followed in follower]


def shift(path: str, ending: str = "") -> None:
    """Rename the file to `.1`, `.1` to `.2`, and so on, as logrotate does."""
    last = 1
    while any(os.path.exists(f"{path}.{last}{kind}") for kind in ("", ".gz")):
        last += 1
    for number in range(last, 1, -1):
        for kind in ("", ".gz"):
            if os.path.exists(f"{path}.{number - 1}{kind}"):
                os.rename(f"{path}.{number - 1}{kind}", f"{path}.{number}{kind}")
    os.rename(path, f"{path}.1")
    if ending == ".gz":
        compress(f"{path}.1")


def compress(path: str) -> None:
    """Compress a file as gzip(1) does: another file, the same times."""
    with open(path, "rb") as plain, gzip.open(f"{path}.gz", "wb") as packed:
        shutil.copyfileobj(plain, packed)
    shutil.copystat(path, f"{path}.gz")
    os.unlink(path)


def cut(path: str) -> None:
    """Copy the file to `.1` and cut it to nothing, as logrotate's `copytruncate` does."""
    shutil.copy(path, f"{path}.1")
    os.truncate(path, 0)


WAYS: dict[str, Callable[[str], None]] = {
    "rename": shift,
    "compress": lambda path: shift(path, ".gz"),
    "copy": cut,
}
