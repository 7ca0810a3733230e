-- log_schema_change: logs that the columns of a watched table are not those that it had when they were looked at last, or that
-- its rows were rewritten; answers whether it was so.
--
-- Called by: log_ddl() and watch(), in the transaction that makes the change, and log_schema_changes().
-- Arguments: the row of watched_table; whether rows are known to have been rewritten.
-- Logs:      the operation schema. Its images are {"columns": [{"name", "type"}]}, that after it with "rewritten": whether
--            rows hold something else now that no change in the log says. Only a column that was added empty leaves them as
--            they were, and a type that differs in its length alone.
-- Locks:     the row of watched_table. Where another transaction has it, that one logs the change, or log_schema_changes()
--            will.
create or replace function flagent_cdc.log_schema_change(in_id integer, in_rewritten boolean) returns boolean
    language plpgsql
    as $$
declare
    relation  constant oid := flagent_cdc.watched_relation(in_id);
    one       flagent_cdc.watched_table;
    present   jsonb;
    rewritten boolean;
begin
    select w.* into one from flagent_cdc.watched_table w where w.id = in_id;
    if relation is null or one.id is null
        or one.columns = flagent_cdc.published_columns(relation, one.options) and not in_rewritten
    then
        return false;
    end if;
    -- A concurrent change may have been committed in between: hence the second look, behind the lock.
    select w.* into one from flagent_cdc.watched_table w where w.id = in_id for no key update skip locked;
    present := flagent_cdc.published_columns(relation, one.options);
    if one.id is null or one.columns = present and not in_rewritten then
        return false;
    end if;
    update flagent_cdc.watched_table w set columns = present where w.id = in_id;
    if one.columns is null then
        return false; -- what they were before is not known
    end if;

    rewritten := in_rewritten or exists (
        select
          from pg_catalog.jsonb_to_recordset(one.columns) o (number integer, name text, type text)
          full join pg_catalog.jsonb_to_recordset(present) n (number integer, name text, type text)
            on n.number = o.number
          left join pg_catalog.pg_attribute a on a.attrelid = relation and a.attnum = n.number
         where n.number is null
            or n.name <> o.name
            or flagent_cdc.stored_type(n.type) <> flagent_cdc.stored_type(o.type)
            or o.number is null and (a.atthasdef or a.atthasmissing or a.attidentity <> '')
    );
    perform flagent_cdc.log_watched_change(
                one.options, n.nspname, c.relname, 'schema', null,
                pg_catalog.json_build_object('columns', flagent_cdc.named_columns(one.columns)),
                pg_catalog.json_build_object('columns', flagent_cdc.named_columns(present), 'rewritten', rewritten)
            )
       from pg_catalog.pg_class c
       join pg_catalog.pg_namespace n on n.oid = c.relnamespace
      where c.oid = relation;
    return true;
end
$$;

revoke all on function flagent_cdc.log_schema_change(integer, boolean) from public;
