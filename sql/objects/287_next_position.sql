-- next_position: draws the next position from a lane's sequence, whose lock the caller holds.
--
-- Without nextval(), which would change what lastval() answers in the writer's session. A sequence is read and set outside of
-- transactions and snapshots, so that the next holder of the lock sees this value.
create or replace function flagent_cdc.next_position(in_sequence regclass) returns bigint
    language sql
    volatile
    as $$
    select pg_catalog.setval(in_sequence, coalesce(pg_catalog.pg_sequence_last_value(in_sequence), 0) + 1)
$$;

revoke all on function flagent_cdc.next_position(regclass) from public;
