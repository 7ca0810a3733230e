"""`flagent-cdc relay` as a shell sees it; `tests/cdc/jetstream/test_relay.py` tests what it does."""

import pytest

from cdc.cli import main

DATABASE = ("--database-url", "postgresql://h/d")


@pytest.mark.parametrize(
    ("arguments", "environment", "sentence"),
    [
        (["--nats", "nats://h"], {}, "no database: pass --database-url"),
        (DATABASE, {}, "no NATS server: pass --nats, or set FLAGENT_CDC_NATS_URL"),
        ((*DATABASE, "--nats", "http://h"), {}, "FLAGENT_CDC_NATS_URL"),
        (DATABASE, {"FLAGENT_CDC_NATS_REPLICAS": "2"}, "FLAGENT_CDC_NATS_REPLICAS must be 1, 3 or 5"),
        (DATABASE, {"FLAGENT_CDC_NATS_NKEY": "/no/such/file"}, "FLAGENT_CDC_NATS_NKEY must be an existing file"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: tuple[str, ...], environment: dict[str, str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["relay", *arguments], environment) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
