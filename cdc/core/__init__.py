"""The pure core: no sockets, clock, randomness or environment; the standard library only.

The path of a change through it: `change` (what the database reported) → `catalog` (what it means) → `events`
(what subscribers are told) → `selection` (who is told) → `wire` (in which bytes).
"""
