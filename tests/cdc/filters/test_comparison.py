"""Filters compare as PostgreSQL does: random rows and conditions, asked of both."""

import os
import random

import psycopg

from tests.cdc.filters.programs.comparison import Comparison, prepare
from tests.fixtures.postgres import Postgres

PAIRS = 600


def test_random_conditions_have_the_same_rows_as_in_postgresql(postgres: Postgres) -> None:
    seed = int(os.environ.get("FLAGENT_CDC_TEST_SEED") or random.randrange(1_000_000))
    with postgres.database("migrated") as url, psycopg.connect(url, autocommit=True) as connection:
        prepare(connection)
        tally = Comparison(connection, seed).run(PAIRS)
    assert tally.differences == [], f"seed {seed}"
    assert tally.pairs >= PAIRS
    assert tally.refused < PAIRS / 100, f"seed {seed}: of the conditions {tally.refused} were refused"
