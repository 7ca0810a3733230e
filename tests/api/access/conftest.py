"""Servers that require credentials."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.fixtures.authenticated import SECRET
from tests.fixtures.flags import Writer


@pytest.fixture
def server_settings() -> dict[str, Any]:
    return {"auth_jwt_secret": SECRET}


@pytest.fixture
def writer(database_url: str) -> Iterator[Writer]:
    with Writer(database_url) as writer:
        yield writer
