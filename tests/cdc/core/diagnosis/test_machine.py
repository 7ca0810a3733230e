import pytest

from cdc.core.diagnosis import CertificateFacts, State

from .examples import of_machine, states


@pytest.mark.parametrize(
    ("changes", "check", "words"),
    [
        ({"host": "0.0.0.0", "is_exposed": True}, "authentication", "does not start"),
        ({"is_exposed": True, "is_insecure": True}, "authentication", "everyone who reaches"),
        ({"jwks": "https://idp.example/keys", "jwks_error": "refused"}, "jwks", "refused"),
        ({"certificate": CertificateFacts("/tls.pem", error="no such file")}, "certificate", "no such file"),
        ({"certificate": CertificateFacts("/tls.pem", days=-1.0)}, "certificate", "has expired"),
        ({"certificate": CertificateFacts("/tls.pem", days=5.0)}, "certificate", "expires in 5 days"),
        ({"descriptors": 1024}, "descriptors", "1024 files"),
    ],
)
def test_a_machine_is_misconfigured(changes: dict[str, object], check: str, words: str) -> None:
    found = states(of_machine(**changes))
    assert found.keys() == {check}
    assert words in found[check]


def test_nearly_enough_descriptors_are_a_note_and_enough_are_fine() -> None:
    nearly = of_machine(descriptors=20_000, max_connections=20_064)
    assert "may have to refuse" in states(nearly, State.NOTE)["descriptors"]
    assert "descriptors" not in states(nearly)
    enough = of_machine(descriptors=20_064 + 144, max_connections=20_064)
    assert "descriptors" in states(enough, State.OK)


def test_tokens_of_any_audience_are_a_note() -> None:
    findings = of_machine(requires_credentials=True, verifies_tokens=True)
    assert "any audience" in states(findings, State.NOTE)["authentication"]
