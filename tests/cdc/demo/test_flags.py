"""The demo's flags are ones that Flagent would accept."""

import re

from cdc.demo.flags import FLAGS

OPERATORS = {"EQ", "NEQ", "LT", "LTE", "GT", "GTE", "EREG", "NEREG", "IN", "NOTIN", "CONTAINS", "NOTCONTAINS"}


def test_flagent_would_accept_the_flags() -> None:
    assert len({flag.key for flag in FLAGS}) == len(FLAGS) >= 30
    for flag in FLAGS:
        assert re.fullmatch(r"[\w\-/.:]{1,63}", flag.key, re.ASCII)
        assert flag.segments
        for segment in flag.segments:
            assert sum(segment.shares.values()) == 100
            assert segment.shares.keys() <= flag.variants.keys()
            assert {operator for _, operator, _ in segment.rules} <= OPERATORS
