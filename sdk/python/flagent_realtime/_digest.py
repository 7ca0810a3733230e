"""The digest of a set of flags: ``<count>:<hex8>``, the sum modulo 2^32 of the CRC-32 of each flag's canonical JSON.

It is a sum, not a hash of a concatenation, so that a change of one flag updates it by a subtraction and an addition.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

BOOKKEEPING = frozenset({"snapshotID", "updatedAt", "updatedBy", "schema"})
"""Fields outside the digest: Flagent's bookkeeping, and the schema that snapshots of several schemas add."""

_DIGEST = re.compile("[0-9]+:[0-9a-f]{8}")
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)
_SURROGATE = re.compile("[\ud800-\udfff]")


def canonical_flag(flag: Mapping[str, Any]) -> str:
    """The canonical JSON of a flag, equal in every SDK and on the server.

    Bookkeeping fields are left out, keys are sorted by code point, there is no white space, non-ASCII is not escaped.
    Escapes are those of ``JSON.stringify``, which escapes lone surrogates, unlike :mod:`json`.
    """
    content = {name: value for name, value in flag.items() if name not in BOOKKEEPING}
    text = _ENCODER.encode(content)
    return text if text.isascii() else _SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def checksum(canonical: str) -> int:
    """CRC-32 of a flag's canonical text."""
    return zlib.crc32(canonical.encode())


def format_digest(count: int, total: int) -> str:
    """The digest of *count* flags whose checksums add up to *total*."""
    return f"{count}:{total % 2**32:08x}"


def digest_of(flags: Iterable[Mapping[str, Any]]) -> str:
    """The digest of these flags.

    >>> digest_of([])
    '0:00000000'
    """
    sums = [checksum(canonical_flag(flag)) for flag in flags]
    return format_digest(len(sums), sum(sums))


def is_digest(value: object) -> bool:
    """Whether a value is a digest of this form; clients ignore others."""
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None
