"""The answer to a WebSocket handshake (RFC 6455, section 4.2.2), and heads of handshakes that were read before.

`websockets` negotiates, once for each head: after a restart ten thousand clients send heads that differ in nothing but
their key, and to read, check and answer each from scratch takes longer than all the rest of a connection.
"""

import base64
import hashlib
import time
from email.utils import formatdate
from functools import lru_cache
from typing import NamedTuple

from websockets.datastructures import Headers as WebSocketHeaders
from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from ..http.problem import Problem
from ..http.request_head import MAX_KNOWN_BYTES, KnownHeads, RequestHead, parse_head
from ..http.websocket_handshake import check_handshake, is_key
from ..limits.allowed_hosts import AllowedHosts
from .gateway import Headers
from .websocket_connection import break_cycles, frames_logger

__all__ = ["HandshakeAnswer", "KnownHandshake", "KnownHandshakes", "answer_handshake", "has_key"]

_FIELD = b"\r\nsec-websocket-key: "
_KEY_BYTES = 24
_ANY_KEY = b"AAAAAAAAAAAAAAAAAAAAAA=="
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

_DEFLATE = ServerPerMessageDeflateFactory(server_no_context_takeover=True, client_no_context_takeover=True)


class HandshakeAnswer(NamedTuple):
    """The response; where it `is_accepted`, frames follow it, compressed with `deflate` if there is one."""

    is_accepted: bool
    response: bytes
    deflate: PerMessageDeflate | None


def answer_handshake(target: bytes, headers: Headers, subprotocol: str | None) -> HandshakeAnswer:
    """Answer a handshake with which `check_handshake` has found nothing wrong."""
    chosen = None if subprotocol is None else Subprotocol(subprotocol)
    handshake = ServerProtocol(extensions=[_DEFLATE], select_subprotocol=lambda _, __: chosen, logger=frames_logger)
    given = WebSocketHeaders([(name.decode("ascii"), value.decode("latin-1")) for name, value in headers])
    response = handshake.accept(Request(target.decode("ascii", "replace"), given))
    handshake.send_response(response)
    answer = b"".join(handshake.data_to_send())
    break_cycles(handshake)
    deflate = next((each for each in handshake.extensions if isinstance(each, PerMessageDeflate)), None)
    return HandshakeAnswer(response.status_code == 101, answer, deflate)


class KnownHandshake:
    """A handshake that nothing is wrong with but, perhaps, its key; the answers to it are made from earlier ones."""

    __slots__ = ("_templates", "head")

    def __init__(self, head: RequestHead) -> None:
        self.head = head
        self._templates: dict[str | None, _Template | None] = {}

    def answer(self, key: bytes, subprotocol: str | None) -> HandshakeAnswer:
        if subprotocol not in self._templates:
            answer = answer_handshake(self.head.target, self.head.headers, subprotocol)
            self._templates[subprotocol] = _Template(answer) if answer.is_accepted else None
        template = self._templates[subprotocol]
        if template is None:
            return answer_handshake(self.head.target, self.head.headers, subprotocol)
        return template.answer(key)


class _Template:
    """An answer, whatever the key."""

    __slots__ = ("_after", "_before", "_between", "_deflate")

    def __init__(self, answer: HandshakeAnswer) -> None:
        before, date, rest = answer.response.partition(b"\r\nDate: ")
        self._before = before + date
        self._between, _, self._after = rest[rest.find(b"\r\n") :].partition(_accept(_ANY_KEY))
        self._deflate = answer.deflate

    def answer(self, key: bytes) -> HandshakeAnswer:
        response = b"".join((self._before, _date(int(time.time())), self._between, _accept(key), self._after))
        deflate = self._deflate
        if deflate is not None:
            # Not the same object: it knows whether a message that comes in parts is compressed.
            deflate = PerMessageDeflate(
                deflate.remote_no_context_takeover,
                deflate.local_no_context_takeover,
                deflate.remote_max_window_bits,
                deflate.local_max_window_bits,
                deflate.compress_settings,
            )
        return HandshakeAnswer(True, response, deflate)


class KnownHandshakes:
    """Handshakes at one address by the bytes of their heads, without the key."""

    def __init__(self, path: str | None, allowed_hosts: AllowedHosts) -> None:
        """`path` None: there are none."""
        self._path = path
        self._allowed_hosts = allowed_hosts
        self._heads = KnownHeads(self._read)

    def find(self, data: bytes) -> tuple[KnownHandshake, bytes] | None:
        """The handshake that these bytes are, and its key; None if they are anything else, or not common."""
        at = data.lower().find(_FIELD) + len(_FIELD)
        end = at + _KEY_BYTES
        if at < len(_FIELD) or len(data) > MAX_KNOWN_BYTES or data[end : end + 2] != b"\r\n":
            return None
        known, key = self._heads.find(data[:at] + _ANY_KEY + data[end:]), data[at:end]
        return (known, key) if known is not None and is_key(key) else None

    def _read(self, data: bytes) -> KnownHandshake | None:
        head = parse_head(data, is_upgrade=True)
        if head is None or head.path != self._path or not _is_plainly_asked(head):
            return None
        try:
            self._allowed_hosts.check("1.1", head.target, head.headers)
            check_handshake(head.method, "1.1", head.headers)
        except Problem:
            return None
        return KnownHandshake(head)


def _is_plainly_asked(head: RequestHead) -> bool:
    """Whether one field each asks for the upgrade. With several, it depends on who reads them."""
    connection, upgrade = (
        [value.lower() for name, value in head.headers if name == wanted] for wanted in (b"connection", b"upgrade")
    )
    return (
        upgrade == [b"websocket"]
        and len(connection) == 1
        and b"upgrade" in [token.strip() for token in connection[0].split(b",")]
    )


def has_key(data: bytes) -> bool:
    """Whether a head has the key of a handshake, so that it will not come again."""
    return _FIELD in data.lower()


def _accept(key: bytes) -> bytes:
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


@lru_cache(maxsize=1)
def _date(seconds: int) -> bytes:
    return formatdate(seconds, usegmt=True).encode()
