"""The use of API keys in the tier: nodes report it to the active relay, which records it in PostgreSQL and answers.

A report can be forged by any client that may publish to its subject. It can do what the database allows a server to
record, and no more: see sql/objects/830_record_key_use.sql.
"""

import json
import logging
from collections.abc import Collection

from nats.aio.client import Client
from nats.aio.msg import Msg

from ..auth.key_store import KeyStore
from ..auth.key_use import KeyUse
from ..errors import SourceError
from .layout import Layout

__all__ = ["KeyUseRecorder", "decode_use", "encode_use", "report_use"]

logger = logging.getLogger(__name__)

_ANSWER_S = 5.0

# The database keeps a hundred refusals of one call; a node counts five more kinds.
_MAX_REFUSALS = 200

# Further reports are dropped; their nodes report again.
MAX_WAITING = 1_000


async def report_use(client: Client, layout: Layout, use: KeyUse) -> Collection[int]:
    """Have the relay record the use; the ids of the keys that were never used before. Raises what the driver raises."""
    answer = await client.request(layout.key_use, encode_use(use), timeout=_ANSWER_S)
    return frozenset(json.loads(answer.data))


def encode_use(use: KeyUse) -> bytes:
    refused = [[prefix, reason, count] for (prefix, reason), count in use.refused.items()]
    return json.dumps({"used": sorted(use.used), "refused": refused}).encode()


def decode_use(data: bytes) -> KeyUse:
    """A report; raises `ValueError` for anything else. Whether its reasons exist, the database checks."""
    try:
        raw = json.loads(data)
        used = frozenset(map(_whole, raw["used"]))
        refused = {(prefix, reason): _whole(count) for prefix, reason, count in raw["refused"][:_MAX_REFUSALS]}
    except (TypeError, KeyError, RecursionError) as error:
        raise ValueError("not a report of key use") from error
    if not all((prefix is None or isinstance(prefix, str)) and isinstance(reason, str) for prefix, reason in refused):
        raise ValueError("not a report of key use")
    return KeyUse(used, refused)


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**31:
        raise ValueError("not a whole number of four bytes")
    return value


class KeyUseRecorder:
    """Records what nodes report. A report that could not be recorded is not answered, and its node repeats it."""

    def __init__(self, store: KeyStore) -> None:
        self._store = store
        self._is_failing = False

    async def answer(self, message: Msg) -> None:
        try:
            new_keys = await self._store.record_use(decode_use(message.data))
            self._is_failing = False
        except (ValueError, SourceError) as error:
            if not self._is_failing:
                logger.warning(
                    "The use of API keys cannot be recorded", extra={"action": "key_use_failed", "reason": str(error)}
                )
            self._is_failing = True
            return
        await message.respond(json.dumps(sorted(new_keys)).encode())
