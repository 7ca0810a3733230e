-- log_change: writes one change into the change log, into the transaction's open batch or as the first of a new one.
--
-- Called by: capture(), capture_update(), capture_truncate() and attach(), always inside the transaction that makes the
--            change.
-- Costs:     one insert, one setting and one setval; about 7 µs for the rows of a bulk change.
-- May raise: only what any insert may raise (disk full, out of memory).
--
-- What belongs to the transaction travels in a transaction-local setting, because that rolls back with a savepoint:
--   flagent_cdc.open   <the transaction's id>/<its open batch>/<where the batch's first change stands, the one whose
--                      trigger has it sealed>/<the number of its last change>; left over from elsewhere it is harmless
--
-- Any writer can set it to anything, and must not be able to hide or to invent a change by it. What a session has last
-- drawn from a sequence it cannot set without rights on it, so that is believed:
--   change_batch       the last batch that this session opened; seal() draws once more, so a sealed one is not it
--   lone_batch         the same, while it has one change; from the second one on its last change's number, negative: a
--                      later change never gets a lower one, which would have it told first. Nothing takes back what was
--                      drawn, so a savepoint that is rolled back leaves a hole.
-- A change joins a batch only where that is the last one drawn and its first change is found in its place, which a
-- savepoint may have rolled back; what cannot be proven opens a batch of its own. A place is looked up, not an index,
-- because reading an index that others write to would make SERIALIZABLE writers fail each other; and by the INSERT
-- itself, which costs 1 µs.
--
-- Assignments instead of PERFORM: plpgsql evaluates them without starting a query. What the INSERT can do itself is done in
-- its RETURNING, which costs least.
create or replace function flagent_cdc.log_change(
    in_schema text, in_table text, in_op text, in_key json, in_before json, in_after json
) returns integer
    language plpgsql
    as $$
declare
    xid      constant text := pg_catalog.pg_current_xact_id();
    open     constant text := pg_catalog.current_setting('flagent_cdc.open', true);
    in_batch bigint;
    in_id    integer;
    ignored  text;
begin
    if pg_catalog.split_part(open, '/', 1) = xid then
        in_batch := pg_catalog.split_part(open, '/', 2);
        if in_batch = pg_catalog.currval('flagent_cdc.change_batch') then
            in_id := greatest(-pg_catalog.currval('flagent_cdc.lone_batch'), 1) + 1;
            insert into flagent_cdc.change_log (batch, id, schema_name, table_name, op, key, before, after)
            select in_batch, in_id, in_schema, in_table, in_op, in_key, in_before, in_after
              from flagent_cdc.change_log_first f
             where f.ctid = pg_catalog.split_part(open, '/', 3)::tid and f.batch = in_batch;
            if found then
                ignored := pg_catalog.setval('flagent_cdc.lone_batch', -in_id)
                    || pg_catalog.set_config(
                        'flagent_cdc.open',
                        pg_catalog.concat(xid, '/', in_batch, '/', pg_catalog.split_part(open, '/', 3), '/', in_id),
                        true
                    );
                return in_id;
            end if;
        end if;
    end if;

    insert into flagent_cdc.change_log_first as f (batch, id, schema_name, table_name, op, key, before, after)
    values (
        pg_catalog.nextval('flagent_cdc.change_batch'), 1, in_schema, in_table, in_op, in_key, in_before, in_after
    )
    returning pg_catalog.set_config(
        'flagent_cdc.open',
        pg_catalog.concat(xid, '/', pg_catalog.setval('flagent_cdc.lone_batch', f.batch), '/', f.ctid, '/1'),
        true
    ) into ignored;
    return 1;
end
$$;

revoke all on function flagent_cdc.log_change(text, text, text, json, json, json) from public;
