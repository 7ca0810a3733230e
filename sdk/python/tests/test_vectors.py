"""Every conformance vector of ``sdk/vectors``."""

from __future__ import annotations

import json
import pathlib
import re
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

import pytest

from flagent_realtime import ReconnectConfig
from flagent_realtime._backoff import Backoff, reconnect_delay
from flagent_realtime._cache_key import cache_key, normal_url, selection_text
from flagent_realtime._digest import canonical_flag, digest_of
from flagent_realtime._event_id import compare_event_ids
from flagent_realtime._exposure_counts import CountKey, ExposureCounts, report_body
from flagent_realtime._exposure_window import ExposureWindow
from flagent_realtime._flag_table import EntryChange, FlagEntry
from flagent_realtime._keep_alive import parse_keep_alive
from flagent_realtime._policy import (
    close_code_outcome,
    is_event_stream,
    parse_retry_after,
    resolve_redirect,
    status_outcome,
)
from flagent_realtime._saved_flags import SavedFlags, choose, read_bootstrap, read_document, write_document
from flagent_realtime._selection import Selection
from flagent_realtime._sse_parser import SseComment, SseEvent, SseId, SseItem, SseParser, SseRetry
from flagent_realtime._store_core import StoreCore, StoreSource
from flagent_realtime._transport_choice import Action, Input, TransportChoice
from flagent_realtime._values import context_texts, entity_text, read_integer, read_number
from flagent_realtime.baggage import read_position, write_position
from flagent_realtime.errors import IgnoredFlags
from flagent_realtime.events import EventType, decode_event
from flagent_realtime.flags import Flag, Segment, Variant

ROOT = pathlib.Path(__file__).resolve().parents[3]


def load(name: str) -> Any:
    return json.loads((ROOT / "sdk" / "vectors" / name).read_text())


def name_of(case: dict[str, Any]) -> str:
    return str(case["id"])


def shown(item: SseItem) -> dict[str, Any]:
    match item:
        case SseEvent(event, data, last):
            return {"kind": "event", "event": event, "data": data, "lastEventId": last}
        case SseComment(text):
            return {"kind": "comment", "text": text}
        case SseRetry(ms):
            return {"kind": "retry", "ms": ms}
        case SseId(last):
            return {"kind": "id", "lastEventId": last}
    raise AssertionError(item)


@pytest.mark.parametrize("case", load("sse.json"), ids=name_of)
def test_sse_bytes_are_parsed_alike_however_they_are_split(case: dict[str, Any]) -> None:
    raw = bytes.fromhex(case["inputHex"]) if "inputHex" in case else case["input"].encode()
    splits = [[raw], [raw[n : n + 1] for n in range(len(raw))], *([raw[:n], raw[n:]] for n in range(len(raw)))]
    for chunks in splits:
        parser = SseParser()
        outputs = [shown(item) for chunk in chunks for item in parser.feed(chunk)]
        assert outputs == case["outputs"], chunks
        assert case["lastEventId"] in ([o["lastEventId"] for o in outputs if "lastEventId" in o][-1:] or [""])


@pytest.mark.parametrize("case", load("keepalive.json"), ids=name_of)
def test_keep_alive_comments_are_heartbeats(case: dict[str, Any]) -> None:
    assert parse_keep_alive(case["comment"]) == case["heartbeat"]


def config_of(case: dict[str, Any]) -> ReconnectConfig:
    config = case["config"]
    return ReconnectConfig(
        **({"max_attempts": config["maxAttempts"]} if "maxAttempts" in config else {}),
        initial_delay=config["initialDelayMs"] / 1000,
        max_delay=config["maxDelayMs"] / 1000,
        multiplier=config["multiplier"],
        stable_after=config["stableAfterMs"] / 1000,
    )


def assert_delay(delay: float | None, expected_ms: int | None) -> None:
    if expected_ms is None:
        assert delay is None
    else:
        assert delay == pytest.approx(expected_ms / 1000, abs=0.001)


@pytest.mark.parametrize("case", load("backoff.json")["delays"], ids=name_of)
def test_the_wait_before_an_attempt(case: dict[str, Any]) -> None:
    delay = reconnect_delay(
        config_of(case),
        case["attempt"],
        case["random"],
        case["retryMs"],
        case["retryAfterMs"],
        case.get("feedsStore", False),
    )
    assert_delay(delay, case["delayMs"])


@pytest.mark.parametrize("case", load("backoff.json")["sequences"], ids=name_of)
def test_the_count_of_attempts(case: dict[str, Any]) -> None:
    backoff = Backoff(config_of(case))
    for step in case["steps"]:
        now = step["at"] / 1000
        match step["event"]:
            case "connected":
                backoff.connected()
            case "message":
                backoff.message(now)
            case "retry":
                backoff.retry(step["ms"])
            case "lost":
                assert_delay(backoff.lost(now, step["random"], step.get("retryAfterMs")), step["delayMs"])
            case other:
                pytest.fail(f"unknown step {other}")


@pytest.mark.parametrize("case", load("policy.json")["http"], ids=name_of)
def test_what_a_status_means(case: dict[str, Any]) -> None:
    assert status_outcome(case["status"]).value == case["outcome"]


@pytest.mark.parametrize("case", load("policy.json")["close"], ids=name_of)
def test_what_a_close_code_means(case: dict[str, Any]) -> None:
    assert close_code_outcome(case["code"]).value == case["outcome"]


@pytest.mark.parametrize("case", load("policy.json")["contentType"], ids=name_of)
def test_what_is_an_event_stream(case: dict[str, Any]) -> None:
    assert is_event_stream(case["value"]) is case["isStream"]


@pytest.mark.parametrize("case", load("policy.json")["retryAfter"], ids=name_of)
def test_what_retry_after_asks_for(case: dict[str, Any]) -> None:
    now = datetime.fromisoformat(case["now"].replace("Z", "+00:00"))
    assert parse_retry_after(case["value"], now) == case["ms"]


@pytest.mark.parametrize("case", load("policy.json")["redirect"], ids=name_of)
def test_where_a_redirect_leads(case: dict[str, Any]) -> None:
    outcome = case["outcome"]
    expected = None if outcome is None else (outcome["url"], outcome["sendKey"])
    assert resolve_redirect(case["from"], case["location"], case["hop"]) == expected


@pytest.mark.parametrize("case", load("values.json")["attachmentNumber"], ids=name_of)
def test_the_number_of_an_attachment(case: dict[str, Any]) -> None:
    assert read_or_none(read_number, case["text"]) == case["number"]
    assert read_or_none(read_integer, case["text"]) == (None if case["integer"] is None else int(case["integer"]))


def read_or_none(read: Callable[[str], float], text: str) -> float | None:
    try:
        return read(text)
    except ValueError:
        return None


def given_value(case: dict[str, Any]) -> Any:
    if "integer" in case:
        return int(case["integer"])
    return float(case["special"]) if "special" in case else case["value"]


@pytest.mark.parametrize("case", load("values.json")["entityID"], ids=name_of)
def test_the_text_of_an_entity_id(case: dict[str, Any]) -> None:
    if case["text"] is not None:
        assert entity_text(given_value(case)) == case["text"]
        return
    with pytest.raises(TypeError, match="entity_id is a"):
        entity_text(given_value(case))


@pytest.mark.parametrize("case", load("values.json")["contextValue"], ids=name_of)
def test_the_text_of_a_context_value(case: dict[str, Any]) -> None:
    if case["text"] is not None:
        assert context_texts({"p": given_value(case), "none": None}) == {"p": case["text"]}
        return
    with pytest.raises((TypeError, ValueError), match="'p' is"):
        context_texts({"p": given_value(case)})


@pytest.mark.parametrize("case", load("digest.json"), ids=name_of)
def test_the_digest_of_flags(case: dict[str, Any]) -> None:
    assert [canonical_flag(flag) for flag in case["flags"]] == case["canonical"]
    assert digest_of(case["flags"]) == case["digest"]


@pytest.mark.parametrize("case", load("event_ids.json"), ids=name_of)
def test_the_order_of_event_ids(case: dict[str, Any]) -> None:
    words = {-1: "before", 0: "same", 1: "after", None: "incomparable"}
    assert words[compare_event_ids(case["a"], case["b"])] == case["aIs"]


def kind_of(data: object) -> str:
    match data:
        case Flag():
            return "flag"
        case Segment():
            return "segment"
        case Variant():
            return "variant"
        case str():
            return "key"
        case tuple():
            return "distributions"
        case None:
            return "none"
        case _:
            return "raw"


@pytest.mark.parametrize("case", load("messages.json"), ids=name_of)
def test_messages_become_typed_events(case: dict[str, Any]) -> None:
    event, expected = decode_event(case["message"]), case["event"]
    data = event.data
    seen: dict[str, Any] = {
        "type": None if event.type is EventType.UNKNOWN else event.type.name,
        "typeName": event.type_name,
        "id": event.id,
        "flagKey": event.flag_key,
        "flagID": event.flag_id,
        "committedAt": event.committed_at,
        "dataKind": kind_of(data),
        "dataKey": data.key if isinstance(data, Flag) else data,
        "segmentID": event.segment_id,
        "variantID": event.variant_id,
        "count": len(data) if isinstance(data, tuple) else None,
        "table": event.table,
    }
    assert {name: seen[name] for name in expected} == expected


def listed(change: EntryChange) -> list[str]:
    return [change.kind.value, change.key, *([change.schema] if change.schema else [])]


@pytest.mark.parametrize("case", load("store.json"), ids=name_of)
def test_messages_fold_into_a_store(case: dict[str, Any]) -> None:
    fold(case)


@pytest.mark.parametrize("case", load("persistence.json")["stores"], ids=name_of)
def test_a_store_begins_with_known_flags(case: dict[str, Any]) -> None:
    fold(case)


def fold(case: dict[str, Any]) -> None:
    selection = case.get("selection", {})
    core = StoreCore(
        Selection.of_flags(selection.get("flags", ()), selection.get("flagIDs", ()), selection.get("tags", ()))
    )
    start = case.get("start")
    if start is not None:
        core.restore(SavedFlags(start["id"], start["flags"]), StoreSource(start["source"]))
    for step in case["steps"]:
        now = step["at"] / 1000
        if "message" in step:
            resumed = step["message"].pop("resumed", False)
            update = core.receive(step["message"], now, resumed)
            changes, requested, failed = update.changes, update.requests_snapshot, update.error is not None
        else:
            changes, requested, failed = [], False, False
            match step["signal"]:
                case "tick":
                    core.tick(now)
                case "lost":
                    core.connection_lost()
                case "failed":
                    core.client_failed()
                case "closed":
                    core.close()
        where = json.dumps(step)
        assert core.status.value == step["status"], where
        assert [listed(change) for change in changes] == step["changes"], where
        assert requested == (step.get("request") == "snapshot"), where
        assert failed == step.get("error", False), where
        if "source" in step:
            assert (None if core.source is None else core.source.value) == step["source"], where
    flags = {entry.key: {k: v for k, v in entry.raw.items() if k != "schema"} for entry in core.table.entries.values()}
    assert flags == case["flags"]
    assert core.table.digest == case["digest"]
    assert core.table.digest == digest_of([entry.raw for entry in core.table.entries.values()])
    assert core.last_event_id == case["cursor"]


@pytest.mark.parametrize("case", load("exposures.json")["windows"], ids=name_of)
def test_which_evaluations_are_exposures(case: dict[str, Any]) -> None:
    window = ExposureWindow(case["windowMs"] / 1000, case["limit"])
    for step in case["steps"]:
        key = (step["flagKey"], step["entityID"], step["variantKey"])
        assert window.is_first(key, step["at"] / 1000) is step["isReported"], step


@pytest.mark.parametrize("case", load("exposures.json")["batches"], ids=name_of)
def test_the_body_of_a_report(case: dict[str, Any]) -> None:
    counts = ExposureCounts()
    for flag_key, variant_key in case["exposures"]:
        counts.add(CountKey(None, flag_key, variant_key))
    assert report_body(counts.take()) == case["body"]


def test_the_defaults_are_the_promised_ones() -> None:
    assert asdict(ReconnectConfig()) == {
        "max_attempts": 10,
        "initial_delay": 1.0,
        "max_delay": 60.0,
        "multiplier": 2.0,
        "stable_after": 5.0,
    }


@pytest.mark.parametrize("case", load("transports.json"), ids=name_of)
def test_the_choice_of_a_transport(case: dict[str, Any]) -> None:
    choice = TransportChoice()
    for given in case["steps"]:
        step = choice.step(Input(given["input"]), given["at"] / 1000)
        done = None if step.action is Action.NOTHING else step.action.value
        probed = None if step.probe is None else step.probe.value
        expected = (given["transport"], given["do"], given.get("probe"))
        assert (choice.transport.value, done, probed) == expected, given


def time_of(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


@pytest.mark.parametrize("case", load("persistence.json")["keys"], ids=name_of)
def test_the_key_of_saved_flags(case: dict[str, Any]) -> None:
    given = case["selection"]
    selection = Selection.of_flags(given.get("flags", ()), given.get("ids", ()), given.get("tags", ()))
    assert normal_url(case["url"]) == case["normalUrl"]
    assert selection_text(selection) == case["selectionText"]
    assert cache_key(case["url"], selection, case["credential"]) == case["key"]


@pytest.mark.parametrize("case", load("persistence.json")["documents"], ids=name_of)
def test_what_of_a_cache_is_believed(case: dict[str, Any]) -> None:
    def read() -> SavedFlags:
        return read_document(case["text"], case["key"], time_of(case["now"]), timedelta(milliseconds=case["maxAgeMs"]))

    assert read_or_reason(read) == (case["ignored"], case["eventID"], case["flagKeys"])


@pytest.mark.parametrize("case", load("persistence.json")["bootstraps"], ids=name_of)
def test_what_a_bootstrap_may_be(case: dict[str, Any]) -> None:
    expected = (case["ignored"], case["eventID"], case["flagKeys"])
    assert read_or_reason(lambda: read_bootstrap(case["text"])) == expected
    if case["ignored"] != "not_json":
        assert read_or_reason(lambda: read_bootstrap(json.loads(case["text"]))) == expected


def read_or_reason(read: Callable[[], SavedFlags]) -> tuple[str | None, str | None, list[str] | None]:
    try:
        saved = read()
    except IgnoredFlags as error:
        return error.reason, None, None
    return None, saved.event_id, [flag["key"] for flag in saved.flags] + [flag.key for flag in saved.unread]


@pytest.mark.parametrize("case", load("persistence.json")["saves"], ids=name_of)
def test_what_is_saved(case: dict[str, Any]) -> None:
    flags, digest = case["flags"], digest_of(case["flags"])
    entries = [FlagEntry(flag.get("schema", ""), flag) for flag in flags]
    document = json.loads(write_document(case["key"], case["eventID"], entries, digest, time_of(case["now"])))
    index = document.pop("index", None)
    assert re.fullmatch("[0-9a-f]{8}", document.pop("checksum"))
    assert document == case["document"]
    if index is not None:
        assert index == [part for entry in entries for part in (entry.key, entry.identity.id, entry.checksum)]


@pytest.mark.parametrize("case", load("persistence.json")["choices"], ids=name_of)
def test_which_of_cache_and_bootstrap_counts(case: dict[str, Any]) -> None:
    cache = None if case["cache"] is None else SavedFlags(case["cache"], ())
    bootstrap = None if case["bootstrap"] is None else SavedFlags(case["bootstrap"]["eventID"], ())
    chosen = choose(cache, bootstrap)
    source = None if chosen is None else ("cache" if chosen is cache else "bootstrap")
    assert source == case["source"]


@pytest.mark.parametrize("case", load("baggage.json")["read"], ids=name_of)
def test_the_position_in_baggage(case: dict[str, Any]) -> None:
    assert read_position(case["header"]) == case["value"]


@pytest.mark.parametrize("case", load("baggage.json")["write"], ids=name_of)
def test_a_position_is_put_into_baggage(case: dict[str, Any]) -> None:
    assert write_position(case["header"], case["value"]) == case["result"]
