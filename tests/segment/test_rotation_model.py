"""The model of rotation in every interleaving: no line lost or doubled, no gap, no deadlock."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import pytest
import rotation_model as model
from rotation_model import DEAD, DONE, World, begin, follower, reader, rotator, upkeep, writer

if TYPE_CHECKING:
    from collections.abc import Iterator

CASES: dict[str, World] = {
    "two writers, a rotator that compresses": begin(
        writer("a1", "a2", seals=True), writer("b1", "b2"), rotator(compresses=True)
    ),
    "two writers, a rotator, a reader": begin(
        writer("a1", "a2", seals=True), writer("b1"), rotator(), reader()
    ),
    "two writers, a rotator, a follower": begin(
        writer("a1", "a2", seals=True), writer("b1"), rotator(), follower()
    ),
    "a writer, two cleaners": begin(writer("a1", "a2", "a3", seals=True), upkeep(), upkeep()),
    "a writer, a cleaner, a reader": begin(
        writer("a1", "a2", "a3", seals=True), upkeep(), reader()
    ),
    "a writer, a cleaner, a follower": begin(
        writer("a1", "a2", "a3", seals=True), upkeep(), follower()
    ),
}


def explore(world: World) -> int:
    """Verify every reachable state of the world, and return how many there are."""
    seen = {world}
    todo = [world]
    while todo:
        world = todo.pop()
        verify(world)
        following = list(model.successors(world))
        if not following:
            verify_end(world)
        for after in following:
            if after not in seen:
                seen.add(after)
                todo.append(after)
    return len(seen)


@functools.lru_cache(1 << 16)
def verify_files(world: World) -> tuple[str, ...]:
    """Verify that segments are adjacent and hold what their names say; return the stream."""
    expected = 0
    for start, end in world.segments():
        assert start == expected, "a gap between segments, or two of one range"
        content = world.content(start, end)
        assert len(content) == end - start
        assert content == model.whole(content), "a torn line is sealed"
        expected = end
    stream = world.stream()
    assert len(set(stream)) == len(stream), "a line is there twice"
    assert world.acknowledged <= set(stream), "an acknowledged line is lost"
    return stream


def verify(world: World) -> None:
    """Verify what holds at every moment, of the files and of what readers have read of them."""
    stream = verify_files(world._replace(locks=(), processes=(), crashes=0))
    for process in world.processes:
        if process.is_reader:
            assert process.got == stream[: len(process.got)], (
                "a reader saw a gap, or something twice"
            )
            assert process.step != DONE or process.due <= set(process.got), (
                "a reader missed what was acknowledged before it began"
            )


def verify_end(world: World) -> None:
    """Verify a final state: all are done, lines are in order, and followers have read them all."""
    for process in world.processes:
        assert process.step in {DONE, DEAD}, "a process waits for ever"
        if process.follows and process.step == DONE:
            assert process.got == world.stream(), "a follower missed something"
    stream = world.stream()
    assert [line for line in stream if line[0] == "a"] == sorted(
        line for line in stream if line[0] == "a"
    )


@pytest.mark.parametrize("case", CASES)
def test_every_interleaving_keeps_every_line_once(case: str) -> None:
    """With a crash of any process at any step."""
    assert explore(CASES[case]) > 1000


def write_unchecked(world: World, me: int) -> Iterator[World]:
    """Accept any locked file as the one that has the name."""
    yield from model.check(world, me) if world.processes[me].is_by_hand else [world.go(me, "write")]


def seal_unrecovered(world: World, me: int) -> Iterator[World]:
    """Seal a file with the torn line of a dead writer."""
    file = world.processes[me].file
    is_due = world.means(model.NAME) == file and world.processes[me].seals and world.files[file]
    yield from [model.begin_list(world, me, "list")] if is_due else model.check(world, me)


def pack_any(world: World, me: int) -> Iterator[World]:
    """Compress the newest segment too."""
    for names in model.listings(world, me):
        plain = sorted(name for name in names if name[2] == model.PLAIN)
        yield world.go(me, "pack", names=frozenset(plain[:1])) if plain else world.go(me, DONE)


def unlink_first(world: World, me: int) -> Iterator[World]:
    """Remove the plain segment before the compressed one has its name."""
    ((start, end, _),) = world.processes[me].names
    yield world.rename((start, end, model.PLAIN), None, world.means((start, end, model.PLAIN))).go(
        me, DONE
    )


def believe_the_name(world: World, me: int) -> Iterator[World]:
    """Assume that the opened file is still the active one."""
    yield model.begin_list(world, me, "sealed")


def list_once(world: World, me: int) -> Iterator[World]:
    """Trust a single listing where there is no active file."""
    for names in model.listings(world, me):
        base = model.ends(names)
        yield (
            world.go(me, "same", base=base)
            if world.processes[me].file >= 0
            else model.begin_list(world, me, "sealed", base=base)
        )


def look_no_more(world: World, me: int) -> Iterator[World]:
    """Leave a file that has lost its name without reading it a last time."""
    yield world.go(me, "hold", place=len(world.processes[me].got))


@pytest.mark.parametrize(
    ("case", "step", "broken"),
    [
        ("two writers, a rotator that compresses", "check", write_unchecked),
        ("two writers, a rotator that compresses", "check", seal_unrecovered),
        ("a writer, a cleaner, a reader", "survey", pack_any),
        ("a writer, a cleaner, a reader", "pack", unlink_first),
        ("two writers, a rotator, a reader", "same", believe_the_name),
        ("a writer, a cleaner, a reader", "base", list_once),
        ("two writers, a rotator, a follower", "last look", look_no_more),
    ],
)
def test_a_broken_protocol_is_caught(
    case: str, step: str, broken: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each rule is needed: without it a line is lost or read twice, or a process waits for ever."""
    monkeypatch.setitem(model.STEPS, step, broken)
    with pytest.raises(AssertionError):
        explore(CASES[case])
