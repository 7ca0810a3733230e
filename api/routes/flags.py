"""Flags, in the format and with the parameters of Flagent's own API (`GET /flags`, `GET /flags/{id}`)."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from cdc.core.flags.catalog import Catalog
from cdc.core.flags.default_schema import default_schema
from cdc.core.flags.flag_filter import FlagFilter
from cdc.core.flags.stored_flag import StoredFlag
from cdc.core.subscription.grant import Grant
from cdc.core.text.json_text import encode
from cdc.core.text.kotlin_text import to_boolean, to_integer
from cdc.history.rewind import refuse_before_attachment

from ..http.answer import JSON_TYPE, Answer, Pieces, json_answer
from ..http.first_values import first_values
from ..http.problem import Problem
from ..http.turns import Turns
from .plain_request import DirectRoute, PlainRequest

__all__ = ["AT", "FLAG", "FLAGS", "router", "schema_of"]

router = APIRouter(prefix="/api/v1", tags=["flags"])

# A longer list is sent in pieces of about this size.
_PIECE_BYTES = 64 * 1024

AT = Query(None, description="A position, event id or RFC 3339 time; the response is as of then instead of now.")


def schema_of(catalog: Catalog, schema: str | None, grant: Grant) -> str:
    """The schema of a request: the one it names, else `public`, else the first one that the grant allows.

    Raises `Problem` for a schema that is not attached or not allowed, and `OutOfReach` if the catalog is from before
    the schema was attached.
    """
    attached = tuple(name for name in catalog.schemas if grant.allows_schema(name))
    if schema is None:
        schema = default_schema(attached)
    elif schema not in attached:
        raise Problem(
            404, "unknown_schema", f"schema {schema!r} is not attached; attached: {', '.join(attached) or 'none'}"
        )
    refuse_before_attachment(catalog, schema)
    return schema


_FILTERS = {
    "limit": "An integer; 0 for the total alone.",
    "offset": "An integer.",
    "enabled": "`true` in any case; anything else is false.",
    "description": "The whole description.",
    "key": "",
    "descriptionLike": "A part of the description, in any case; `%` is any text, `_` one character.",
    "preload": "Whether segments and variants are shown: `true` in any case.",
    "deleted": "`true`, in any case: the deleted flags, which are not available.",
    "includeArchived": "The same; ignored beside `deleted`.",
    "tags": "Separated by commas; a flag has to have at least one.",
    "environmentId": "An integer; flags without an environment belong to all.",
    "projectId": "An integer.",
}
_FILTER_NAMES = frozenset({"enabled", "description", "key", "descriptionLike", "tags", "environmentId", "projectId"})
_PARAMETERS = [
    {"name": name, "in": "query", "required": False, "description": text, "schema": {"type": "string"}}
    for name, text in _FILTERS.items()
]


@router.get(
    "/flags",
    summary="Live flags, newest first",
    response_model=list[dict[str, Any]],
    openapi_extra={"parameters": _PARAMETERS},
)
async def list_flags(request: Request, schema: str | None = None, at: str | None = AT) -> Response:
    """The header `X-Total-Count` is the number of flags without `limit` and `offset`. Segments and variants are empty
    unless `preload` is true. Deleted flags are not available: a request for them returns an empty list.

    As in Flagent, a value that is not an integer where one is expected is ignored, and so are unknown parameters.
    """
    return await FLAGS.respond(request, schema, at)


async def _answer_list(request: PlainRequest, schema: str | None, at: str | None) -> Answer:
    grant = request.grant
    catalog, headers = await _catalog_at(request, at)
    name = schema_of(catalog, schema, grant)
    query = first_values(request.query)
    limit, offset = _integer(query, "limit"), _integer(query, "offset") or 0
    if limit is not None and limit < 0:
        raise Problem(400, "invalid_parameter", "limit must not be negative", fields={"parameter": "limit"})
    found: Sequence[StoredFlag] = ()
    turns = Turns()
    # `deleted=false` counts, whatever `includeArchived` says.
    if not to_boolean(query.get("deleted", query.get("includeArchived", ""))):
        # Newest first, as Flagent lists them. A chunk does not change any more, however long this takes.
        flags = [flag for _, chunk in reversed(catalog.chunks(name)) for flag in reversed(chunk.flags)]
        if grant.is_restricted:
            flags = [flag for flag in flags if grant.allows(name, flag.key, flag.scope)]
        found = flags if _FILTER_NAMES.isdisjoint(query) else await _matching(flags, query, turns)
    preload = to_boolean(query.get("preload", ""))
    texts = await turns.list_of(_text(flag, preload=preload) for flag in found[max(offset, 0) :][:limit])
    headers = (JSON_TYPE, *headers, (b"x-total-count", str(len(found)).encode()))
    return Answer(200, headers, _array_of(texts))


async def _matching(flags: Sequence[StoredFlag], query: Mapping[str, str], turns: Turns) -> list[StoredFlag]:
    selected = FlagFilter(
        enabled=to_boolean(query["enabled"]) if "enabled" in query else None,
        description=query.get("description"),
        key=query.get("key"),
        description_like=query.get("descriptionLike"),
        tags=query.get("tags"),
        environment_id=_integer(query, "environmentId", bits=64),
        project_id=_integer(query, "projectId", bits=64),
    )
    matches = await turns.list_of(selected.matches(flag.render()) for flag in flags)
    return [flag for flag, is_match in zip(flags, matches, strict=True) if is_match]


def _text(flag: StoredFlag, *, preload: bool) -> bytes:
    shown = flag.render()
    return encode(shown if preload else {**shown, "segments": [], "variants": []}).encode()


def _array_of(texts: Sequence[bytes]) -> bytes | Pieces:
    """A JSON array of these texts, in pieces of some flags each if it is large."""
    size_bytes = sum(map(len, texts)) + max(0, len(texts) - 1) + 2
    if size_bytes <= _PIECE_BYTES:
        return b"[%b]" % b",".join(texts)
    # Of flags of a kilobyte; the size of a piece need not be exact.
    step = max(1, len(texts) * _PIECE_BYTES // size_bytes)
    pieces = (b"," + b",".join(texts[at : at + step]) for at in range(0, len(texts), step))
    return Pieces(chain((b"[" + next(pieces)[1:],), pieces, (b"]",)), size_bytes)


async def _catalog_at(request: PlainRequest, at: str | None) -> tuple[Catalog, tuple[tuple[bytes, bytes], ...]]:
    """The present catalog; or that of a past time, with the header that has its position."""
    if at is None:
        return request.present_catalog(), ()
    catalog, position = await request.catalog_at(at)
    return catalog, (position,)


def _integer(query: Mapping[str, str], name: str, *, bits: int = 32) -> int | None:
    return to_integer(query[name], bits=bits) if name in query else None


@router.get("/flags/{flag_id}", summary="One live flag, with segments and variants", response_model=dict[str, Any])
async def get_flag(
    request: Request,
    flag_id: Annotated[str, "an id"],
    schema: str | None = None,
    at: str | None = AT,
) -> Response:
    return await FLAG.respond(request, flag_id, schema, at)


async def _answer_flag(request: PlainRequest, flag_id: str, schema: str | None, at: str | None) -> Answer:
    id = to_integer(flag_id, bits=32)
    if id is None:
        raise Problem(
            400,
            "invalid_parameter",
            f"flagID is {flag_id[:64]!r}, but must be an integer",
            fields={"parameter": "flagID"},
        )
    catalog, headers = await _catalog_at(request, at)
    name = schema_of(catalog, schema, request.grant)
    flag = catalog.stored(name, id)
    if flag is None or not request.grant.allows(name, flag.key, flag.scope):
        raise Problem(404, "flag_not_found", f"no live flag has id {id} in schema {name!r}")
    return json_answer(encode(flag.render()), *headers)


FLAG = DirectRoute(_answer_flag)
FLAGS = DirectRoute(_answer_list)
