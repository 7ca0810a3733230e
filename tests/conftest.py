"""Registers the fixtures, one file per concern."""

pytest_plugins = ["tests.fixtures.postgres", "tests.fixtures.pgbouncer", "tests.fixtures.server"]
