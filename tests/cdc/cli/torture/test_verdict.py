"""The checker of a run finds every violation planted in a clean history, and none in a clean one."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from cdc.cli.torture.verdict import (
    Delivered,
    Delivery,
    Kind,
    Outcome,
    Resynced,
    Write,
    check_run,
    divergences_of_rows,
    divergences_of_texts,
    longest_delay_s,
)


@dataclass
class History:
    writes: list[Write]
    deliveries: list[Delivery]
    tables: dict[str, int]

    def kinds(self) -> set[Kind]:
        return {violation.kind for violation in check_run(self.writes, self.deliveries, self.tables)}

    def events(self, subscriber: int) -> list[int]:
        """The places of the events in that delivery."""
        return [place for place, item in enumerate(self.deliveries[subscriber].items) if isinstance(item, Delivered)]


def clean(seed: int, *, with_resync: bool = False) -> History:
    """Transactions of concurrent sessions, delivered to three subscribers, one of which may get a resync."""
    rng = random.Random(seed)
    writes, items, tables = [], [], {}
    position, now = 0, 0.0
    for mark in range(1, 60):
        keys = tuple(rng.sample("abcdef", rng.randrange(1, 4)))
        outcome = rng.choices(list(Outcome), [8, 2, 1])[0]
        # Overlapping in time, but committed in this order.
        writes.append(Write(mark, keys, outcome, now - rng.random() * 3, now + rng.random() * 0.4))
        now += 0.5
        if outcome is Outcome.COMMITTED or (outcome is Outcome.UNKNOWN and rng.random() < 0.5):
            position += rng.randrange(1, 3)
            items += [Delivered(position, index, key, mark) for index, key in enumerate(keys)]
            tables.update(dict.fromkeys(keys, mark))
    deliveries = [Delivery(name, list(items), dict(tables)) for name in ("one", "two", "three")]
    if with_resync:
        start = rng.randrange(5, len(items) - 20)
        upto = items[start + 15].position
        deliveries[2].items = [*items[:start], Resynced(upto), *[item for item in items if item.position > upto]]
    return History(writes, deliveries, tables)


@pytest.mark.parametrize("with_resync", [False, True])
def test_a_clean_history_is_clean(with_resync: bool) -> None:
    for seed in range(50):
        history = clean(seed, with_resync=with_resync)
        assert check_run(history.writes, history.deliveries, history.tables) == []


def lose(history: History, rng: random.Random) -> None:
    del history.deliveries[1].items[rng.choice(history.events(1))]


def lose_for_everyone(history: History, rng: random.Random) -> None:
    mark = rng.choice([write.mark for write in history.writes if write.outcome is Outcome.COMMITTED])
    for delivery in history.deliveries:
        delivery.items = [item for item in delivery.items if isinstance(item, Resynced) or item.mark != mark]


def repeat(history: History, rng: random.Random) -> None:
    place = rng.choice(history.events(0))
    history.deliveries[0].items.insert(place, history.deliveries[0].items[place])


def swap(history: History, rng: random.Random) -> None:
    items = history.deliveries[0].items
    place = rng.choice(history.events(0)[1:])
    items[place - 1], items[place] = items[place], items[place - 1]


def invent(history: History, rng: random.Random) -> None:
    last = history.deliveries[0].items[-1]
    history.deliveries[0].items.append(Delivered(last.position + 1, 0, "a", 10_000))


def deliver_what_was_rolled_back(history: History, rng: random.Random) -> None:
    write = rng.choice([write for write in history.writes if write.outcome is Outcome.ABORTED])
    last = history.deliveries[0].items[-1]
    history.deliveries[0].items.append(Delivered(last.position + 1, 0, write.keys[0], write.mark))


def deliver_another_event_to_one(history: History, rng: random.Random) -> None:
    place = rng.choice(history.events(0))
    item = history.deliveries[0].items[place]
    assert isinstance(item, Delivered)
    others = [write for write in history.writes if item.key in write.keys and write.mark != item.mark]
    history.deliveries[0].items[place] = replace(item, mark=rng.choice(others).mark)


def tear(history: History, rng: random.Random) -> None:
    """A transaction of several flags is delivered at two positions, the same ones to every subscriber."""
    whole = history.deliveries[0].items
    many = [write for write in history.writes if len(write.keys) > 1 and write.outcome is Outcome.COMMITTED]
    write = rng.choice([each for each in many if any(isinstance(i, Delivered) and i.mark == each.mark for i in whole)])
    for delivery in history.deliveries:
        at = max(n for n, item in enumerate(delivery.items) if isinstance(item, Delivered) and item.mark == write.mark)
        item = delivery.items[at]
        assert isinstance(item, Delivered)
        delivery.items = [
            each if number < at else replace(each, position=each.position + 1)
            for number, each in enumerate(delivery.items)
        ]


def diverge(history: History, rng: random.Random) -> None:
    key = rng.choice(sorted(history.tables))
    history.deliveries[1].flags[key] -= 1


def forget(history: History, rng: random.Random) -> None:
    history.deliveries[1].flags.popitem()


def number_against_time(history: History, rng: random.Random) -> None:
    """The first commit is delivered last, to every subscriber."""
    first = next(write for write in history.writes if write.outcome is Outcome.COMMITTED)
    end = history.deliveries[0].items[-1].position + 1
    for delivery in history.deliveries:
        own = [item for item in delivery.items if isinstance(item, Delivered) and item.mark == first.mark]
        delivery.items = [item for item in delivery.items if item not in own]
        delivery.items += [replace(item, position=end) for item in own]


def delay(history: History, rng: random.Random) -> None:
    ended = {write.mark: write.ended for write in history.writes if write.outcome is Outcome.COMMITTED}
    items = history.deliveries[2].items
    place = rng.choice([n for n, item in enumerate(items) if isinstance(item, Delivered) and item.mark in ended])
    late = items[place]
    assert isinstance(late, Delivered)
    items[place] = replace(late, at=ended[late.mark] + 61)


@pytest.mark.parametrize(
    ("plant", "kind"),
    [
        (lose, Kind.LOST),
        (lose_for_everyone, Kind.LOST),
        (repeat, Kind.REPEATED),
        (swap, Kind.DISORDERED),
        (invent, Kind.INVENTED),
        (deliver_what_was_rolled_back, Kind.INVENTED),
        (deliver_another_event_to_one, Kind.DISAGREED),
        (tear, Kind.TORN),
        (diverge, Kind.DIVERGED),
        (forget, Kind.DIVERGED),
        (number_against_time, Kind.DISORDERED),
        (delay, Kind.LATE),
    ],
)
def test_whatever_is_planted_is_found(plant: Callable[[History, random.Random], None], kind: Kind) -> None:
    for seed in range(30):
        history = clean(seed)
        plant(history, random.Random(seed))
        assert kind in history.kinds(), f"seed {seed}"


def test_a_resync_excuses_what_it_covers_and_nothing_else() -> None:
    for seed in range(30):
        history = clean(seed, with_resync=True)
        resync = next(n for n, item in enumerate(history.deliveries[2].items) if isinstance(item, Resynced))
        after = [place for place in history.events(2) if place > resync]
        del history.deliveries[2].items[random.Random(seed).choice(after)]
        assert history.kinds() == {Kind.LOST}, f"seed {seed}"


def test_the_longest_delay_is_that_from_the_answer_to_a_commit() -> None:
    write = Write(1, ("a",), Outcome.COMMITTED, 0.0, 2.0)
    unknown = replace(write, mark=2, outcome=Outcome.UNKNOWN)
    early, later = Delivery("s", [Delivered(1, 0, "a", 1, 1.5)]), Delivery("t", [Delivered(1, 0, "a", 1, 2.75)])
    assert longest_delay_s([write], [early]) == 0.0
    assert longest_delay_s([write, unknown], [early, later, Delivery("u", [Delivered(2, 0, "a", 2, 9.0)])]) == 0.75
    assert longest_delay_s([], []) == 0.0


def test_a_copy_that_says_something_else_of_a_flag_is_found() -> None:
    delivery = Delivery("s", [], {"a": 1}, {"a": '["1", true]', "b": '["2", true]'})
    assert list(divergences_of_texts([delivery], {"a": '["1", true]', "b": '["2", true]'})) == []
    (violation,) = divergences_of_texts([delivery], {"a": '["1", false]', "b": '["2", true]'})
    assert str(violation) == 'diverged: s has a as ["1", true], the tables as ["1", false]'


def test_changes_that_lead_to_other_rows_than_a_table_holds_are_found() -> None:
    assert list(divergences_of_rows("t", {"1": {"id": "1"}}, {"1": {"id": "1"}})) == []
    found = list(
        divergences_of_rows("t", {"1": {"id": "1"}, "2": {"id": "2"}}, {"1": {"id": "01"}, "10": {"id": "10"}})
    )
    assert [violation.kind for violation in found] == [Kind.DIVERGED] * 3
