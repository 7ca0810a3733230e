"""What a file of `sql/objects` would create, to be compared with what is there."""

import re

__all__ = ["function_in"]

_FUNCTION = re.compile(
    r"^create or replace function flagent_cdc\.(?P<name>[a-z0-9_]+)\((?P<head>.*?)\bas \$\$(?P<body>.*?)\$\$;",
    re.DOTALL | re.MULTILINE,
)


def function_in(text: str) -> tuple[str, str, bool] | None:
    """Name and body of the function, the body as PostgreSQL keeps it, and whether it runs as its owner.

    >>> function_in("create or replace function flagent_cdc.one() returns int language sql as $$ select 1 $$;")
    ('one', ' select 1 ', False)

    None for another kind of object.
    """
    found = _FUNCTION.search(text)
    return None if found is None else (found["name"], found["body"], "security definer" in found["head"])
