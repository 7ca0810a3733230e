-- Where this server is in the history of its cluster.

-- precedes: Whether this server is on an earlier timeline than a log.
select flagent_cdc.precedes(%(log)s);
