"""The judge of a run finds whatever is planted in a clean history, and nothing in a clean one."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from cdc.cli.torture.verdict import Kind, Outcome, Resynced, Telling, Told, Write, judge


@dataclass
class History:
    writes: list[Write]
    tellings: list[Telling]
    tables: dict[str, int]

    def kinds(self) -> set[Kind]:
        return {violation.kind for violation in judge(self.writes, self.tellings, self.tables)}

    def events(self, subscriber: int) -> list[int]:
        """Where in that telling the events stand."""
        return [place for place, item in enumerate(self.tellings[subscriber].items) if isinstance(item, Told)]


def clean(seed: int, *, with_resync: bool = False) -> History:
    """Transactions of several sessions at once, told to three subscribers, one of which may be resynchronised."""
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
            items += [Told(position, index, key, mark) for index, key in enumerate(keys)]
            tables.update(dict.fromkeys(keys, mark))
    tellings = [Telling(name, list(items), dict(tables)) for name in ("one", "two", "three")]
    if with_resync:
        cut = rng.randrange(5, len(items) - 20)
        upto = items[cut + 15].position
        tellings[2].items = [*items[:cut], Resynced(upto), *[item for item in items if item.position > upto]]
    return History(writes, tellings, tables)


@pytest.mark.parametrize("with_resync", [False, True])
def test_a_clean_history_is_clean(with_resync: bool) -> None:
    for seed in range(50):
        history = clean(seed, with_resync=with_resync)
        assert judge(history.writes, history.tellings, history.tables) == []


def lose(history: History, rng: random.Random) -> None:
    del history.tellings[1].items[rng.choice(history.events(1))]


def lose_for_everyone(history: History, rng: random.Random) -> None:
    mark = rng.choice([write.mark for write in history.writes if write.outcome is Outcome.COMMITTED])
    for telling in history.tellings:
        telling.items = [item for item in telling.items if isinstance(item, Resynced) or item.mark != mark]


def repeat(history: History, rng: random.Random) -> None:
    place = rng.choice(history.events(0))
    history.tellings[0].items.insert(place, history.tellings[0].items[place])


def swap(history: History, rng: random.Random) -> None:
    items = history.tellings[0].items
    place = rng.choice(history.events(0)[1:])
    items[place - 1], items[place] = items[place], items[place - 1]


def invent(history: History, rng: random.Random) -> None:
    last = history.tellings[0].items[-1]
    history.tellings[0].items.append(Told(last.position + 1, 0, "a", 10_000))


def tell_what_was_rolled_back(history: History, rng: random.Random) -> None:
    write = rng.choice([write for write in history.writes if write.outcome is Outcome.ABORTED])
    last = history.tellings[0].items[-1]
    history.tellings[0].items.append(Told(last.position + 1, 0, write.keys[0], write.mark))


def tell_one_something_else(history: History, rng: random.Random) -> None:
    place = rng.choice(history.events(0))
    item = history.tellings[0].items[place]
    assert isinstance(item, Told)
    others = [write for write in history.writes if item.key in write.keys and write.mark != item.mark]
    history.tellings[0].items[place] = replace(item, mark=rng.choice(others).mark)


def tear(history: History, rng: random.Random) -> None:
    """A transaction of several flags is told at two positions, the same to everyone."""
    whole = history.tellings[0].items
    many = [write for write in history.writes if len(write.keys) > 1 and write.outcome is Outcome.COMMITTED]
    write = rng.choice([each for each in many if any(isinstance(i, Told) and i.mark == each.mark for i in whole)])
    for telling in history.tellings:
        at = max(n for n, item in enumerate(telling.items) if isinstance(item, Told) and item.mark == write.mark)
        item = telling.items[at]
        assert isinstance(item, Told)
        telling.items = [
            each if number < at else replace(each, position=each.position + 1)
            for number, each in enumerate(telling.items)
        ]


def diverge(history: History, rng: random.Random) -> None:
    key = rng.choice(sorted(history.tables))
    history.tellings[1].flags[key] -= 1


def forget(history: History, rng: random.Random) -> None:
    history.tellings[1].flags.popitem()


def number_against_time(history: History, rng: random.Random) -> None:
    """The commit that was first is told last, the same to everyone."""
    first = next(write for write in history.writes if write.outcome is Outcome.COMMITTED)
    end = history.tellings[0].items[-1].position + 1
    for telling in history.tellings:
        own = [item for item in telling.items if isinstance(item, Told) and item.mark == first.mark]
        telling.items = [item for item in telling.items if item not in own]
        telling.items += [replace(item, position=end) for item in own]


@pytest.mark.parametrize(
    ("plant", "kind"),
    [
        (lose, Kind.LOST),
        (lose_for_everyone, Kind.LOST),
        (repeat, Kind.REPEATED),
        (swap, Kind.DISORDERED),
        (invent, Kind.INVENTED),
        (tell_what_was_rolled_back, Kind.INVENTED),
        (tell_one_something_else, Kind.DISAGREED),
        (tear, Kind.TORN),
        (diverge, Kind.DIVERGED),
        (forget, Kind.DIVERGED),
        (number_against_time, Kind.DISORDERED),
    ],
)
def test_whatever_is_planted_is_found(plant: Callable[[History, random.Random], None], kind: Kind) -> None:
    for seed in range(30):
        history = clean(seed)
        plant(history, random.Random(seed))
        assert kind in history.kinds(), f"seed {seed}"


def test_a_resync_stands_for_what_it_covers_and_for_nothing_else() -> None:
    for seed in range(30):
        history = clean(seed, with_resync=True)
        resync = next(n for n, item in enumerate(history.tellings[2].items) if isinstance(item, Resynced))
        after = [place for place in history.events(2) if place > resync]
        del history.tellings[2].items[random.Random(seed).choice(after)]
        assert history.kinds() == {Kind.LOST}, f"seed {seed}"
