"""Appends in a process whose threads gevent or eventlet has replaced with greenlets.

A call that blocks in the kernel stops all greenlets there, and with them the one that would notice
that its deadline has passed.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import select
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import HANG_SECONDS

from metrics_appender import AppendLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    Hold = Callable[[str], AbstractContextManager[int]]

TIMEOUT_SECONDS = 1.0
HOLD_SECONDS = 10.0  # how long the lock is held at most, where no append ever gives up
GREENLETS = 50
APPENDS = 20

# Imports all that an append needs: some of it comes with the first log.
IMPORT = "import metrics_appender; metrics_appender.AppendLog('of-no-import.ndjson').close()"

PATCHES = {
    "gevent": """
import gevent.monkey
gevent.monkey.patch_all()
from gevent import spawn
from gevent.greenlet import Greenlet
result_of = Greenlet.get
""",
    "eventlet": """
import eventlet
eventlet.monkey_patch()
from eventlet import spawn
from eventlet.greenthread import GreenThread
result_of = GreenThread.wait
""",
}

# What the scripts share: a greenlet that counts its turns, and how to report to the test.
COMMON = """
import json, os, sys, time
from metrics_appender import AppendLog, LockTimeoutError

path, durability, timeout = sys.argv[1], sys.argv[2], float(sys.argv[3])
greenlets, appends = int(sys.argv[4]), int(sys.argv[5])
turns = 0

def take_turns():
    global turns
    while True:
        time.sleep(0.01)
        turns += 1

def report(**facts):
    print(json.dumps(facts), flush=True)

def wait_until(state):
    while not state():
        time.sleep(0.01)

spawn(take_turns)
wait_until(lambda: turns)
"""

# The lock is held from before the start until the report.
TIMES_OUT = """
with AppendLog(path, durability=durability, lock_timeout=timeout) as log:
    turns_before, begun = turns, time.monotonic()
    try:
        log.append({"n": "timed out"})
    except LockTimeoutError as caught:
        error = type(caught).__name__
    else:
        error = None
    report(error=error, seconds=time.monotonic() - begun, turns=turns - turns_before)
    wait_until(lambda: os.path.exists(path + ".released"))
    result_of(spawn(log.append, {"n": "after"}))
    time.sleep(timeout / 4)  # in which a line that should not come could
    log.append({"n": "last"})
"""

# The lock is held from before the start until the report.
TWO_AT_ONCE = """
with AppendLog(path, durability=durability, lock_timeout=60) as log:
    under_way = []

    def append(name):
        under_way.append(name)
        log.append({"n": name})
        under_way.remove(name)

    both = [spawn(append, name) for name in ("one", "other")]
    wait_until(lambda: len(under_way) == 2)
    turns_before = turns
    wait_until(lambda: turns >= turns_before + 20)
    report(under_way=under_way)
    for greenlet in both:
        result_of(greenlet)
"""

MANY = """
with AppendLog(path, durability=durability, lock_timeout=60) as log:

    def append(name):
        for number in range(appends):
            log.append({"name": name, "n": number})
            time.sleep(0)

    report()
    for greenlet in [spawn(append, name) for name in range(greenlets)]:
        result_of(greenlet)
"""


@pytest.fixture(params=sorted(PATCHES))
def library(request: pytest.FixtureRequest) -> str:
    """The name of a library that replaces threads."""
    name: str = request.param
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    return name


@contextlib.contextmanager
def patched(
    library: str, script: str, path: str, durability: str, *, is_imported_first: bool = False
) -> Iterator[subprocess.Popen[str]]:
    """Run a script in a process with patched threads; it has to end well after the `with`."""
    steps = (IMPORT if is_imported_first else "", PATCHES[library], COMMON, script)
    numbers = map(str, (TIMEOUT_SECONDS, GREENLETS, APPENDS))
    command = [sys.executable, "-c", "\n".join(steps), path, durability, *numbers]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
            process.communicate(timeout=HANG_SECONDS)
        finally:
            process.kill()
    assert process.returncode == 0


def report_of(process: subprocess.Popen[str]) -> Any:
    """Return what a process reports, for which it has as long as the lock is held."""
    assert process.stdout is not None
    is_there, _, _ = select.select([process.stdout], [], [], HOLD_SECONDS)
    assert is_there, "the process did not go on while the lock was held"
    return json.loads(process.stdout.readline())


def check_deadline(library: str, durability: str, path: str, hold: Hold, **how: bool) -> None:
    """Check what an append does whose deadline passes while another process holds the lock."""
    with contextlib.ExitStack() as held:
        held.enter_context(hold(path))
        with patched(library, TIMES_OUT, path, durability, **how) as process:
            facts = report_of(process)
            assert facts["error"] == "LockTimeoutError"
            assert facts["seconds"] >= TIMEOUT_SECONDS
            assert facts["turns"] >= 10, "the other greenlet stood still"
            held.close()
            Path(path + ".released").touch()
    assert AppendLog(path).read() == [{"n": "after"}, {"n": "last"}]


@pytest.mark.parametrize("durability", ["fsync", "group", "os"])
def test_an_append_gives_up_at_its_deadline_while_other_greenlets_go_on(
    library: str, durability: str, path: str, hold: Hold
) -> None:
    """It raises while the lock is still held, its line never comes, and later appends work."""
    check_deadline(library, durability, path, hold)


def test_an_append_gives_up_at_its_deadline_where_the_library_was_imported_first(
    library: str, path: str, hold: Hold
) -> None:
    """A deadline holds as well where threads are patched after the import."""
    check_deadline(library, "fsync", path, hold, is_imported_first=True)


@pytest.mark.parametrize("durability", ["fsync", "group", "os"])
def test_greenlets_that_wait_for_the_lock_get_it_when_it_is_free(
    library: str, durability: str, path: str, hold: Hold
) -> None:
    """Two appends wait beside a greenlet that goes on, and each line is there once."""
    with contextlib.ExitStack() as held:
        held.enter_context(hold(path))
        with patched(library, TWO_AT_ONCE, path, durability) as process:
            assert report_of(process) == {"under_way": ["one", "other"]}
            assert AppendLog(path).read() == []
            held.close()
    assert Counter(record["n"] for record in AppendLog(path).read()) == {"one": 1, "other": 1}


@pytest.mark.parametrize(
    ("is_alone", "is_imported_first"), [(True, False), (False, False), (False, True)]
)
@pytest.mark.parametrize("durability", ["fsync", "group", "os"])
def test_each_line_of_many_greenlets_is_there_once_and_in_order(
    library: str, log: AppendLog, durability: str, is_alone: bool, is_imported_first: bool
) -> None:
    """Fifty greenlets append, alone or beside an ordinary process that appends as well."""
    with patched(
        library, MANY, log.path, durability, is_imported_first=is_imported_first
    ) as process:
        report_of(process)
        for number in range(0 if is_alone else 10 * APPENDS):
            log.append({"name": "ordinary", "n": number})
    numbers = defaultdict(list)
    for record in log.iter_records():
        numbers[record["name"]].append(record["n"])
    assert numbers.pop("ordinary", []) == list(range(0 if is_alone else 10 * APPENDS))
    assert numbers == {name: list(range(APPENDS)) for name in range(GREENLETS)}
