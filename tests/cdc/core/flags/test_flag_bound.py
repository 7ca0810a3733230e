"""The largest flag that is sent: what is beyond the bound is sent reduced, in a shape that every client can read."""

import json
import zlib
from typing import Any

import pytest

from cdc.core.flags.flag import FlagJson, canonical_text
from cdc.core.flags.flag_bound import FlagBound
from tests.cdc.core.flagent import Flagent

BOUND = FlagBound(5_000)
LARGE = "x" * 6_000


def flag_with(part: str) -> FlagJson:
    """A flag that is large by one of its parts."""
    flagent = Flagent()
    flag_id = flagent.flag("a", enabled=True, **({part: LARGE} if part in ("description", "notes") else {}))
    flagent.tag(flag_id, "t")
    if part == "variants":
        flagent.insert("variants", flag_id=flag_id, attachment=json.dumps({"x": LARGE}))
    if part == "segments":
        segment_id = flagent.insert("segments", flag_id=flag_id)
        for number in range(100):
            flagent.insert("constraints", segment_id=segment_id, value=f'"{number}"')
    if part == "tags":
        for number in range(200):
            flagent.tag(flag_id, f"t{number}")
    flag = flagent.catalog().flag_json("public", flag_id)
    assert flag is not None
    return flag


@pytest.mark.parametrize("part", ["description", "notes", "variants", "segments", "tags"])
def test_a_flag_beyond_the_bound_is_sent_without_what_makes_it_large(part: str) -> None:
    flag = flag_with(part)
    sent, text = BOUND.sent_with_text(flag)
    assert json.loads(text) == sent
    assert len(text) < 1_000
    assert sent["tooLarge"] == len(canonical_text(flag).encode())
    assert set(sent) == {*flag, "tooLarge"}
    assert {type(value) for value in sent.values()} <= {type(value) for value in flag.values()} | {type(None)}
    kept = (
        "id",
        "key",
        "enabled",
        "snapshotID",
        "projectId",
        "environmentId",
        "updatedAt",
        *(["tags"] if part != "tags" else []),
    )
    assert [sent[name] for name in kept] == [flag[name] for name in kept]


@pytest.mark.parametrize("characters", ["x", "ü", "😀"])
def test_the_bound_is_in_bytes_and_exact(characters: str) -> None:
    flag: dict[str, Any] = {"id": 1, "key": "a", "notes": characters * 100, "tags": []}
    size_bytes = len(canonical_text(flag).encode())
    assert FlagBound(size_bytes).sent(flag) is flag
    assert FlagBound(size_bytes - 1).sent(flag)["tooLarge"] == size_bytes
    assert FlagBound(size_bytes).fits(flag)
    assert not FlagBound(size_bytes - 1).fits(flag)


@pytest.mark.parametrize("part", ["notes", "variants"])
def test_the_checksum_is_that_of_what_is_sent(part: str) -> None:
    """So a client that holds the reduced flag has the server's digest."""
    flag = flag_with(part)
    sent = json.loads(BOUND.sent_with_text(flag)[1])
    assert BOUND.crc(flag) == zlib.crc32(canonical_text(sent).encode()) != FlagBound().crc(flag)


def test_bookkeeping_does_not_change_the_checksum() -> None:
    flag = {"key": "a", "id": 1, "snapshotID": 2}
    assert FlagBound().crc(flag) == FlagBound().crc({**flag, "snapshotID": 3}) == zlib.crc32(b'{"id":1,"key":"a"}')
