-- renumber_group: gives the changes of a group the numbers that their ranks ask for.
--
-- Called by: order_group(), with each change's table and place in the log, its number and its rank.
create or replace function flagent_cdc.renumber_group(
    in_log text, in_logs oid[], in_places tid[], in_numbers bigint[], in_ranks bigint[]
) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    set enable_nestloop = off
    set enable_seqscan = off
    -- By place alone; see read_no_index().
    set enable_indexscan = off
    set enable_bitmapscan = off
    set jit = off
    as $$
declare
    written constant text := 'with written as (update only flagent_cdc.%I l set id = r.number from unnest($1, $2) r (place, number)'
        ' where l.ctid = any ($1) and l.ctid = r.place returning l.ctid, l.id::bigint)'
        ' select array_agg(w.ctid), array_agg(-w.id) from written w';
    places  tid[];
    numbers bigint[];
    first_places  tid[];
    first_numbers bigint[];
begin
    if in_log = 'read_order_log' then
        -- The numbers of the changes that stay where they are are far enough from each other.
        select array_agg(r.place), array_agg(r.number) into places, numbers
          from (
              select c.place, c.is_moved, first_value(c.number) over w - (row_number() over w - 1) as number
                from (
                    select x.*, count(*) filter (where not x.is_moved) over (order by x.rank desc, x.number desc) as run
                      from (
                          select u.*, u.rank <> u.number as is_moved
                            from unnest(in_places, in_numbers, in_ranks) as u (place, number, rank)
                      ) x
                ) c
              window w as (partition by c.run order by c.rank desc, c.number desc)
          ) r
         where r.is_moved;
        if places is not null then
            execute format(written, in_log) into places, numbers using places, numbers;
        end if;
        return;
    end if;
    -- Negative numbers first: no two changes of a group may have the same, at any moment.
    select array_agg(r.place) filter (where not r.is_first), array_agg(-r.new_number) filter (where not r.is_first),
           array_agg(r.place) filter (where r.is_first), array_agg(-r.new_number) filter (where r.is_first)
      into places, numbers, first_places, first_numbers
      from (
          select u.place, u.number, u.log = format('flagent_cdc.%I', in_log || '_first')::regclass as is_first,
                 row_number() over (order by u.rank, u.rank = u.number << 20, u.number) as new_number
            from unnest(in_logs, in_places, in_numbers, in_ranks) as u (log, place, number, rank)
      ) r
     where r.number <> r.new_number;
    for step in 1 .. 2 loop
        if places is not null then
            execute format(written, in_log) into places, numbers using places, numbers;
        end if;
        if first_places is not null then
            execute format(written, in_log || '_first') into first_places, first_numbers using first_places, first_numbers;
        end if;
    end loop;
end
$$;

revoke all on function flagent_cdc.renumber_group(text, oid[], tid[], bigint[], bigint[]) from public;
