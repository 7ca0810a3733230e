"""Readable quoting for a shell."""

import shlex

__all__ = ["quoted"]


def quoted(text: str) -> str:
    """Quote text for a shell; in double quotes if that is safe, as they keep the single quotes of SQL readable.

    >>> print(quoted("select 'a'"), quoted("select '$1'"))
    "select 'a'" 'select '"'"'$1'"'"''
    """
    return f'"{text}"' if not set(text) & set('"$`\\!') else shlex.quote(text)
