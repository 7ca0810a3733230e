-- watchable: the table of a name, if it may be watched.
--
-- May raise: undefined_table, wrong_object_type, insufficient_privilege or invalid_parameter_value, with a sentence.
create or replace function flagent_cdc.watchable(in_name text) returns oid
    language plpgsql
    stable
    as $$
declare
    relation record;
    named    text;
begin
    select c.oid, c.relname, c.relkind, c.relispartition, c.relpersistence, c.relowner, n.nspname into relation
      from pg_catalog.pg_class c
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where c.oid = pg_catalog.to_regclass(in_name);
    if relation.oid is null then
        raise exception using errcode = 'undefined_table', message = pg_catalog.format('there is no table %s', in_name);
    end if;
    named := pg_catalog.format('%I.%I', relation.nspname, relation.relname);
    if relation.relkind not in ('r', 'p') then
        raise exception using
            errcode = 'wrong_object_type',
            message = named || case relation.relkind
                when 'v' then ' is a view: watch the tables that it reads'
                when 'm' then ' is a materialized view: watch the tables that it reads'
                when 'f' then ' is a foreign table: its changes happen on another server'
                else ' is not a table'
            end;
    elsif relation.nspname = 'flagent_cdc' then
        raise exception using
            errcode = 'invalid_parameter_value', message = named || ' belongs to flagent-cdc itself';
    elsif relation.nspname in ('pg_catalog', 'information_schema') or relation.nspname like 'pg\_toast%' then
        raise exception using errcode = 'invalid_parameter_value', message = named || ' is a table of the system';
    elsif relation.relpersistence = 't' then
        raise exception using
            errcode = 'invalid_parameter_value', message = named || ' is temporary: only its own session sees it';
    elsif exists (
        select from flagent_cdc.parts_of(relation.oid) p (oid)
          join pg_catalog.pg_class c on c.oid = p.oid
         where c.relpersistence = 'u'
    ) then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = named || ' is unlogged, or a partition of it: a crash empties it without a change; alter table ... set logged';
    elsif relation.relispartition then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = pg_catalog.format(
                '%s is a partition: watch %s', named,
                (select pg_catalog.format('%I.%I', n.nspname, c.relname)
                   from pg_catalog.pg_class c
                   join pg_catalog.pg_namespace n on n.oid = c.relnamespace
                  where c.oid = pg_catalog.pg_partition_root(relation.oid))
            );
    elsif relation.relname = any (flagent_cdc.flagent_tables())
        and exists (select from flagent_cdc.attachment a where a.schema_name = relation.nspname)
    then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = named || ' is one of Flagent''s tables: its changes come as events of flags already';
    elsif not pg_catalog.pg_has_role(current_user, relation.relowner, 'usage') then
        raise exception using
            errcode = 'insufficient_privilege',
            message = pg_catalog.format('%s must be an owner of %s to watch it', current_user, named);
    end if;
    return relation.oid;
end
$$;

revoke all on function flagent_cdc.watchable(text) from public;
