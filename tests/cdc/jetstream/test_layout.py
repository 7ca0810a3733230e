"""The names of a tier, and what its JetStream stream must be like."""

from dataclasses import replace

from nats.js.api import DiscardPolicy, RetentionPolicy, StreamConfig

from cdc.core.log.lane import FLAGS, Lane
from cdc.jetstream.layout import Layout, Limits, differences

LAYOUT = Layout("flagent_cdc")
LIMITS = Limits(replicas=1, max_age_s=60.0, max_bytes=1000)


def config(**changes: object) -> StreamConfig:
    return StreamConfig(
        **{  # type: ignore[arg-type]
            "name": LAYOUT.name,
            "subjects": LAYOUT.subjects,
            "retention": RetentionPolicy.LIMITS,
            "discard": DiscardPolicy.OLD,
            "max_msgs": -1,
            "max_msgs_per_subject": -1,
            "max_msg_size": -1,
            "max_age": 60.0,
            "max_bytes": 1000,
            "num_replicas": 1,
            "allow_direct": True,
            **changes,
        }
    )


def test_each_lane_has_names_beside_those_of_the_flags() -> None:
    assert LAYOUT.of(FLAGS) == LAYOUT
    orders = LAYOUT.of(Lane("orders", 3, "commit"))
    assert (orders.name, orders.state, orders.snapshots) == (
        "flagent_cdc_s3",
        "flagent_cdc_s3_state",
        "flagent_cdc_s3_snapshots",
    )
    assert orders.change("public", "my table") == "flagent_cdc_s3.change.public.my%20table"
    assert LAYOUT.subjects == ["flagent_cdc.change.>", "flagent_cdc.origin", "flagent_cdc.schemas"]


def test_what_matches_has_no_differences_whatever_the_order_of_its_subjects() -> None:
    assert differences(LAYOUT, LIMITS, config()) == []
    assert differences(LAYOUT, LIMITS, config(subjects=LAYOUT.subjects[::-1])) == []


def test_every_difference_is_named_with_its_setting() -> None:
    found = config(max_msgs=5, retention=RetentionPolicy.INTEREST, num_replicas=3)
    assert differences(LAYOUT, LIMITS, found) == [
        "retention is interest, but must be limits",
        "max_msgs is 5, but must be -1",
        "num_replicas is 3, but must be 1 (FLAGENT_CDC_NATS_REPLICAS)",
    ]


def test_limits_are_compared_only_where_they_are_known() -> None:
    assert differences(LAYOUT, None, config(max_age=5.0, max_bytes=7)) == []
    assert len(differences(LAYOUT, replace(LIMITS, max_age_s=0.0), config())) == 1
