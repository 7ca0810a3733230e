"""Evaluation requests, parsed and validated from JSON.

As in Flagent, unknown fields are ignored, a null counts as an absent field, and numbers and booleans may be in quotes.
One extension: an entity context may hold numbers and booleans, which become their JSON text.

Objects made for every request are named tuples: a frozen dataclass takes three times as long to create.
"""

import json
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from ..errors import InvalidInput
from ..steps import run_steps
from ..text import kotlin_json

__all__ = ["BatchRequest", "Entity", "EvaluationRequest", "JsonNumber", "decode_json"]

# Makes a named tuple in half the time of its own constructor.
_new = tuple.__new__

_INT32 = range(-(2**31), 2**31)
_INT64 = 2**63


class JsonNumber(float):
    """A number with a decimal point or an exponent that keeps its text."""

    __slots__ = ("text",)
    text: str

    def __new__(cls, text: str) -> Self:
        number = super().__new__(cls, text)
        number.text = text
        return number


def decode_json(text: str | bytes) -> object:
    """Decode JSON, keeping the text of numbers; raises `InvalidInput` named `body`."""
    try:
        if not isinstance(text, str):
            text = text.decode(_encoding_of(text), "surrogatepass")
        # `json.loads` would make a new decoder for each text, which takes as long as the decoding.
        try:
            value, end = _scan(text, 0)
        except StopIteration:
            end = -1
        # The decoder, which looks for blanks around the value, also says what is wrong.
        return value if end == len(text) else _decode(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput("the body must be valid JSON", name="body", code="invalid_json") from error


def _encoding_of(text: bytes) -> str:
    # An object in UTF-8, as nearly every text is; `detect_encoding` looks for eight others first.
    return "utf-8" if text[:1] == b"{" and text[1:2] != b"\0" else json.detect_encoding(text)


def _refuse_constant(name: str) -> object:
    raise ValueError(name)


_decoder = json.JSONDecoder(parse_float=JsonNumber, parse_constant=_refuse_constant)
_decode = _decoder.decode
_scan: Callable[[str, int], tuple[object, int]] = _decoder.scan_once  # type: ignore[attr-defined]


class Entity(NamedTuple):
    """The entity of a request. A missing or blank `id` becomes a random one; `context` holds only strings."""

    id: str | None = None
    type: str | None = None
    context: Mapping[str, str] | None = None

    @classmethod
    def parse(cls, raw: object, name: str = "") -> Self:
        """Parse `entityID`, `entityType` and `entityContext` of an object that is called `name` in errors."""
        if type(raw) is dict and (common := cls.parse_common(raw, name)) is not None:
            return common
        fields = _Fields(raw, name)
        return cls(fields.text("entityID"), fields.text("entityType"), fields.context("entityContext"))

    @classmethod
    def parse_common(cls, raw: Mapping[str, Any], name: str) -> Self | None:
        """An entity whose fields have their plain types, as nearly all have; None for any other."""
        get = raw.get
        entity_id, entity_type, context = get("entityID"), get("entityType"), get("entityContext")
        if (entity_id is None or (type(entity_id) is str and entity_id.isascii())) and (
            entity_type is None or (type(entity_type) is str and entity_type.isascii())
        ):
            if context is not None:
                context = _context(context, f"{name}.entityContext" if name else "entityContext")
            return _new(cls, (entity_id, entity_type, context))
        return None


class EvaluationRequest(NamedTuple):
    """One flag for one entity; a request with neither id nor key is valid, and finds nothing."""

    entity: Entity
    flag_id: int | None = None
    flag_key: str | None = None
    debug: bool = False

    @classmethod
    def parse(cls, raw: object) -> Self:
        """Parse the object of `POST /evaluation`; raises `InvalidInput` with the name of the field."""
        if type(raw) is dict and (common := cls._parse_common(raw)) is not None:
            return common
        fields = _Fields(raw, "")
        flag_id, flag_key = fields.integer("flagID"), fields.text("flagKey")
        return cls(Entity.parse(raw), flag_id, flag_key, fields.boolean("enableDebug"))

    @classmethod
    def _parse_common(cls, raw: Mapping[str, Any]) -> Self | None:
        """A request whose fields have their plain types, as nearly all have; None for any other."""
        get = raw.get
        flag_id, flag_key, debug = get("flagID"), get("flagKey"), get("enableDebug")
        if (
            (flag_id is None or (type(flag_id) is int and flag_id in _INT32))
            and (flag_key is None or (type(flag_key) is str and flag_key.isascii()))
            and (debug is None or type(debug) is bool)
            and (entity := Entity.parse_common(raw, "")) is not None
        ):
            return _new(cls, (entity, flag_id, flag_key, debug is True))
        return None


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """Flags by tag, id and key for several entities; `match_all` selects flags with all of the tags."""

    entities: tuple[Entity, ...]
    flag_ids: tuple[int, ...] = ()
    flag_keys: tuple[str, ...] = ()
    flag_tags: tuple[str, ...] = ()
    match_all: bool = False
    debug: bool = False

    @classmethod
    def parse(cls, raw: object) -> Self:
        """Parse the object of `POST /evaluation/batch`; raises `InvalidInput` with the name of the field."""
        return run_steps(cls.parse_in_steps(raw))

    @classmethod
    def parse_in_steps(cls, raw: object) -> Generator[None, None, Self]:
        """`parse`, one entity at a time: there may be ten thousand."""
        fields = _Fields(raw, "")
        parsed: list[Entity] = []
        for name, item in fields.items("entities"):
            parsed.append(Entity.parse(item, name))
            yield
        entities = tuple(parsed)
        flag_ids = tuple(_integer(item, name) for name, item in fields.items("flagIDs"))
        flag_keys = tuple(_text(item, name) for name, item in fields.items("flagKeys"))
        flag_tags = tuple(_text(item, name) for name, item in fields.items("flagTags"))
        if not (flag_ids or flag_keys or flag_tags):
            raise InvalidInput("at least one of flagIDs, flagKeys and flagTags must be given", name="flagIDs")
        if not entities:
            raise InvalidInput("entities must name at least one entity", name="entities")
        match_all = fields.text("flagTagsOperator") == "ALL"
        return cls(entities, flag_ids, flag_keys, flag_tags, match_all, fields.boolean("enableDebug"))


class _Fields:
    """Typed access to the fields of a JSON object."""

    __slots__ = ("_prefix", "_raw")

    def __init__(self, raw: object, name: str) -> None:
        if not isinstance(raw, Mapping):
            raise InvalidInput(f"{name or 'the request'} must be a JSON object", name=name or "body")
        self._raw: Mapping[str, Any] = raw
        self._prefix = f"{name}." if name else ""

    def text(self, field: str) -> str | None:
        value = self._raw.get(field)
        return None if value is None else _text(value, self._prefix + field)

    def integer(self, field: str) -> int | None:
        value = self._raw.get(field)
        return None if value is None else _integer(value, self._prefix + field)

    def boolean(self, field: str) -> bool:
        value = self._raw.get(field)
        chosen = kotlin_json.to_boolean(value) if isinstance(value, str) else value
        if value is not None and not isinstance(chosen, bool):
            raise InvalidInput(f"{self._prefix}{field} must be true or false", name=self._prefix + field)
        return bool(chosen)

    def items(self, field: str) -> list[tuple[str, object]]:
        value = self._raw.get(field)
        name = self._prefix + field
        if value is None:
            return []
        if not isinstance(value, list | tuple):
            raise InvalidInput(f"{name} must be an array", name=name)
        return [(f"{name}[{index}]", item) for index, item in enumerate(value)]

    def context(self, field: str) -> dict[str, str] | None:
        value = self._raw.get(field)
        return None if value is None else _context(value, self._prefix + field)


def _context(value: object, name: str) -> dict[str, str]:
    """The properties of an entity as texts; `name` is the field's, for errors."""
    if not isinstance(value, Mapping):
        raise InvalidInput(f"{name} must be a JSON object", name=name)
    context: dict[str, str] = {}
    for key, item in value.items():
        if type(item) is str and item.isascii() and key.isascii():
            context[key] = item  # nearly every property; names for error messages are built only for the others
        elif item is not None:
            property_name = _text(key, name)
            context[property_name] = _scalar(item, f"{name}.{key}")
    return context


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise InvalidInput(f"{name} must be a string", name=name)
    try:
        if not value.isascii():
            value.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(f"{_shown(name)} contains half a surrogate pair", name=_shown(name)) from error
    return value


def _integer(value: object, name: str) -> int:
    if isinstance(value, str | JsonNumber):
        value = kotlin_json.to_integer(value if isinstance(value, str) else value.text)
    if isinstance(value, bool) or not isinstance(value, int) or value not in _INT32:
        raise InvalidInput(f"{name} must be a 32-bit integer", name=name)
    return value


def _scalar(value: object, name: str) -> str:
    """The value of a property as text: a string itself, others as JSON."""
    if type(value) is int and -_INT64 <= value < _INT64:
        return str(value)  # before the match, which would try three classes first
    match value:
        case str():
            return _text(value, name)
        case bool():
            return "true" if value else "false"
        case JsonNumber():
            return value.text
        case int() | float():
            try:
                return json.dumps(value, allow_nan=False)
            except ValueError as error:
                raise InvalidInput(f"{name} must be a number that JSON can hold", name=name) from error
        case _:
            raise InvalidInput(f"{_shown(name)} must be a string, a number or a boolean", name=_shown(name))


def _shown(name: str) -> str:
    """A name that may come from the request, safe to send back."""
    return name.encode("utf-8", "replace").decode()[:200]
