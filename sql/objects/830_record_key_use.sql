-- record_key_use: records that API keys were used, and that credentials in the form of a key were refused.
--
-- Called by: each server process, about once a minute and never while a request waits.
-- Arguments: in_used are ids of keys. The other three are parallel: for each refusal the public prefix, null where there
--            is none, why (unknown, wrong_secret, revoked, expired, malformed), and how often.
-- Answers:   the ids of the keys that were never used before.
-- Costs:     one update per key that was not recorded within the last minute; one row per refusal, at most 100.
-- May raise: nothing of its own; what is not understood is left out.
--
-- Runs with its owner's rights, and the run-time role may call it although it can write nothing else: it can set the
-- times of existing keys to now, and append refusals to their bounded part of the audit log. Neither changes what a key
-- may do.
create or replace function flagent_cdc.record_key_use(
    in_used integer[], in_prefixes text[], in_reasons text[], in_counts integer[]
) returns integer[]
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    as $$
declare
    new_keys integer[] := '{}';
    used     record;
    refusal  record;
begin
    for used in
        with known as (
            -- A row that is locked is being set to the same time by another server, and is skipped.
            select u.key_id, u.first_used_at
              from flagent_cdc.api_key_use u
             where u.key_id = any (in_used)
               and coalesce(u.last_used_at < clock_timestamp() - interval '1 minute', true)
               for update skip locked
        )
        update flagent_cdc.api_key_use u
           set first_used_at = coalesce(u.first_used_at, clock_timestamp()), last_used_at = clock_timestamp()
          from known
         where u.key_id = known.key_id
        returning u.key_id, known.first_used_at is null as is_first
    loop
        if used.is_first then
            new_keys := new_keys || used.key_id;
            perform flagent_cdc.log_key_event('first_used', k.id, k.prefix, k.name, null, 1)
               from flagent_cdc.api_key k
              where k.id = used.key_id;
        end if;
    end loop;
    for refusal in
        select k.id, k.name, r.prefix, r.reason, r.count
          from unnest(in_prefixes, in_reasons, in_counts) as r (prefix, reason, count)
          left join flagent_cdc.api_key k on k.prefix = r.prefix
         where r.reason in ('unknown', 'wrong_secret', 'revoked', 'expired', 'malformed')
           and coalesce(r.prefix ~ '^fla_cdc_[a-z2-7]{8}$', true)
           and r.count > 0
         limit 100
    loop
        perform flagent_cdc.log_key_event(
            'refused', refusal.id, refusal.prefix, refusal.name, refusal.reason, refusal.count
        );
    end loop;
    perform flagent_cdc.prune_key_audit();
    return new_keys;
end
$$;

revoke all on function flagent_cdc.record_key_use(integer[], text[], text[], integer[]) from public;
