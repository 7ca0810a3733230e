"""What a grant allows, and how events look to its holder."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc.core.errors import InvalidInput
from cdc.core.flags.events import Event, EventType, FlagScope
from cdc.core.log.position import EventId, LogId, Position
from cdc.core.log.table_name import qualified
from cdc.core.subscription.grant import EVERYTHING, Grant, View
from cdc.core.subscription.selection import Selection, Selections
from cdc.core.subscription.selection_index import SelectionIndex
from cdc.core.wire.encoded import EncodedEvent, filter_for_grant

ID = EventId(Position(7), 0, LogId("k7q2mx"))


def flag(
    key: str = "a", *, tags: tuple[str, ...] = (), project: int | None = None, environment: int | None = None
) -> Any:
    return {
        "id": 1,
        "key": key,
        "tags": [{"id": number, "value": tag} for number, tag in enumerate(tags)],
        "projectId": project,
        "environmentId": environment,
    }


def standing(*tags: str, project: int | None = None, environment: int | None = None) -> FlagScope:
    return FlagScope(frozenset(tags), project, environment)


def event(
    type: EventType = EventType.FLAG_UPDATED,
    *,
    key: str = "a",
    now: Any = None,
    before: FlagScope | None = None,
    schema: str = "public",
) -> Event:
    tags = frozenset(tag["value"] for tag in now["tags"]) if now else frozenset()
    return Event(ID, type, schema, "t", key, 1, tags | (before.tags if before else frozenset()), now, {}, before)


def row(table: str, schema: str = "public") -> Event:
    detail: dict[str, Any] = {"table": f"{schema}.{table}", "key": {}, "before": None, "after": {}}
    return Event(ID, EventType.ROW_INSERTED, schema, "t", None, None, frozenset(), None, detail)


def grant(**scopes: Any) -> Grant:
    return Grant.parse(scopes)


@pytest.mark.parametrize(
    ("scopes", "subject", "is_allowed"),
    [
        ({}, flag(), True),
        ({"flags": ["a"]}, flag("a"), True),
        ({"flags": ["a"]}, flag("ab"), False),
        ({"flags": ["web-*"]}, flag("web-1"), True),
        ({"flags": ["web-*"]}, flag("api-1"), False),
        ({"flags": ["*"]}, flag("anything"), True),
        ({"flags": []}, flag(), False),
        ({"tags": ["t"]}, flag(tags=("s", "t")), True),
        ({"tags": ["t"]}, flag(tags=("s",)), False),
        ({"flags": ["a"], "tags": ["t"]}, flag("a"), False),
        ({"schemas": ["public"]}, flag(), True),
        ({"schemas": ["tenant_1"]}, flag(), False),
        ({"projects": [1]}, flag(project=1), True),
        ({"projects": [1]}, flag(project=2), False),
        ({"projects": [1]}, flag(), False),
        ({"environments": [1]}, flag(environment=1), True),
        ({"environments": [1]}, flag(environment=2), False),
        ({"environments": [1]}, flag(), True),
        ({"tables": ["orders"]}, flag(), False),
        ({"tables": ["orders"], "flags": ["*"]}, flag(), True),
        ({"evaluate": False}, flag(), True),
    ],
)
def test_a_flag_is_allowed_when_every_part_allows_it(scopes: dict[str, Any], subject: Any, is_allowed: bool) -> None:
    assert grant(**scopes).allows_flag("public", subject) is is_allowed


@pytest.mark.parametrize(
    ("scopes", "table", "is_allowed"),
    [
        ({}, "orders", True),
        ({"flags": ["*"]}, "orders", False),
        ({"tables": ["orders"]}, "orders", True),
        ({"tables": ["public.orders"]}, "orders", True),
        ({"tables": ["other.orders"]}, "orders", False),
        ({"tables": ["orders"]}, "customers", False),
        ({"tables": ["*"]}, "customers", True),
        ({"schemas": ["tenant_1"]}, "orders", False),
        ({"schemas": ["public"]}, "orders", True),
    ],
)
def test_a_table_is_allowed_by_its_name_with_or_without_schema(
    scopes: dict[str, Any], table: str, is_allowed: bool
) -> None:
    assert grant(**scopes).allows_table("public", table) is is_allowed
    assert grant(**scopes).view(row(table)) is (View.WHOLE if is_allowed else View.HIDDEN)


def test_an_event_is_seen_by_the_flag_before_and_after() -> None:
    tagged = grant(tags=["t"])
    with_tag, without = flag(tags=("t",)), flag()
    assert tagged.view(event(now=with_tag, before=standing("t"))) is View.WHOLE
    assert tagged.view(event(now=with_tag, before=standing())) is View.WHOLE
    assert tagged.view(event(now=without, before=standing("t"))) is View.LEFT
    assert tagged.view(event(now=without, before=standing())) is View.HIDDEN
    assert tagged.view(event(EventType.FLAG_CREATED, now=without)) is View.HIDDEN
    assert tagged.view(event(EventType.FLAG_DELETED, before=standing("t"))) is View.WHOLE
    assert tagged.view(event(EventType.FLAG_DELETED, before=standing())) is View.HIDDEN
    assert grant(projects=[1]).view(event(now=flag(project=2), before=standing(project=1))) is View.LEFT
    assert grant(schemas=["other"]).view(event(now=None, before=standing())) is View.HIDDEN
    assert EVERYTHING.view(event(EventType.FLAG_DELETED, before=standing())) is View.WHOLE


def test_a_flag_that_leaves_is_delivered_as_deleted_once_and_without_its_state() -> None:
    holder = grant(tags=["t"])
    leaving = [
        EncodedEvent(event(type, now=flag(), before=standing("t")))
        for type in (EventType.FLAG_UPDATED, EventType.FLAG_ENABLED)
    ]
    staying = EncodedEvent(event(now=flag(tags=("t",)), before=standing("t")))
    delivered = filter_for_grant(holder, [staying, *leaving])
    assert delivered[0] is staying
    assert [one.event.type for one in delivered[1:]] == [EventType.FLAG_DELETED]
    assert delivered[1].event.flag is None
    assert delivered[1].id == leaving[0].id
    assert "tags" not in delivered[1].text
    assert leaving[0].departure() is leaving[0].departure()


def test_the_index_finds_only_whom_the_grant_allows() -> None:
    index: SelectionIndex[str] = SelectionIndex()
    everything = Selection.of()
    index.add("all", Selections((everything.within(EVERYTHING),)))
    index.add("web", Selections((everything.within(grant(flags=["web-*"])),)))
    index.add("tagged", Selections((everything.within(grant(tags=["t"])),)))
    assert [one for one, _ in index.match(event(key="web-1", now=flag("web-1")))] == ["all", "web"]
    assert [one for one, _ in index.match(event(now=flag(tags=("t",))))] == ["all", "tagged"]
    assert [one for one, _ in index.match(event(now=flag(), before=standing("t")))] == ["all", "tagged"]


def test_a_leaving_flag_passes_as_a_deletion_and_not_by_what_it_has_become() -> None:
    left = event(now=flag(tags=("secret",)), before=standing("t"))
    holder = grant(tags=["t"])
    assert Selection.of(types=[EventType.FLAG_DELETED]).within(holder).matches(left)
    assert not Selection.of(types=[EventType.FLAG_UPDATED]).within(holder).matches(left)
    assert Selection.of(tags=["t"]).within(holder).matches(left)
    assert not Selection.of(tags=["secret"]).within(holder).matches(left)
    assert Selection.of(flag_keys=["a"]).within(holder).matches(left)
    assert Selection.of(flag_ids=[1]).within(holder).matches(left)


def test_a_restricted_selection_is_never_everything() -> None:
    assert Selections((Selection.of().within(EVERYTHING),)).is_everything
    assert not Selections((Selection.of().within(grant(flags=["*"])),)).is_everything
    assert not Selection.of().within(grant(flags=["a"])).selects("public", 1, "b", FlagScope(frozenset(), None, None))


def test_unsubscribing_takes_away_within_a_grant() -> None:
    holder = grant(flags=["*"])
    both = Selections((Selection.of(flag_keys=["a", "b"]).within(holder),))
    rest = both.remove(Selection.of(flag_keys=["a"]))
    assert rest.clauses == (Selection.of(flag_keys=["b"]).within(holder),)


@pytest.mark.parametrize("scopes", [{}, {"flags": ["a", "b-*"], "projects": [1], "evaluate": False, "admin": True}])
def test_scopes_survive_being_written_and_read(scopes: dict[str, Any]) -> None:
    assert Grant.parse(scopes).to_json() == scopes
    assert Grant.parse(Grant.parse(scopes).to_json()) == Grant.parse(scopes)


@pytest.mark.parametrize(
    "scopes",
    [
        None,
        [],
        {"flogs": ["a"]},
        {"flags": "a"},
        {"flags": [1]},
        {"flags": [""]},
        {"flags": ["x" * 257]},
        {"flags": ["a"] * 1001},
        {"projects": ["1"]},
        {"projects": [True]},
        {"environments": 1},
        {"evaluate": "yes"},
        {"admin": 1},
    ],
)
def test_scopes_that_cannot_be_read_are_refused(scopes: object) -> None:
    with pytest.raises(InvalidInput) as caught:
        Grant.parse(scopes)
    assert caught.value.code == "invalid_scopes"


def test_only_what_lets_read_everything_is_unrestricted() -> None:
    assert not Grant().is_restricted
    assert not grant(evaluate=False, admin=True).is_restricted
    assert not Grant().admin
    cases: list[dict[str, Any]] = [{"flags": ["*"]}, {"schemas": ["public"]}, {"tables": ["*"]}, {"environments": []}]
    for scopes in cases:
        assert grant(**scopes).is_restricted


@pytest.mark.parametrize(
    ("scopes", "reads_nothing"),
    [
        ({"admin": True, "flags": [], "tables": []}, True),
        ({"flags": []}, True),
        ({"tables": []}, True),
        ({"tags": [], "tables": []}, True),
        ({"projects": [], "flags": ["a"]}, True),
        ({"schemas": []}, True),
        ({"schemas": [], "tables": ["t"]}, True),
        ({}, False),
        ({"evaluate": False}, False),
        ({"flags": ["a"]}, False),
        ({"flags": [], "tables": ["t"]}, False),
        ({"flags": ["a"], "tables": []}, False),
        ({"tables": ["t"]}, False),
        ({"environments": []}, False),
    ],
    ids=str,
)
def test_a_grant_that_allows_nothing_to_be_read_is_known(scopes: dict[str, Any], reads_nothing: bool) -> None:
    assert grant(**scopes).reads_nothing is reads_nothing
    if reads_nothing:
        assert not grant(**scopes).allows_flag("public", flag("a", tags=("t",), project=1))
        assert not grant(**scopes).allows_row("public", "t", is_of_flags=False)
        assert not grant(**scopes).allows_row("public", "flags", is_of_flags=True)


@pytest.mark.parametrize(
    ("scopes", "opens_rows"),
    [({}, True), ({"tables": ["t"]}, True), ({"tables": []}, False), ({"flags": ["a"]}, False)],
    ids=str,
)
def test_rows_are_open_only_where_a_table_is_allowed(scopes: dict[str, Any], opens_rows: bool) -> None:
    assert grant(**scopes).opens_rows is opens_rows


KEYS = st.sampled_from(["a", "ab", "abc", "b", "a*", "ab*", "b*", "*"])
NAMES = st.sampled_from(["t", "s.t", "s.u", "u", "v", "*", '"x.y".t', '"x.y"'])
GRANTS = st.builds(
    Grant,
    flags=st.none() | st.frozensets(KEYS, max_size=3),
    tags=st.none() | st.frozensets(st.sampled_from("tu"), max_size=2),
    schemas=st.none() | st.frozensets(st.sampled_from(["s", "x.y", "z"]), max_size=2),
    projects=st.none() | st.frozensets(st.sampled_from([1, 2]), max_size=2),
    environments=st.none() | st.frozensets(st.sampled_from([1, 2]), max_size=2),
    tables=st.none() | st.frozensets(NAMES, max_size=3),
    evaluate=st.booleans(),
    admin=st.booleans(),
)
FLAGS = st.builds(
    flag,
    st.sampled_from(["a", "ab", "abc", "abcd", "b", "c"]),
    tags=st.lists(st.sampled_from("tu"), unique=True).map(tuple),
    project=st.none() | st.sampled_from([1, 2]),
    environment=st.none() | st.sampled_from([1, 2]),
)


@settings(max_examples=1_000)
@given(GRANTS, GRANTS, FLAGS, st.sampled_from(["s", "x.y", "z"]), st.sampled_from(["t", "u", "v", "x.y"]))
def test_what_two_grants_allow_together_is_never_more_than_either(
    one: Grant, other: Grant, subject: Any, schema: str, table: str
) -> None:
    both = one.within(other)
    if both.allows_flag(schema, subject):
        assert one.allows_flag(schema, subject)
        assert other.allows_flag(schema, subject)
    elif one.tags is None or other.tags is None or one.tags == other.tags:
        # Of different tags, those that both lists have must be there: a flag may have one of each.
        assert not (one.allows_flag(schema, subject) and other.allows_flag(schema, subject))
    name = qualified(schema, table)
    assert both.allows_table(schema, name) == (one.allows_table(schema, name) and other.allows_table(schema, name))
    for is_of_flags in (True, False):
        if both.allows_row(schema, table, is_of_flags=is_of_flags):
            assert one.allows_row(schema, table, is_of_flags=is_of_flags)
            assert other.allows_row(schema, table, is_of_flags=is_of_flags)
    assert both.evaluate == (one.evaluate and other.evaluate)
    assert both.admin == (one.admin and other.admin)
    assert both.is_restricted == (one.is_restricted or other.is_restricted)
    assert Grant.parse(both.to_json()) == both
