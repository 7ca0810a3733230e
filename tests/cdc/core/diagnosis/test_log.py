from dataclasses import replace
from typing import Any

import pytest

from cdc.core.diagnosis import Finding, Limits, State
from cdc.core.diagnosis.log import check_log, size

from .examples import DATABASE, LOG, states
from .test_capture import INSTALLATION

DAY_S = 86_400.0


def of_log(limits: Limits | None = None, settings: dict[str, str] | None = None, **changes: Any) -> list[Finding]:
    installation = replace(INSTALLATION, log=replace(LOG, **changes))
    facts = replace(DATABASE, installation=installation, settings=settings or DATABASE.settings)
    return list(check_log(facts, limits or Limits(log_age_s=7 * DAY_S)))


def test_a_sound_change_log_has_no_errors() -> None:
    assert {finding.state for finding in of_log(lanes=2)} == {State.OK}


def test_without_an_installation_there_is_no_change_log_to_check() -> None:
    assert list(check_log(DATABASE, Limits())) == []


def test_a_change_log_that_may_not_be_read_could_not_be_checked() -> None:
    (finding,) = check_log(replace(DATABASE, installation=INSTALLATION), Limits())
    assert (finding.check, finding.state) == ("log", State.UNCHECKED)
    assert finding.remedy == "flagent-cdc migrate --grant-to ann"


@pytest.mark.parametrize(
    ("changes", "check", "words"),
    [
        ({"size_bytes": 11 * 1024**3}, "log_size", "takes 11 GiB on disk and holds about 100 changes"),
        (
            {"size_bytes": 11 * 1024**3, "held_bytes": 12 * 1024**3, "kept_age_s": 600.0, "prunable_age_s": 900.0},
            "log_size",
            "more than 10 GiB",
        ),
        ({"lanes": 2, "lane_log_bytes": 21 * 1024**3}, "lane_log_size", "more than 10 GiB per lane"),
        ({"prunable_age_s": 30 * DAY_S}, "log_age", "30.0 days old, but retention is 7 days"),
        ({"unvacuumed": ("commit_log",)}, "autovacuum", "autovacuum is off for commit_log"),
        ({"settings": {"autovacuum": "off"}}, "autovacuum", "the change log only grows"),
        ({"dead_rows": {"change_log": 200_000, "commit_log": 5}}, "dead_rows", "200000 in change_log"),
        ({"position_sequence": 41}, "sequences", "positions would be assigned twice"),
        ({"duplicates": 2}, "positions", "2 positions exist more than once"),
        ({"unpositioned": 3}, "unpositioned", "3 committed changes have no position"),
    ],
)
def test_a_change_log_is_broken(changes: dict[str, Any], check: str, words: str) -> None:
    found = states(of_log(**changes))
    assert found.keys() == {check}
    assert words in found[check]


def test_lanes_may_use_what_other_lanes_leave() -> None:
    assert states(of_log(lanes=3, lane_log_bytes=21 * 1024**3)) == {}


def test_the_age_limit_leaves_an_hour_and_what_the_owner_keeps() -> None:
    assert states(of_log(prunable_age_s=7 * DAY_S + 3599)) == {}
    assert "log_age" in states(of_log(prunable_age_s=7 * DAY_S + 3601))
    assert states(of_log(prunable_age_s=30 * DAY_S, kept_age_s=60 * DAY_S)) == {}
    assert "log_age" not in {finding.check for finding in of_log(Limits(), prunable_age_s=30 * DAY_S)}


def test_growth_is_estimated_only_for_an_old_enough_change_log() -> None:
    def text(**changes: Any) -> str:
        return next(finding.text for finding in of_log(**changes) if finding.check == "log_size")

    assert text(size_bytes=2048, oldest_age_s=2 * DAY_S).endswith("the oldest 2.0 days old; it grows by 1 KiB a day")
    assert text(oldest_age_s=60.0).endswith("the oldest 0.0 days old")
    assert "oldest" not in text(oldest_age_s=None)


def test_what_could_not_be_read_is_no_error() -> None:
    assert "may not read the sequence" in states(of_log(position_sequence=None), State.NOTE)["sequences"]
    assert "took too long" in states(of_log(unpositioned=None), State.UNCHECKED)["unpositioned"]
    assert "clock was set back" in states(of_log(backward=1), State.NOTE)["positions"]


def test_lost_changes_are_published_by_attaching_each_schema_again() -> None:
    (finding,) = (one for one in of_log(unpositioned=1) if one.check == "unpositioned")
    assert "select flagent_cdc.detach('public')" in str(finding.remedy)
    assert str(finding.remedy).endswith(" && flagent-cdc migrate --schema public")


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (1023, "1.02e+03 bytes"), (1024, "1 KiB"), (1536, "1.5 KiB"), (5 * 1024**4, "5.12e+03 GiB")],
)
def test_sizes_have_three_digits_and_a_unit(count: float, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"held_bytes": 4 * 1024**2}, "its commits need only 4 MiB of that: the rest is free space"),
        ({"kept_age_s": 7200.0, "prunable_age_s": 300.0}, "younger than the minimum age of 2 hours"),
        ({"kept_age_s": 600.0, "prunable_age_s": None}, "younger than the minimum age of 10 minutes"),
    ],
)
def test_no_command_is_advised_that_would_change_nothing(changes: dict[str, Any], said: str) -> None:
    found = next(each for each in of_log(size_bytes=11 * 1024**3, **changes) if each.check == "log_size")
    assert said in found.text
    assert found.remedy is None
