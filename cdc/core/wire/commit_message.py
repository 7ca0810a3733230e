"""A commit as messages of a JetStream stream: split into parts, and put together again.

A commit is one message for each table that it changed, so that others can subscribe to the tables they want; nearly
all commits are a single one. Larger ones are cut to what a message may hold: between two changes where possible, else
within one, and then only the data of all messages up to the next that is not continued are JSON. The messages of one
commit are adjacent. A reader acts on a commit when it has them all, and never on a part.

Each message says in its headers which log and position it is of, which position it follows, and which part it is;
`start` is the sequence number of the first part, so that two attempts at the same commit are never mixed.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..log.change import Change, Commit, decode_change, read_commit
from ..log.continuity import CommitFingerprint
from ..log.position import LogId, Position
from ..text.exact_json import JsonText
from ..text.json_text import encode_members

__all__ = ["Assembler", "IncompleteCommit", "MessagePart", "PartHeader", "pack", "subject_token"]

_LOG, _POSITION, _AFTER = "Flagent-Cdc-Log", "Flagent-Cdc-Position", "Flagent-Cdc-After"
_STAMP, _PART, _CONTINUES = "Flagent-Cdc-Stamp", "Flagent-Cdc-Part", "Flagent-Cdc-Continues"

_PART_FORM = re.compile(r"(\d{1,9})/(\d{1,9})@(\d{1,19})", re.ASCII)
_SUBJECT_SAFE = re.compile(r"[^A-Za-z0-9_-]")


@dataclass(frozen=True, slots=True)
class MessagePart:
    """One message of a commit, before it is sent. `part` counts from 1; where `continues`, its JSON goes on."""

    schema: str
    table: str
    number: int
    of: int
    continues: bool
    data: bytes


@dataclass(frozen=True, slots=True)
class PartHeader:
    """What the headers of a message say. `after` is the position that the commit follows."""

    log: LogId
    position: Position
    after: Position
    committed_at: str
    xid: int
    number: int
    of: int
    start: int
    continues: bool

    @property
    def stamp(self) -> CommitFingerprint:
        return CommitFingerprint(self.position, self.committed_at, self.xid)

    @property
    def is_last(self) -> bool:
        return self.number == self.of

    def headers(self) -> dict[str, str]:
        written = {
            _LOG: self.log,
            _POSITION: str(self.position),
            _AFTER: str(self.after),
            _STAMP: f"{self.committed_at} {self.xid}",
            _PART: f"{self.number}/{self.of}@{self.start}",
        }
        return {**written, _CONTINUES: "true"} if self.continues else written

    @property
    def message_id(self) -> str:
        """The log, the position and the commit's hash: JetStream drops what has the id of an earlier message, and a
        position may be used again. A commit of several parts names part and attempt as well."""
        whole = f"{self.log}:{self.position}:{self.stamp.hash}"
        return whole if self.of == 1 else f"{whole}:{self.number}@{self.start}"

    @classmethod
    def read(cls, headers: Mapping[str, str] | None) -> "PartHeader | None":
        """None where the message is not one of ours."""
        try:
            assert headers is not None
            committed_at, _, xid = headers[_STAMP].partition(" ")
            part = _PART_FORM.fullmatch(headers[_PART])
            assert part is not None
            return cls(
                LogId(headers[_LOG]),
                Position(int(headers[_POSITION])),
                Position(int(headers[_AFTER])),
                committed_at,
                int(xid),
                int(part[1]),
                int(part[2]),
                int(part[3]),
                _CONTINUES in headers,
            )
        except (AssertionError, KeyError, ValueError):
            return None


def subject_token(name: str) -> str:
    """A schema or table as one part of a subject: what is not a letter, digit, `_` or `-` as `%` and hex of UTF-8.

    >>> subject_token("flags"), subject_token("my table"), subject_token("a.b*")
    ('flags', 'my%20table', 'a%2Eb%2A')
    """
    return _SUBJECT_SAFE.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), name)


def pack(commit: Commit, log: LogId, limit_bytes: int) -> list[MessagePart]:
    """The messages of a commit, each with at most `limit_bytes` of data; the same for the same arguments."""
    head = json.dumps(
        {
            "log": log,
            "position": str(commit.position),
            "committedAt": commit.committed_at,
            "xid": commit.xid,
            "user": commit.user,
            "application": commit.application,
        },
        ensure_ascii=False,
    )[:-1]
    by_table: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for number, change in enumerate(commit.changes):
        text = _text(change, commit.indexes[number] if commit.indexes else None)
        by_table.setdefault((change.schema, change.table), []).append((number, text))
    pieces: list[tuple[str, str, bool, bytes]] = []
    for (schema, table), changes in by_table.items():
        for group in _groups(changes, limit_bytes - len(_bytes(head)) - 64):
            order = "" if len(changes) == len(commit.changes) == len(group) else f', "order": {[n for n, _ in group]}'
            data = _bytes(f'{head}{order}, "changes": [{", ".join([text for _, text in group])}]}}')
            for start in range(0, len(data), limit_bytes):
                end = start + limit_bytes
                pieces.append((schema, table, end < len(data), data[start:end]))
    return [
        MessagePart(schema, table, number, len(pieces), continues, data)
        for number, (schema, table, continues, data) in enumerate(pieces, 1)
    ]


def _text(change: Change, index: int | None) -> str:
    rows = {"key": change.key, "before": change.before, "after": change.after}
    named = {"schema": change.schema, "table": change.table, "op": change.op}
    numbers = {"sequence": change.sequence, "index": index}
    return encode_members(
        named
        | {name: JsonText(row.text) for name, row in rows.items() if row is not None}
        | {name: number for name, number in numbers.items() if number is not None}
    )


def _bytes(text: str) -> bytes:
    """The bytes that the database sent, also those that are not UTF-8."""
    return text.encode("utf-8", "surrogateescape")


def _groups(changes: list[tuple[int, str]], limit_bytes: int) -> Iterator[list[tuple[int, str]]]:
    """As many changes together as fit, at least one."""
    group: list[tuple[int, str]] = []
    size_bytes = 0
    for number, text in changes:
        # The text, its number in the order, and what separates them from the next.
        more_bytes = (len(text) if text.isascii() else len(_bytes(text))) + len(str(number)) + 4
        if group and size_bytes + more_bytes > limit_bytes:
            yield group
            group, size_bytes = [], 0
        group.append((number, text))
        size_bytes += more_bytes
    if group:
        yield group


@dataclass(frozen=True, slots=True)
class IncompleteCommit:
    """A part came without those before it: reading began in the middle of a commit, or something is missing."""

    position: Position


class Assembler:
    """Puts commits together from the messages of a JetStream stream, given in their order."""

    def __init__(self) -> None:
        self._headers: list[PartHeader] = []
        self._changes: list[tuple[int, Change, int | None]] = []
        self._head: Mapping[str, object] = {}
        self._pieces: list[bytes] = []

    @property
    def size_bytes(self) -> int:
        """What it holds of a message that is not complete."""
        return sum(map(len, self._pieces))

    def take(self, header: PartHeader, data: bytes) -> Commit | IncompleteCommit | None:
        """The commit that this message completes, None while parts of it are to come.

        A first part begins anew: the relay that sent the parts before it was interrupted, and another one starts over.
        Raises `ValueError` for data that are not what the header says.
        """
        if header.number == 1:
            self._headers, self._changes, self._pieces = [], [], []
        elif not self._headers or not _follows(header, self._headers[-1]):
            self._headers = []
            return IncompleteCommit(header.position)
        self._headers.append(header)
        self._pieces.append(data)
        if not header.continues:
            text, self._pieces = b"".join(self._pieces), []
            self._read(text.decode("utf-8", "surrogateescape"))
        if not header.is_last:
            return None
        self._headers = []
        ordered = sorted(self._changes, key=lambda each: each[0])
        changes = tuple(change for _, change, _ in ordered)
        indexes = tuple(index for _, _, index in ordered if index is not None)
        user, application = str(self._head["user"]), str(self._head["application"])
        return Commit(header.position, header.committed_at, header.xid, user, application, changes, indexes=indexes)

    def _read(self, text: str) -> None:
        try:
            self._head = raw = read_commit(text)
            changes = [decode_change(change) for change in raw["changes"]]
            order = raw.get("order", range(len(changes)))
            indexes = [change.get("index") for change in raw["changes"]]
            self._changes.extend(zip(order, changes, indexes, strict=True))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"a message of a commit that cannot be read: {error!r}") from error


def _follows(header: PartHeader, last: PartHeader) -> bool:
    return (header.log, header.position, header.of, header.start, header.number) == (
        last.log,
        last.position,
        last.of,
        last.start,
        last.number + 1,
    )
