"""Encoding and decoding of everything between server and client.

`encoded` encodes an event once for all subscribers; `sse` and `websocket` frame it; `message` and `query` parse
requests.
"""
