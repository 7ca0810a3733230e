"""JWK Sets: read from an address within bounds, or from a file."""

import asyncio
import contextlib
import json
from pathlib import Path

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from cdc.auth.jwks_source import JwksSource
from tests.cdc.auth.test_json_web_token import jwk

EC_KEY = ec.generate_private_key(ec.SECP256R1())


@pytest.mark.parametrize("length", [None, 2_000_000])
async def test_a_key_set_is_read_from_an_address_within_bounds(length: int | None) -> None:
    body = json.dumps({"keys": [jwk(EC_KEY, "ES256", kid="two")]}).encode().ljust(length or 0)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (len(body), body))
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as site:
        source = JwksSource(f"http://127.0.0.1:{site.sockets[0].getsockname()[1]}/jwks")
        if length is None:
            assert [key.id for key in await source.read()] == ["two"]
        else:
            with pytest.raises(ValueError, match="larger than"):
                await source.read()
    with pytest.raises(httpx2.HTTPError):
        await source.read()


async def test_a_key_set_is_read_from_a_file(tmp_path: Path) -> None:
    place = tmp_path / "jwks.json"
    place.write_text(json.dumps({"keys": [jwk(EC_KEY, "ES256", kid="two")]}))
    assert [key.id for key in await JwksSource(str(place)).read()] == ["two"]
