"""Writers notice nothing: random programs do the same in two databases, one of which is captured (promise P6).

The same results, errors, command tags, notices, waits and session state. FLAGENT_CDC_TEST_SEED repeats the programs of
an earlier run; `python -m tests.sql.programs` runs more of them.
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
def test_writers_of_a_captured_database_notice_nothing(postgres: Postgres, part: int) -> None:
    first = part * PROGRAMS
    with pair(postgres, SEED, first) as both:
        campaign = Campaign(both, SEED, both.compare)
        report = campaign.run(range(first, first + PROGRAMS), shrink_s=60)
        assert report is None, f"FLAGENT_CDC_TEST_SEED={SEED}\n{report}"
        assert not campaign.has_too_many_unsteady, campaign.unsteady
        assert campaign.coverage.missing() == [], f"FLAGENT_CDC_TEST_SEED={SEED}"
