"""Registers the fixtures, one file per concern."""

import resource

pytest_plugins = [
    "tests.fixtures.browser",
    "tests.fixtures.log",
    "tests.fixtures.postgres",
    "tests.fixtures.standby",
    "tests.fixtures.pgbouncer",
    "tests.fixtures.server",
    "tests.fixtures.heartbeats",
    "tests.fixtures.nats",
    "tests.fixtures.doctor",
]

# Some tests open a thousand connections; the soft limit is often 1,024.
_most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (_most, _most))
