"""Everything of its own that a session can see, asked in one query: the same with and without our triggers.

Left out is what is ours by its nature: locks on our own tables, and our own placeholders among the settings. Locks on
catalogs and indexes, and what serializable transactions have read, come and go with plans, and are left out too; so are
locks that exclude nothing that the session does not exclude anyway.
"""

import psycopg

__all__ = ["STATE", "create_probe"]

STATE = "select item, value from app_probe.state() order by 1, 2"

_FUNCTION = r"""
create schema app_probe;
grant usage on schema app_probe to public;
create function app_probe.value_of(in_query text) returns text language plpgsql as $$
declare answer text;
begin
    execute in_query into answer;
    return answer;
exception when others then
    return sqlstate || ' ' || sqlerrm;
end $$;
create view app_probe.ours as
    select c.oid from pg_catalog.pg_class c
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where n.nspname in ('flagent_cdc', 'app_probe')
    union
    select c.reltoastrelid from pg_catalog.pg_class c
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where n.nspname = 'flagent_cdc';
grant select on app_probe.ours to public;
create function app_probe.state() returns table (item text, value text) language sql as $$
    select 'lastval', app_probe.value_of('select pg_catalog.lastval()')
    union all
    select 'currval of ' || c.relname, v.value
      from pg_catalog.pg_class c
     cross join app_probe.value_of(pg_catalog.format('select pg_catalog.currval(%L::oid)', c.oid)) v (value)
     where c.relkind = 'S' and c.relnamespace in ('app'::regnamespace, 'public'::regnamespace)
       and v.value not like '55000%'
    union all
    select 'setting ' || s.name, s.setting || ' from ' || s.source
      from pg_catalog.pg_settings s
     where s.source in ('session', 'client', 'interactive') and s.name not like 'flagent\_cdc.%'
    union all
    select 'temporary ' || c.relkind::text, c.relname
      from pg_catalog.pg_class c where c.relnamespace = pg_catalog.pg_my_temp_schema()
    union all
    select 'prepared', p.name from pg_catalog.pg_prepared_statements p where p.from_sql
    union all
    select 'cursor', p.name from pg_catalog.pg_cursors p where p.name <> ''
    union all
    select 'listens', c from pg_catalog.pg_listening_channels() c
    union all
    select 'lock on ' || l.locktype, pg_catalog.concat_ws(' ', c.relname, l.mode)
      from pg_catalog.pg_locks l
      left join pg_catalog.pg_class c on c.oid = l.relation
     where l.pid = pg_catalog.pg_backend_pid()
       and l.locktype not in ('virtualxid', 'transactionid', 'advisory')
       and l.relation not in (select o.oid from app_probe.ours o)
       and c.relnamespace <> 'pg_catalog'::regnamespace
       and c.relkind not in ('i', 'I', 't')
       and l.mode <> 'SIReadLock'
       and not (l.mode <> 'AccessExclusiveLock' and exists (
           select from pg_catalog.pg_locks x
            where x.pid = l.pid and x.relation = l.relation and x.mode = 'AccessExclusiveLock'
       ))
     group by 1, 2
    union all
    select 'lock on ' || l.locktype, pg_catalog.concat_ws(' ', l.classid, l.objid, l.mode, l.granted)
      from pg_catalog.pg_locks l
     where l.pid = pg_catalog.pg_backend_pid() and l.locktype = 'advisory' and l.classid = 0 and l.objid < 100
    union all
    select 'transaction', pg_catalog.concat_ws(
        ' ', pg_catalog.pg_current_xact_id_if_assigned() is not null,
        pg_catalog.current_setting('transaction_isolation'), current_user, session_user
    )
$$;
"""


def create_probe(connection: psycopg.Connection) -> None:
    connection.execute(_FUNCTION)
