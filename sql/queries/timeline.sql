-- Where this server is in the history of its cluster.

-- precedes: Whether this server is on an earlier timeline than a log.
select flagent_cdc.precedes(%(log)s);

-- is_standby: Whether this server follows another one, so that nothing can be changed here.
select pg_catalog.pg_is_in_recovery();
