"""Parses the text of a filter.

sqlglot reads it as PostgreSQL's SQL, and only nodes on a white list are taken over, with no argument that is not
expected: whatever else SQL may say is refused by name. Where sqlglot binds operators in another way than PostgreSQL
(`a = b is null`), the operand is not a value, and is refused too.
"""

from functools import lru_cache
from typing import Any, ClassVar

import sqlglot
from sqlglot import exp
from sqlglot.dialects.postgres import Postgres
from sqlglot.errors import SqlglotError
from sqlglot.parsers.postgres import PostgresParser
from sqlglot.tokenizer_core import TokenType

from ..core.errors import InvalidInput
from ..core.row_filter.binding import refuse
from ..core.row_filter.expression import (
    And,
    Between,
    Claim,
    Column,
    Compare,
    Condition,
    Constant,
    Field,
    In,
    IsNull,
    IsTruth,
    Like,
    Not,
    Operator,
    Or,
    Parameter,
    Value,
)

__all__ = ["MAX_CHARACTERS", "MAX_NODES", "parse_filter"]

MAX_CHARACTERS = 8_192
MAX_NODES = 100

_ALLOWED = (
    "=, <>, <, <=, >, >=, in, between, is [not] null, is [not] true, is [not] false, like, and, or, not, parentheses,"
    ' ->> on json, collate "C", parameters ($1) and casts of literals'
)

_OPERATORS: dict[type[exp.Expr], Operator] = {
    exp.EQ: "=", exp.NEQ: "<>", exp.LT: "<", exp.LTE: "<=", exp.GT: ">", exp.GTE: ">=",
}  # fmt: skip

_TYPES = {
    exp.DataType.Type.BOOLEAN: "bool",
    exp.DataType.Type.SMALLINT: "int2",
    exp.DataType.Type.INT: "int4",
    exp.DataType.Type.BIGINT: "int8",
    exp.DataType.Type.DECIMAL: "numeric",
    exp.DataType.Type.TEXT: "text",
    exp.DataType.Type.VARCHAR: "varchar",
    exp.DataType.Type.UUID: "uuid",
    exp.DataType.Type.DATE: "date",
    exp.DataType.Type.TIMESTAMP: "timestamp",
    exp.DataType.Type.TIMESTAMPTZ: "timestamptz",
}


class _FilterDialect(Postgres):
    """PostgreSQL's, in which the operand of `->>` stays the literal that it is: as a path of JSONPath, which other
    dialects need, `'0'` would be the number of an item."""

    class Parser(PostgresParser):
        COLUMN_OPERATORS: ClassVar[Any] = {
            **PostgresParser.COLUMN_OPERATORS,
            TokenType.ARROW: lambda self, this, path: self.expression(exp.JSONExtract(this=this, expression=path)),
            TokenType.DARROW: lambda self, this, path: self.expression(
                exp.JSONExtractScalar(this=this, expression=path)
            ),
        }


@lru_cache(maxsize=1024)
def parse_filter(text: str, *, with_claims: bool = False) -> Condition:
    """The condition; raises `InvalidInput`. `claim('…')` is a value only `with_claims`."""
    if not text.strip() or len(text) > MAX_CHARACTERS:
        raise refuse(f"a filter must have 1 to {MAX_CHARACTERS} characters")
    if "\0" in text:
        raise refuse("a filter must not contain a null character")
    try:
        statements = sqlglot.parse(text, dialect=_FilterDialect)
        if len(statements) != 1 or statements[0] is None:
            raise refuse("a filter must be one expression")
        return _Reader(with_claims=with_claims).condition(statements[0])
    except SqlglotError as error:
        raise refuse(f"the filter {text[:64]!r} cannot be read as an expression of PostgreSQL") from error
    except RecursionError as error:
        raise refuse("the filter is nested too deep") from error


class _Reader:
    """Takes over one statement, and counts its nodes."""

    def __init__(self, *, with_claims: bool) -> None:
        self._with_claims = with_claims
        self._nodes = 0

    def condition(self, node: exp.Expr) -> Condition:
        self._count()
        match node:
            case exp.Paren():
                _check(node, "this")
                return self.condition(node.this)
            case exp.And() | exp.Or():
                _check(node, "this", "expression")
                kind = And if isinstance(node, exp.And) else Or
                return kind(tuple(self.condition(part) for part in _flat(node, type(node))))
            case exp.Not():
                _check(node, "this")
                return Not(self.condition(node.this))
            case exp.In():
                _check(node, "this", "expressions")
                if not node.expressions:
                    raise _not_allowed(node)
                return In(self._value(node.this), tuple(self._value(item) for item in node.expressions))
            case exp.Between():
                _check(node, "this", "low", "high")
                return Between(*(self._value(node.args[name]) for name in ("this", "low", "high")))
            case exp.Is():
                _check(node, "this", "expression", "negate")
                return _negated(node, self._is(node))
            case exp.Like() | exp.Escape():
                return self._like(node)
            case exp.Column() | exp.Boolean():
                return IsTruth(self._value(node))
        if type(node) in _OPERATORS:
            _check(node, "this", "expression")
            return Compare(_OPERATORS[type(node)], self._value(node.this), self._value(node.expression))
        raise _not_allowed(node)

    def _is(self, node: exp.Is) -> Condition:
        value = self._value(node.this)
        if isinstance(node.expression, exp.Null):
            return IsNull(value)
        if isinstance(node.expression, exp.Boolean):
            return IsTruth(value, bool(node.expression.this), is_strict=True)
        raise _not_allowed(node)

    def _like(self, node: exp.Like | exp.Escape) -> Condition:
        escape = "\\"
        inner: Any = node
        if isinstance(node, exp.Escape):
            _check(node, "this", "expression")
            inner = node.this
            if not isinstance(inner, exp.Like) or not _is_text(node.expression) or len(node.expression.this) > 1:
                raise _not_allowed(node)
            escape = node.expression.this
        _check(inner, "this", "expression", "negate")
        return _negated(inner, Like(self._value(inner.this), self._value(inner.expression), escape))

    def _value(self, node: exp.Expr) -> Value:
        self._count()
        match node:
            case exp.Paren():
                _check(node, "this")
                return self._value(node.this)
            case exp.Column():
                _check(node, "this")
                return Column(_name(node.this))
            case exp.JSONExtractScalar():
                return self._field(node)
            case exp.Collate():
                return self._collated(node)
            case exp.Literal():
                _check(node, "this", "is_string")
                return Constant("text" if node.is_string else "number", node.this)
            case exp.Neg():
                _check(node, "this")
                inner = self._value(node.this)
                if isinstance(inner, Constant) and inner.kind == "number" and inner.text is not None:
                    text = inner.text[1:] if inner.text.startswith("-") else f"-{inner.text}"
                    return Constant("number", text, inner.cast)
                raise _not_allowed(node)
            case exp.Boolean():
                return Constant("boolean", "true" if node.this else "false")
            case exp.Null():
                return Constant("null", None)
            case exp.Parameter():
                _check(node, "this")
                number = node.this
                if not isinstance(number, exp.Literal) or number.is_string or not str(number.this).isdigit():
                    raise _not_allowed(node)
                return Parameter(int(str(number.this)[:9]))
            case exp.Cast() if type(node) is exp.Cast:
                return self._cast(node)
            case exp.Anonymous() if str(node.this).lower() == "claim":
                return self._claim(node)
        raise _not_allowed(node)

    def _cast(self, node: exp.Cast) -> Value:
        _check(node, "this", "to")
        to = node.args["to"]
        type_name = _TYPES.get(to.this) if isinstance(to, exp.DataType) else None
        if type_name is None or any(value for name, value in to.args.items() if name != "this"):
            raise refuse(
                f"a literal cannot be cast to {_sql(to)} here; it can be to {', '.join(sorted(_TYPES.values()))}"
            )
        inner = self._value(node.this)
        match inner:
            case Constant(kind, text, None):
                return Constant(kind, text, type_name)
            case Parameter(number, None):
                return Parameter(number, type_name)
            case Claim(path, None):
                return Claim(path, type_name)
        raise refuse(f"only literals, parameters and claims can be cast, not {_sql(node.this)}")

    def _field(self, node: exp.JSONExtractScalar) -> Field:
        path: list[str | int] = []
        at: exp.Expr = node
        while isinstance(at, exp.JSONExtractScalar | exp.JSONExtract):
            if isinstance(at, exp.JSONExtractScalar) and at is not node:
                raise _not_allowed(node)
            _check(at, "this", "expression", "only_json_types")
            self._count()
            path.insert(0, self._step(at.expression))
            at = at.this
        if not isinstance(at, exp.Column):
            raise _not_allowed(node)
        _check(at, "this")
        return Field(_name(at.this), tuple(path))

    @staticmethod
    def _step(node: exp.Expr) -> str | int:
        sign, inner = (-1, node.this) if isinstance(node, exp.Neg) else (1, node)
        if isinstance(inner, exp.Literal):
            if inner.is_string and sign == 1:
                return str(inner.this)
            if not inner.is_string and str(inner.this).isdigit() and len(inner.this) < 10:
                return sign * int(inner.this)
        raise refuse("->> takes the name of a member, such as 'city', or the number of an item")

    def _collated(self, node: exp.Collate) -> Value:
        _check(node, "this", "expression")
        collation = node.expression
        inner = self._value(node.this)
        if isinstance(collation, exp.Identifier) and collation.this in ("C", "POSIX") and collation.quoted:
            match inner:
                case Column(name, False):
                    return Column(name, has_byte_order=True)
                case Field(column, path, False):
                    return Field(column, path, has_byte_order=True)
        raise refuse('collate is allowed after a column, as in name collate "C"')

    def _claim(self, node: exp.Anonymous) -> Claim:
        if not self._with_claims:
            raise refuse("claim() is for the scopes of keys and tokens, not for filters of clients")
        _check(node, "this", "expressions")
        if len(node.expressions) != 1 or not _is_text(node.expressions[0]):
            raise refuse("claim() takes the path of one claim, such as claim('tenant.id')")
        return Claim(str(node.expressions[0].this))

    def _count(self) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise refuse(f"the filter has more than {MAX_NODES} columns, values and operators", "too_many_nodes")


def _flat(node: exp.Expr, kind: type[exp.Expr]) -> list[exp.Expr]:
    """The parts of a chain of one operator, without recursion: sqlglot nests a long chain to the left."""
    parts: list[exp.Expr] = []
    at = node
    while type(at) is kind:
        _check(at, "this", "expression")
        parts.insert(0, at.expression)
        at = at.this
    return [at, *parts]


def _negated(node: exp.Expr, condition: Condition) -> Condition:
    return Not(condition) if node.args.get("negate") else condition


def _is_text(node: object) -> bool:
    return isinstance(node, exp.Literal) and bool(node.is_string)


def _name(node: exp.Expr) -> str:
    if not isinstance(node, exp.Identifier):
        raise _not_allowed(node)
    # PostgreSQL folds what is not quoted; only ASCII letters, in UTF-8.
    name = str(node.this)
    return name if node.quoted else "".join(c.lower() if c.isascii() else c for c in name)


def _check(node: exp.Expr, *expected: str) -> None:
    """Refuse a node that says more than is taken over."""
    if any(value for name, value in node.args.items() if name not in expected):
        raise _not_allowed(node)


def _not_allowed(node: exp.Expr) -> InvalidInput:
    what = "a function call" if isinstance(node, exp.Func) and not isinstance(node, exp.Cast) else "an expression"
    return refuse(f"{_sql(node)} is {what} that a filter cannot contain; allowed are {_ALLOWED}")


def _sql(node: exp.Expr) -> str:
    text = node.sql(dialect=Postgres)
    return text if len(text) <= 64 else text[:64] + "…"
