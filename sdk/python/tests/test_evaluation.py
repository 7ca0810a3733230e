"""Local evaluation: the shared vectors, the bounded regular expressions, dependencies."""

from __future__ import annotations

import contextlib
import json
import pathlib
import re
import time
import warnings
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flagent_realtime import FlagentWebSocketClient, FlagStore, ReducedFlag
from flagent_realtime._evaluation import EvaluationResult, evaluate_flag, parse_double
from flagent_realtime._regex import Undecided, full_match
from flagent_realtime.events import decode_event
from flagent_realtime.flags import Flag

ROOT = pathlib.Path(__file__).resolve().parents[3]
VECTORS = ROOT / "tests" / "vectors" / "evaluation_vectors.json"


def vectors() -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = json.loads(VECTORS.read_text())
    return cases


def result_json(result: EvaluationResult) -> dict[str, Any]:
    return {
        "flagID": result.flag_id,
        "flagKey": result.flag_key,
        "flagSnapshotID": result.flag_snapshot_id,
        "flagTags": list(result.flag_tags),
        "segmentID": result.segment_id,
        "variantID": result.variant_id,
        "variantKey": result.variant_key,
        "variantAttachment": result.variant_attachment,
        "evalContext": {"entityID": result.entity_id, "entityType": result.entity_type},
    }


def loaded(flags: list[dict[str, Any]]) -> FlagStore:
    """A store that begins with these flags; archived flags do not exist for subscribers."""
    live = [flag for flag in flags if not flag["archived"]]
    return FlagStore(FlagentWebSocketClient("ws://127.0.0.1:1/ws"), bootstrap={"id": "1@k", "flags": live})


def test_the_shared_vectors() -> None:
    wrong = []
    for case in vectors():
        store = loaded([case["flag"], *case.get("otherFlags", [])])
        request = case["request"]
        result = result_json(
            store.evaluate(
                request.get("flagKey"),
                request.get("entityID"),
                request.get("entityContext"),
                flag_id=request.get("flagID"),
                entity_type=request.get("entityType"),
            )
        )
        for name, expected in case["expected"].items():
            seen = result[name]
            if name == "evalContext":
                seen = {key: seen[key] for key in expected if key in seen}
            if seen != expected:
                wrong.append(f"{case['name']}: {name} is {seen!r}, not {expected!r}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5.", 5.0), (".5", 0.5), ("1e3", 1000.0), ("10d", 10.0), ("10F", 10.0), ("0x1p4", 16.0), ("0x.8P1", 1.0), (" \t1\x00", 1.0),
        ("+Infinity", float("inf")), ("-Infinity", float("-inf")), ("1e999", float("inf")), ("0x1p99999", float("inf")), ("-0x1p99999", float("-inf")),
        ("0x10", None), ("1_0", None), ("1,0", None), ("10L", None), ("inf", None), ("nan", None), ("１０", None), ("", None), (".", None), ("\u00a01", None),
    ],
)  # fmt: skip
def test_numbers_are_parsed_as_in_java(text: str, value: float | None) -> None:
    assert parse_double(text) == value


PATTERNS = st.recursive(
    st.sampled_from(["a", "b", "1", "_", ".", "[ab]", "[^a]", r"\d", r"\w", r"\s", r"\W", r"\b", "^", "$", "(?i:a)", ""]),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda pair: f"(?:{pair[0]}|{pair[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,2}", "*?"])).map(lambda pair: f"(?:{pair[0]}){pair[1]}"),
    ),
    max_leaves=6,
)  # fmt: skip


@given(PATTERNS, st.text("ab1_ A\n", max_size=8))
@settings(max_examples=600, deadline=None)
def test_the_automaton_agrees_with_the_re_module(pattern: str, value: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = re.fullmatch(pattern, value, re.ASCII) is not None
    assert full_match(pattern, value) is expected


@pytest.mark.parametrize("pattern", ["(a+)+b", "(a|aa)+b", "(a?){40}a{40}", ".*.*.*.*x", "(a{1,30}){1,30}b"])
def test_every_expression_ends_in_time(pattern: str) -> None:
    # Processor time, because the machine may be busy.
    start = time.thread_time()
    with contextlib.suppress(Undecided):
        assert full_match(pattern, "a" * 39) is False
    assert time.thread_time() - start < 1


@pytest.mark.parametrize(
    ("pattern", "value", "matches"),
    [
        ("(?<name>a)b", "ab", True), (r"\(\?<", "(?<", True), ("[", "[", False), ("a.c", "a\u2028c", False), ("(?s)a.c", "a\nc", True),
        ("(?!x)[a-z]*", "abc", True), ("(?!x)[a-z]*", "xbc", False), (r"(?i)ÜBER", "über", False), (r"\d+", "١", False), ("", "", True),
    ],
)  # fmt: skip
def test_expressions_are_matched_as_in_java(pattern: str, value: str, matches: bool) -> None:
    assert full_match(pattern, value) is matches


@pytest.mark.parametrize(
    ("pattern", "value"), [("a" * 1001, "a"), ("a*", "a" * 4097), (r"(a*)*\1", "a"), ("(?=a+b*)a*", "a")]
)
def test_tc_regex_limits(pattern: str, value: str) -> None:
    """tc-regex-limits: outside the limits neither EREG nor NEREG holds."""
    with pytest.raises(Undecided):
        full_match(pattern, value)
    for operator in ("EREG", "NEREG"):
        constraint = {"id": 1, "segmentID": 1, "property": "p", "operator": operator, "value": pattern}
        result = evaluate_flag(
            simple(1, "a", constraints=[constraint]), lambda key: None, entity_id="e", entity_context={"p": value}
        )
        assert result.variant_key is None


def simple(
    id: int, key: str, depends_on: tuple[str, ...] = (), constraints: list[dict[str, Any]] | None = None
) -> Flag:
    share = {"id": 1, "segmentID": 1, "variantID": 1, "variantKey": "on", "percent": 100}
    segment = {"id": 1, "rank": 0, "rolloutPercent": 100, "constraints": constraints or [], "distributions": [share]}
    variant = {"id": 1, "flagID": id, "key": "on", "attachment": None}
    return Flag.from_json(
        {
            "id": id,
            "key": key,
            "enabled": True,
            "dependsOn": list(depends_on),
            "segments": [segment],
            "variants": [variant],
        }
    )


def test_tc_cycle() -> None:
    """tc-cycle: a cycle of any length blocks; a long chain does not."""
    chain = {f"f{n}": simple(n, f"f{n}", (f"f{n + 1}",)) for n in range(1, 3000)} | {"f3000": simple(3000, "f3000")}
    assert evaluate_flag(chain["f1"], chain.get, entity_id="e").variant_key == "on"
    cycle = chain | {"f3000": simple(3000, "f3000", ("f2",))}
    blocked = evaluate_flag(cycle["f1"], cycle.get, entity_id="e")
    assert (blocked.variant_id, blocked.segment_id) == (None, None)
    self_made = {"a": simple(1, "a", ("a",))}
    assert evaluate_flag(self_made["a"], self_made.get, entity_id="e").variant_key is None


def test_a_context_value_of_another_type_raises() -> None:
    with pytest.raises(TypeError, match="list"):
        evaluate_flag(simple(1, "a"), lambda key: None, entity_id="e", entity_context={"p": ["x"]})  # type: ignore[dict-item]


def test_tc_reduced_flag() -> None:
    """tc-reduced-flag: a flag that was sent reduced is not evaluated, and neither is one that depends on it."""
    big = {"id": 1, "key": "big", "enabled": True, "tooLarge": 2_000_000, "segments": [], "variants": []}
    user = {"id": 2, "key": "user", "enabled": True, "dependsOn": ["big"]}
    off = {**big, "id": 3, "key": "off", "enabled": False}
    store = FlagStore(FlagentWebSocketClient("ws://127.0.0.1:1/ws"), bootstrap=[big, user, off])
    for key in ("big", "user"):
        with pytest.raises(ReducedFlag, match=r"'big' has 2000000 bytes.*ask the server"):
            store.evaluate(key, "u")
    assert store.evaluate("off", "u").variant_key is None
    assert [flag.too_large for flag in store] == [2_000_000, 2_000_000, None]


def test_tc_unreadable_row() -> None:
    """tc-unreadable-row."""
    message = {"type": "row_updated", "id": "1-0@k", "table": "shop.orders", "key": None, "before": None, "after": None}
    assert decode_event({**message, "unreadable": "too_large"}).unreadable == "too_large"
    assert decode_event(message).unreadable is None
