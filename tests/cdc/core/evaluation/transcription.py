"""Flagent's evaluation written down a second time: slow, plain, sharing no code with `cdc.core.evaluation`.

It works on the flags and requests as they are in JSON and prepares nothing. The fast code is tested against it.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["crc32", "evaluate", "holds", "java_double"]

Json = Mapping[str, Any]

BLANKS = [0x9, 0xA, 0xB, 0xC, 0xD, 0x1C, 0x1D, 0x1E, 0x1F, 0x20, 0xA0, 0x1680, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000]
BLANKS += list(range(0x2000, 0x200B))


def crc32(data: bytes) -> int:
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = (register >> 1) ^ 0xEDB88320 if register & 1 else register >> 1
    return register ^ 0xFFFFFFFF


def java_double(text: str) -> float | None:
    while text and ord(text[0]) <= 0x20:
        text = text[1:]
    while text and ord(text[-1]) <= 0x20:
        text = text[:-1]
    sign = -1.0 if text.startswith("-") else 1.0
    bare = text[1:] if text[:1] in ("+", "-") else text
    if bare == "NaN":
        return float("nan")
    if bare == "Infinity":
        return sign * float("inf")
    if bare[:2] in ("0x", "0X"):
        return _java_hex(sign, bare[2:])
    if bare[-1:] in tuple("fFdD"):
        bare = bare[:-1]
    mantissa, mark, exponent = bare.replace("E", "e").partition("e")
    if mark and not re.fullmatch("[+-]?[0-9]+", exponent):
        return None
    whole, _, fraction = mantissa.partition(".")
    if not whole + fraction or not set(whole + fraction) <= set("0123456789"):
        return None
    return sign * float(bare)


def _java_hex(sign: float, bare: str) -> float | None:
    digits, mark, exponent = bare.replace("P", "p").partition("p")
    if exponent[-1:] in tuple("fFdD"):
        exponent = exponent[:-1]
    whole, _, fraction = digits.partition(".")
    if not mark or not re.fullmatch("[+-]?[0-9]+", exponent) or not whole + fraction:
        return None
    if not set(whole + fraction) <= set("0123456789abcdefABCDEF"):
        return None
    try:
        return sign * float.fromhex(f"0x{digits}p{exponent}")
    except OverflowError:
        return sign * float("inf")


def holds(constraint: Mapping[str, str], context: Mapping[str, str]) -> bool:
    if constraint["property"] not in context:
        return False
    value = context[constraint["property"]]
    wanted: str = constraint["value"]
    operator: str = constraint["operator"]
    if operator == "EQ":
        return value == wanted
    if operator == "NEQ":
        return value != wanted
    if operator in ("LT", "LTE", "GT", "GTE"):
        left, right = java_double(value), java_double(wanted)
        if left is None or right is None:
            return False
        return {"LT": left < right, "LTE": left <= right, "GT": left > right, "GTE": left >= right}[operator]
    if operator in ("EREG", "NEREG"):
        return _matches(wanted, value) == (operator == "EREG")
    if operator in ("IN", "NOTIN"):
        pieces = [piece.strip("".join(map(chr, BLANKS))) for piece in wanted.split(",")]
        return (value in pieces) == (operator == "IN")
    if operator in ("CONTAINS", "NOTCONTAINS"):
        return (value.find(wanted) >= 0) == (operator == "CONTAINS")
    return False


def _matches(pattern: str, value: str) -> bool:
    """Java's rules as far as the patterns used here go: ASCII classes, the whole value."""
    try:
        return re.fullmatch(pattern, value, re.ASCII) is not None
    except re.error:
        return False


def roll_out(flag_id: int, segment: Json, entity_id: str) -> int | None:
    """The id of the variant, or None."""
    if entity_id == "" or segment["rolloutPercent"] <= 0 or not segment["distributions"]:
        return None
    number = crc32((str(flag_id) + entity_id).encode()) % 1000 + 1
    if segment["rolloutPercent"] < 100 and number > segment["rolloutPercent"] * 10:
        return None
    by_variant = sorted(segment["distributions"], key=lambda share: share["variantID"])
    by_percent = sorted(by_variant, key=lambda share: share["percent"])
    accumulated = 0
    for share in by_percent:
        accumulated += share["percent"] * 10
        if accumulated >= number:
            return int(share["variantID"])
    return int(by_percent[-1]["variantID"])


def decide(flag: Json, entity_id: str, context: Mapping[str, str]) -> tuple[int | None, int | None]:
    """Segment id and variant id, dependencies aside."""
    segment_id = None
    if not flag["enabled"]:
        return None, None
    by_id = sorted(flag["segments"], key=lambda segment: segment["id"])
    for segment in sorted(by_id, key=lambda segment: segment["rank"]):
        segment_id = segment["id"]
        if all(holds(constraint, context) for constraint in segment["constraints"]):
            variant_id = roll_out(flag["id"], segment, entity_id)
            if variant_id is not None:
                return segment_id, variant_id
    return segment_id, None


def is_blocked(
    flags: Sequence[Json], flag: Json, entity_id: str, context: Mapping[str, str], above: tuple[str, ...] = ()
) -> bool:
    for key in flag["dependsOn"]:
        dependency = next((other for other in flags if other["key"] == key), None)
        if dependency is None or key in (*above, flag["key"]):
            return True
        if is_blocked(flags, dependency, entity_id, context, (*above, flag["key"])):
            return True
        if decide(dependency, entity_id, context)[1] is None:
            return True
    return False


def find(flags: Sequence[Json], request: Json, environment_id: int | None) -> Json | None:
    cached = [flag for flag in flags if flag["enabled"]]
    if request.get("flagID") is not None:
        text = str(request["flagID"])
    elif request.get("flagKey") is not None:
        text = request["flagKey"]
    else:
        return None
    ids = {str(flag["id"]): flag for flag in cached}
    keys = {flag["key"]: flag for flag in cached if flag["key"]}
    flag = ids.get(text) or keys.get(text)
    if flag is not None and environment_id is not None and flag["environmentId"] not in (None, environment_id):
        return None
    return flag


def as_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def evaluate(flags: Sequence[Json], request: Json, environment_id: int | None = None) -> dict[str, Any]:
    """The result's fields that follow from flags and request alone; `flags` are the live ones of the database."""
    flag = find(flags, request, environment_id)
    raw = request.get("entityContext")
    context = None if raw is None else {key: as_text(value) for key, value in raw.items() if value is not None}
    result: dict[str, Any] = {
        "flagID": request.get("flagID") or 0,
        "flagKey": request.get("flagKey") or "",
        "flagSnapshotID": 0,
        "flagTags": [],
        "segmentID": None,
        "variantID": None,
        "variantKey": None,
        "variantAttachment": None,
        "evalContext": {
            "entityID": request.get("entityID"),
            "entityType": request.get("entityType"),
            "entityContext": context,
        },
    }
    if flag is None:
        return result
    entity_id = request.get("entityID") or ""
    if all(ord(character) in BLANKS for character in entity_id):
        entity_id = "random"
    result["flagID"], result["flagKey"], result["flagSnapshotID"] = flag["id"], flag["key"], flag["snapshotID"]
    result["flagTags"] = [tag["value"] for tag in flag["tags"]]
    result["evalContext"]["entityID"] = entity_id
    if request.get("entityType") is None:
        result["evalContext"]["entityType"] = flag["entityType"] or ""
    if is_blocked(flags, flag, entity_id, context or {}):
        return result
    result["segmentID"], result["variantID"] = decide(flag, entity_id, context or {})
    for variant in flag["variants"]:
        if variant["id"] == result["variantID"]:
            result["variantKey"], result["variantAttachment"] = variant["key"], variant["attachment"]
    return result
