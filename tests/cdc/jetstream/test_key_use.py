"""Reports of key use in the tier; tests/cdc/jetstream/test_tier.py follows one from a node to the database."""

from typing import Any

import pytest

from cdc.auth.key_use import KeyUse
from cdc.errors import DatabaseUnavailable
from cdc.jetstream.key_use import KeyUseRecorder, decode_use, encode_use
from cdc.source.memory import MemoryLog
from tests.fixtures.logged import actions

USE = KeyUse(frozenset({1, 7}), {("fla_cdc_aaaaaaaa", "expired"): 3, (None, "malformed"): 1})


def test_a_report_is_read_as_it_was_written() -> None:
    assert decode_use(encode_use(USE)) == USE


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"used": 7, "refused": []}',
        b'{"used": ["1"], "refused": []}',
        b'{"used": [-1], "refused": []}',
        b'{"used": [4294967296], "refused": []}',
        b'{"used": [], "refused": {}}',
        b'{"used": [], "refused": [["a", "b"]]}',
        b'{"used": [], "refused": [[7, "unknown", 1]]}',
        b'{"used": [], "refused": [["a", null, 1]]}',
        b'{"used": [], "refused": [["a", "b", true]]}',
        b'{"used": [], "refused": [[["a"], "b", 1]]}',
        b"[" * 100_000,
        b"\xff",
    ],
    ids=lambda data: data[:40].decode("latin-1"),
)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        decode_use(data)


class Message:
    """A message of a node, which collects its answers."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.answers: list[bytes] = []

    async def respond(self, data: bytes) -> None:
        self.answers.append(data)


async def test_what_could_not_be_recorded_is_not_answered_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    log = MemoryLog()
    recorder = KeyUseRecorder(log.key_store())
    messages: list[Any] = [Message(encode_use(USE)), Message(b"foreign"), Message(encode_use(USE))]
    log.error = DatabaseUnavailable("away")
    await recorder.answer(messages[0])
    await recorder.answer(messages[1])
    assert actions(caplog) == ["key_use_failed"]
    log.error = None
    await recorder.answer(messages[2])
    assert log.used_keys == USE.used
    assert log.refused_keys == USE.refused
    assert [message.answers for message in messages] == [[], [], [b"[1, 7]"]]
