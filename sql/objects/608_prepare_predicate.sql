-- prepare_predicate: makes the functions that evaluate predicates with the rights of a table's owner, where that is another
-- role than the owner of flagent_cdc: copies of matches_predicate() and predicate_error() that belong to it.
--
-- Called by: watch(), and by an upgrade for the tables that are watched already: copies of an earlier version are renewed.
-- Needs:     to own flagent_cdc, and to be a member of the table's owner, as watch() does.
create or replace function flagent_cdc.prepare_predicate(in_table oid) returns void
    language plpgsql
    as $$
declare
    copied  record;
    owner   name;
    ours    name;
    missing text;
begin
    select pg_catalog.pg_get_userbyid(c.relowner), pg_catalog.pg_get_userbyid(n.nspowner) into owner, ours
      from pg_catalog.pg_class c, pg_catalog.pg_namespace n
     where c.oid = in_table and n.nspname = 'flagent_cdc';
    if owner = ours then
        return;
    end if;
    select pg_catalog.string_agg(r.name, ', ') into missing
      from (values ('usage'), ('create')) as r (name)
     where not pg_catalog.has_schema_privilege(owner, 'flagent_cdc', r.name);
    if missing is not null then
        execute pg_catalog.format('grant %s on schema flagent_cdc to %I', missing, owner);
    end if;
    for copied in
        select p.proname || '_for_' || c.relowner as name, p.prosrc as body,
               pg_catalog.pg_get_function_arguments(p.oid) as arguments, p.prorettype::regtype as returns, p.proisstrict as is_strict,
               -- A list of names is stored as SQL that names them.
               (
                   select pg_catalog.string_agg(
                              pg_catalog.format(
                                  case when s.name = 'search_path' then 'set %s to %s' else 'set %s to %L' end, s.name, s.value
                              ), ' ' order by s.index
                          )
                     from (
                         select pg_catalog.split_part(one, '=', 1), pg_catalog.substr(one, pg_catalog.strpos(one, '=') + 1), index
                           from pg_catalog.unnest(p.proconfig) with ordinality as u (one, index)
                     ) s (name, value, index)
               ) as settings,
               held.oid is null as is_missing,
               (held.prosrc, held.proconfig) is distinct from (p.prosrc, p.proconfig) as is_stale
          from pg_catalog.pg_proc p
         cross join pg_catalog.pg_class c
          left join pg_catalog.pg_proc held on held.oid = pg_catalog.to_regproc('flagent_cdc.' || p.proname || '_for_' || c.relowner)
         where p.oid in (
                 'flagent_cdc.matches_predicate(record,text)'::regprocedure,
                 'flagent_cdc.predicate_error(oid,text)'::regprocedure
               )
           and c.oid = in_table
    loop
        if copied.is_stale then
            execute pg_catalog.format(
                'create or replace function flagent_cdc.%I(%s) returns %s language plpgsql stable %s security definer %s as %L',
                copied.name, copied.arguments, copied.returns, case when copied.is_strict then 'strict' else '' end,
                copied.settings, copied.body
            );
        end if;
        if copied.is_missing then
            execute pg_catalog.format('revoke all on function flagent_cdc.%I from public', copied.name);
            execute pg_catalog.format('alter function flagent_cdc.%I owner to %I', copied.name, owner);
        end if;
        -- A new owner takes over the rights of the one before: hence after it. A right of its own, not by membership, which may
        -- end.
        if not exists (
            select
              from pg_catalog.pg_proc p, pg_catalog.aclexplode(p.proacl) a
             where p.oid = pg_catalog.to_regproc('flagent_cdc.' || copied.name)
               and a.grantee = (select r.oid from pg_catalog.pg_roles r where r.rolname = ours)
        ) then
            execute pg_catalog.format('grant execute on function flagent_cdc.%I to %I', copied.name, ours);
        end if;
    end loop;
    if missing is not null then
        execute pg_catalog.format('revoke %s on schema flagent_cdc from %I', missing, owner);
    end if;
end
$$;

revoke all on function flagent_cdc.prepare_predicate(oid) from public;
