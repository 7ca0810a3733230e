"""The fast code against the slow transcription, on random flags and requests, odd ones included."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from cdc.core.evaluation import bucket_of, parse_double, salt_of

from . import transcription
from .flags import TIMESTAMP, ask, constraint, flag, segment, share, variant

PROPERTIES = ["a", "b", "user name", "app.version", "ключ"]
NUMBERS = ["18", " 18 ", "18.0", "-0", "10d", "0x1p4", "1e3", "1e999", "NaN", "Infinity", "1_0", "inf", "٣", "", "5."]
TEXTS = ["US", "us", " US", "\xa0US", "US,CA", "a,,b", "", "[1-3]+", "(", "beta", "x beta y", "𝔘", "e\u0301", "\x85"]
OPERATORS = ["EQ", "NEQ", "LT", "LTE", "GT", "GTE", "EREG", "NEREG", "IN", "NOTIN", "CONTAINS", "NOTCONTAINS", "eq", ""]
BLANK_IDS = ["", " ", "\t\n", "\xa0\u2003", "\x85"]

texts = st.sampled_from(NUMBERS + TEXTS) | st.text(max_size=6)
entity_ids = st.sampled_from([*BLANK_IDS, "пользователь-7"]) | st.text(max_size=8)
constraints = st.builds(
    constraint,
    st.sampled_from(PROPERTIES),
    st.sampled_from(OPERATORS),
    # A random text may be a pattern that `re` reads differently from Java; engines are compared elsewhere.
    st.sampled_from(NUMBERS + TEXTS),
)
shares = st.builds(
    share, st.integers(0, 100) | st.sampled_from([0, 0, 33, 50, -10, -1, 101, 1_000]), st.integers(100, 104)
)
segments = st.builds(
    segment,
    st.integers(10, 10_000),
    rank=st.integers(-1, 2) | st.just(999),
    rolloutPercent=st.integers(-1, 130) | st.sampled_from([0, 50, 100, -100, 2**31 - 1]),
    constraints=st.lists(constraints, max_size=3),
    distributions=st.lists(shares, max_size=4),
)
variants = st.builds(variant, st.integers(100, 103), st.sampled_from(["on", "control", ""]), st.just({"x": '"y"'}))


@st.composite
def flag_sets(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Up to four live flags whose keys may look like ids and which may depend on each other, in circles too."""
    ids = draw(st.lists(st.integers(1, 9), min_size=1, max_size=4, unique=True))
    keys = draw(st.lists(st.sampled_from(["1", "5", "07", "flag", "other/x"]), min_size=4, max_size=4, unique=True))
    return [
        flag(
            flag_id,
            key,
            enabled=draw(st.integers(0, 4)) > 0,
            entityType=draw(st.sampled_from([None, "", "user"])),
            environmentId=draw(st.sampled_from([None, None, 1, 2])),
            dependsOn=draw(st.just([]) | st.lists(st.sampled_from([*keys, "missing"]), max_size=2)),
            segments=draw(st.lists(segments, max_size=4, unique_by=lambda one: one["id"])),
            variants=draw(st.lists(variants, max_size=4, unique_by=lambda one: one["id"])),
            tags=[{"id": 1, "value": "web"}, {"id": 2, "value": "a"}],
        )
        for flag_id, key in zip(ids, keys, strict=False)
    ]


requests = st.fixed_dictionaries(
    {},
    optional={
        "flagID": st.integers(0, 9) | st.none(),
        "flagKey": st.sampled_from(["1", "5", "07", "flag", "other/x", "nothing", ""]),
        "entityID": entity_ids | st.none(),
        "entityType": st.sampled_from([None, "", "device"]),
        "entityContext": st.none()
        | st.dictionaries(st.sampled_from(PROPERTIES), texts | st.booleans() | st.integers() | st.none()),
    },
)


@settings(max_examples=300, deadline=None)
@given(flag_sets(), requests, st.sampled_from([None, None, 1]))
def test_any_request_is_answered_as_the_transcription_does(
    flags: list[dict[str, Any]], request: dict[str, Any], environment_id: int | None
) -> None:
    answer = ask(flags, request, environment_id)
    assert answer.pop("timestamp") == TIMESTAMP
    answer.pop("evalDebugLog")
    assert answer == transcription.evaluate(flags, request, environment_id)


@settings(max_examples=200, deadline=None)
@given(st.lists(shares, min_size=1, max_size=5), st.integers(-1, 120), st.text(min_size=1))
def test_any_entity_falls_where_the_transcription_puts_it(
    distributions: list[dict[str, Any]], rollout_percent: int, entity_id: str
) -> None:
    only = segment(rolloutPercent=rollout_percent, distributions=distributions)
    answer = ask([flag(segments=[only])], {"flagID": 1, "entityID": entity_id})
    blank = all(ord(character) in transcription.BLANKS for character in entity_id)
    assert answer["variantID"] == transcription.roll_out(1, only, "random" if blank else entity_id)


@settings(deadline=None)
@given(st.integers(), st.text())
def test_a_bucket_is_the_checksum_of_flag_id_and_entity_id(flag_id: int, entity_id: str) -> None:
    assert bucket_of(salt_of(flag_id), entity_id) == transcription.crc32(f"{flag_id}{entity_id}".encode()) % 1000


@settings(max_examples=500, deadline=None)
@given(texts | st.text("0123456789+-.eExXpPfFdD _naNIity\n", max_size=12))
def test_any_text_is_the_same_number_as_in_the_transcription(text: str) -> None:
    assert repr(parse_double(text)) == repr(transcription.java_double(text))
