"""Registers the fixtures, one file per concern."""

pytest_plugins = [
    "tests.fixtures.browser",
    "tests.fixtures.log",
    "tests.fixtures.postgres",
    "tests.fixtures.standby",
    "tests.fixtures.pgbouncer",
    "tests.fixtures.server",
    "tests.fixtures.nats",
    "tests.fixtures.doctor",
]
