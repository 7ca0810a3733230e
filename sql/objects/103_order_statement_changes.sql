-- order_statement_changes: puts updates that were logged without the places of their row versions before the changes that
-- triggers made of the same rows.
--
-- Called by: order_group(). Such updates of one row are in their order among themselves, as statements of the client are, and
--            so are the changes between them. The images say how the two fit together: each change starts from what the one
--            before it has left, and no change leaves a row as it was. An update goes where that is not so; where it
--            fits at both ends, before the first change if that one started from a version of this transaction.
create or replace function flagent_cdc.order_statement_changes(in_group bigint) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
declare
    tables    oid[];
    rows      tid[];
    names     text[];
    has_place boolean[];
    are_own   boolean[];
    images_before text[];
    images_after  text[];
    all_places    bigint[];
    name      text;
    befores   text[];
    afters    text[];
    places    bigint[];
    first_is_own boolean;
    gap       integer;
begin
    -- In arrays: a loop over a query opens a cursor, and the writer's next one would get another name.
    with changes as materialized (
        select c.tableoid, c.ctid, c.relation || ' ' || substring(coalesce(c.after, c.before)::text, '^[{]"id":([0-9]+)') as name,
               c.before::text as before, c.after::text as after, c.place, c.number, c.is_own, c.depth,
               c.op <> 'update' or c.new_place is not null or c.relation is null as has_place
          from (
              select c.tableoid, c.ctid, coalesce(c.place_in_order, c.id::bigint << 20) as place, c.id as number, c.*
                from flagent_cdc.change_log c
               where c.transaction_group = in_group
          ) c
    )
    select array_agg(c.tableoid order by c.name, c.place, c.number), array_agg(c.ctid order by c.name, c.place, c.number),
           array_agg(c.name order by c.name, c.place, c.number), array_agg(c.has_place order by c.name, c.place, c.number),
           array_agg(coalesce(c.is_own, false) order by c.name, c.place, c.number),
           array_agg(c.before order by c.name, c.place, c.number), array_agg(c.after order by c.name, c.place, c.number),
           array_agg(c.place order by c.name, c.place, c.number)
      into tables, rows, names, has_place, are_own, images_before, images_after, all_places
      from changes c
      join (
          select d.name from changes d where d.name is not null group by d.name
          having bool_or(not d.has_place) and bool_or(d.depth > 1)
      ) mixed on mixed.name = c.name;
    for i in 1 .. coalesce(cardinality(names), 0) loop
        if names[i] is distinct from name then
            name := names[i];
            befores := '{}';
            afters := '{}';
            places := '{}';
            first_is_own := are_own[i];
        end if;
        gap := null;
        if not has_place[i] and cardinality(places) > 0 then
            for n in 2 .. cardinality(places) loop
                if afters[n - 1] is distinct from befores[n] and afters[n - 1] = images_before[i]
                    and befores[n] = images_after[i]
                then
                    gap := n;
                    exit;
                end if;
            end loop;
            if gap is null and befores[1] = images_after[i]
                and (first_is_own or afters[cardinality(afters)] is distinct from images_before[i])
            then
                gap := 1;
                first_is_own := false;
            end if;
        end if;
        if gap is null then
            befores := befores || images_before[i];
            afters := afters || images_after[i];
            places := places || all_places[i];
            continue;
        end if;
        update flagent_cdc.change_log l
           set place_in_order = places[gap] - 1
         where l.tableoid = tables[i] and l.ctid = rows[i];
        befores := befores[:gap - 1] || images_before[i] || befores[gap:];
        afters := afters[:gap - 1] || images_after[i] || afters[gap:];
        places := places[:gap - 1] || (places[gap] - 1) || places[gap:];
    end loop;
end
$$;

revoke all on function flagent_cdc.order_statement_changes(bigint) from public;
