"""The pure core: no sockets, clock, randomness or environment; standard library only.

A change passes through `log` (changes and commits) → `flags` (the catalog turns commits into events) → `subscription`
(which subscribers receive an event) → `wire` (encoding).
"""
