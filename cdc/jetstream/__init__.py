"""The tier beyond one database's listeners: the log on NATS JetStream.

A relay copies every commit from PostgreSQL into a JetStream stream. Nodes read that and the snapshots in an object
store beside it, and never connect to PostgreSQL. Ids, order and promises stay the same: the change log in PostgreSQL
is the truth, and the JetStream stream is a copy in which every message names its position and the one before it.
"""
