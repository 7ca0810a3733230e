from dataclasses import replace

import pytest

from cdc.core.diagnosis import Limits, RelayFacts, SnapshotFacts, State, check_tier

from .examples import TIER, states


def test_a_sound_tier_has_no_errors() -> None:
    assert all(finding.state is State.OK for finding in check_tier(TIER, Limits()))


@pytest.mark.parametrize(
    ("changes", "check", "words"),
    [
        ({"log": None, "snapshot": None}, "nats_log", "holds no change log yet"),
        ({"relay": RelayFacts(1042, False, "the database is silent")}, "relay", "the database is silent"),
        ({"newest_in_database": 1050}, "relay_lag", "8 commits behind"),
        ({"relay": RelayFacts(1050, True), "newest_in_database": None}, "relay_lag", "8 commits behind"),
        ({"snapshot": SnapshotFacts("k7q2mx", 1040, 880, 900.0)}, "nats_snapshot", "900 s old and 2 commits behind"),
        ({"snapshot": SnapshotFacts("abcdef", 1042, 880, 1.0)}, "nats_snapshot", "of another change log, abcdef"),
        ({"snapshot": SnapshotFacts("k7q2mx", 1040, 400, 20.0)}, "nats_retention", "has dropped messages"),
        ({"max_age_s": 90.0}, "nats_retention", "keeps messages for 90 s"),
        ({"held_s": 30.0}, "nats_retention", "holds only the last 30 s"),
    ],
)
def test_a_tier_is_broken(changes: dict[str, object], check: str, words: str) -> None:
    found = states(list(check_tier(replace(TIER, **changes), Limits())))  # type: ignore[arg-type]
    assert words in found.pop(check)
    assert found.keys() <= {"nats_snapshot"} if changes.get("log", "") is None else not found


def test_a_snapshot_may_be_old_if_nothing_has_changed_since() -> None:
    quiet = replace(TIER, snapshot=SnapshotFacts("k7q2mx", 1042, 900, age_s=1e6), first=901, held_s=None)
    assert states(list(check_tier(quiet, Limits()))) == {}


def test_a_jetstream_stream_of_another_change_log_can_be_adopted() -> None:
    other = replace(TIER, log_in_database="abcdef", newest_in_database=3)
    (found,) = (finding for finding in check_tier(other, Limits()) if finding.state is State.ERROR)
    assert found.check == "nats_log"
    assert "abcdef" in found.text
    assert str(found.remedy).startswith("flagent-cdc relay --adopt k7q2mx ")


def test_a_single_replica_in_a_cluster_is_a_note() -> None:
    notes = states(list(check_tier(replace(TIER, replicas=1), Limits())), State.NOTE)
    assert "although its cluster has more" in notes["nats_replicas"]
