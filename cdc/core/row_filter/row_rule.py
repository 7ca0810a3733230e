"""What a credential allows of the rows of a table: the member `rows` of its scopes.

>>> rule = RowRule.parse({"where": "tenant_id = claim('tenant')", "columns": ["id", "total"]})
>>> rule.with_claims({"tenant": 7, "role": "clerk"}, ("tenant",)).to_json()
{'where': "tenant_id = claim('tenant')", 'columns': ['id', 'total'], 'claims': {'tenant': 7}}
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from ..errors import InvalidInput
from ..interned import interned

__all__ = ["RowRule", "claim_at"]

MAX_COLUMNS = 1_600
MAX_WHERE = 8_192
_MAX_NAME = 256

Claim = tuple[str, str]
"""A path and the JSON text of its value."""


@dataclass(frozen=True, slots=True)
class RowRule:
    """`where` None are all rows, `columns` None all columns. `claims` are the values of a token that `where` reads;
    None before a token has been read, and then no row satisfies a `where` that reads any."""

    where: str | None = None
    columns: tuple[str, ...] | None = None
    claims: tuple[Claim, ...] | None = None

    @classmethod
    def parse(cls, raw: object) -> Self:
        """Raises `InvalidInput`; what `where` says is checked where it can be parsed."""
        if not isinstance(raw, Mapping) or not raw or not raw.keys() <= {"where", "columns", "claims"}:
            raise _refuse("the scope rows must map a table to an object with where, columns, or both")
        where, columns, claims = raw.get("where"), raw.get("columns"), raw.get("claims")
        if where is not None and (not isinstance(where, str) or not 0 < len(where) <= MAX_WHERE):
            raise _refuse(f"where in the scope rows must be a text of 1 to {MAX_WHERE} characters")
        if columns is not None and not _are_names(columns):
            raise _refuse(f"columns in the scope rows must be a list of 1 to {MAX_COLUMNS} names")
        if claims is not None and not isinstance(claims, Mapping):
            raise _refuse("claims in the scope rows must be an object")
        found = None if claims is None else tuple((str(path), json.dumps(value)) for path, value in claims.items())
        return cls(interned(where), None if columns is None else tuple(columns), found)

    def to_json(self) -> dict[str, Any]:
        """What `parse` reads."""
        written: dict[str, Any] = {}
        if self.where is not None:
            written["where"] = self.where
        if self.columns is not None:
            written["columns"] = list(self.columns)
        if self.claims is not None:
            written["claims"] = self.values
        return written

    @property
    def values(self) -> dict[str, Any]:
        """The claims by path."""
        return {path: json.loads(text) for path, text in self.claims or ()}

    def with_claims(self, claims: Mapping[str, Any], paths: Iterable[str]) -> Self:
        """The same with the values at these paths of a token's claims; a path that leads nowhere has none."""
        found = [(path, claim_at(claims, path)) for path in sorted(paths)]
        return replace(self, claims=tuple((path, json.dumps(value)) for path, value in found if value is not None))


def claim_at(claims: Mapping[str, Any], path: str) -> Any:
    """The value at a path of names with dots between them; a name that contains the dots wins. None where none is."""
    if path in claims:
        return claims[path]
    at: Any = claims
    for name in path.split("."):
        if not isinstance(at, Mapping) or name not in at:
            return None
        at = at[name]
    return at


def _are_names(columns: object) -> bool:
    return (
        isinstance(columns, list | tuple)
        and 0 < len(columns) <= MAX_COLUMNS
        and all(isinstance(name, str) and 0 < len(name) <= _MAX_NAME for name in columns)
    )


def _refuse(message: str) -> InvalidInput:
    return InvalidInput(message, name="scopes", code="invalid_scopes")
