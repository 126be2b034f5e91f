"""Many records as lines: the same lines as one by one, in batches of a size."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metrics_appender import InvalidRecordError
from metrics_appender.records.batches import batched, encode_blocks, encode_each
from metrics_appender.records.ndjson import encode_line

SCALARS = st.none() | st.integers() | st.text(st.characters(codec="utf-8"))
OBJECTS = st.dictionaries(st.text(st.characters(codec="utf-8")), SCALARS | st.lists(SCALARS))


@given(
    st.lists(OBJECTS | st.just({"converted": (1, (2, 3))}), max_size=40),
    st.sampled_from([1, 100, 1 << 20]),
)
@settings(
    deadline=None, max_examples=50, database=None, suppress_health_check=[HealthCheck.too_slow]
)
def test_many_records_make_the_same_lines_in_one_go_and_one_by_one(
    records: list[dict[str, Any]], most_bytes: int
) -> None:
    """Those of a list are encoded together, those of an iterator each before the next."""
    for source in (records, iter(records)):
        blocks = list(encode_blocks(source, most_bytes))
        assert b"".join(block.lines for block in blocks) == b"".join(map(encode_line, records))
        assert [block.lines.count(b"\n") for block in blocks] == [block.records for block in blocks]


def test_a_wrong_record_is_named_by_its_index() -> None:
    """Counted over the whole iterable, whether the records were encoded together or not."""
    records: list[dict[str, Any]] = [{"n": n} for n in range(300)]
    records[290] = {"n": {1}}
    for source in (records, iter(records)):
        with pytest.raises(InvalidRecordError) as caught:
            list(encode_blocks(source, 100))
        assert [fault.field for fault in caught.value.faults] == ["records[290]: record.n"]
    with pytest.raises(InvalidRecordError) as caught:
        list(encode_each(records[290:], encode_line, start=290))
    assert [fault.field for fault in caught.value.faults] == ["records[290]: record.n"]


def test_a_batch_holds_up_to_so_many_bytes_or_one_larger_item() -> None:
    """In the order of the items, none twice and none left out."""
    items = [b"aa", b"b", b"cccc", b"d", b"ee", b"", b"fff"]
    assert list(batched(items, 3, len)) == [[b"aa", b"b"], [b"cccc"], [b"d", b"ee", b""], [b"fff"]]
    assert list(batched([], 3, len)) == []
