"""Adds the time of sending to encoded events, for the option `stamps`."""

__all__ = ["block_with_sent_at", "text_with_sent_at"]

_END = b"}\n\n"


def text_with_sent_at(text: str, sent_at: str) -> str:
    """The text of an object, with `sentAt` as its last field."""
    return f'{text[:-1]},"sentAt":"{sent_at}"}}'


def block_with_sent_at(block: bytes, sent_at: str) -> bytes:
    """An SSE block whose data is an object, with `sentAt` as its last field."""
    if not block.endswith(_END):
        raise ValueError("the block does not end with an object")
    return b'%b,"sentAt":"%b"}\n\n' % (block[: -len(_END)], sent_at.encode())
