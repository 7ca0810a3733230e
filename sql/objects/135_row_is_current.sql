-- row_is_current: whether the row at a place is still the newest version, and not only what an old snapshot sees.
--
-- Called by: capture_truncate() and capture_watched_truncate(), while the table is locked exclusively.
-- Costs:     1 µs; in REPEATABLE READ and SERIALIZABLE a subtransaction and a row lock, about 20 µs.
-- May raise: insufficient_privilege.
--
-- At these two isolation levels a transaction sees the table as of its first statement, but TRUNCATE empties it as of now.
-- A row that another transaction has changed or deleted since cannot be locked, and that transaction has logged it. Rows
-- added since are invisible to every statement here.
create or replace function flagent_cdc.row_is_current(in_table oid, in_place tid) returns boolean
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

revoke all on function flagent_cdc.row_is_current(oid, tid) from public;
