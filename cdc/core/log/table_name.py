"""How a watched table is named on the wire: `schema.table`, or `table` alone where the schema does not matter.

>>> qualified("analytics", "orders"), both_ways("analytics.orders", "analytics")
('analytics.orders', ('analytics.orders', 'orders'))

A part with a dot or a quote in it is quoted as in SQL, so that no two tables have one name.

>>> qualified("a.b", "c"), qualified("a", "b.c")
('"a.b".c', 'a."b.c"')
"""

import re

__all__ = ["both_ways", "qualified", "quoted", "without_schema"]

_QUALIFIED = re.compile(r'(?:"(?:[^"]|"")*"|[^".]+)\.(.+)', re.DOTALL)


def qualified(schema: str, table: str) -> str:
    return f"{quoted(schema)}.{quoted(table)}"


def both_ways(name: str, schema: str) -> tuple[str, str]:
    """A name that may have its schema or not, with it and without it."""
    prefix = quoted(schema) + "."
    bare = name.removeprefix(prefix)
    return prefix + bare, bare


def without_schema(name: str) -> str:
    """The name of a table without its schema, if it has one.

    >>> without_schema("public.orders"), without_schema("orders"), without_schema('"a.b".c'), without_schema('"a.b"')
    ('orders', 'orders', 'c', '"a.b"')
    """
    found = _QUALIFIED.fullmatch(name)
    return name if found is None else found[1]


def quoted(name: str) -> str:
    if "." not in name and '"' not in name:
        return name
    return '"' + name.replace('"', '""') + '"'
