-- has_triggers: whether a table has the four capture triggers as attach() creates them.
--
-- Compares what matters of a trigger (function, events, arguments, when it is enabled), not its text, which differs
-- between major versions.
create or replace function flagent_cdc.has_triggers(watched regclass) returns boolean
    language sql
    stable
    as $$
    select pg_catalog.count(*) = 4
      from pg_catalog.pg_trigger t
      join (values
          -- tgtype: 1 row, 2 before, 4 insert, 8 delete, 16 update, 32 truncate
          ('flagent_cdc_100_capture', 'flagent_cdc.capture()'::regprocedure, 1 + 4 + 8, 'A', ''::bytea),
          ('flagent_cdc_110_capture', 'flagent_cdc.capture_update()'::regprocedure, 16, 'A', ''::bytea),
          ('flagent_cdc_120_capture', 'flagent_cdc.capture()'::regprocedure, 1 + 16, 'A', ''::bytea),
          ('flagent_cdc_130_capture', 'flagent_cdc.capture_truncate()'::regprocedure, 2 + 32, 'A', E'rows\\000'::bytea)
      ) as wanted (name, function, type, enabled, arguments)
        on t.tgname = wanted.name
       and t.tgfoid = wanted.function
       and t.tgtype = wanted.type
       and t.tgenabled = wanted.enabled
       and (t.tgqual is null) = (t.tgname in ('flagent_cdc_100_capture', 'flagent_cdc_130_capture'))
       and t.tgargs = wanted.arguments
     where t.tgrelid = watched
$$;

revoke all on function flagent_cdc.has_triggers(regclass) from public;
