-- is_there: whether the row that stands in a place is still the newest one, and not only what an old snapshot sees.
--
-- Called by: capture_truncate() and capture_watched_truncate(), while the table is locked exclusively.
-- Costs:     1 µs; in REPEATABLE READ and SERIALIZABLE a subtransaction and a row lock, about 20 µs.
-- May raise: insufficient_privilege.
--
-- In these two, what a transaction sees is as old as its first statement, and TRUNCATE empties the table as it is now. A row
-- that somebody else has changed or deleted since then cannot be locked, and was told of by them. What was added since then
-- no statement can find.
create or replace function flagent_cdc.is_there(in_table oid, in_place tid) returns boolean
    language plpgsql
    as $$
begin
    if pg_catalog.current_setting('transaction_isolation') not like 'read %' then
        begin
            execute pg_catalog.format('select from only %s t where t.ctid = $1 for share', in_table::regclass)
              using in_place;
        exception
            when serialization_failure then return false;
        end;
    end if;
    return true;
end
$$;

revoke all on function flagent_cdc.is_there(oid, tid) from public;
