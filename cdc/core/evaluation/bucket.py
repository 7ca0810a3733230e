"""The bucket of an entity, one of a thousand.

The salt is the id of the flag, not its key and not the segment: an entity has the same bucket in all segments of a
flag.
"""

from zlib import crc32

__all__ = ["BUCKETS", "bucket_of", "salt_of"]

BUCKETS = 1000


def salt_of(flag_id: int) -> int:
    """The checksum of the digits of the flag id, which `bucket_of` continues with the entity id."""
    return crc32(str(flag_id).encode())


def bucket_of(salt: int, entity_id: str) -> int:
    """The bucket, 0 to 999: CRC-32 over the digits of the flag id and the UTF-8 bytes of the entity id.

    Half a surrogate pair counts as `?`, as Java encodes it.
    """
    return crc32(entity_id.encode("utf-8", "replace"), salt) % BUCKETS
