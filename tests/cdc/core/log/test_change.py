import json
from typing import Any

import pytest

from cdc.core.log.change import Change, Commit, Hint, Op, Probe, decode_notification
from cdc.core.log.position import Position

PAYLOAD: dict[str, Any] = {
    "position": 1042,
    "committedAt": "2026-11-23T08:00:00.123456Z",
    "xid": 771,
    "user": "u",
    "application": "psql",
    "changes": [
        {"schema": "public", "table": "flags", "op": "update", "before": {"id": 1}, "after": {"id": 1, "n": 2}},
        {"schema": "shop", "table": "orders", "op": "truncate"},
        {"schema": "shop", "table": "orders", "op": "insert", "key": {"no": 7}, "after": {"no": 7}},
    ],
}


def test_a_notification_with_its_changes_is_a_commit() -> None:
    assert decode_notification(json.dumps(PAYLOAD)) == Commit(
        Position(1042),
        "2026-11-23T08:00:00.123456Z",
        771,
        "u",
        "psql",
        (
            Change("public", "flags", Op.UPDATE, {"id": 1}, {"id": 1, "n": 2}),
            Change("shop", "orders", Op.TRUNCATE, None, None),
            Change("shop", "orders", Op.INSERT, None, {"no": 7}, {"no": 7}),
        ),
    )


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
        '{"position":1,"changes":7}',
        '{"position":1,"changes":[{}]}',
        '{"position":1,"changes":[]}',
        json.dumps({**PAYLOAD, "changes": [{**PAYLOAD["changes"][0], "op": "merge"}]}),
        "[" * 7_999,
    ],
)
def test_what_is_not_ours_is_ignored(text: str) -> None:
    assert decode_notification(text) is None
