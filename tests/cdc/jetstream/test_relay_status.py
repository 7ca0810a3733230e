"""The relay's answer to a probe."""

import pytest

from cdc.core.log.position import LogId, Position
from cdc.jetstream.relay_status import RelayStatus


def test_it_is_read_as_it_was_written() -> None:
    status = RelayStatus(LogId("k7q2mx"), Position(1042), True, 0.25, "")
    assert RelayStatus.read(status.data()) == status


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"position": "x"}', b"\xff", b'{"position": 1, "ageMs": null}'])
def test_anything_else_cannot_be_read(data: bytes) -> None:
    with pytest.raises(ValueError):
        RelayStatus.read(data)
