"""The flags that the demo starts with: those of a shop with an app, a search and a data team."""

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["FLAGS", "DemoFlag", "DemoSegment", "Rule"]

Rule = tuple[str, str, str]
"""Property, operator and value of a constraint, in Flagent's spelling (plain text, lists with commas)."""


@dataclass(frozen=True, slots=True)
class DemoSegment:
    """`shares` gives each variant its percentage; they add up to 100."""

    description: str
    rollout: int
    rules: tuple[Rule, ...] = ()
    shares: Mapping[str, int] = field(default_factory=lambda: {"on": 100})


@dataclass(frozen=True, slots=True)
class DemoFlag:
    """`variants` maps each variant to its attachment (string to string), empty for none."""

    key: str
    description: str
    tags: tuple[str, ...]
    segments: tuple[DemoSegment, ...]
    variants: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: {"on": {}})
    enabled: bool = True
    entity_type: str = "user"


_EU: Rule = ("country", "IN", "DE,FR,NL,AT,IT,ES")
_DACH: Rule = ("country", "IN", "DE,AT,CH")
_STAFF = DemoSegment("staff", 100, (("email", "EREG", r".*@shop\.example"),))
_TEST: Mapping[str, Mapping[str, str]] = {"control": {}, "treatment": {}}


def _everyone(rollout: int, **shares: int) -> DemoSegment:
    return DemoSegment("everyone", rollout, (), shares or {"on": 100})


def _only(description: str, rollout: int, *rules: Rule, **shares: int) -> DemoSegment:
    return DemoSegment(description, rollout, rules, shares or {"on": 100})


def _colours(**colours: str) -> Mapping[str, Mapping[str, str]]:
    return {name: {"colour": colour} for name, colour in colours.items()}


FLAGS: tuple[DemoFlag, ...] = (
    DemoFlag("new_payment_flow", "Payment in one step", ("payment", "web"), (_STAFF, _only("EU users", 25, _EU))),
    DemoFlag("payments.apple_pay", "Apple Pay", ("payment", "mobile"), (_only("iPhones", 100, ("os", "EQ", "ios")),)),
    DemoFlag(
        "payments.google_pay", "Google Pay", ("payment", "mobile"), (_only("Androids", 100, ("os", "EQ", "android")),)
    ),
    DemoFlag("payments.sepa_instant", "Instant transfers", ("payment",), (_only("DACH", 10, _DACH),), enabled=False),
    DemoFlag(
        "payments.provider",
        "Which provider takes cards",
        ("payment", "ops"),
        (_everyone(100, acme=80, globex=20),),
        {"acme": {"timeout_ms": "2500", "retries": "2"}, "globex": {"timeout_ms": "4000", "retries": "1"}},
        entity_type="order",
    ),
    DemoFlag("payments.fraud_v2", "The second fraud model", ("payment", "ml"), (_everyone(5),), entity_type="order"),
    DemoFlag(
        "payments.pay_later",
        "Pay after 30 days",
        ("payment", "experiment"),
        (_only("adults in DACH", 50, _DACH, ("age", "GTE", "18"), control=50, treatment=50),),
        _TEST,
    ),
    DemoFlag(
        "checkout.one_page",
        "The whole checkout on one page",
        ("checkout", "web", "experiment"),
        (_only("EU users", 50, _EU, control=50, treatment=50), _everyone(10, control=90, treatment=10)),
        _TEST,
    ),
    DemoFlag("checkout.guest", "Buying without an account", ("checkout", "web"), (_everyone(100),)),
    DemoFlag(
        "checkout.button_colour",
        "Colour of the buy button",
        ("checkout", "experiment"),
        (_everyone(100, red=34, green=33, blue=33),),
        _colours(red="#d0312d", green="#2e8b57", blue="#1f6feb"),
    ),
    DemoFlag(
        "checkout.address_completion",
        "Completes addresses",
        ("checkout",),
        (_only("Germany", 75, ("country", "EQ", "DE")),),
    ),
    DemoFlag(
        "checkout.express", "One tap for known customers", ("checkout", "mobile"), (_STAFF, _everyone(0)), enabled=False
    ),
    DemoFlag("checkout.voucher_field", "Where to type a voucher", ("checkout",), (_everyone(100),)),
    DemoFlag(
        "search.ranking",
        "Which model ranks results",
        ("search", "ml", "experiment"),
        (_everyone(100, bm25=70, neural=20, hybrid=10),),
        {
            "bm25": {"k1": "1.2", "b": "0.75"},
            "neural": {"model": "ranker-7"},
            "hybrid": {"model": "ranker-7", "k1": "1.2"},
        },
        entity_type="session",
    ),
    DemoFlag(
        "search.suggestions", "Suggestions while typing", ("search", "web"), (_everyone(100),), entity_type="session"
    ),
    DemoFlag(
        "search.typo_tolerance", "Forgives two letters", ("search",), (_only("long words", 50, ("length", "GT", "6")),)
    ),
    DemoFlag(
        "search.image",
        "Search by a photo",
        ("search", "mobile", "ml"),
        (_only("new apps", 5, ("app_version", "GTE", "8.2")),),
    ),
    DemoFlag(
        "search.sponsored",
        "Sponsored results",
        ("search", "ads"),
        (_only("not premium", 100, ("plan", "NEQ", "premium")),),
    ),
    DemoFlag("mobile.dark_mode", "Dark colours", ("mobile", "design"), (_everyone(100),), entity_type="device"),
    DemoFlag(
        "mobile.new_home",
        "The new home screen",
        ("mobile", "experiment"),
        (_everyone(20, control=50, treatment=50),),
        _TEST,
    ),
    DemoFlag(
        "mobile.offline_cart", "A cart without a network", ("mobile",), (_only("beta", 100, ("channel", "EQ", "beta")),)
    ),
    DemoFlag(
        "mobile.min_version",
        "Older apps are asked to update",
        ("mobile", "ops"),
        (_only("old apps", 100, ("app_version", "LT", "7.0"), warn=100, block=0),),
        {"warn": {"message": "Please update soon"}, "block": {"message": "Please update now"}},
        entity_type="device",
    ),
    DemoFlag("mobile.push_digest", "One message a day instead of many", ("mobile", "crm"), (_everyone(40),)),
    DemoFlag("recommendations.similar", "Similar products", ("recommendations", "ml"), (_everyone(100),)),
    DemoFlag(
        "recommendations.bundles",
        "Goes well together",
        ("recommendations", "experiment"),
        (_only("has bought before", 50, ("orders", "GT", "0"), control=50, treatment=50),),
        _TEST,
    ),
    DemoFlag(
        "pricing.free_shipping",
        "Free shipping from an amount on",
        ("pricing",),
        (_everyone(100, low=50, high=50),),
        {"low": {"from": "29"}, "high": {"from": "49"}},
    ),
    DemoFlag(
        "pricing.dynamic",
        "Prices by demand",
        ("pricing", "ml"),
        (_only("three cities", 1, ("city", "IN", "Berlin,Wien,Zürich")),),
        enabled=False,
    ),
    DemoFlag(
        "ops.read_only", "Orders are closed, for maintenance", ("ops", "kill-switch"), (_everyone(100),), enabled=False
    ),
    DemoFlag(
        "ops.image_cdn",
        "Which network serves pictures",
        ("ops",),
        (_everyone(100, north=90, south=10),),
        {"north": {}, "south": {}},
    ),
    DemoFlag("ops.verbose_logs", "More in the logs of some requests", ("ops",), (_everyone(1),), entity_type="request"),
    DemoFlag(
        "support.chat",
        "Chat with a person",
        ("support", "web"),
        (_only("premium", 100, ("plan", "EQ", "premium")), _everyone(15)),
    ),
    DemoFlag(
        "support.assistant",
        "Chat with a machine first",
        ("support", "ml", "experiment"),
        (_everyone(30, control=50, treatment=50),),
        _TEST,
    ),
)
