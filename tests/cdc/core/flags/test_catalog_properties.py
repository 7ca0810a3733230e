"""Random writers: whatever they do, folding the events gives what the tables hold, and rewinding undoes it."""

import random
from typing import Any

import pytest

from cdc.core.flags.catalog import Catalog
from cdc.core.flags.events import Event, EventType
from cdc.core.flags.flag import FlagJson, canonical_text
from cdc.core.flags.flag_tables import TABLES
from cdc.core.log.change import Op
from tests.cdc.core.flagent import LOG, Flagent, change_of

GONE = "2026-05-05T05:05:05"
SEEDS = range(25)

_PARENTS = {
    "segments": {"flag_id": "flags"},
    "variants": {"flag_id": "flags"},
    "constraints": {"segment_id": "segments"},
    "distributions": {"segment_id": "segments", "variant_id": "variants"},
    "flags_tags": {"flag_id": "flags", "tag_id": "tags"},
}


class Writer:
    """Writes anything that the foreign keys and unique indexes of the tables allow."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.flagent = Flagent()

    def write(self) -> None:
        table = self.rng.choices(list(TABLES), [4, 4, 3, 2, 3, 2, 3])[0]
        action = self.rng.choices(
            [self.insert, self.change, self.hide, self.delete, self.truncate], [12, 9, 2, 1, 0.05]
        )
        action[0](table)

    def some(self, table: str) -> int | None:
        ids = list(self.flagent.tables[table])
        return self.rng.choice(ids) if ids else None

    def parents(self, table: str) -> dict[str, Any] | None:
        found = {column: self.some(parent) for column, parent in _PARENTS.get(table, {}).items()}
        return None if None in found.values() else found

    def unique(self, table: str, column: str, values: str) -> str | None:
        taken = {row[column] for row in self.flagent.tables[table].values()}
        free = [value for value in values if value not in taken]
        return self.rng.choice(free) if free else None

    def content(self, table: str) -> dict[str, Any] | None:
        rng = self.rng
        match table:
            case "flags":
                key = self.unique("flags", "key", "abcdefgh")
                return None if key is None else {"key": key, "enabled": rng.random() < 0.5}
            case "tags":
                value = self.unique("tags", "value", "xyz")
                return None if value is None else {"value": value}
            case "segments":
                return {"rank": rng.randrange(3), "rollout_percent": rng.randrange(2) * 100}
            case "variants":
                return {"key": rng.choice(["on", "off", None]), "attachment": rng.choice([None, '{"a": 1}'])}
            case "constraints":
                return {"value": rng.choice(["US", "DE"])}
            case "distributions":
                return {"percent": rng.randrange(2) * 50}
            case _:
                return {}

    def insert(self, table: str) -> None:
        parents, content = self.parents(table), self.content(table)
        if parents is None or content is None:
            return
        linked = {(row["flag_id"], row["tag_id"]) for row in self.flagent.tables["flags_tags"].values()}
        if table != "flags_tags" or (parents["flag_id"], parents["tag_id"]) not in linked:
            self.flagent.insert(table, **parents, **content)

    def change(self, table: str) -> None:
        row_id, content = self.some(table), self.content(table)
        if table == "flags" and (content is None or self.rng.random() < 0.7):
            content = {"enabled": self.rng.random() < 0.5}
        if row_id is None or content is None or table == "flags_tags":
            return
        if table == "flags" and self.rng.random() < 0.5:
            self.flagent.save(row_id)
        if self.rng.random() < 0.1:
            content |= self.parents(table) or {}
        self.flagent.update(table, row_id, **content)

    def hide(self, table: str) -> None:
        row_id = self.some(table)
        if row_id is not None and table != "flags_tags":
            deleted = self.flagent.tables[table][row_id]["deleted_at"]
            self.flagent.update(table, row_id, deleted_at=None if deleted else GONE)

    def delete(self, table: str) -> None:
        row_id = self.some(table)
        if row_id is not None:
            self.flagent.delete(table, row_id)

    def truncate(self, table: str) -> None:
        """With `cascade`, as PostgreSQL asks for where other tables refer to it."""
        cascade = {"flags": [*list(TABLES)[1:5], "flags_tags"], "segments": ["constraints", "distributions"]}
        cascade |= {"variants": ["distributions"], "tags": ["flags_tags"]}
        self.flagent.truncate(table, *cascade.get(table, []))


class Client:
    """Keeps flags by key from events that carry whole flags, as the simplest subscriber does."""

    def __init__(self, tag: str | None = None) -> None:
        self.tag = tag
        self.flags: dict[str, FlagJson] = {}

    def take(self, event: Event) -> None:
        if self.tag is not None and self.tag not in event.tags:
            return
        assert event.flag_key is not None
        if event.flag is None:
            assert event.type is EventType.FLAG_DELETED
            # By tag also a flag may go that was not held: its tag came and its key changed in one commit.
            assert self.tag is not None or event.flag_key in self.flags
            self.flags.pop(event.flag_key, None)
        elif self.tag is None or self.tag in {tag["value"] for tag in event.flag["tags"]}:
            assert event.flag["key"] == event.flag_key
            self.flags[event.flag_key] = event.flag
        else:
            self.flags.pop(event.flag_key, None)


def contents(flags: dict[str, FlagJson]) -> dict[str, str]:
    return {key: canonical_text(flag) for key, flag in flags.items()}


def live(catalog: Catalog, tag: str | None = None) -> dict[str, FlagJson]:
    return {
        flag["key"]: flag
        for _, flag in catalog.flags()
        if tag is None or tag in {other["value"] for other in flag["tags"]}
    }


def check_details(event: Event) -> None:
    """What an event says of a part is what its flag says of it."""
    flag, detail = event.flag, event.detail
    if flag is None:
        return
    segments = {segment["id"]: segment for segment in flag["segments"]}
    match event.type:
        case EventType.SEGMENT_UPDATED:
            assert detail["segment"] == segments.get(detail["segmentID"])
        case EventType.DISTRIBUTION_UPDATED:
            assert detail["distributions"] == segments[detail["segmentID"]]["distributions"]
        case EventType.VARIANT_UPDATED:
            variants = {variant["id"]: variant for variant in flag["variants"]}
            assert detail["variant"] == variants.get(detail["variantID"])
        case EventType.FLAG_ENABLED | EventType.FLAG_DISABLED:
            assert flag["enabled"] is (event.type is EventType.FLAG_ENABLED)


@pytest.mark.parametrize("seed", SEEDS)
def test_events_folded_give_what_the_tables_hold(seed: int) -> None:
    writer = Writer(seed)
    catalog = writer.flagent.catalog()
    clients = [Client(), Client("x"), Client("y")]
    seen: set[EventType] = set()
    for _ in range(150):
        for _ in range(writer.rng.choice([1, 1, 2, 20])):
            writer.write()
        events = catalog.apply(writer.flagent.commit())
        assert [event.id.index for event in events] == list(range(len(events)))
        seen.update(event.type for event in events)
        for event in events:
            check_details(event)
            for client in clients:
                client.take(event)
        loaded = writer.flagent.catalog()
        assert list(catalog.flags()) == list(loaded.flags())
        assert catalog.digest == loaded.digest
        for client in clients:
            assert contents(client.flags) == contents(live(loaded, client.tag))
    assert seen == {kind for kind in EventType if not kind.startswith(("row_", "table_", "schema_"))}, (
        "the writer is too tame"
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_rewinding_gives_every_state_before_and_the_same_events_again(seed: int) -> None:
    writer = Writer(seed)
    catalog = writer.flagent.catalog()
    commits, states, expected = [], [list(catalog.flags())], []
    for _ in range(60):
        for _ in range(writer.rng.choice([1, 1, 2, 20])):
            writer.write()
        commits.append(writer.flagent.commit())
        expected.append(catalog.apply(commits[-1]))
        states.append(list(catalog.flags()))
    past, digest = catalog.copy(), catalog.digest
    for commit, state in zip(reversed(commits), reversed(states[:-1]), strict=True):
        assert not past.rewind(commit)
        if writer.rng.random() < 0.5:
            assert list(past.flags()) == state
    assert list(past.flags()) == states[0] == []
    twin = past.copy()
    assert [past.apply(commit) for commit in commits] == expected
    assert (past.digest, list(past.flags())) == (digest, states[-1])
    assert [twin.apply(commit) for commit in commits] == expected
    assert (catalog.digest, list(catalog.flags())) == (digest, states[-1])


@pytest.mark.parametrize("seed", range(5))
def test_every_instance_numbers_the_events_alike(seed: int) -> None:
    """One that followed all along, and one just started that read the rows in another order."""
    writer = Writer(seed)
    following = writer.flagent.catalog()
    for _ in range(100):
        started = Catalog(LOG)
        rows = {table: list(rows.values()) for table, rows in writer.flagent.tables.items()}
        for shuffled in rows.values():
            writer.rng.shuffle(shuffled)
        started.load("public", rows, following.position)
        for _ in range(5):
            writer.write()
        commit = writer.flagent.commit()
        assert started.apply(commit) == following.apply(commit)


@pytest.mark.parametrize("seed", range(5))
def test_children_and_parents_of_a_commit_may_come_in_any_order(seed: int) -> None:
    """As under deferred foreign keys: the inserts of one commit, shuffled, give the same state."""
    writer = Writer(seed)
    for _ in range(200):
        writer.insert(writer.rng.choice(list(TABLES)))
    commit = writer.flagent.commit()
    changes = list(commit.changes)
    writer.rng.shuffle(changes)
    catalog = Flagent().catalog()
    events = catalog.apply(type(commit)(commit.position, commit.committed_at, 1, "", "", tuple(changes)))
    assert {event.type for event in events} == {EventType.FLAG_CREATED}
    assert list(catalog.flags()) == list(writer.flagent.catalog().flags())
    assert not catalog.rewind(type(commit)(commit.position, commit.committed_at, 1, "", "", tuple(changes)))
    assert list(catalog.flags()) == []


def test_changes_of_watched_tables_leave_the_flags_alone() -> None:
    catalog = Flagent().catalog()
    change = change_of("shop", "orders", Op.DELETE, {"id": 1}, None)
    flagent = Flagent()
    commit = flagent.commit(change)
    assert [event.type for event in catalog.apply(commit)] == [EventType.ROW_DELETED]
    assert not catalog.rewind(commit)
    assert catalog.position == 0
