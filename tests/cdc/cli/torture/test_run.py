"""`flagent-cdc torture` as a person runs it, on a database of its own and on one that is in use."""

import re
import subprocess
import sys

import psycopg
import pytest

from tests.fixtures.flags import Writer

pytestmark = pytest.mark.timeout(150)

TRACES = """
select 'schema', nspname::text from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema'
union all select 'attachment', schema_name from flagent_cdc.attachment
union all select 'flag', key from public.flags
union all select 'role', rolname::text from pg_roles
"""


def torture(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "cdc", "torture", "--every", "500ms", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\nlost 0, repeated 0, invented 0\nverdict: clean; seed \w+\n$", done.stdout), done.stdout
    return done.stdout


def test_an_embedded_database_survives_it() -> None:
    output = torture("--duration", "6s", "--seed", "7")
    assert "seed 7" in output.splitlines()[0]
    committed = re.search(r"^(\d+) transactions committed", output, re.MULTILINE)
    assert committed is not None
    assert int(committed[1]) > 50
    faults = re.search(r"^(\d+) faults: ", output, re.MULTILINE)
    assert faults is not None
    assert int(faults[1]) >= 1


def test_a_given_database_is_left_as_it_was(database_url: str) -> None:
    with Writer(database_url) as writer:
        writer.flag("mine")
    with psycopg.connect(database_url) as connection:
        before = set(connection.execute(TRACES.encode()).fetchall())
    output = torture("--duration", "4s", "--writers", "2", "--subscribers", "2", "--database-url", database_url)
    assert "password" not in output.splitlines()[0]
    assert "PostgreSQL killed" not in output
    with psycopg.connect(database_url) as connection:
        assert set(connection.execute(TRACES.encode()).fetchall()) == before


def test_what_it_installed_is_removed_again(flagent_url: str) -> None:
    torture("--duration", "2s", "--writers", "1", "--subscribers", "2", "--database-url", flagent_url)
    with psycopg.connect(flagent_url) as connection:
        assert connection.execute("select to_regnamespace('flagent_cdc')").fetchone() == (None,)
