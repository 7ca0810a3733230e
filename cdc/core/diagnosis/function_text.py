"""Functions in the files of `sql/objects`, for the comparison with the installed ones."""

import re

__all__ = ["function_in"]

_FUNCTION = re.compile(
    r"^create or replace function flagent_cdc\.(?P<name>[a-z0-9_]+)\((?P<head>.*?)\bas \$\$(?P<body>.*?)\$\$;",
    re.DOTALL | re.MULTILINE,
)


def function_in(text: str) -> tuple[str, str, bool] | None:
    """The name of the function, its body as PostgreSQL stores it, and whether it runs as its owner.

    >>> function_in("create or replace function flagent_cdc.one() returns int language sql as $$ select 1 $$;")
    ('one', ' select 1 ', False)

    None for an object that is not a function.
    """
    found = _FUNCTION.search(text)
    return None if found is None else (found["name"], found["body"], "security definer" in found["head"])
