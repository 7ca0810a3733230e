-- The demo's writer: plain SQL as people, scripts and Flagent write it. It touches only flags whose created_by is its
-- own name. Times are the local wall clock without zone, as Flagent writes them. Tables are found by the search path.

-- demo_add_flag: a new flag, or nothing where the key is taken
insert into flags (key, description, created_by, updated_by, enabled, entity_type, created_at)
values (%(key)s, %(description)s, %(author)s, %(author)s, %(enabled)s, %(entity_type)s, localtimestamp)
on conflict (key) do nothing
returning id;

-- demo_add_variant: a variant of a flag
insert into variants (flag_id, key, attachment, created_at)
values (%(flag)s, %(key)s, %(attachment)s, localtimestamp)
returning id;

-- demo_add_segment: a segment behind the others
insert into segments (flag_id, description, rank, rollout_percent, created_at)
select %(flag)s, %(description)s, coalesce(max(s.rank) + 1, 0), %(rollout)s, localtimestamp
  from segments s
 where s.flag_id = %(flag)s and s.deleted_at is null
returning id;

-- demo_add_constraint: a rule of a segment
insert into constraints (segment_id, property, operator, value, created_at)
values (%(segment)s, %(property)s, %(operator)s, %(value)s, localtimestamp);

-- demo_add_distribution: a variant's share of a segment
insert into distributions (segment_id, variant_id, variant_key, percent, created_at)
values (%(segment)s, %(variant)s, %(key)s, %(percent)s, localtimestamp);

-- demo_add_tag: makes sure that a tag exists
insert into tags (value, created_at) values (%(value)s, localtimestamp) on conflict (value) do nothing;

-- demo_tag_flag: puts a tag on a flag
insert into flags_tags (flag_id, tag_id)
select %(flag)s, t.id from tags t where t.value = %(value)s
on conflict (flag_id, tag_id) do nothing;

-- demo_untag_flag: takes a tag off a flag
delete from flags_tags ft using tags t where ft.flag_id = %(flag)s and t.id = ft.tag_id and t.value = %(value)s;

-- demo_flags: the demo's own flags, archived ones included
select f.id, f.key, f.description, f.enabled, f.deleted_at is not null as archived
  from flags f
 where f.created_by = %(author)s
 order by f.id;

-- demo_segments: a flag's live segments
select s.id, s.description, s.rollout_percent
  from segments s
 where s.flag_id = %(flag)s and s.deleted_at is null
 order by s.rank, s.id;

-- demo_constraints: a segment's live rules
select c.id, c.property, c.operator, c.value
  from constraints c
 where c.segment_id = %(segment)s and c.deleted_at is null
 order by c.id;

-- demo_variants: a flag's live variants
select v.id, v.key, v.attachment
  from variants v
 where v.flag_id = %(flag)s and v.deleted_at is null
 order by v.id;

-- demo_tags: the tags of a flag
select t.value from flags_tags ft join tags t on t.id = ft.tag_id where ft.flag_id = %(flag)s order by t.id;

-- demo_toggle: turns a flag on or off
update flags set enabled = not enabled, updated_by = %(author)s, updated_at = localtimestamp where id = %(flag)s;

-- demo_toggle_many: turns several flags off in one statement
update flags set enabled = false, updated_by = %(author)s, updated_at = localtimestamp
 where id = any (%(flags)s) and enabled;

-- demo_describe: rewrites what a flag says about itself
update flags set description = %(description)s, updated_by = %(author)s, updated_at = localtimestamp
 where id = %(flag)s;

-- demo_archive: Flagent's delete, which keeps the row
update flags set deleted_at = localtimestamp where id = %(flag)s;

-- demo_restore: takes an archived flag back
update flags set deleted_at = null where id = %(flag)s;

-- demo_remove_flag: the permanent delete, which cascades to everything the flag has
delete from flags where id = %(flag)s;

-- demo_roll_out: how many percent of a segment get a variant
update segments set rollout_percent = %(rollout)s, updated_at = localtimestamp where id = %(segment)s;

-- demo_remove_segment: Flagent's delete of a segment, which keeps the row
update segments set deleted_at = localtimestamp where id = %(segment)s;

-- demo_edit_constraint: another value for a rule
update constraints set value = %(value)s, updated_at = localtimestamp where id = %(constraint)s;

-- demo_edit_variant: another attachment for a variant
update variants set attachment = %(attachment)s, updated_at = localtimestamp where id = %(variant)s;

-- demo_clear_distributions: the first half of Flagent's replacement of a segment's shares
delete from distributions d where d.segment_id = %(segment)s;

-- demo_save_content: the first commit of a save in Flagent, the content
update flags set key = key, description = %(description)s, notes = %(notes)s, enabled = enabled,
       updated_by = %(author)s, updated_at = localtimestamp
 where id = %(flag)s;

-- demo_save_snapshot: the second, the flag as it is now
insert into flag_snapshots (flag_id, updated_by, flag, created_at)
select f.id, %(author)s, jsonb_build_object('id', f.id, 'key', f.key, 'description', f.description)::text, localtimestamp
  from flags f
 where f.id = %(flag)s
returning id;

-- demo_save_bookkeeping: the third, every column as it was read before, with the number of the snapshot
update flags f
   set key = f.key, description = f.description, notes = f.notes, enabled = f.enabled, entity_type = f.entity_type,
       snapshot_id = %(snapshot)s, updated_by = %(author)s, updated_at = localtimestamp
 where f.id = %(flag)s;

-- demo_switch: turns a live flag on or off, as a person does on the demo's page
update flags set enabled = %(enabled)s, updated_at = localtimestamp
 where key = %(key)s and deleted_at is null;
