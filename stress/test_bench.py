"""The benchmark is judged too.

It runs, it keeps what it measured, and a contender that loses lines is found out.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from stress.bench import contenders, peers
from stress.bench.__main__ import main
from stress.bench.contender import Contender
from stress.bench.measure import TurnError, measure
from stress.bench.page import BEGIN, END, write_page
from stress.bench.races import append_races
from stress.bench.readback import Faults, judge
from stress.bench.record import line_of, record_of
from stress.bench.results import (
    Entry,
    Goal,
    RaceResult,
    Results,
    Run,
    Waits,
    decode_results,
    encode_results,
    waits_of,
)
from stress.bench.rounds import Race, Racer, run_rounds
from stress.bench.worker import Shape

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

SECONDS = 0.05
BENCH = Path(__file__).parent / "bench"
ALL = (
    *(
        contenders.BARE,
        contenders.BARE_FSYNC,
        contenders.FSYNC,
        contenders.GROUP,
        contenders.OS,
        contenders.TYPED,
    ),
    *(contenders.ASYNC, contenders.MANY, *peers.DURABLE, *peers.NOT_DURABLE),
)
LINES = [line_of(record_of(process)) for process in (0, 1)]


def contender(append: Callable[[int, bytes], object], **options: Any) -> Contender:
    """Return one that appends as it is told, to a file that is opened for each append."""

    def opener(path: str, record: dict[str, Any], _: object) -> Callable[[], object]:
        def one() -> None:
            fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            append(fd, line_of(record))
            os.close(fd)

        return one

    return Contender("told", "", is_durable=False, is_process_safe=True, open=opener, **options)


@pytest.mark.parametrize("one", ALL, ids=lambda one: one.name)
def test_every_contender_appends_what_is_read_back(one: Contender, tmp_path: Path) -> None:
    """Two processes, killed at the end.

    Nothing is torn, and what writes by itself has lost nothing.
    """
    if not one.is_installed():
        pytest.skip(f"{one.package} is not installed")
    run = measure(one, Shape(2, 1, 4), SECONDS, str(tmp_path))
    assert run.rate > 0
    assert run.waits.p50 <= run.waits.p99 <= run.waits.longest
    assert (run.torn, run.unacknowledged) == (0, 0)
    assert run.lost == 0 or "loguru" in one.name  # whose one process that writes is killed as well
    assert list(tmp_path.iterdir()) == []


def test_lines_that_are_lost_are_counted(tmp_path: Path) -> None:
    """Every other line is dropped."""
    numbers = itertools.count()

    def append(fd: int, line: bytes) -> None:
        if next(numbers) % 2:
            os.write(fd, line)

    run = measure(contender(append), Shape(2), SECONDS, str(tmp_path))
    assert run.lost > 0
    assert (run.torn, run.unacknowledged) == (0, 0)


def test_lines_in_a_buffer_are_lost_when_the_process_is_killed(tmp_path: Path) -> None:
    """An append that returns before its line has left the process has acknowledged nothing."""

    def opener(path: str, record: dict[str, Any], _: object) -> Callable[[], object]:
        return functools.partial(open(path, "ab", buffering=1 << 30).write, line_of(record))

    buffered = Contender("buffered", "", is_durable=False, is_process_safe=True, open=opener)
    assert measure(buffered, Shape(), SECONDS, str(tmp_path)).lost > 0


def test_lines_that_are_torn_are_counted(tmp_path: Path) -> None:
    """Lines of a writer that leaves out their middle."""
    run = measure(
        contender(lambda fd, line: os.write(fd, line[:50] + line[60:])),
        Shape(),
        SECONDS,
        str(tmp_path),
    )
    assert run.torn == run.lost > 0


def test_lines_that_nobody_acknowledged_are_counted(tmp_path: Path) -> None:
    """Every line is written twice."""
    run = measure(
        contender(lambda fd, line: os.write(fd, line * 2)), Shape(1, 2), SECONDS, str(tmp_path)
    )
    assert run.unacknowledged > 0
    assert (run.torn, run.lost) == (0, 0)


def test_the_judge_tells_faults_apart() -> None:
    """By process, and a last line without its newline is torn."""
    whole = [*LINES, *LINES]
    assert judge(whole, [2, 2]) == Faults(0, 0, 0)
    assert judge(whole[1:], [2, 2]) == Faults(0, 1, 0)
    assert judge(whole, [1, 3]) == Faults(0, 1, 1)
    assert judge([*whole, LINES[0][:-1]], [2, 2]) == Faults(1, 0, 0)
    assert judge([*whole, b"\n", b"[]\n", b'{"any":"record"}\n'], [2, 2]) == Faults(3, 0, 0)
    assert judge([*whole, line_of(record_of(2))], [2, 2]) == Faults(1, 0, 0)


def test_tasks_of_an_event_loop_take_a_turn(tmp_path: Path) -> None:
    """An asynchronous contender is called from as many tasks as the shape has."""
    most = tmp_path / "most"

    @contextlib.asynccontextmanager
    async def opener(
        path: str, record: dict[str, Any]
    ) -> AsyncIterator[Callable[[], Awaitable[object]]]:
        import asyncio

        waiting = 0
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

        async def append() -> None:
            nonlocal waiting
            waiting += 1
            await asyncio.sleep(0)
            most.write_text(str(max(waiting, int(most.read_text()) if most.exists() else 0)))
            waiting -= 1
            os.write(fd, line_of(record))

        yield append

    told = Contender("tasks", "", is_durable=False, is_process_safe=True, open_async=opener)
    run = measure(told, Shape(tasks=7), SECONDS, str(tmp_path))
    assert (run.torn, run.lost, run.unacknowledged) == (0, 0, 0)
    assert most.read_text() == "7"


def test_an_append_that_raises_is_told_with_its_trace(tmp_path: Path) -> None:
    """In a process, and in one of its threads; the other processes do not wait for it for ever."""

    def opener(path: str, record: dict[str, Any], _: object) -> Callable[[], object]:
        left = itertools.repeat(None, 10)
        return lambda: next(left)

    short = Contender("short", "", is_durable=False, is_process_safe=True, open=opener)
    for shape in (Shape(3), Shape(1, 3)):
        with pytest.raises(TurnError, match="StopIteration"):
            measure(short, shape, 60.0, str(tmp_path))
    with pytest.raises(TurnError, match="ZeroDivisionError"):
        measure(contender(lambda fd, line: 1 // 0), Shape(3), 60.0, str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_preparation_that_raises_is_told(tmp_path: Path) -> None:
    """What is done once before the processes start."""
    failing = contender(os.write, prepare=lambda path: 1 // 0)
    with pytest.raises(TurnError, match="ZeroDivisionError"):
        measure(failing, Shape(2), 60.0, str(tmp_path))


def entry(name: str, **options: Any) -> Entry:
    """Return a contender's entry."""
    plain: dict[str, Any] = {
        "note": "",
        "is_durable": True,
        "is_process_safe": True,
        "side": "ours",
        "is_baseline": name == "base",
    }
    return Entry(name, **plain | options)


def run_of(rate: float, evenness: float = 1.0, longest: float = 1.0) -> Run:
    """Return a turn's figures."""
    return Run(rate, evenness, Waits(longest, longest, longest))


def test_one_that_fails_takes_no_further_turn_and_the_others_go_on() -> None:
    """Why it failed is kept; who is not installed has no turn at all."""
    turns: list[str] = []

    def turn(name: str) -> Run:
        turns.append(name)
        if name == "failing":
            raise TurnError("why")
        return run_of(1)

    entries = (entry("base"), entry("failing"), entry("missing", failure="not installed"))
    race = Race(
        "a race", tuple(Racer(one, functools.partial(turn, one.contender)) for one in entries)
    )
    done = run_rounds(race, 3, lambda text: None)
    assert [(one.contender, len(one.runs), one.failure) for one in done.entries] == [
        ("base", 3, ""),
        ("failing", 0, "why"),
        ("missing", 0, "not installed"),
    ]
    assert sorted(turns) == ["base"] * 3 + ["failing"]


def test_each_round_begins_with_another() -> None:
    """So that none has always the same one before it on the disk."""
    turns: list[str] = []

    def turn(name: str) -> Run:
        turns.append(name)
        return run_of(1)

    run_rounds(
        Race("a race", tuple(Racer(entry(name), functools.partial(turn, name)) for name in "abc")),
        3,
        lambda text: None,
    )
    assert "".join(turns) == "abcbcacab"


def test_a_goal_is_judged_by_the_median_of_its_rounds() -> None:
    """Ratios are taken within a round, against the baseline or a peer.

    Waits and milliseconds are limits.
    """
    base = entry("base", runs=(run_of(100, 0.5), run_of(10, 0.5), run_of(1, 0.5)))
    ours = entry("ours", runs=(run_of(200, 0.9, 3), run_of(5, 0.8, 1), run_of(2, 0.9, 3)))
    peer = entry("peer", runs=(run_of(100, 0.1), run_of(20, 1), run_of(2, 1)))
    absent = entry("absent", failure="not installed")
    goals = {
        Goal("ours", "rate", 2): (2, True),
        Goal("ours", "rate", 2.1): (2, False),
        Goal("ours", "rate", 1, "peer"): (1, True),
        Goal("ours", "even", 0.95): (0.9, False),
        Goal("ours", "even", 1, "peer"): (0.9, False),
        Goal("ours", "longest wait", 2): (3, False),
        Goal("ours", "longest wait", 3): (3, True),
        Goal("ours", "ms", 3000): (3000, True),
        Goal("ours", "ms over", 2000): (2000, True),
        Goal("ours", "ms over", 1999): (2000, False),
    }
    race = RaceResult(
        "a race",
        (base, ours, peer, absent),
        (*goals, Goal("ours", "rate", 1, "absent"), Goal("absent", "rate", 1)),
    )
    verdicts = race.verdicts(ours)
    assert {
        verdict.goal: (round(verdict.measured, 9), verdict.is_reached) for verdict in verdicts
    } == goals
    assert race.verdicts(peer) == race.verdicts(absent) == []


def test_waits_are_told_by_their_order() -> None:
    """The median, the 99th of a hundred, the longest."""
    assert waits_of([float(wait) for wait in range(100, -1, -1)]) == Waits(50, 99, 100)
    assert waits_of([3.0]) == Waits(3, 3, 3)


def test_what_was_measured_is_kept_shown_and_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As JSON, as a table, as a picture; and the same again from the JSON."""
    kept, picture, again = (
        tmp_path / "runs" / "run.json",
        tmp_path / "pictures" / "run.svg",
        tmp_path / "again.svg",
    )
    arguments = [
        "--rounds",
        "1",
        "--seconds",
        str(SECONDS),
        "--dir",
        str(tmp_path),
        "--read-bytes",
        "1000000",
    ]
    main([*arguments, "--only", "records of", "--json", str(kept), "--picture", str(picture)])
    table = capsys.readouterr().out
    results = decode_results(kept.read_bytes())
    assert [one.contender for race in results.races for one in race.entries] == [
        "tail -n 100",
        "read_metrics(limit=100)",
    ]
    assert all(len(one.runs) == 1 for race in results.races for one in race.entries)
    assert "rate 8: " in table
    assert "read_metrics(limit=100)" in "".join(ET.parse(picture).getroot().itertext())
    main(["--from", str(kept), "--picture", str(again)])
    assert capsys.readouterr().out == table
    assert again.read_bytes() == picture.read_bytes()
    page = tmp_path / "page.md"
    page.write_text(f"Before.\n\n{BEGIN}\nold\n{END}\n\nBehind.\n", encoding="utf-8")
    main(["--from", str(kept), "--page", str(page)])
    text = page.read_text(encoding="utf-8")
    assert "| read_metrics(limit=100) |" in text
    assert text.startswith(f"Before.\n\n{BEGIN}\n")
    assert text.endswith(f"\n{END}\n\nBehind.\n")
    main(["--from", str(kept), "--page", str(page)])
    assert page.read_text(encoding="utf-8") == text


def test_the_page_shows_the_newest_run_that_is_kept(tmp_path: Path) -> None:
    """Its tables are what the benchmark writes from it, and its picture is that run's too."""
    newest = max((BENCH / "runs").glob("*.json"))
    shown = (BENCH / "README.md").read_text(encoding="utf-8")
    page = tmp_path / "page.md"
    page.write_text(shown, encoding="utf-8")
    write_page(page, decode_results(newest.read_bytes()))
    assert page.read_text(encoding="utf-8") == shown
    picture = f"runs/{newest.stem}.svg"
    assert picture in shown
    assert f"stress/bench/{picture}" in (BENCH.parents[1] / "README.md").read_text(encoding="utf-8")


def test_beside_each_durability_stand_its_own_calls() -> None:
    """In every race of processes, and the bare loop is the baseline of them all."""
    races = {
        race.name: [racer.entry.contender for racer in race.racers]
        for race in append_races(1.0, "")
    }
    for count, noun in ((1, "process"), (2, "processes"), (4, "processes"), (64, "processes")):
        names = races[f"{count} {noun}"]
        assert names[:3] == ["bare loop, fsync", 'the calls of "fsync"', 'AppendLog "fsync"']
        grouped = ['the calls of "group"', 'AppendLog "group"']
        assert names[3:5] == ([] if count == 2 else grouped)


def test_threads_have_appended_once_before_the_clock_starts(tmp_path: Path) -> None:
    """A first append that takes long, as imports do, is no wait of the turn."""
    first = threading.local()

    def append(fd: int, line: bytes) -> None:
        if not getattr(first, "is_over", False):
            first.is_over = True
            time.sleep(0.5)
        os.write(fd, line)

    run = measure(contender(append), Shape(2, 3), SECONDS, str(tmp_path))
    assert run.waits.longest < 0.5
    assert (run.torn, run.lost, run.unacknowledged) == (0, 0, 0)


def test_a_table_says_why_one_did_not_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """In its row, to the letter; and how each is configured."""
    entries = (
        entry("base", note="dict[str, Any]", runs=(run_of(1),)),
        entry("missing", failure="a trace\npip install '.[bench]'"),
    )
    kept = tmp_path / "run.json"
    kept.write_bytes(
        encode_results(Results("a machine", "a day", 1, 1.0, (RaceResult("a race", entries),)))
    )
    main(["--from", str(kept)])
    table = capsys.readouterr().out
    assert "did not run: pip install '.[bench]'" in table
    assert "dict[str, Any]" in table


def test_rows_are_asked_for_by_name(tmp_path: Path) -> None:
    """They come with what they are compared with: the baseline, and the peer of a goal."""
    kept = tmp_path / "run.json"
    only = '1 process, without sync: AppendLog "os"'
    main(
        [
            "--rounds",
            "1",
            "--seconds",
            str(SECONDS),
            "--dir",
            str(tmp_path),
            "--only",
            only,
            "--json",
            str(kept),
        ]
    )
    (race,) = decode_results(kept.read_bytes()).races
    peers_of_goals = [peer.name for peer in peers.NOT_DURABLE if peer.is_process_safe]
    assert [one.contender for one in race.entries] == [
        "bare loop",
        'AppendLog "os"',
        *peers_of_goals,
    ]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("--rounds 0", "--rounds: 0: pass a whole number of 1 or more"),
        ("--rounds many", "--rounds: many: pass a whole number of 1 or more"),
        ("--seconds -1", "--seconds: -1: pass a number above 0"),
        ("--seconds nan", "--seconds: nan: pass a number above 0"),
        ("--read-bytes 0", "--read-bytes: 0: pass a whole number of 1000 or more"),
        ("--only zzz", "--only: no row's 'race: contender' holds 'zzz'"),
        ("--from {tmp}/none", "--from: {tmp}/none: No such file or directory"),
        ("--from {tmp}/text", "--from: {tmp}/text holds no results: JSON is malformed"),
        ("--dir {tmp}/none", "--dir: {tmp}/none is no directory"),
        ("--json {tmp}/text/run.json", "nothing can be kept in {tmp}/text: File exists"),
        ("--page {tmp}/none", "--page: {tmp}/none: No such file or directory"),
        ("--page {tmp}/text", "--page: {tmp}/text: the lines"),
    ],
)
def test_what_cannot_be_done_is_told_as_other_commands_tell_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: str, complaint: str
) -> None:
    """With status 2, before any race is run, and in one line."""
    (tmp_path / "text").write_text("no results")
    with pytest.raises(SystemExit) as caught:
        main(arguments.format(tmp=tmp_path).split())
    assert caught.value.code == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert complaint.format(tmp=tmp_path) in told.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        (("stress.bench",), "rich is not installed: pip install '.[bench]'"),
        (("stress", "soak"), "pytest is not installed: pip install '.[test]'"),
    ],
)
def test_without_its_packages_a_command_says_what_to_install(
    command: tuple[str, ...], extra: str
) -> None:
    """With status 2; its help it shows all the same."""
    module, *rest = command
    code = f"""
import runpy, sys
sys.modules.update(rich=None, pytest=None)
sys.argv = ["it", *{rest}, *sys.argv[1:]]
runpy.run_module({module!r}, run_name="__main__", alter_sys=True)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.endswith(f": error: {extra}\n")
    done = subprocess.run(
        [sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "--rounds" in done.stdout
