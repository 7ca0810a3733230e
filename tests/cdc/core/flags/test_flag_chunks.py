"""The order of flags, and which chunks a change replaces."""

import random
from itertools import pairwise

from cdc.core.flags.events import FlagScope
from cdc.core.flags.flag_chunks import MOST_FLAGS, FlagChunk, FlagChunks
from cdc.core.flags.stored_flag import StoredFlag


class Stored(dict[int, StoredFlag]):
    def __missing__(self, flag_id: int) -> StoredFlag:
        scope = FlagScope(frozenset(), None, None)
        flag = self[flag_id] = StoredFlag(flag_id, str(flag_id), scope, b"", is_live=True)
        return flag


def ids(chunks: tuple[FlagChunk, ...]) -> list[int]:
    return [flag.id for chunk in chunks for flag in chunk.flags]


def test_whatever_is_added_and_removed_the_order_is_that_of_ids() -> None:
    rng, chunks, expected = random.Random(7), FlagChunks(), set[int]()
    for step in range(6_000):
        flag_id = rng.randrange(2_000)
        if rng.random() < (0.7 if step < 3_000 else 0.3):
            chunks.put(flag_id)
            expected.add(flag_id)
        else:
            chunks.discard(flag_id)
            expected.discard(flag_id)
        if step % 500 == 0:
            assert ids(chunks.chunks(Stored())) == sorted(expected)
    found = chunks.chunks(Stored())
    assert ids(found) == sorted(expected)
    assert len(chunks) == len(expected)
    assert all(0 < len(chunk.flags) <= MOST_FLAGS for chunk in found)
    assert all(len(one.flags) + len(other.flags) > MOST_FLAGS // 2 for one, other in pairwise(found))


def test_a_change_replaces_one_chunk_and_not_the_list_that_a_reader_has() -> None:
    stored, chunks = Stored(), FlagChunks()
    for flag_id in range(1_000):
        chunks.put(flag_id)
    before = chunks.chunks(stored)
    assert chunks.chunks(stored) is before
    assert len(before) < 1_000 / MOST_FLAGS + 2
    chunks.put(500)
    after = chunks.chunks(stored)
    assert [one is other for one, other in zip(before, after, strict=True)].count(False) == 1
    assert ids(before) == ids(after)


def test_an_encoding_is_made_once_per_name() -> None:
    chunk, made = FlagChunk(()), []

    def encode() -> bytes:
        made.append(1)
        return b"x"

    assert [chunk.encoded(name, encode) for name in ("a", "a", "b")] == [b"x"] * 3
    assert len(made) == 2


def test_an_encoding_that_was_made_in_turns_is_kept_unless_there_is_one() -> None:
    chunk = FlagChunk(())
    for data in ("first", "second"):
        chunk.keep("name", data)
    assert chunk.has_encoded("name")
    assert chunk.encoded("name", lambda: "third") == "first"


def test_neither_side_of_a_copy_sees_changes_of_the_other() -> None:
    chunks, stored = FlagChunks(), Stored()
    for flag_id in range(100):
        chunks.put(flag_id)
    twin = chunks.copy()
    assert [one is other for one, other in zip(chunks.chunks(stored), twin.chunks(stored), strict=True)].count(
        True
    ) == 0
    twin.discard(5)
    chunks.put(1_000)
    assert (len(chunks), len(twin)) == (101, 99)
    assert 5 in ids(chunks.chunks(stored))
    assert 1_000 not in ids(twin.chunks(stored))
