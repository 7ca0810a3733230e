"""The bytes and texts between server and client: the only place that knows how they are spelled.

`encoded` turns an event into text once for everybody; `sse` and `websocket` frame it; `message` and `query` read what
clients send.
"""
