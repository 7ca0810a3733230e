"""Random triggers of the program's author: those that applications have, with names on both sides of ours."""

import random
from collections.abc import Callable, Mapping, Sequence

from .program import Trigger
from .schema import COUNTED

__all__ = ["KINDS", "random_triggers"]

# Row triggers of one event fire in the order of their names: ours begin with flagent_cdc_.
_NAMES = ("a_{n}", "flagent_cdc_000_{n}", "flagent_cdc_205_{n}", "flagent_cdd_{n}", "zz_{n}", "Z {n}")


def _row_events(rng: random.Random) -> str:
    return rng.choice(["insert", "update", "insert or update", "insert or update", "insert or update or delete"])


class _Author:
    """Writes one trigger, mostly on one of the tables in `focus`; `number` makes its names unique."""

    def __init__(self, rng: random.Random, number: int, focus: Sequence[str]) -> None:
        self._rng = rng
        self._number = number
        self._focus = focus

    def _create(
        self, kind: str, body: str, *, timing: str, table: str, level: str = "for each row", declare: str = "",
        constraint: str = "",
    ) -> Trigger:  # fmt: skip
        name = self._rng.choice(_NAMES).format(n=self._number)
        function = f"prog.f{self._number}"
        create = f"create {constraint} trigger" if constraint else "create trigger"
        deferral = " deferrable initially deferred" if constraint else ""
        return Trigger(
            kind,
            f"create function {function}() returns trigger language plpgsql as $f$ {declare} begin\n"
            f"    {body}\nend $f$;\n"
            f'{create} "{name}" {timing} on {table}{deferral} {level} execute function {function}();',
        )

    def _depth(self) -> int:
        return self._rng.choice([1, 1, 1, 2, 3])

    def _counted(self) -> tuple[str, str, str]:
        table = self._rng.choice(self._focus if self._rng.random() < 0.8 else list(COUNTED))
        condition, column = COUNTED[table]
        return table, condition, column

    def count_versions(self) -> Trigger:
        """Updates the row that it fires for."""
        table, condition, column = self._counted()
        body = (
            f"if pg_trigger_depth() <= {self._depth()} then update {table} set {column} = {column} + 1"
            f" where {condition.format(row='new')}; end if; return null;"
        )
        events = self._rng.choice(["insert", "update", "insert or update"])
        return self._create("count versions", body, timing=f"after {events}", table=table)

    def guard_flag(self) -> Trigger:
        """Turns off a flag whose notes say that it is risky."""
        body = (
            "if pg_trigger_depth() = 1 and new.notes like '%risky%' then update public.flags set enabled = false"
            " where id = new.id; end if; return null;"
        )
        return self._create("guard a flag", body, timing="after insert or update", table="public.flags")

    def change_row_before(self) -> Trigger:
        table, _, column = self._counted()
        body = f"new.{column} := coalesce(new.{column}, 0) + 1; return new;"
        events = self._rng.choice(["insert", "update", "insert or update"])
        return self._create("change the row before", body, timing=f"before {events}", table=table)

    def skip_row(self) -> Trigger:
        table, _, column = self._counted()
        remainder = self._rng.randrange(3)
        body = (
            f"if tg_op = 'DELETE' then if old.{column} % 3 = {remainder} then return null; end if; return old; end if;"
            f" if new.{column} % 3 = {remainder} then return null; end if; return new;"
        )
        return self._create("skip rows", body, timing=f"before {_row_events(self._rng)}", table=table)

    def audit(self) -> Trigger:
        """Writes into a log of the application's own, watched or not."""
        others = ["app.notes", "app.typed", "app.keyed", "public.flags_tags", "public.tags"]
        table = self._rng.choice([*self._focus, *self._focus, *self._focus, *others])
        log = self._rng.choice(["audit", "audit", "unwatched", "notes"]) if table != "app.notes" else "audit"
        timing = self._rng.choice(["before", "after", "after"])
        body = f"insert into app.{log} (who, what) values (tg_name, tg_op || ' ' || pg_trigger_depth());" + (
            " return null;" if timing == "after" else " if tg_op = 'DELETE' then return old; end if; return new;"
        )
        return self._create("audit", body, timing=f"{timing} {_row_events(self._rng)}", table=table)

    def audit_statement(self) -> Trigger:
        """A statement trigger with transition tables."""
        table, _, column = self._counted()
        body = (
            "insert into app.audit (who, what) select tg_name, count(*) || ' ' || coalesce(sum("
            f"n.{column}), 0) from new_rows n; return null;"
        )
        event = self._rng.choice(["insert", "update"])
        return self._create(
            "audit a statement", body, timing=f"after {event}", table=table,
            level="referencing new table as new_rows for each statement",
        )  # fmt: skip

    def touch_statement(self) -> Trigger:
        """A statement trigger that updates rows of its table once more."""
        table, _, column = self._counted()
        body = (
            f"if pg_trigger_depth() <= {self._depth()} then update {table} set {column} = {column} + 10"
            f" where {column} % 2 = {self._rng.randrange(2)}; end if; return null;"
        )
        timing = self._rng.choice(["before", "after", "after"])
        return self._create(
            "touch the table", body, timing=f"{timing} {_row_events(self._rng)}", table=table,
            level="for each statement",
        )  # fmt: skip

    def update_neighbours(self) -> Trigger:
        """Updates other rows of the same table: those of the same statement, too."""
        table, condition, column = self._counted()
        body = (
            f"if pg_trigger_depth() <= {self._depth()} then update {table} set {column} = {column} + 1"
            f" where not ({condition.format(row='new')}) and {column} < 50; end if; return null;"
        )
        return self._create("update neighbours", body, timing="after insert or update", table=table)

    def insert_again(self) -> Trigger:
        """Puts a row back that was deleted or got another key."""
        condition = ""
        if self._rng.random() < 0.5:
            table, body = "app.notes", "insert into app.notes values (old.who, 'again');"
        else:
            table, body = (
                "app.items",
                (
                    "insert into app.items values (old.order_id, old.line, 'again', old.version + 1)"
                    " on conflict do nothing;"
                ),
            )
        timing = (
            self._rng.choice(["after delete", "after delete or update"]) if table == "app.items" else "after delete"
        )
        if "update" in timing:
            condition = " and (tg_op = 'DELETE' or new.order_id <> old.order_id or new.line <> old.line)"
        body = f"if pg_trigger_depth() <= {self._depth()}{condition} then {body} end if; return null;"
        return self._create("insert again", body, timing=timing, table=table)

    def delete_again(self) -> Trigger:
        """Deletes the row that was just written."""
        table, condition, column = self._counted()
        body = (
            f"if new.{column} % 5 = {self._rng.randrange(5)} then delete from {table}"
            f" where {condition.format(row='new')}; end if; return null;"
        )
        return self._create("delete again", body, timing="after insert or update", table=table)

    def catch_error(self) -> Trigger:
        """Writes in a block that catches what fails, after it has written."""
        table, condition, column = self._counted()
        body = (
            f"if pg_trigger_depth() > {self._depth()} then return null; end if;"
            f" begin update {table} set {column} = {column} + 1 where {condition.format(row='new')};"
            f" perform 1 / (new.{column} % 2); exception when division_by_zero then"
            " insert into app.notes values (tg_name, sqlerrm); end; return null;"
        )
        return self._create("catch an error", body, timing="after insert or update", table=table)

    def refuse(self) -> Trigger:
        table, _, column = self._counted()
        timing = self._rng.choice(["before", "after"])
        body = (
            f"if new.{column} % 7 = {self._rng.randrange(7)} then raise exception using errcode = 'check_violation',"
            f" message = format('%s refuses %s', tg_name, new.{column}); end if; return new;"
        )
        return self._create("refuse", body, timing=f"{timing} {self._rng.choice(['insert', 'update'])}", table=table)

    def notice_state(self) -> Trigger:
        """Shows what a trigger sees of its session."""
        table, _, column = self._counted()
        body = (
            f"update app.unwatched set what = 'seen' where id <= 2; get diagnostics n = row_count;"
            f" raise notice '%: found %, rows %, depth %, %', tg_name, found, n, pg_trigger_depth(), new.{column};"
            " return new;"
        )
        return self._create(
            "notice state", body, timing=f"{self._rng.choice(['before', 'after'])} update", table=table,
            declare="declare n bigint;",
        )  # fmt: skip

    def write_deferred(self) -> Trigger:
        """A deferred constraint trigger that writes, at COMMIT."""
        table, condition, column = self._counted()
        action = self._rng.choice([
            f"update {table} set {column} = {column} + 1 where {condition.format(row='new')}",
            "insert into app.audit (who, what) values (tg_name, 'deferred')",
            "update public.flags set snapshot_id = snapshot_id + 1 where id = 1",
            "insert into app.notes values (tg_name, 'deferred')",
            "delete from app.notes where what = 'one'",
        ])  # fmt: skip
        body = f"if pg_trigger_depth() <= 1 and new.{column} < 40 then {action}; end if; return null;"
        return self._create(
            "write deferred", body, timing=f"after {self._rng.choice(['insert', 'update', 'insert or update'])}",
            table=table, constraint="constraint",
        )  # fmt: skip

    def refuse_deferred(self) -> Trigger:
        """A deferred constraint trigger that fails the COMMIT."""
        table, _, column = self._counted()
        body = (
            f"if new.{column} % 7 = {self._rng.randrange(7)} then raise exception 'refused at the end'; end if;"
            " return null;"
        )
        return self._create(
            "refuse deferred", body, timing="after insert or update", table=table, constraint="constraint"
        )

    def force_constraints(self) -> Trigger:
        """Checks all constraints in the middle of a statement."""
        table, _, _ = self._counted()
        body = "set constraints all immediate; set constraints all deferred; return null;"
        return self._create("force constraints", body, timing="after insert or update", table=table)

    def audit_truncate(self) -> Trigger:
        table = self._rng.choice(["app.notes", "app.orders", "app.regions", "public.constraints", "app.audit"])
        log = "unwatched" if table == "app.audit" else "audit"
        body = f"insert into app.{log} (who, what) select tg_name, 'truncate ' || count(*) from {table}; return null;"
        timing = self._rng.choice(["before", "after"])
        return self._create(
            "audit a truncation", body, timing=f"{timing} truncate", table=table, level="for each statement"
        )


_WRITERS: Mapping[str, tuple[int, Callable[[_Author], Trigger]]] = {
    "count versions": (6, _Author.count_versions),
    "guard a flag": (4, _Author.guard_flag),
    "change the row before": (3, _Author.change_row_before),
    "skip rows": (2, _Author.skip_row),
    "audit": (9, _Author.audit),
    "audit a statement": (3, _Author.audit_statement),
    "touch the table": (3, _Author.touch_statement),
    "update neighbours": (4, _Author.update_neighbours),
    "insert again": (4, _Author.insert_again),
    "delete again": (3, _Author.delete_again),
    "catch an error": (3, _Author.catch_error),
    "refuse": (2, _Author.refuse),
    "notice state": (2, _Author.notice_state),
    "write deferred": (5, _Author.write_deferred),
    "refuse deferred": (1, _Author.refuse_deferred),
    "force constraints": (2, _Author.force_constraints),
    "audit a truncation": (2, _Author.audit_truncate),
}

KINDS = tuple(_WRITERS)


def random_triggers(rng: random.Random, forced: str, focus: Sequence[str]) -> tuple[Trigger, ...]:
    """Up to seven triggers, among them one of the kind `forced`, mostly on the tables in `focus`."""
    kinds = [forced, *rng.choices(KINDS, [weight for weight, _ in _WRITERS.values()], k=rng.randrange(7))]
    return tuple(_WRITERS[kind][1](_Author(rng, number, focus)) for number, kind in enumerate(kinds))
