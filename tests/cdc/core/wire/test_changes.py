"""Pages of the change feed as text."""

import json
from typing import Any

import pytest

from cdc.core.change_feed.cursor import Cursor
from cdc.core.change_feed.logged_change import ChangePage, LoggedChange
from cdc.core.log.change import Op
from cdc.core.log.position import LogId, Position
from cdc.core.log.row_text import RowText
from cdc.core.log.schema_change import SchemaChange, SchemaColumn
from cdc.core.wire.changes import ChangeFormat, content_type, page_text

LOG = LogId("k7q2mx")


def change(**fields: Any) -> LoggedChange:
    values: dict[str, Any] = {
        "position": Position(7),
        "index": 2,
        "count": 3,
        "committed_at": "2026-11-23T08:00:00.123456Z",
        "xid": 761,
        "user": "flagent",
        "application": "psql",
        "schema": "shop",
        "table": "orders",
        "op": Op.UPDATE,
        "key": '{"id":5}',
        "before": '{"id":5,"total":1.10,"old":1}',
        "after": '{"id":5,"total":1.1,"new":null}',
    }
    return LoggedChange(**{**values, **fields})


def page(*changes: LoggedChange, is_open: bool = False) -> ChangePage:
    return ChangePage(changes, Cursor(Position(7), 2, LOG), Position(9), is_open, "shopdb")


def page_of(format: ChangeFormat, *changes: LoggedChange) -> Any:
    return json.loads(page_text(format, page(*changes), "1.2.3"))


def test_a_change_has_its_place_its_rows_and_where_it_came_from() -> None:
    document = page_of(ChangeFormat.JSON, change())
    assert document == {
        "changes": [
            {
                "cursor": "7.2@k7q2mx.e6f7b0",
                "position": "7",
                "index": 2,
                "count": 3,
                "committedAt": "2026-11-23T08:00:00.123456Z",
                "transactionId": "761",
                "user": "flagent",
                "application": "psql",
                "schema": "shop",
                "table": "shop.orders",
                "op": "update",
                "key": {"id": 5},
                "before": {"id": 5, "total": 1.1, "old": 1},
                "after": {"id": 5, "total": 1.1, "new": None},
                "changed": ["total", "new", "old"],
            }
        ],
        "next": "7.2@k7q2mx",
        "isOpen": False,
    }


def test_the_last_change_of_a_commit_ends_it() -> None:
    (last,) = page_of(ChangeFormat.JSON, change(index=3))["changes"]
    assert last["cursor"] == "7@k7q2mx.e6f7b0"


def test_rows_stay_as_postgres_wrote_them() -> None:
    row = '{"n": 12345678901234567890.1234567890123456789, "j": {"half" : "\\ud800"}}'
    text = page_text(ChangeFormat.JSON, page(change(op=Op.INSERT, before=None, after=row)), "1")
    assert f'"after":{row}' in text
    text.encode()


def test_an_empty_page_still_says_where_to_go_on() -> None:
    assert json.loads(page_text(ChangeFormat.JSON, page(is_open=True), "1")) == {
        "changes": [], "next": "7.2@k7q2mx", "isOpen": True
    }  # fmt: skip
    assert page_of(ChangeFormat.CLOUDEVENTS) == []


def test_rows_of_flagents_tables_are_known_by_their_id() -> None:
    insert = change(table="flags", op=Op.INSERT, key=None, before=None, after='{"id":4}')
    gone = change(table="flags", op=Op.DELETE, key=None, before='{"id":5}', after=None)
    other = change(key=None)
    odd = change(table="tags", op=Op.DELETE, key=None, before="{}", after=None)
    cleared = change(table="flags", op=Op.TRUNCATE, key=None, before=None, after=None)
    keys = [each["key"] for each in page_of(ChangeFormat.JSON, insert, gone, other, odd, cleared)["changes"]]
    assert keys == [{"id": 4}, {"id": 5}, None, None, None]


def test_debezium_gets_its_envelope() -> None:
    (record,) = page_of(ChangeFormat.DEBEZIUM, change())["changes"]
    us = 1795420800123456
    lsn = 7 << 24 | 2
    assert record == {
        "key": {"id": 5},
        "value": {
            "before": {"id": 5, "total": 1.1, "old": 1},
            "after": {"id": 5, "total": 1.1, "new": None},
            "source": {
                "version": "1.2.3",
                "connector": "postgresql",
                "name": "flagent-cdc",
                "ts_ms": us // 1000,
                "snapshot": "false",
                "db": "shopdb",
                "sequence": f'["{7 << 24}","{lsn}"]',
                "ts_us": us,
                "ts_ns": us * 1000,
                "schema": "shop",
                "table": "orders",
                "txId": 761,
                "lsn": lsn,
                "xmin": None,
            },
            "transaction": {"id": f"761:{7 << 24}", "total_order": 2, "data_collection_order": 2},
            "op": "u",
            "ts_ms": us // 1000,
            "ts_us": us,
            "ts_ns": us * 1000,
        },
    }


@pytest.mark.parametrize(
    ("op", "code", "before", "after"),
    [
        (Op.INSERT, "c", None, '{"id":5}'),
        (Op.UPDATE, "u", '{"id":5}', '{"id":5}'),
        (Op.DELETE, "d", '{"id":5}', None),
        (Op.TRUNCATE, "t", None, None),
    ],
)
def test_debezium_gets_its_letter(op: Op, code: str, before: str | None, after: str | None) -> None:
    (record,) = page_of(ChangeFormat.DEBEZIUM, change(op=op, before=before, after=after))["changes"]
    assert record["value"]["op"] == code
    assert (record["value"]["before"] is None, record["value"]["after"] is None) == (before is None, after is None)


def test_a_changed_key_is_a_deletion_and_a_creation_in_debezium() -> None:
    moved = change(key='{"id":6,"n":1.50}', before='{"n":1.5,"id":5}', after='{"n":1.50,"id":6}')
    gone, new = page_of(ChangeFormat.DEBEZIUM, moved)["changes"]
    assert (gone["value"]["op"], gone["key"], gone["value"]["after"]) == ("d", {"id": 5, "n": 1.5}, None)
    assert (new["value"]["op"], new["key"], new["value"]["before"]) == ("c", {"id": 6, "n": 1.5}, None)
    # A key column that the row did not have before leaves the old key unknown.
    (added,) = page_of(ChangeFormat.DEBEZIUM, change(key='{"new":null}'))["changes"]
    assert added["value"]["op"] == "u"


def test_the_lsn_grows_from_change_to_change() -> None:
    places = [(7, 1), (7, 2), (7, 1 << 23), (8, 1), (8, 2), (1 << 38, 1)]
    changes = [change(position=Position(position), index=index, count=1 << 24) for position, index in places]
    lsns = [record["value"]["source"]["lsn"] for record in page_of(ChangeFormat.DEBEZIUM, *changes)["changes"]]
    assert lsns == sorted(set(lsns))
    assert lsns[-1] < 1 << 63


def test_cloud_events_say_what_where_and_when() -> None:
    first, cleared = page_of(
        ChangeFormat.CLOUDEVENTS,
        change(),
        change(index=3, op=Op.TRUNCATE, key=None, before=None, after=None),
    )
    data = first.pop("data")
    assert first == {
        "specversion": "1.0",
        "id": "7.2@k7q2mx.e6f7b0",
        "source": "/flagent-cdc/k7q2mx",
        "type": "flagent_cdc.row_updated",
        "subject": "shop.orders",
        "time": "2026-11-23T08:00:00.123456Z",
        "datacontenttype": "application/json",
        "sequence": "0000000000000000007.000000002",
        "partitionkey": '{"id":5}',
    }
    assert data == page_of(ChangeFormat.JSON, change())["changes"][0]
    assert (cleared["type"], "partitionkey" in cleared) == ("flagent_cdc.table_truncated", False)


COLUMNS = SchemaChange((SchemaColumn("id", "bigint"),), (SchemaColumn("n", "numeric(10,2)"),), rewritten=True)


def altered() -> LoggedChange:
    before, after = COLUMNS.images()
    return change(op=Op.SCHEMA, key=None, before=before, after=after)


def test_a_change_of_columns_names_these() -> None:
    found = page_of(ChangeFormat.JSON, altered())["changes"][0]
    members = {name: found[name] for name in ("op", "key", "before", "after", "changed", "rewritten")}
    assert members == {"op": "schema", "key": None, "changed": [], **COLUMNS.to_json()}
    event = page_of(ChangeFormat.CLOUDEVENTS, altered())[0]
    assert (event["type"], event["data"]) == ("flagent_cdc.schema_changed", found)


def test_a_change_of_columns_is_a_schema_change_of_debezium() -> None:
    record = page_of(ChangeFormat.DEBEZIUM, altered())["changes"][0]
    assert record["key"] == {"databaseName": "shopdb"}
    value = record["value"]
    assert (value["source"]["table"], value["ddl"], value["rewritten"]) == ("orders", None, True)
    assert value["tableChanges"] == [
        {
            "type": "ALTER",
            "id": '"shopdb"."shop"."orders"',
            "table": {"columns": [{"name": "n", "typeName": "numeric(10,2)", "position": 1}]},
        }
    ]


def test_each_format_has_its_content_type() -> None:
    assert [content_type(format) for format in ChangeFormat] == [
        "application/json",
        "application/json",
        "application/cloudevents-batch+json; charset=utf-8",
    ]


def test_a_sequence_takes_the_place_of_the_number_within_the_commit() -> None:
    one = change(index=99_812, count=99_815, has_sequence=True)
    (in_json,) = page_of(ChangeFormat.JSON, one)["changes"]
    assert (in_json["sequence"], in_json["index"], in_json["count"]) == ("99812", 99_812, 99_815)
    (record,) = page_of(ChangeFormat.DEBEZIUM, one)["changes"]
    assert record["value"]["source"]["lsn"] == record["value"]["transaction"]["total_order"] == 99_812
    (event,) = page_of(ChangeFormat.CLOUDEVENTS, one)
    assert event["sequence"] == f"{7:019d}.{99_812:019d}"


NESTED = "[" * 5000 + "]" * 5000


@pytest.mark.parametrize("format", ChangeFormat)
def test_rows_are_embedded_whatever_they_hold(format: ChangeFormat) -> None:
    values = ("9" * 5001, "1e999", NESTED, '"\\ud800\\u0000"', '{"a":1,"a":2}')
    columns = ",".join(f'"c{n}":{value}' for n, value in enumerate(values))
    before = f'{{"id":5,{columns}}}'
    after = before.replace('"id":5', '"id":6').replace("1e999", "1e998")
    text = page_text(format, page(change(key='{"id":6}', before=before, after=after)), "1.2.3")
    assert before in text
    assert after in text
    if format is not ChangeFormat.DEBEZIUM:
        assert '"changed":["id","c1"]' in text


def test_the_key_before_an_update_has_its_text() -> None:
    before = f'{{"id":{"9" * 5001},"n":[1.10]}}'
    changed = change(key='{"id":5,"n":[1.10]}', before=before, after='{"id":5,"n":[1.10]}')
    text = page_text(ChangeFormat.DEBEZIUM, page(changed), "1.2.3")
    assert f'{{"key":{before},"value":{{"before":{before},"after":null' in text
    assert '{"key":{"id":5,"n":[1.10]},"value":{"before":null' in text


@pytest.mark.parametrize("format", ChangeFormat)
def test_a_row_that_is_not_utf8_is_marked_and_the_page_goes_on(format: ChangeFormat) -> None:
    latin1 = RowText.load(b'{"id":5,"name":"\xfc"}').text
    text = page_text(format, page(change(after=latin1), change()), "1.2.3")
    text.encode()
    assert text.count('"unreadable":"not_utf8"') == 1
    assert '"before":null,"after":null,' in text
    assert '{"id":5,"total":1.1,"new":null}' in text
