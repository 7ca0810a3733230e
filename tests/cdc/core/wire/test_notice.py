import json
from collections.abc import Mapping

import pytest

from cdc.core.log.position import LogId, Position
from cdc.core.subscription.resume import ResyncReason
from cdc.core.wire.notice import Notice, NoticeKind

ORIGIN = Notice(NoticeKind.ORIGIN, LogId("k7q2mx"), Position(1042), ("public", "tenant"), ResyncReason.PRUNED)
SCHEMAS = Notice(NoticeKind.SCHEMAS, LogId("k7q2mx"), Position(1042), ())


@pytest.mark.parametrize("notice", [ORIGIN, SCHEMAS])
def test_a_notice_survives_the_stream(notice: Notice) -> None:
    assert Notice.read(notice.headers(), notice.data()) == notice


def test_a_notice_has_the_documented_headers_and_body() -> None:
    assert ORIGIN.headers() == {
        "Flagent-Cdc-Notice": "origin",
        "Flagent-Cdc-Log": "k7q2mx",
        "Flagent-Cdc-Position": "1042",
    }
    assert json.loads(ORIGIN.data()) == {
        "log": "k7q2mx",
        "position": "1042",
        "schemas": ["public", "tenant"],
        "reason": "pruned",
    }


@pytest.mark.parametrize(
    ("headers", "data"),
    [
        (None, ORIGIN.data()),
        ({}, ORIGIN.data()),
        ({"Flagent-Cdc-Notice": "other"}, ORIGIN.data()),
        (ORIGIN.headers(), b""),
        (ORIGIN.headers(), b"[]"),
        (ORIGIN.headers(), b'{"log":"k7q2mx","position":"x","schemas":[],"reason":"pruned"}'),
        (ORIGIN.headers(), b'{"log":"k7q2mx","position":"1","schemas":7,"reason":"pruned"}'),
        (ORIGIN.headers(), b'{"log":"k7q2mx","position":"1","schemas":[],"reason":"mood"}'),
        (ORIGIN.headers(), b'{"log":"k7q2mx","position":"1","schemas":[]}'),
    ],
)
def test_other_messages_are_no_notices(headers: Mapping[str, str] | None, data: bytes) -> None:
    assert Notice.read(headers, data) is None
