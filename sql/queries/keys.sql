-- Credentials: the keys of the API, their audit log, and the secrets of stream tokens.

-- keys_version: A text that changes with every change of a key or of the secrets of stream tokens.
select coalesce((
    select pg_catalog.md5(pg_catalog.string_agg(k.id::text || ':' || k.xmin::text, ',' order by k.id))
    from flagent_cdc.api_key k
), '') || coalesce((select '/' || max(s.id)::text from flagent_cdc.stream_token_secret s), '');

-- keys: Every key without its text, in the order of creation.
select k.id, k.name, k.prefix, k.hash, k.scopes, k.created_at, k.expires_at, k.revoked_at
from flagent_cdc.api_key k
order by k.id;

-- create_key: Creates a key; answers its id.
insert into flagent_cdc.api_key (name, prefix, hash, scopes, expires_at)
values (%(name)s, %(prefix)s, %(hash)s, %(scopes)s, %(expires_at)s)
returning id;

-- revoke_key: Revokes a key by its id; answers its prefix, and whether it was valid until now.
with found as (
    select k.id, k.prefix, k.revoked_at from flagent_cdc.api_key k where k.id = %(id)s for update
),
ended as (
    update flagent_cdc.api_key k set revoked_at = now() from found f where k.id = f.id and f.revoked_at is null
)
select f.prefix, f.revoked_at is null from found f;

-- key_id: The id of a key by its prefix.
select k.id from flagent_cdc.api_key k where k.prefix = %(prefix)s;

-- keys_with_use: Every key without its text, in the order of creation, since when its use is recorded, and its last use.
select
    k.id, k.name, k.prefix, k.hash, k.scopes, k.created_at, k.expires_at, k.revoked_at,
    coalesce(u.recorded_since, now()), u.last_used_at
from flagent_cdc.api_key k
left join flagent_cdc.api_key_use u on u.key_id = k.id
order by k.id;

-- record_key_use: Records uses and refusals of keys; answers the ids of those that were never used before.
select flagent_cdc.record_key_use(%(used)s::integer[], %(prefixes)s::text[], %(reasons)s::text[], %(counts)s::integer[]);

-- key_audit: The newest entries of the audit log, the oldest of them first.
with newest as (
    select a.id, a.happened_at, a.action, a.prefix, a.name, a.actor, a.reason, a.count
    from flagent_cdc.api_key_audit a
    order by a.id desc
    limit %(limit)s
)
select n.happened_at, n.action, n.prefix, n.name, n.actor, n.reason, n.count from newest n order by n.id;

-- stream_token_secrets: The secret that signs stream tokens, and those before it that may still verify some.
select s.id, s.secret, extract(epoch from s.created_at)::float8 from flagent_cdc.stream_token_secret s order by s.id;

-- rotate_token_secret: Makes a new secret for stream tokens, and removes those that verify none any more.
with rotated as (
    insert into flagent_cdc.stream_token_secret default values returning id
)
delete from flagent_cdc.stream_token_secret s
where exists (
    select from flagent_cdc.stream_token_secret n
    where n.id > s.id and n.created_at < now() - interval '1 minute'
);
