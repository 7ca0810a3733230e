-- is_applied_log: whether a subscription applies changes, and this log is one of the tables that it writes: then the publisher
-- has logged what it sends, and logging it here again would give the log's commits two positions.
create or replace function flagent_cdc.is_applied_log() returns boolean
    language plpgsql
    stable
    as $$
begin
    return exists (
        select from pg_catalog.pg_subscription_rel r where r.srrelid = 'flagent_cdc.commit_log'::regclass
    );
end
$$;

revoke all on function flagent_cdc.is_applied_log() from public;
