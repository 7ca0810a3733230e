import shlex
import subprocess

import pytest

from cdc.core.text.shell_text import quoted

TEXTS = ["", "plain", "two words", "select 'a'", 'say "hi"', "$HOME", "`id`", "a\\b", "wow!", 'it\'s "$1"', "a\nb", "ü"]


@pytest.mark.parametrize("text", TEXTS)
def test_a_shell_reads_the_text_back(text: str) -> None:
    assert shlex.split(quoted(text)) == [text]
    shown = subprocess.run(["sh", "-c", f"printf %s {quoted(text)}"], capture_output=True, check=True)
    assert shown.stdout.decode() == text


def test_single_quotes_stay_readable_where_double_quotes_are_safe() -> None:
    assert quoted("select 'a'") == "\"select 'a'\""
    assert quoted("select '$1'") == "'select '\"'\"'$1'\"'\"''"
