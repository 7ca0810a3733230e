"""Buckets: known values of the Flagent server, and their distribution."""

from collections import Counter
from zlib import crc32

import pytest

from cdc.core.evaluation.bucket import BUCKETS, bucket_of, salt_of


@pytest.mark.parametrize(("flag_id", "entity_id"), [(1, "u"), (42, ""), (2**31 - 1, "Zoë"), (7, "a" * 1000)])
def test_a_bucket_continues_the_checksum_of_the_flag_id(flag_id: int, entity_id: str) -> None:
    assert bucket_of(salt_of(flag_id), entity_id) == crc32(f"{flag_id}{entity_id}".encode()) % BUCKETS


def test_half_a_surrogate_pair_counts_as_a_question_mark() -> None:
    assert bucket_of(salt_of(1), "a\ud83d") == bucket_of(salt_of(1), "a?")


def test_flags_place_the_same_entities_differently() -> None:
    first, second = ([bucket_of(salt_of(flag), f"user-{n}") for n in range(200)] for flag in (1, 2))
    assert first != second


def test_buckets_are_filled_evenly() -> None:
    counts = Counter(bucket_of(salt_of(1), f"user-{n}") for n in range(100_000))
    assert counts.keys() <= set(range(BUCKETS))
    assert all(50 < counts[bucket] < 150 for bucket in range(BUCKETS))
