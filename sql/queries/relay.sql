-- Who of several relays is the active one.

-- begin_candidacy: Has PostgreSQL itself end this session when nothing is heard of it for so long: a relay that is cut off loses its place.
select pg_catalog.set_config('idle_session_timeout', %(silence)s, false);

-- lead: Takes the place of the active relay, if it is free; held until the session ends.
select pg_catalog.pg_try_advisory_lock(%(key)s);

-- still_lead: A sign of life; the place is held as long as the session lives.
select 1;
