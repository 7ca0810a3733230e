"""What a credential allows of a table's rows."""

import pytest

from cdc.core.errors import InvalidInput
from cdc.core.row_filter.row_rule import RowRule, claim_at


def test_a_rule_survives_its_json() -> None:
    rule = RowRule.parse({"where": "a = claim('x')", "columns": ["a", "b"]})
    assert RowRule.parse(rule.to_json()) == rule
    with_claims = rule.with_claims({"x": {"y": [1]}, "z": 2}, ["x", "nothing"])
    assert RowRule.parse(with_claims.to_json()) == with_claims
    assert with_claims.values == {"x": {"y": [1]}}


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [],
        {},
        {"were": "a"},
        {"where": ""},
        {"where": 1},
        {"where": "a" * 9000},
        {"columns": []},
        {"columns": "a"},
        {"columns": [1]},
        {"where": "a", "claims": 1},
    ],
)
def test_a_rule_that_says_nothing_or_something_unknown_is_refused(raw: object) -> None:
    with pytest.raises(InvalidInput):
        RowRule.parse(raw)


def test_a_path_leads_through_objects() -> None:
    claims = {"a": {"b": 1}, "https://x.y/tenant": 2, "c": [1]}
    assert [claim_at(claims, path) for path in ("a.b", "https://x.y/tenant", "a.c", "c.0", "a.b.c")] == [
        1,
        2,
        None,
        None,
        None,
    ]
