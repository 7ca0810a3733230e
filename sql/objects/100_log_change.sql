-- log_change: writes one change into the change log, into the transaction's open batch or as the first of a new one.
--
-- Called by: capture(), capture_truncate() and attach(), always inside the transaction that makes the change.
-- Costs:     one insert and one setting; about 6 µs for the rows of a bulk change.
-- May raise: only what any insert may raise (disk full, out of memory).
--
-- What belongs to the transaction travels in transaction-local settings, because they roll back with a savepoint:
--   flagent_cdc.transaction  its id, while a batch is open; a value left over from elsewhere is thus harmless
--   flagent_cdc.batch        the open batch
--   flagent_cdc.first        where its first change stands, the one whose trigger has the batch sealed
--   flagent_cdc.count        the number of its last change
--
-- Any writer can set them to anything, and must not be able to hide or to invent a change by it. What a session has last
-- drawn from a sequence it cannot set without rights on it, so that is believed:
--   change_batch             the last batch that this session opened; seal() draws once more, so a sealed one is not it
--   lone_batch               the same, while it has one change; from the second one on its last change's number, negative:
--                            a later change never gets a lower one, which would have it told first. Nothing takes back
--                            what was drawn, so a savepoint that is rolled back leaves a hole.
-- A change joins a batch only where that is the last one drawn and its first change is found in its place, which a
-- savepoint may have rolled back; what cannot be proven opens a batch of its own. A place is looked up, not an index,
-- because reading an index that others write to would make SERIALIZABLE writers fail each other; and by the INSERT
-- itself, which costs 1 µs.
--
-- Assignments instead of PERFORM: plpgsql evaluates them without starting a query.
create or replace function flagent_cdc.log_change(
    in_schema text, in_table text, in_op text, in_key json, in_before json, in_after json
) returns integer
    language plpgsql
    as $$
declare
    xid      text := pg_catalog.pg_current_xact_id();
    in_batch bigint;
    in_id    integer;
    first    tid;
    ignored  text;
begin
    if pg_catalog.current_setting('flagent_cdc.transaction', true) = xid then
        in_batch := pg_catalog.current_setting('flagent_cdc.batch');
        in_id := greatest(
            pg_catalog.current_setting('flagent_cdc.count')::integer, -pg_catalog.currval('flagent_cdc.lone_batch'), 1
        ) + 1;
        first := pg_catalog.current_setting('flagent_cdc.first');
        if in_batch = pg_catalog.currval('flagent_cdc.change_batch') then
            insert into flagent_cdc.change_log (batch, id, schema_name, table_name, op, key, before, after)
            select f.batch, in_id, in_schema, in_table, in_op, in_key, in_before, in_after
              from flagent_cdc.change_log_first f
             where f.ctid = first and f.batch = in_batch;
            if found then
                ignored := pg_catalog.setval('flagent_cdc.lone_batch', -in_id)
                    || pg_catalog.set_config('flagent_cdc.count', in_id::text, true);
                return in_id;
            end if;
        end if;
    end if;

    in_batch := pg_catalog.nextval('flagent_cdc.change_batch');
    ignored := pg_catalog.setval('flagent_cdc.lone_batch', in_batch);
    insert into flagent_cdc.change_log_first as f (batch, id, schema_name, table_name, op, key, before, after)
    values (in_batch, 1, in_schema, in_table, in_op, in_key, in_before, in_after)
    returning f.ctid into first;
    ignored := pg_catalog.set_config('flagent_cdc.transaction', xid, true)
        || pg_catalog.set_config('flagent_cdc.batch', in_batch::text, true)
        || pg_catalog.set_config('flagent_cdc.first', first::text, true)
        || pg_catalog.set_config('flagent_cdc.count', '1', true);
    return 1;
end
$$;

revoke all on function flagent_cdc.log_change(text, text, text, json, json, json) from public;
