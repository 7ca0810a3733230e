"""The settings for NATS: their defaults, and which values are secret."""

import pytest

from cdc.core.errors import InvalidInput
from cdc.settings.nats_settings import NatsSettings
from cdc.settings.settings import Settings


def test_by_default_a_server_reads_from_no_nats_server() -> None:
    nats = NatsSettings()
    assert (nats.source, nats.url) == (None, None)
    assert (nats.stream, nats.replicas, nats.max_age_s, nats.max_bytes) == ("flagent_cdc", 1, 86_400.0, 2**30)


@pytest.mark.parametrize("replicas", ["0", "2", "4", "7"])
def test_replicas_are_an_odd_number_up_to_five(replicas: str) -> None:
    with pytest.raises(InvalidInput, match="FLAGENT_CDC_NATS_REPLICAS must be 1, 3 or 5"):
        Settings.from_environment({"FLAGENT_CDC_NATS_REPLICAS": replicas})


@pytest.mark.parametrize("name", ["flagent.cdc", "flagent cdc", "*", "a" * 65])
def test_a_jetstream_stream_has_a_name_that_subjects_and_buckets_may_begin_with(name: str) -> None:
    with pytest.raises(InvalidInput, match="FLAGENT_CDC_NATS_STREAM must be a name of letters, digits, _ and -"):
        Settings.from_environment({"FLAGENT_CDC_NATS_STREAM": name})


def test_secrets_are_not_shown() -> None:
    secret = "geheim"
    nats = NatsSettings(source=f"nats://ann:{secret}@h", url=f"nats://ann:{secret}@h", password=secret, token=secret)
    assert secret not in repr(nats)
