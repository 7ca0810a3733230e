"""`python -m tests.cdc.filters.programs --pairs 20000` compares more pairs.

`FLAGENT_CDC_TEST_POSTGRES_BIN` names the directory of another server's programs, `--seed` repeats a run.
"""

import argparse
import random

import psycopg

from tests.fixtures.postgres import running_server

from .comparison import Comparison, prepare

parser = argparse.ArgumentParser(prog="python -m tests.cdc.filters.programs", description=__doc__)
parser.add_argument("--pairs", type=int, default=20_000, help="pairs of a row and a condition (%(default)s)")
parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
arguments = parser.parse_args()
with (
    running_server() as server,
    server.database("migrated") as url,
    psycopg.connect(url, autocommit=True) as connection,
):
    prepare(connection)
    version = connection.info.server_version // 10_000
    tally = Comparison(connection, arguments.seed).run(arguments.pairs)
print(f"PostgreSQL {version}: {tally.pairs} pairs, {tally.refused} conditions refused, seed {arguments.seed}")
for difference in tally.differences[:20]:
    print(" ", difference)
raise SystemExit(1 if tally.differences else 0)
