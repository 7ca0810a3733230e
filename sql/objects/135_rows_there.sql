-- rows_there: every row that a table has now, as JSON; of its own rows alone, not of those of its partitions.
--
-- Called by: capture_truncate() and capture_watched_truncate(), while the table is locked exclusively.
-- Arguments: a condition on the row t, with its WHERE, or ''.
-- Costs:     a scan; in REPEATABLE READ and SERIALIZABLE a subtransaction and a row lock for each row, about 20 µs.
-- May raise: insufficient_privilege.
--
-- In these two, what a transaction sees is as old as its first statement, and TRUNCATE empties the table as it is now. A row
-- that somebody else has changed or deleted since then fails the lock, and was told of by them. What was added since then no
-- statement can find: it is left out.
create or replace function flagent_cdc.rows_there(in_table oid, in_condition text) returns setof json
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
declare
    rows  constant text := format('from only %s t %s', in_table::regclass, in_condition);
    place tid;
    image json;
begin
    if current_setting('transaction_isolation') like 'read %' then
        return query execute 'select to_json(t) ' || rows;
        return;
    end if;
    for place in execute 'select t.ctid ' || rows loop
        begin
            execute format('select to_json(t) from only %s t where t.ctid = $1 for share', in_table::regclass)
               into image
              using place;
            return next image;
        exception
            when serialization_failure then null; -- not there any more
        end;
    end loop;
end
$$;

revoke all on function flagent_cdc.rows_there(oid, text) from public;
