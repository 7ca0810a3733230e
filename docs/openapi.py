"""Prints the OpenAPI document of the server: `.venv/bin/python docs/openapi.py > docs/reference/openapi.json`."""

import asyncio
import json
import sys

from cdc.cli.server import build_server
from cdc.postgres.upstream import PostgresUpstream
from cdc.settings.settings import Settings

__all__ = ["document"]


async def document() -> str:
    """The document of a server with default settings, which is neither started nor connected."""
    settings = Settings.from_environment({})
    server = build_server(settings, PostgresUpstream(settings, "postgresql://db.example/flagent"))
    return json.dumps(server.config.app.web.openapi(), indent=1, ensure_ascii=False) + "\n"  # type: ignore[union-attr]


if __name__ == "__main__":
    sys.stdout.write(asyncio.run(document()))
