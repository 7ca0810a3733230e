import json

import pytest

from cdc.core.wire.stamp import block_with_sent_at, text_with_sent_at

AT = "2026-11-23T08:00:00.123Z"


def test_the_time_of_sending_is_the_last_field() -> None:
    text = text_with_sent_at('{"type":"pong","requestId":"}"}', AT)
    assert list(json.loads(text).items()) == [("type", "pong"), ("requestId", "}"), ("sentAt", AT)]


def test_only_the_data_of_a_block_changes() -> None:
    block = block_with_sent_at(b'event: batch\nid: 7@k7q2mx\ndata: {"events":[{}]}\n\n', AT)
    assert block == b'event: batch\nid: 7@k7q2mx\ndata: {"events":[{}],"sentAt":"%b"}\n\n' % AT.encode()


@pytest.mark.parametrize("block", [b"retry: 1000\n\n", b": comment\n\n", b'data: {"a":1}\n', b""])
def test_a_block_without_an_object_is_refused(block: bytes) -> None:
    with pytest.raises(ValueError, match="does not end with an object"):
        block_with_sent_at(block, AT)
