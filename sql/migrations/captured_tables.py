"""The lock that a revision takes on all captured tables before it changes the log."""

# A writer that has read the old functions ends before the tables change. As `watch`, this needs the rights of
# each table's owner: without them its triggers and what evaluates its predicate could not follow, and changes would be
# missing.
LOCK = """
do $$
declare
    captured record;
begin
    for captured in
        select distinct t.tgrelid::regclass as relation, pg_catalog.pg_get_userbyid(c.relowner) as owner,
               pg_catalog.pg_has_role(current_user, c.relowner, 'usage') as is_ours
          from pg_catalog.pg_trigger t
          join pg_catalog.pg_proc p on p.oid = t.tgfoid
          join pg_catalog.pg_class c on c.oid = t.tgrelid
         where p.pronamespace = 'flagent_cdc'::regnamespace and c.relnamespace <> 'flagent_cdc'::regnamespace
         order by 1
    loop
        if not captured.is_ours then
            raise exception using
                errcode = 'insufficient_privilege',
                message = pg_catalog.format(
                    'the table %s belongs to %I: run this as a superuser, or grant %I to %I first', captured.relation,
                    captured.owner, captured.owner, current_user
                );
        end if;
        execute pg_catalog.format('lock table only %s in share row exclusive mode', captured.relation);
    end loop;
end
$$;
"""
