"""The tier beyond one database's listeners: the log on NATS JetStream.

A relay copies every commit from PostgreSQL into a stream; nodes are fed by that stream, and by snapshots in an object
store beside it, and never touch PostgreSQL. Ids, order and promises stay the same: the log in PostgreSQL is the truth,
and the stream is a copy that says of every message which position it is and which it follows.
"""
