"""How a watched table is named on the wire: `schema.table`, or `table` alone where the schema does not matter.

>>> qualified("analytics", "orders"), both_ways("analytics.orders", "analytics")
('analytics.orders', ('analytics.orders', 'orders'))

A part with a dot or a quote in it is quoted as in SQL, so that no two tables have one name.

>>> qualified("a.b", "c"), qualified("a", "b.c")
('"a.b".c', 'a."b.c"')
"""

__all__ = ["both_ways", "qualified", "quoted"]


def qualified(schema: str, table: str) -> str:
    return f"{quoted(schema)}.{quoted(table)}"


def both_ways(name: str, schema: str) -> tuple[str, str]:
    """A name that may have its schema or not, with it and without it."""
    prefix = quoted(schema) + "."
    bare = name.removeprefix(prefix)
    return prefix + bare, bare


def quoted(name: str) -> str:
    if "." not in name and '"' not in name:
        return name
    return '"' + name.replace('"', '""') + '"'
