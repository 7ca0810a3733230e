"""Reads the published keys that JSON Web Tokens are verified with: a JWK Set from a file or an HTTP address."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import httpx2

from .json_web_token import VerificationKey, read_jwks

__all__ = ["JwksSource"]

_JWKS_TIMEOUT_S = 5.0
_MAX_JWKS_BYTES = 1024 * 1024


class JwksSource:
    """A JWK Set in a file or at an address."""

    def __init__(self, place: str) -> None:
        self._place = place

    async def read(self) -> Sequence[VerificationKey]:
        """Raises `OSError` (which a `TimeoutError` is too), `httpx2.HTTPError` or `ValueError`."""
        if urlsplit(self._place).scheme in ("http", "https"):
            return read_jwks(json.loads(await self._fetch()))
        text = await asyncio.to_thread(Path(self._place).read_text, encoding="utf-8")
        return read_jwks(json.loads(text))

    async def _fetch(self) -> bytes:
        body = bytearray()
        async with (
            asyncio.timeout(_JWKS_TIMEOUT_S),
            httpx2.AsyncClient(timeout=_JWKS_TIMEOUT_S, follow_redirects=False) as client,
            client.stream("GET", self._place) as response,
        ):
            response.raise_for_status()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > _MAX_JWKS_BYTES:
                    raise ValueError(f"the JWK Set is larger than {_MAX_JWKS_BYTES} bytes")
        return bytes(body)
