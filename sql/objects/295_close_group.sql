-- close_group: marks the last change of a group that has its position, so that no change joins the group, whatever the settings of
-- the session say.
create or replace function flagent_cdc.close_group(in_log text, in_group bigint) returns void
    language plpgsql
    set enable_seqscan = off
    as $$
begin
    execute pg_catalog.format(
        'update flagent_cdc.%1$I c set has_nested = null where c.transaction_group = $1 and c.id = ('
        ' select max(l.id) from flagent_cdc.%1$I l where l.transaction_group = $1)', in_log
    ) using in_group;
end
$$;

revoke all on function flagent_cdc.close_group(text, bigint) from public;
