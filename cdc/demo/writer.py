"""The demo's writer: it changes flags as people, scripts and Flagent do, by plain SQL.

Like any other writer it needs no knowledge of flagent-cdc. It changes only flags that it created itself (their
`created_by` is `AUTHOR`), so it may run on a database with other flags. The same seed on the same state makes the same
changes.
"""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import psycopg
from psycopg import sql as composed
from psycopg.rows import dict_row

from cdc.database.database_url import read_database_url, redact
from cdc.database.driver_errors import driver_errors
from cdc.database.queries import query
from cdc.demo.flags import FLAGS, DemoFlag, DemoSegment

__all__ = ["AUTHOR", "Writer"]

AUTHOR = "flagent-cdc demo"
ROLLOUTS = (0, 1, 5, 10, 25, 50, 75, 100)
MOST_SEGMENTS = 4
MOST_EXTRA_FLAGS = 8
FEWEST_LIVE_FLAGS = 20

COUNTRIES = ("DE", "FR", "NL", "AT", "IT", "ES", "CH", "PL", "SE", "US")
VALUES = {
    "country": COUNTRIES,
    "city": ("Berlin", "Wien", "Zürich", "Paris", "Madrid", "Roma", "Amsterdam"),
    "plan": ("free", "premium", "business"),
    "os": ("ios", "android", "web"),
    "channel": ("alpha", "beta", "stable"),
}
TAGS = ("beta", "q4", "growth", "risky", "legal", "black-friday", "monitored")
AREAS = ("payments", "checkout", "search", "mobile", "experiments", "ops")
WORDS = ("fast", "smart", "tiny", "bold", "calm", "shared", "secret", "spring")
THINGS = ("basket", "banner", "filter", "wishlist", "gallery", "receipt", "timer", "badge")
SENTENCES = ("ready for review", "owner: team blue", "remove after the sale", "measured weekly", "agreed with legal")

Row = Mapping[str, Any]


class Writer:
    """One connection in autocommit; every `step` makes one change as a person would, in one or several transactions."""

    def __init__(self, url: str, *, seed: int, schema: str = "public") -> None:
        self._random = random.Random(seed)  # noqa: S311 (a demo, to be repeatable)
        conninfo = read_database_url(url)
        self._target = redact(conninfo)
        with driver_errors(self._target):
            self._connection = psycopg.connect(conninfo, autocommit=True, row_factory=dict_row, application_name=AUTHOR)
            self._connection.execute(composed.SQL("set search_path to {}").format(composed.Identifier(schema)))
        # Weights: actions that are frequent in a real shop, or often find nothing to do, are chosen more often.
        self._actions: dict[Callable[[], str | None], int] = {
            self._toggle: 6,
            self._ramp: 8,
            self._shift_shares: 4,
            self._edit_rule: 12,
            self._save_like_flagent: 4,
            self._add_tag: 2,
            self._remove_tag: 2,
            self._add_segment: 2,
            self._remove_segment: 1,
            self._edit_attachment: 2,
            self._describe: 2,
            self._create: 2,
            self._remove: 1,
            self._archive: 1,
            self._restore: 2,
            self._switch_off_many: 1,
        }

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def fill(self) -> int:
        """Create those of `FLAGS` whose keys are free, each in one transaction; returns their number."""
        with driver_errors(self._target):
            return sum(self._insert(flag) is not None for flag in FLAGS)

    def step(self) -> str:
        """Make one change and return its description, one line; `fill` must have created the flags before."""
        while True:
            action = self._random.choices([*self._actions], [*self._actions.values()])[0]
            # An action that finds nothing to do, such as no archived flag to restore, is followed by another.
            with driver_errors(self._target):
                if description := action():
                    return description

    def _toggle(self) -> str | None:
        flag = self._live()
        self._write("demo_toggle", flag=flag["id"])
        return f"{flag['key']}: turned {'off' if flag['enabled'] else 'on'}"

    def _switch_off_many(self) -> str | None:
        chosen = self._random.sample(self._all_live(), 3)
        self._write("demo_toggle_many", flags=[flag["id"] for flag in chosen])
        return f"{', '.join(flag['key'] for flag in chosen)}: turned off in one statement"

    def _ramp(self) -> str | None:
        flag, segment = self._live_segment()
        if segment is None:
            return None
        now = segment["rollout_percent"]
        higher = [percent for percent in ROLLOUTS if percent > now]
        # A complete rollout starts again at 0 %, and so does one in ten of the others, as if it had gone wrong.
        rollout = 0 if not higher or self._random.random() < 0.1 else higher[0]
        if rollout == now:
            return None
        self._write("demo_roll_out", segment=segment["id"], rollout=rollout)
        return f'{flag["key"]}: rollout of "{segment["description"]}" {now} → {rollout} %'

    def _shift_shares(self) -> str | None:
        flag, segment = self._live_segment()
        variants = self._read("demo_variants", flag=flag["id"])
        if segment is None or len(variants) < 2:
            return None
        bounds = sorted(self._random.sample(range(5, 100, 5), len(variants) - 1))
        percents = [high - low for low, high in zip([0, *bounds], [*bounds, 100], strict=True)]
        shares = {variant["key"]: percent for variant, percent in zip(variants, percents, strict=True)}
        with self._connection.transaction():
            self._write("demo_clear_distributions", segment=segment["id"])
            self._share(segment["id"], {variant["key"]: variant["id"] for variant in variants}, shares)
        shown = ", ".join(f"{key} {percent} %" for key, percent in shares.items())
        return f'{flag["key"]}: shares of "{segment["description"]}" now {shown}'

    def _edit_rule(self) -> str | None:
        flag, segment = self._live_segment()
        rules = self._read("demo_constraints", segment=segment["id"]) if segment else []
        if not rules:
            return None
        rule = self._random.choice(rules)
        value = self._other_value(rule)
        if value is None or value == rule["value"]:
            return None
        self._write("demo_edit_constraint", constraint=rule["id"], value=value)
        return f"{flag['key']}: {rule['property']} {rule['operator']} {rule['value']} → {value}"

    def _other_value(self, rule: Row) -> str | None:
        """A random value that fits the property and operator; None if there is no such value."""
        known = VALUES.get(rule["property"])
        match rule["operator"]:
            case "IN" if known:
                return ",".join(sorted(self._random.sample(known, self._random.randint(2, 5))))
            case "EQ" | "NEQ" if known:
                return self._random.choice(known)
            case "LT" | "LTE" | "GT" | "GTE":
                return str(self._random.randint(1, 40))
            case _:
                return None

    def _add_segment(self) -> str | None:
        flag = self._live()
        variants = self._read("demo_variants", flag=flag["id"])
        if not variants or len(self._read("demo_segments", flag=flag["id"])) >= MOST_SEGMENTS:
            return None
        country = self._random.choice(COUNTRIES)
        segment = DemoSegment(
            f"users in {country}",
            self._random.choice(ROLLOUTS),
            (("country", "EQ", country),),
            {self._random.choice(variants)["key"]: 100},
        )
        with self._connection.transaction():
            self._insert_segment(flag["id"], segment, {variant["key"]: variant["id"] for variant in variants})
        return f'{flag["key"]}: new segment "{segment.description}" at {segment.rollout} %'

    def _remove_segment(self) -> str | None:
        flag = self._live()
        segments = self._read("demo_segments", flag=flag["id"])
        if len(segments) < 2:
            return None
        self._write("demo_remove_segment", segment=segments[-1]["id"])
        return f'{flag["key"]}: segment "{segments[-1]["description"]}" removed'

    def _add_tag(self) -> str | None:
        flag, tag = self._live(), self._random.choice(TAGS)
        if tag in self._tags(flag):
            return None
        with self._connection.transaction():
            self._tag(flag["id"], tag)
        return f"{flag['key']}: tag {tag} added"

    def _remove_tag(self) -> str | None:
        flag = self._live()
        tags = self._tags(flag)
        if len(tags) < 2:
            return None
        self._write("demo_untag_flag", flag=flag["id"], value=tags[-1])
        return f"{flag['key']}: tag {tags[-1]} removed"

    def _edit_attachment(self) -> str | None:
        flag = self._live()
        variants = [each for each in self._read("demo_variants", flag=flag["id"]) if each["attachment"]]
        if not variants:
            return None
        variant = self._random.choice(variants)
        attachment = json.loads(variant["attachment"])
        name = self._random.choice([*attachment])
        if attachment[name].startswith("#"):
            attachment[name] = f"#{self._random.randrange(2**24):06x}"
        elif attachment[name].isdigit():
            attachment[name] = str(self._random.randint(1, 5000))
        else:
            return None
        self._write("demo_edit_variant", variant=variant["id"], attachment=json.dumps(attachment))
        return f"{flag['key']}: {name} of variant {variant['key']} is now {attachment[name]}"

    def _describe(self) -> str | None:
        flag = self._live()
        description = f"{flag['description'].partition(' (')[0]} ({self._random.choice(SENTENCES)})"
        if description == flag["description"]:
            return None
        self._write("demo_describe", flag=flag["id"], description=description, author=AUTHOR)
        return f'{flag["key"]}: described as "{description}"'

    def _save_like_flagent(self) -> str | None:
        flag, note = self._live(), self._random.choice(SENTENCES)
        self._write("demo_save_content", flag=flag["id"], description=flag["description"], notes=note, author=AUTHOR)
        snapshot = self._read("demo_save_snapshot", flag=flag["id"], author=AUTHOR)[0]["id"]
        self._write("demo_save_bookkeeping", flag=flag["id"], snapshot=snapshot, author=AUTHOR)
        return f'{flag["key"]}: saved as Flagent does, in three commits, with the note "{note}"'

    def _create(self) -> str | None:
        if len(self._extras()) >= MOST_EXTRA_FLAGS:
            return None
        key = f"{self._random.choice(AREAS)}.{self._random.choice(WORDS)}_{self._random.choice(THINGS)}"
        segment = DemoSegment("everyone", self._random.choice(ROLLOUTS))
        flag = DemoFlag(key, f"A {key.partition('.')[2].replace('_', ' ')}", (key.partition(".")[0],), (segment,))
        return f"{key}: created" if self._insert(flag) else None

    def _remove(self) -> str | None:
        if not (extras := self._extras()):
            return None
        flag = self._random.choice(extras)
        self._write("demo_remove_flag", flag=flag["id"])
        return f"{flag['key']}: deleted"

    def _archive(self) -> str | None:
        if len(self._all_live()) < FEWEST_LIVE_FLAGS:
            return None
        flag = self._live()
        self._write("demo_archive", flag=flag["id"])
        return f"{flag['key']}: archived"

    def _restore(self) -> str | None:
        if not (archived := [flag for flag in self._flags() if flag["archived"]]):
            return None
        flag = self._random.choice(archived)
        self._write("demo_restore", flag=flag["id"])
        return f"{flag['key']}: restored"

    def _read(self, name: str, **values: Any) -> list[dict[str, Any]]:
        return self._connection.execute(query(name), values).fetchall()

    def _write(self, name: str, **values: Any) -> None:
        self._connection.execute(query(name), {"author": AUTHOR, **values})

    def _flags(self) -> list[dict[str, Any]]:
        return self._read("demo_flags", author=AUTHOR)

    def _all_live(self) -> list[dict[str, Any]]:
        return [flag for flag in self._flags() if not flag["archived"]]

    def _live(self) -> Row:
        return self._random.choice(self._all_live())

    def _live_segment(self) -> tuple[Row, Row | None]:
        flag = self._live()
        segments = self._read("demo_segments", flag=flag["id"])
        return flag, self._random.choice(segments) if segments else None

    def _extras(self) -> Sequence[Row]:
        first = {flag.key for flag in FLAGS}
        return [flag for flag in self._flags() if flag["key"] not in first]

    def _tags(self, flag: Row) -> list[str]:
        return [row["value"] for row in self._read("demo_tags", flag=flag["id"])]

    def _tag(self, flag: int, tag: str) -> None:
        self._write("demo_add_tag", value=tag)
        self._write("demo_tag_flag", flag=flag, value=tag)

    def _share(self, segment: int, ids: Mapping[str, int], shares: Mapping[str, int]) -> None:
        for key, percent in shares.items():
            self._write("demo_add_distribution", segment=segment, variant=ids[key], key=key, percent=percent)

    def _insert_segment(self, flag: int, segment: DemoSegment, variants: Mapping[str, int]) -> None:
        made = self._read("demo_add_segment", flag=flag, description=segment.description, rollout=segment.rollout)[0][
            "id"
        ]
        for property_, operator, value in segment.rules:
            self._write("demo_add_constraint", segment=made, property=property_, operator=operator, value=value)
        self._share(made, variants, segment.shares)

    def _insert(self, flag: DemoFlag) -> int | None:
        """The new flag's id, None if its key is taken."""
        with self._connection.transaction():
            added = self._read(
                "demo_add_flag",
                key=flag.key,
                description=flag.description,
                author=AUTHOR,
                enabled=flag.enabled,
                entity_type=flag.entity_type,
            )
            if not added:
                return None
            made: int = added[0]["id"]
            variants = {
                key: self._read(
                    "demo_add_variant", flag=made, key=key, attachment=json.dumps(attachment) if attachment else None
                )[0]["id"]
                for key, attachment in flag.variants.items()
            }
            for segment in flag.segments:
                self._insert_segment(made, segment, variants)
            for tag in flag.tags:
                self._tag(made, tag)
            return made
