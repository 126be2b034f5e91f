"""The protocol of rotation as a small model, every interleaving of which can be checked.

A world holds what the kernel holds (names, files, locks) and some processes, each at one of its
steps. A step is what happens in one instant: one system call, or what is done between two of them.
Offsets count lines. Half a line is written with a `~`.

A directory is listed in two instants: a name that is there in both is listed, a name that is there
in only one may be listed or not.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAME = "F"
PLAIN, PACKED = "plain", "packed"
DONE, DEAD = "done", "dead"


class Process(NamedTuple):
    """One process: its task, its next step, and what it knows."""

    step: str
    lines: tuple[str, ...] = ()  # what a writer still has to append
    seals: bool = False  # whether a writer seals the file
    is_by_hand: bool = False  # whether it seals the file that is there, once
    compresses: bool = False  # whether it compresses after that
    file: int = -1
    names: frozenset[Any] = frozenset()
    base: int = 0
    place: int = 0  # a reader's position in the stream
    got: tuple[str, ...] = ()
    due: frozenset[str] = frozenset()  # what a reader has to see: acknowledged before it began
    is_reader: bool = False
    follows: bool = False


class World(NamedTuple):
    """Names and their files, each file's lines and lock holder, processes, acknowledged lines."""

    names: frozenset[tuple[Any, int]]
    files: tuple[tuple[str, ...], ...]
    locks: tuple[int, ...]
    processes: tuple[Process, ...]
    acknowledged: frozenset[str] = frozenset()
    crashes: int = 1

    def means(self, name: Any) -> int:
        """Return the file of a name, -1 if none."""
        return next((file for named, file in self.names if named == name), -1)

    def segments(self) -> list[tuple[int, int]]:
        """Return the ranges of the sealed segments, in order."""
        return sorted({name[:2] for name, _ in self.names if name != NAME})

    def content(self, start: int, end: int) -> tuple[str, ...]:
        """Return the lines of a sealed segment."""
        file = self.means((start, end, PLAIN))
        return self.files[file if file >= 0 else self.means((start, end, PACKED))]

    def stream(self) -> tuple[str, ...]:
        """Return all whole lines of the log."""
        sealed = (line for segment in self.segments() for line in self.content(*segment))
        active = self.means(NAME)
        return (*sealed, *(whole(self.files[active]) if active >= 0 else ()))

    def go(self, me: int, step: str, **known: Any) -> World:
        """Return the world in which a process is at another step, and knows more."""
        process = self.processes[me]._replace(step=step, **known)
        return self._replace(processes=(*self.processes[:me], process, *self.processes[me + 1 :]))

    def rename(self, old: Any, new: Any, file: int) -> World:
        """Return the world in which a file has another name; `None` is no name."""
        return self._replace(
            names=(self.names - {(old, file)}) | ({(new, file)} if new is not None else set())
        )

    def put(self, file: int, lines: tuple[str, ...]) -> World:
        """Return the world in which a file, perhaps a new one, holds these lines."""
        if file == len(self.files):
            return self._replace(files=(*self.files, lines), locks=(*self.locks, -1))
        return self._replace(files=(*self.files[:file], lines, *self.files[file + 1 :]))

    def lock(self, file: int, holder: int) -> World:
        """Return the world in which a file is locked by a process, by none for -1."""
        return self._replace(locks=(*self.locks[:file], holder, *self.locks[file + 1 :]))


def whole(lines: tuple[str, ...]) -> tuple[str, ...]:
    """Return the lines without the half one at the end."""
    return tuple(line for line in lines if not line.endswith("~"))


def open_named(world: World, me: int) -> Iterator[World]:
    """Open the file that has the name; where there is none, only a writer makes one."""
    file = world.means(NAME)
    if file < 0 and world.processes[me].is_by_hand:
        yield world.go(me, DONE)
    elif file < 0:
        file = len(world.files)
        yield world.put(file, ()).rename(None, NAME, file).go(me, "lock", file=file)
    else:
        yield world.go(me, "lock", file=file)


def lock(world: World, me: int) -> Iterator[World]:
    """Wait for the lock of the open file."""
    file = world.processes[me].file
    if world.locks[file] < 0:
        yield world.lock(file, me).go(me, "check")


def check(world: World, me: int) -> Iterator[World]:
    """Check that the name still means the locked file, recover it, and see whether to seal it."""
    process = world.processes[me]
    lines = whole(world.files[process.file])  # what is left when the half line is cut away
    recovered = world.put(process.file, lines)
    if world.means(NAME) != process.file:
        yield world.lock(process.file, -1).go(me, "open")
    elif lines and (process.seals or process.is_by_hand):
        yield begin_list(recovered, me, "list")
    elif process.is_by_hand:
        yield recovered.lock(process.file, -1).go(me, DONE)
    else:
        yield recovered.go(me, "write")


def write(world: World, me: int) -> Iterator[World]:
    """Write the first half of the line."""
    process = world.processes[me]
    yield world.put(process.file, (*world.files[process.file], process.lines[0] + "~")).go(
        me, "write on"
    )


def write_on(world: World, me: int) -> Iterator[World]:
    """Write the rest of it, and sync."""
    process = world.processes[me]
    yield world.put(process.file, (*world.files[process.file][:-1], process.lines[0])).go(
        me, "release"
    )


def release(world: World, me: int) -> Iterator[World]:
    """Release the lock, and acknowledge."""
    process = world.processes[me]
    free = world.lock(process.file, -1)._replace(
        acknowledged=world.acknowledged | {process.lines[0]}
    )
    rest = process.lines[1:]
    yield free.go(me, "open" if rest else DONE, lines=rest)


def begin_list(world: World, me: int, step: str, **known: Any) -> World:
    """Return the world in which a process has begun to list the directory."""
    return world.go(
        me, step, names=frozenset(name for name, _ in world.names if name != NAME), **known
    )


def listings(world: World, me: int) -> Iterator[frozenset[Any]]:
    """Return what a listing may show that was begun before and ends now."""
    before = world.processes[me].names
    now = frozenset(name for name, _ in world.names if name != NAME)
    unsure = sorted(before ^ now)
    for count in range(len(unsure) + 1):
        for seen in itertools.combinations(unsure, count):
            yield (before & now) | frozenset(seen)


def ends(names: frozenset[Any]) -> int:
    """Return the end of the last of the listed segments."""
    return max((end for _, end, _ in names), default=0)


def list_base(world: World, me: int) -> Iterator[World]:
    """End the listing: its last segment ends where the file to be sealed begins."""
    for names in listings(world, me):
        yield world.go(me, "rename", base=ends(names))


def rename(world: World, me: int) -> Iterator[World]:
    """Give the file the name of its range."""
    process = world.processes[me]
    end = process.base + len(world.files[process.file])
    yield world.rename(NAME, (process.base, end, PLAIN), process.file).go(me, "leave")


def leave(world: World, me: int) -> Iterator[World]:
    """Release the sealed file; a writer opens the name again, a rotation ends or cleans."""
    process = world.processes[me]
    free = world.lock(process.file, -1)
    if process.compresses:
        yield begin_list(free, me, "survey")
    else:
        yield free.go(me, DONE if process.is_by_hand else "open")


def survey(world: World, me: int) -> Iterator[World]:
    """Choose the segment to compress: the oldest plain one, but never the newest."""
    for names in listings(world, me):
        plain = sorted(name for name in names if name[2] == PLAIN and name[1] != ends(names))
        yield world.go(me, "pack", names=frozenset(plain[:1])) if plain else world.go(me, DONE)


def pack(world: World, me: int) -> Iterator[World]:
    """Give the compressed copy, complete and synced, its name, unless a killed cleaner did."""
    ((start, end, _),) = world.processes[me].names
    if world.means((start, end, PACKED)) < 0:
        file = len(world.files)
        world = world.put(file, world.files[world.means((start, end, PLAIN))]).rename(
            None, (start, end, PACKED), file
        )
    yield world.go(me, "unlink")


def unlink(world: World, me: int) -> Iterator[World]:
    """Remove the plain segment, and look for more to do."""
    ((start, end, _),) = world.processes[me].names
    yield begin_list(
        world.rename((start, end, PLAIN), None, world.means((start, end, PLAIN))), me, "survey"
    )


def hold(world: World, me: int) -> Iterator[World]:
    """Open the active file for reading, if there is one."""
    process = world.processes[me]
    due = process.due if process.got else world.acknowledged
    yield begin_list(world, me, "base", file=world.means(NAME), due=due)


def base(world: World, me: int) -> Iterator[World]:
    """End the listing that shows where the active file begins."""
    for names in listings(world, me):
        if world.processes[me].file >= 0:
            yield world.go(me, "same", base=ends(names))
        else:
            yield begin_list(world, me, "base again", base=ends(names))


def base_again(world: World, me: int) -> Iterator[World]:
    """End a second listing where there is no active file: it shows what the first one missed."""
    for names in listings(world, me):
        yield begin_list(world, me, "sealed", base=max(world.processes[me].base, ends(names)))


def same(world: World, me: int) -> Iterator[World]:
    """Check that the open file still has the name; begin anew otherwise."""
    process = world.processes[me]
    yield (
        begin_list(world, me, "sealed")
        if world.means(NAME) == process.file
        else world.go(me, "hold")
    )


def list_sealed(world: World, me: int) -> Iterator[World]:
    """End the listing of what is sealed before the open file; list again where it shows a hole."""
    base = world.processes[me].base
    for names in listings(world, me):
        sealed = sorted({name[:2] for name in names if name[1] <= base})
        is_whole = [0, *(end for _, end in sealed)] == [*(start for start, _ in sealed), base]
        yield world.go(me, "read") if is_whole else begin_list(world, me, "sealed")


def read(world: World, me: int) -> Iterator[World]:
    """Read the segment at the reader's position, whatever its name, and at last the open file."""
    process = world.processes[me]
    if process.place < process.base:
        found = [segment for segment in world.segments() if segment[0] == process.place]
        assert found, "no segment begins where the reader is"
        ((start, end),) = found
        yield world.go(me, "read", place=end, got=process.got + world.content(start, end))
    else:
        lines = whole(world.files[process.file]) if process.file >= 0 else ()
        got = process.got[: process.base] + lines
        yield world.go(me, "follow" if process.follows else DONE, got=got)


def follow(world: World, me: int) -> Iterator[World]:
    """Follow the file to its end; go on behind it once it has lost its name."""
    process = world.processes[me]
    is_there = process.file >= 0
    if is_there and world.means(NAME) != process.file:
        yield world.go(me, "last look")
    elif not is_there and (
        world.means(NAME) >= 0 or any(end > process.base for _, end in world.segments())
    ):
        yield world.go(me, "hold", place=process.base)
    elif is_there and process.got[process.base :] != whole(world.files[process.file]):
        yield world.go(me, "read")
    elif all(
        other.step in {DONE, DEAD} for place, other in enumerate(world.processes) if place != me
    ):
        yield world.go(me, DONE)


def last_look(world: World, me: int) -> Iterator[World]:
    """Read the file that has lost its name to its end, which is final now, and go on behind it."""
    process = world.processes[me]
    got = process.got[: process.base] + whole(world.files[process.file])
    yield world.go(me, "hold", got=got, place=len(got))


STEPS: dict[str, Callable[[World, int], Iterator[World]]] = {
    "open": open_named,
    "lock": lock,
    "check": check,
    "write": write,
    "write on": write_on,
    "release": release,
    "list": list_base,
    "rename": rename,
    "leave": leave,
    "survey": survey,
    "pack": pack,
    "unlink": unlink,
    "hold": hold,
    "base": base,
    "base again": base_again,
    "same": same,
    "sealed": list_sealed,
    "read": read,
    "follow": follow,
    "last look": last_look,
}


def writer(*lines: str, seals: bool = False) -> Process:
    """A process that appends these lines."""
    return Process("open", lines=lines, seals=seals)


def rotator(*, compresses: bool = False) -> Process:
    """A process that rotates once, and then compresses what there is to compress."""
    return Process("open", is_by_hand=True, compresses=compresses)


def upkeep() -> Process:
    """A process that only compresses."""
    return Process("survey")


def reader() -> Process:
    """A process that reads the log once."""
    return Process("hold", is_reader=True)


def follower() -> Process:
    """A process that follows the log from its beginning until no other process is left."""
    return Process("hold", is_reader=True, follows=True)


def begin(*processes: Process, crashes: int = 1) -> World:
    """Return the world with nothing on its disk."""
    return World(frozenset(), (), (), processes, crashes=crashes)


def successors(world: World) -> Iterator[World]:
    """Return every world that may be next: each process takes its step, or dies before it."""
    for me, process in enumerate(world.processes):
        if process.step in {DONE, DEAD}:
            continue
        yield from STEPS[process.step](world, me)
        # The death of a reader changes nothing for other processes.
        if world.crashes and not process.is_reader:
            dead = world.go(me, DEAD)._replace(crashes=world.crashes - 1)
            yield dead._replace(
                locks=tuple(-1 if holder == me else holder for holder in world.locks)
            )
