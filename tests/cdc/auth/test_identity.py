"""An identity is one holder of a credential."""

from cdc.auth.identity import ANYBODY, Identity
from cdc.core.subscription.grant import EVERYTHING, Grant


def test_two_holders_of_equal_rights_are_two_identities() -> None:
    one, two = Identity("key a", Grant(), 1), Identity("key a", Grant(), 1)
    assert one == one
    assert one != two
    assert len({one, two}) == 2


def test_without_authentication_a_client_may_do_everything_until_the_server_ends() -> None:
    assert ANYBODY.grant == EVERYTHING
    assert ANYBODY.key_id is None
    assert ANYBODY.expires_at is None
    assert not ANYBODY.is_stream_token
