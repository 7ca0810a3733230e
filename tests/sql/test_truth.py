"""Readers get what the tables hold: after each random program, folds of all that is delivered equal the tables (P1).

The change feed, the commits of the stream and the rows of a backfill, text by text, in every lane and in both orders;
and the catalog of Flagent's tables. FLAGENT_CDC_TEST_SEED repeats the programs of an earlier run;
`python -m tests.sql.programs` runs more of them.
"""

import os

import pytest

from tests.fixtures.postgres import Postgres
from tests.sql.programs.campaign import Campaign
from tests.sql.programs.pair import PROGRAMS, pair

# The same programs in each run, so that a failure is that of a change; other seeds find more.
SEED = os.environ.get("FLAGENT_CDC_TEST_SEED") or "8"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(3))
def test_readers_of_every_lane_get_what_the_tables_hold(postgres: Postgres, part: int) -> None:
    # Other programs than in test_transparency, with the same seed.
    first = (100 + part) * PROGRAMS
    with pair(postgres, SEED, first) as both:
        campaign = Campaign(both, SEED, both.verify)
        report = campaign.run(range(first, first + PROGRAMS), shrink_s=60)
        assert report is None, f"FLAGENT_CDC_TEST_SEED={SEED}\n{report}"
        assert campaign.coverage.missing() == [], f"FLAGENT_CDC_TEST_SEED={SEED}"
