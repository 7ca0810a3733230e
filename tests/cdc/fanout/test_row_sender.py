"""How rows reach a subscriber: see test_catch_up for their place among events."""

from cdc.core.wire.rows import RowsPiece, stream_message
from cdc.fanout.row_sender import RowsFailure


def test_a_failure_is_text_for_people_and_the_last_message_of_the_stream() -> None:
    failure = RowsFailure("the table is gone", RowsPiece("backfill_failed", '{"code":"unknown_table"}'))
    assert failure.text == "the table is gone"
    assert stream_message(failure.message, "websocket") == b'{"type":"backfill_failed","code":"unknown_table"}'
    assert stream_message(failure.message, "sse") == b'event: backfill_failed\ndata: {"code":"unknown_table"}\n\n'
