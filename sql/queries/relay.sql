-- The election of the active relay among several.

-- begin_candidacy: Lets PostgreSQL end this session after so long without a query: a relay that lost its connection loses the lead.
select pg_catalog.set_config('idle_session_timeout', %(silence)s, false);

-- lead: Takes the lead if it is free; held until the session ends.
select pg_catalog.pg_try_advisory_lock(%(key)s);

-- still_lead: A sign of life; the lead is held as long as the session lives.
select 1;
