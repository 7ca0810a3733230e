-- own_group: the number of this transaction's group of changes in a lane; 0 is the flags' lane.
--
-- Made of the transaction's id, so that a writer's session draws from no sequence: lastval() stays the writer's, and DISCARD
-- SEQUENCES takes nothing away. From the lowest bit: 42 bits transaction id, 15 bits lane, one bit that is set, which numbers
-- of earlier versions do not reach, and 5 bits for further groups of the same transaction, see join_group().
create or replace function flagent_cdc.own_group(in_lane integer) returns bigint
    language sql
    stable
    as $$
    select pg_catalog.int8or(
        pg_catalog.int8or(1::bigint operator(pg_catalog.<<) 57, (in_lane % 32768)::bigint operator(pg_catalog.<<) 42),
        pg_catalog.pg_current_xact_id()::text::bigint
    )
$$;

revoke all on function flagent_cdc.own_group(integer) from public;
