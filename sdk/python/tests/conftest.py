"""Tests against the real server need its checkout, Python 3.11 and PostgreSQL; without the first two they are skipped."""

from __future__ import annotations

import importlib.util
import sys

pytest_plugins: list[str] = []
collect_ignore: list[str] = []

if sys.version_info >= (3, 11) and importlib.util.find_spec("psycopg") and importlib.util.find_spec("cdc"):
    pytest_plugins += ["tests.fixtures.postgres"]
else:
    collect_ignore += ["test_networks.py", "test_prefork_servers.py", "test_server.py"]
