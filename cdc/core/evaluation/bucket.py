"""Which of a thousand buckets an entity falls into.

The salt is the flag's id, not its key and not the segment: one entity has the same bucket in all segments of a flag.
"""

from zlib import crc32

__all__ = ["BUCKETS", "bucket_of", "salt_of"]

BUCKETS = 1000


def salt_of(flag_id: int) -> int:
    """The checksum after the flag id's digits, from which `bucket_of` goes on with the entity id."""
    return crc32(str(flag_id).encode())


def bucket_of(salt: int, entity_id: str) -> int:
    """The bucket, 0 to 999: CRC-32 over the flag id's digits and the entity id's UTF-8 bytes.

    Half a surrogate pair counts as `?`, as Java encodes it.
    """
    return crc32(entity_id.encode("utf-8", "replace"), salt) % BUCKETS
