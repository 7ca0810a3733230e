-- order_statement_changes: puts updates that were logged without the places of their row versions before the changes that
-- triggers made of the same rows.
--
-- Called by: order_group(). Such updates of one row are in their order among themselves, as statements of the client are, and
--            so are the changes between them. The images say how the two fit together: each change starts from what the one
--            before it has left, and no change leaves a row as it was. An update goes where that is not so; where it
--            fits at both ends, before the first change if that one started from a version of this transaction.
-- Arguments: of each change of such rows: its row's name, whether it has places, whether it started from a version of this
--            transaction, the images and the rank. The changes of a row follow each other, in the order of ranks.
-- Answers:   the ranks.
create or replace function flagent_cdc.order_statement_changes(
    in_rows text[], in_has_place boolean[], in_is_own boolean[], in_before text[], in_after text[], in_ranks bigint[]
) returns bigint[]
    language plpgsql
    immutable
    set search_path = pg_catalog, pg_temp
    as $$
declare
    all_ranks bigint[] := in_ranks;
    name      text;
    befores   text[];
    afters    text[];
    ranks     bigint[];
    first_is_own boolean;
    gap       integer;
begin
    for i in 1 .. coalesce(cardinality(in_rows), 0) loop
        if in_rows[i] is distinct from name then
            name := in_rows[i];
            befores := '{}';
            afters := '{}';
            ranks := '{}';
            first_is_own := in_is_own[i];
        end if;
        gap := null;
        if not in_has_place[i] and cardinality(ranks) > 0 then
            for n in 2 .. cardinality(ranks) loop
                if afters[n - 1] is distinct from befores[n] and afters[n - 1] = in_before[i] and befores[n] = in_after[i] then
                    gap := n;
                    exit;
                end if;
            end loop;
            if gap is null and befores[1] = in_after[i]
                and (first_is_own or afters[cardinality(afters)] is distinct from in_before[i])
            then
                gap := 1;
                first_is_own := false;
            end if;
        end if;
        if gap is null then
            befores := befores || in_before[i];
            afters := afters || in_after[i];
            ranks := ranks || in_ranks[i];
            continue;
        end if;
        all_ranks[i] := ranks[gap] - 1;
        befores := befores[:gap - 1] || in_before[i] || befores[gap:];
        afters := afters[:gap - 1] || in_after[i] || afters[gap:];
        ranks := ranks[:gap - 1] || all_ranks[i] || ranks[gap:];
    end loop;
    return all_ranks;
end
$$;

revoke all on function flagent_cdc.order_statement_changes(
    text[], boolean[], boolean[], text[], text[], bigint[]
) from public;
