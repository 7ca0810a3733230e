"""Text for a shell, as people like to read it."""

import shlex

__all__ = ["quoted"]


def quoted(text: str) -> str:
    """In double quotes where that is safe, which leave the single quotes of a statement readable.

    >>> print(quoted("select 'a'"), quoted("select '$1'"))
    "select 'a'" 'select '"'"'$1'"'"''
    """
    return f'"{text}"' if not set(text) & set('"$`\\!') else shlex.quote(text)
