"""A state machine talks to a real server: whatever is subscribed, changed, asked and cut, a model says what must come.

The model knows flags, tags and selections, and nothing of the server's code. After each change it asks for an
evaluation at the change's position, whose answer comes after all events up to there.
"""

import json
from collections import Counter
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from websockets.sync.client import ClientConnection, connect

from tests.fixtures.flags import Writer
from tests.fixtures.server import ServerProcess

pytestmark = pytest.mark.timeout(120)

NAMES = ("a", "b", "c", "d")
TAGS = ("t", "u")
Expected = Counter[tuple[str, str]]

names = st.sampled_from(NAMES)
tags = st.sampled_from(TAGS)


class Clause:
    """What one subscribe asked for."""

    def __init__(self, *, flags: set[str], tags: set[str], everything: bool, types: set[str]) -> None:
        self.flags, self.tags, self.everything, self.types = flags, tags, everything, types

    def selects(self, kind: str, key: str, flag_tags: set[str]) -> bool:
        selected = self.everything or key in self.flags or bool(self.tags & flag_tags)
        return selected and (not self.types or kind in self.types)


class Conversation(RuleBasedStateMachine):
    """One example: one client, over as many connections as it takes."""

    server: ServerProcess
    writer: Writer
    examples = 0

    def __init__(self) -> None:
        super().__init__()
        Conversation.examples += 1
        self.prefix = f"e{Conversation.examples}-"
        self.flags: dict[str, bool] = {}
        self.tags: dict[str, set[str]] = {}
        self.clauses: list[Clause] = []
        self.last_id: str | None = None
        self.connection: ClientConnection | None = None
        self.open = ExitStack()
        self.due: Expected = Counter()
        self.asked = 0

    # -- the client ----------------------------------------------------------------------------------------------

    @initialize()
    def arrive(self) -> None:
        url = self.server.url.replace("http://", "ws://") + "/ws"
        self.open = ExitStack()
        self.connection = self.open.enter_context(connect(url, max_size=None))

    def say(self, **message: Any) -> None:
        assert self.connection is not None
        self.connection.send(json.dumps(message))

    def hear_until(self, kind: str, request_id: str) -> tuple[dict[str, Any], Expected]:
        """The answer to a request, and the events that came before it."""
        assert self.connection is not None
        events: Expected = Counter()
        while True:
            message = json.loads(self.connection.recv(timeout=20))
            if "id" in message:
                self.last_id = message["id"]
            if message.get("requestId") == request_id:
                assert message["type"] == kind, message
                return message, events
            if message["type"] in ("heartbeat", "snapshot"):
                continue
            assert message["type"] not in ("error", "resync"), message
            events[message["type"], message["flagKey"]] += 1

    def request(self) -> str:
        self.asked += 1
        return f"r{self.asked}"

    def settle(self) -> None:
        """Hear everything up to now: it is what was due, neither more nor less."""
        row = self.writer.connection.execute("select max(position) from flagent_cdc.commit_log").fetchone()
        assert row is not None
        id = self.request()
        self.say(type="evaluate", requestId=id, flagKey=self.prefix + "a", entityID="e", minPosition=str(row[0]))
        answer, events = self.hear_until("evaluation_result", id)
        assert int(answer["position"]) >= row[0]
        assert events == self.due
        self.due = Counter()

    def change(self, statement: str, *parameters: object) -> None:
        self.writer.connection.execute(statement.encode(), parameters)

    def expect(self, name: str, kinds: tuple[str, ...], flag_tags: set[str]) -> None:
        key = self.prefix + name
        for kind in kinds:
            if any(clause.selects(kind, key, flag_tags) for clause in self.clauses):
                self.due[kind, key] += 1

    # -- subscribing ---------------------------------------------------------------------------------------------

    @rule(flags=st.sets(names, max_size=2), tags=st.sets(tags, max_size=1), snapshot=st.booleans())
    def subscribe(self, flags: set[str], tags: set[str], snapshot: bool) -> None:
        if not flags and not tags:
            return
        self._subscribe(Clause(flags=self._keys(flags), tags=self._tags(tags), everything=False, types=set()), snapshot)

    @rule(types=st.sets(st.sampled_from(["flag_enabled", "flag_deleted", "flag_updated"]), max_size=2))
    def subscribe_all(self, types: set[str]) -> None:
        self._subscribe(Clause(flags=set(), tags=set(), everything=True, types=types), snapshot=False)

    def _subscribe(self, clause: Clause, snapshot: bool, last_event_id: str | None = None) -> None:
        id = self.request()
        wish: dict[str, Any] = {"type": "subscribe", "requestId": id, "types": sorted(clause.types)}
        wish |= {"flags": sorted(clause.flags), "tags": sorted(clause.tags), "subscribeAll": clause.everything}
        if last_event_id is not None:
            wish["lastEventId"] = last_event_id
        elif snapshot:
            wish["snapshot"] = True
        self.say(**{name: value for name, value in wish.items() if value not in ([], False)})
        _, events = self.hear_until("subscribed", id)
        assert not events
        self.clauses.append(clause)

    @precondition(lambda self: self.clauses)
    @rule()
    def unsubscribe(self) -> None:
        id = self.request()
        self.say(type="unsubscribe", requestId=id)
        answer, events = self.hear_until("unsubscribed", id)
        assert not events
        assert (answer["removed"], answer["selectors"]) == (None, 0)
        self.clauses = []

    # -- changing: only what can be changed, since a rule that does nothing tries nothing ------------------------------

    @precondition(lambda self: len(self.flags) < len(NAMES))
    @rule(data=st.data())
    def create(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from([name for name in NAMES if name not in self.flags]))
        self.writer.flag(self.prefix + name)
        self.flags[name], self.tags[name] = False, set()
        self.expect(name, ("flag_created",), set())
        self.settle()

    @precondition(lambda self: self.flags)
    @rule(data=st.data())
    def toggle(self, data: st.DataObject) -> None:
        self._toggle(data.draw(st.sampled_from(sorted(self.flags))))
        self.settle()

    def _toggle(self, name: str) -> None:
        self.change("update flags set enabled = not enabled where key = %s", self.prefix + name)
        self.flags[name] = not self.flags[name]
        kind = "flag_enabled" if self.flags[name] else "flag_disabled"
        self.expect(name, ("flag_updated", kind), self.tags[name])

    @precondition(lambda self: self.untagged())
    @rule(data=st.data())
    def tag(self, data: st.DataObject) -> None:
        name, value = data.draw(st.sampled_from(self.untagged()))
        self.change("insert into tags (value, created_at) values (%s, now()) on conflict do nothing", value)
        self.change(
            "insert into flags_tags (flag_id, tag_id) select f.id, t.id from flags f, tags t"
            " where f.key = %s and t.value = %s",
            self.prefix + name, value,
        )  # fmt: skip
        self.tags[name].add(value)
        self.expect(name, ("flag_updated",), self.tags[name])
        self.settle()

    def untagged(self) -> list[tuple[str, str]]:
        """The flags and the tags that they do not have."""
        return [
            (name, self.prefix + tag)
            for name, its in sorted(self.tags.items())
            for tag in TAGS
            if self.prefix + tag not in its
        ]

    @precondition(lambda self: any(self.tags.values()))
    @rule(data=st.data())
    def untag(self, data: st.DataObject) -> None:
        """Who follows a tag learns that a flag has left it."""
        name = data.draw(st.sampled_from(sorted(name for name, its in self.tags.items() if its)))
        self.change("delete from flags_tags where flag_id = (select id from flags where key = %s)", self.prefix + name)
        self.expect(name, ("flag_updated",), self.tags[name])
        self.tags[name] = set()
        self.settle()

    @precondition(lambda self: self.flags)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.flags)))
        self.change("delete from flags where key = %s", self.prefix + name)
        self.expect(name, ("flag_deleted",), self.tags[name])
        del self.flags[name], self.tags[name]
        self.settle()

    # -- asking, erring, leaving -----------------------------------------------------------------------------------

    @rule(name=names)
    def evaluate(self, name: str) -> None:
        id = self.request()
        self.say(type="evaluate", requestId=id, flagKey=self.prefix + name, entityID="e")
        answer, events = self.hear_until("evaluation_result", id)
        assert not events
        assert answer["result"]["variantID"] in (0, None)

    @rule(
        text=st.one_of(
            st.sampled_from(
                [
                    "{",
                    "[]",
                    '{"type": "sudo"}',
                    '{"type": "subscribe", "flags": 7}',
                    '{"type": "evaluate", "entityContext": 7}',
                ]
            ),
            st.text(max_size=20),
        )
    )
    def err(self, text: str) -> None:
        """Whatever is wrong is answered with an error, and the connection stays."""
        assert self.connection is not None
        self.connection.send(text)
        message = json.loads(self.connection.recv(timeout=20))
        while message["type"] in ("heartbeat", "snapshot"):
            message = json.loads(self.connection.recv(timeout=20))
        assert message["type"] == "error", message
        id = self.request()
        self.say(type="ping", requestId=id)
        self.hear_until("pong", id)

    @precondition(lambda self: len(self.clauses) == 1 and self.last_id)
    @rule(away=st.lists(names, max_size=3))
    def leave_and_come_back(self, away: list[str]) -> None:
        """With the last id: what was missed comes, once."""
        self.open.close()
        for name in away:
            if name in self.flags:
                self._toggle(name)
        self.arrive()
        (clause,), self.clauses = self.clauses, []
        self._subscribe(clause, snapshot=False, last_event_id=self.last_id)
        self.settle()

    def teardown(self) -> None:
        self.open.close()

    def _keys(self, flags: set[str]) -> set[str]:
        return {self.prefix + name for name in flags}

    def _tags(self, tags: set[str]) -> set[str]:
        return {self.prefix + tag for tag in tags}


async def test_whatever_is_said_the_model_knows_the_answer(database_url: str) -> None:
    server = ServerProcess(database_url)
    server.start()
    try:
        await server.ready()
        with Writer(database_url) as writer:
            Conversation.server, Conversation.writer, Conversation.examples = server, writer, 0
            run_state_machine_as_test(
                Conversation,
                settings=settings(
                    max_examples=120, stateful_step_count=30, deadline=None, derandomize=True, database=None,
                    suppress_health_check=list(HealthCheck),
                ),
            )  # fmt: skip
            with psycopg.connect(database_url) as connection:
                row = connection.execute("select count(*) from flagent_cdc.commit_log").fetchone()
            assert row is not None
            assert row[0] > 500, "hardly anything was tried"
    finally:
        server.kill()
