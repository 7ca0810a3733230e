package flagent

import (
	"cmp"
	"maps"
	"slices"

	"github.com/flagent-cdc/flagent-go/internal/jsontext"
)

// identity is a flag's id within its schema; the schema is "" while the server has one schema only.
type identity struct {
	schema string
	id     int64
}

// name is a flag's key within its schema.
type name struct{ schema, key string }

// entry is a stored flag and its canonical text. Entries are not changed after they were stored.
type entry struct {
	schema    string
	flag      *Flag
	canonical string
	checksum  uint32
	// number orders entries by the time at which their identity was first stored.
	number uint64
}

func newEntry(schema string, flag *Flag, value jsontext.Value) *entry {
	canonical := canonicalFlag(value)
	return &entry{schema: schema, flag: flag, canonical: canonical, checksum: checksum(canonical)}
}

func (e *entry) identity() identity { return identity{e.schema, e.flag.ID} }

// ChangeKind says how a flag of a store changed.
type ChangeKind string

// The kinds of changes.
const (
	Created ChangeKind = "created"
	Updated ChangeKind = "updated"
	Deleted ChangeKind = "deleted"
)

// entryChange is the difference that one message made to one key; before is nil if created, after if deleted.
type entryChange struct {
	kind          ChangeKind
	name          name
	before, after *entry
}

// flagTable holds flags, unique by identity and, within a schema, by key. Writes are recorded until takeChanges.
type flagTable struct {
	entries           map[identity]*entry
	byName            map[name]*entry
	hasSeveralSchemas bool
	// onlySchema is the schema that events named, while the flags themselves carry none.
	onlySchema string
	checksums  uint32
	// before are the entries as they were, in the order in which they were first touched.
	before  map[name]*entry
	touched []name
	stored  uint64
}

func newFlagTable() *flagTable {
	return &flagTable{entries: map[identity]*entry{}, byName: map[name]*entry{}, before: map[name]*entry{}}
}

func (t *flagTable) digest() string { return formatDigest(len(t.entries), t.checksums) }

// storedSchema is the schema name under which a message's flag is stored.
func (t *flagTable) storedSchema(schema string) string {
	if t.hasSeveralSchemas {
		return schema
	}
	return ""
}

func (t *flagTable) touch(n name, was *entry) {
	if _, ok := t.before[n]; !ok {
		t.before[n] = was
		t.touched = append(t.touched, n)
	}
}

// beginReplacement: a snapshot is written next; its changes come in the order of the old flags, then of the new.
// It returns the old entries in that order.
func (t *flagTable) beginReplacement(hasSeveralSchemas bool) []*entry {
	t.hasSeveralSchemas, t.onlySchema = hasSeveralSchemas, ""
	old := slices.SortedFunc(maps.Values(t.entries), func(a, b *entry) int { return cmp.Compare(a.number, b.number) })
	for _, e := range old {
		t.touch(name{e.schema, e.flag.Key}, e)
	}
	return old
}

// put stores a flag. A flag with the same identity is replaced, another flag with the same key is removed.
func (t *flagTable) put(e *entry) identity {
	id := e.identity()
	n := name{e.schema, e.flag.Key}
	old := t.entries[id]
	if old != nil && old.flag.Key != e.flag.Key {
		t.remove(id)
		old = nil
	}
	if rival := t.byName[n]; rival != nil && rival != old {
		t.remove(rival.identity())
	}
	t.touch(n, old)
	if old != nil {
		t.checksums -= old.checksum
		e.number = old.number
	} else {
		t.stored++
		e.number = t.stored
	}
	t.checksums += e.checksum
	t.entries[id] = e
	t.byName[n] = e
	return id
}

// remove removes a flag; it does nothing when it is not stored.
func (t *flagTable) remove(id identity) {
	e := t.entries[id]
	if e == nil {
		return
	}
	n := name{e.schema, e.flag.Key}
	t.touch(n, e)
	delete(t.entries, id)
	delete(t.byName, n)
	t.checksums -= e.checksum
}

// takeChanges returns the differences since the last call, one per key, by canonical text: bookkeeping does not count.
// touched are the names of all entries that may be other objects than before.
func (t *flagTable) takeChanges() (changes []entryChange, touched []name) {
	for _, n := range t.touched {
		old, now := t.before[n], t.byName[n]
		switch {
		case old == nil && now != nil:
			changes = append(changes, entryChange{Created, n, nil, now})
		case old != nil && now == nil:
			changes = append(changes, entryChange{Deleted, n, old, nil})
		case old != nil && now != nil && old.canonical != now.canonical:
			changes = append(changes, entryChange{Updated, n, old, now})
		}
	}
	touched = t.touched
	if len(touched) > 0 {
		t.touched = nil
		clear(t.before)
	}
	return changes, touched
}
