"""The model of rotation, in every interleaving.

No line lost, none twice, no gap for a reader, and nobody stuck.
"""

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
    "a writer, two upkeeps": begin(writer("a1", "a2", "a3", seals=True), upkeep(), upkeep()),
    "a writer, an upkeep, a reader": begin(
        writer("a1", "a2", "a3", seals=True), upkeep(), reader()
    ),
    "a writer, an upkeep, a follower": begin(
        writer("a1", "a2", "a3", seals=True), upkeep(), follower()
    ),
}


def explore(world: World) -> int:
    """Judge every world that can be reached; return how many there are."""
    seen = {world}
    todo = [world]
    while todo:
        world = todo.pop()
        judge(world)
        following = list(model.successors(world))
        if not following:
            judge_end(world)
        for after in following:
            if after not in seen:
                seen.add(after)
                todo.append(after)
    return len(seen)


@functools.lru_cache(1 << 16)
def judge_files(world: World) -> tuple[str, ...]:
    """Return the stream.

    Segments follow each other without a hole, hold what their names say, and no line is missing.
    """
    place = 0
    for start, end in world.segments():
        assert start == place, "a hole between segments, or two of one stretch"
        content = world.content(start, end)
        assert len(content) == end - start
        assert content == model.whole(content), "a torn line is sealed"
        place = end
    stream = world.stream()
    assert len(set(stream)) == len(stream), "a line is there twice"
    assert world.acknowledged <= set(stream), "an acknowledged line is lost"
    return stream


def judge(world: World) -> None:
    """What holds at every moment, of the files and of what readers have seen of them."""
    stream = judge_files(world._replace(locks=(), processes=(), crashes=0))
    for process in world.processes:
        if process.is_reader:
            assert process.got == stream[: len(process.got)], (
                "a reader saw a gap, or something twice"
            )
            assert process.step != DONE or process.due <= set(process.got), (
                "a reader missed what was acknowledged before it began"
            )


def judge_end(world: World) -> None:
    """What holds when nothing more can happen.

    All are through, each writer's lines are in its order, a follower has all.
    """
    for process in world.processes:
        assert process.step in {DONE, DEAD}, "somebody waits for ever"
        if process.follows and process.step == DONE:
            assert process.got == world.stream(), "a follower missed something"
    stream = world.stream()
    assert [line for line in stream if line[0] == "a"] == sorted(
        line for line in stream if line[0] == "a"
    )


@pytest.mark.parametrize("case", CASES)
def test_every_interleaving_keeps_every_line_once(case: str) -> None:
    """With a crash of anybody at any step."""
    assert explore(CASES[case]) > 1000


def write_unchecked(world: World, me: int) -> Iterator[World]:
    """Take any file that is locked for the one that has the name."""
    yield from model.check(world, me) if world.processes[me].is_by_hand else [world.go(me, "write")]


def seal_unmended(world: World, me: int) -> Iterator[World]:
    """Seal a file with the half line that a dead writer left."""
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
    """Take the file that was opened for the active one still."""
    yield model.begin_list(world, me, "sealed")


def list_once(world: World, me: int) -> Iterator[World]:
    """Believe one listing where there is no active file."""
    for names in model.listings(world, me):
        base = model.ends(names)
        yield (
            world.go(me, "same", base=base)
            if world.processes[me].file >= 0
            else model.begin_list(world, me, "sealed", base=base)
        )


def look_no_more(world: World, me: int) -> Iterator[World]:
    """Leave a file that has lost its name without a last look."""
    yield world.go(me, "hold", place=len(world.processes[me].got))


@pytest.mark.parametrize(
    ("case", "step", "broken"),
    [
        ("two writers, a rotator that compresses", "check", write_unchecked),
        ("two writers, a rotator that compresses", "check", seal_unmended),
        ("a writer, an upkeep, a reader", "survey", pack_any),
        ("a writer, an upkeep, a reader", "pack", unlink_first),
        ("two writers, a rotator, a reader", "same", believe_the_name),
        ("a writer, an upkeep, a reader", "base", list_once),
        ("two writers, a rotator, a follower", "last look", look_no_more),
    ],
)
def test_a_protocol_that_is_broken_is_caught(
    case: str, step: str, broken: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each rule is there for a reason.

    Without it something is lost, or seen twice, or never ends.
    """
    monkeypatch.setitem(model.STEPS, step, broken)
    with pytest.raises(AssertionError):
        explore(CASES[case])
