import pytest

from cdc.core.log.change import Change, Commit, Hint, Op, Probe, decode_change, decode_notification, read_commit
from cdc.core.log.position import Position
from cdc.core.log.row_text import LARGE, RowText

PAYLOAD = (
    '{"position":1042,"xid":771,"committedAt":"2026-11-23T08:00:00.123456Z","user":"u\\"","application":"psql","changes":['
    '{"schema":"public","table":"flags","op":"update","key":null,"before":{"id":1},"after":{"id":1,"n":1.10}},'
    '{"schema":"shop","table":"a\\"b","op":"truncate","key":null,"before":null,"after":null},'
    '{"schema":"shop","table":"orders","op":"insert","key":{"no" : 7},"before":null,'
    '"after":{"no":7,"s":",\\"after\\":"}}]}'
)


def test_a_notification_with_its_changes_is_a_commit_whose_rows_keep_their_text() -> None:
    commit = decode_notification(PAYLOAD)
    changes = (
        Change("public", "flags", Op.UPDATE, RowText('{"id":1}'), RowText('{"id":1,"n":1.10}')),
        Change("shop", 'a"b', Op.TRUNCATE, None, None),
        Change("shop", "orders", Op.INSERT, None, RowText('{"no":7,"s":",\\"after\\":"}'), RowText('{"no" : 7}')),
    )
    assert commit == Commit(Position(1042), "2026-11-23T08:00:00.123456Z", 771, 'u"', "psql", changes)
    assert tuple(decode_change(raw) for raw in read_commit(PAYLOAD)["changes"]) == changes


@pytest.mark.parametrize(
    "payload",
    [
        PAYLOAD.replace("1.10", "9" * 5001),
        PAYLOAD.replace("1.10", "[" * 100_000 + "]" * 100_000),
        PAYLOAD.replace("update", "merge"),
        PAYLOAD.replace('"id":1', '"id":'),
        PAYLOAD.replace('{"id":1}', "7"),
        PAYLOAD.replace('"before"', '"Before"'),
        PAYLOAD.replace(',"after":{"id"', ',"later":{"id"'),
        PAYLOAD[:-1],
        '{"position": 1042, "changes": []}',
    ],
    ids=["digits", "depth", "operation", "invalid", "no row", "before", "after", "cut off", "spelling"],
)
def test_a_notification_with_other_changes_says_where_to_look(payload: str) -> None:
    assert decode_notification(payload) == Hint(Position(1042))


def test_a_large_message_is_read_without_decoding_its_rows() -> None:
    row = f'{{"id":1,"x":"{"x" * LARGE}"}}'
    (change,) = read_commit(f'{{"changes":[{{"before":null,"after":{row}}}]}}')["changes"]
    assert change == {"before": None, "after": RowText(row)}


def test_a_notification_without_changes_says_where_to_look() -> None:
    assert decode_notification('{"position":1042}') == Hint(Position(1042))


def test_the_listeners_own_notification_is_known() -> None:
    assert decode_notification('{"probe":"n1"}') == Probe("n1")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "7",
        "null",
        '"position"',
        "{}",
        '{"position":"x"}',
        '{"position":null}',
        '{"position":' + "9" * 5001 + "}",
        "[" * 7_999,
    ],
)
def test_what_is_not_ours_is_ignored(text: str) -> None:
    assert decode_notification(text) is None
