"""A flag at rest: its rows packed, its JSON encoded once, and the few properties by which flags are chosen.

Nothing in it changes but what it remembers of itself, so every copy of a catalog, and every snapshot that is being
sent, shares it. When the flag changes, another one takes its place: two of them are the same version of a flag exactly
if they are the same object.
"""

from ..text.json_text import encode
from .events import FlagScope
from .flag import FlagJson
from .flag_bound import FlagBound
from .flag_rows import FlagRows

__all__ = ["StoredFlag"]


class StoredFlag:
    """One version of one flag. One that is not live (soft-deleted, or only its parts are known) is only kept."""

    __slots__ = ("_crc", "_packed", "_text", "id", "is_live", "key", "scope")

    def __init__(self, flag_id: int, key: str, scope: FlagScope, packed: bytes, *, is_live: bool) -> None:
        self.id = flag_id
        self.key = key
        self.scope = scope
        self.is_live = is_live
        self._packed = packed
        self._text: bytes | None = None
        self._crc: int | None = None

    def rows(self) -> FlagRows:
        """Its rows, a new object at each call."""
        return FlagRows.unpack(self._packed)

    def render(self) -> FlagJson:
        """The flag in the REST shape, a new object at each call; it must be live."""
        return self.rows().render()

    def render_for_evaluation(self) -> FlagJson:
        """The same with the attachments for evaluation: with the quotes that the REST view strips."""
        rows = self.rows()
        flag, attachments = rows.render(), rows.attachments()
        variants = [{**variant, "attachment": attachments[variant["id"]]} for variant in flag["variants"]]
        return {**flag, "variants": variants}

    def text(self, bound: FlagBound, flag: FlagJson | None = None) -> bytes:
        """Its JSON as subscribers get it. `bound` must be the same at each call; `flag` is what `render` returned."""
        if self._text is None:
            self._text = bound.sent_with_text(self.render() if flag is None else flag)[1].encode()
        return self._text

    def text_with_schema(self, bound: FlagBound, schema: str) -> bytes:
        """The same with the schema, for readers of several schemas."""
        return b'%b,"schema":%b}' % (self.text(bound)[:-1], encode(schema).encode())

    def crc(self, bound: FlagBound) -> int:
        """The `FlagBound.crc` of it, under the same condition."""
        if self._crc is None:
            flag = self.render()
            self._crc = bound.crc(flag)
            self.text(bound, flag)
        return self._crc

    @property
    def known_crc(self) -> int:
        """What `crc` has returned."""
        assert self._crc is not None, "its CRC was not asked for"
        return self._crc

    def forget_encodings(self) -> None:
        """Before another bound is used."""
        self._text = self._crc = None
