package flagent

import (
	"cmp"
	"hash/maphash"
	"maps"
	"slices"
	"strconv"
)

// shards is the number of parts of a view. A commit copies the parts that it changes, never all of the flags.
const shards = 256

var seed = maphash.MakeSeed()

// view is what readers of a store see: an immutable table of flags. A new view shares the unchanged parts of the old one.
type view struct {
	byKey [shards]map[string][]*entry
	byID  [shards]map[int64][]*entry
	count int
	// hasSeveralSchemas and onlySchema are those of the flagTable.
	hasSeveralSchemas bool
	onlySchema        string
	lastEventID       string
	position          int64
	digest            string
	// source is where the flags come from; isConfirmed: the server has confirmed them.
	source      Source
	isConfirmed bool
	// content counts the views whose flags differ.
	content uint64
}

func shardOf(key string) uint64 { return maphash.String(seed, key) % shards }

// next returns the view after a message: the flags of the touched names as the core has them now.
func (v *view) next(c *storeCore, touched []name) *view {
	n := *v
	n.hasSeveralSchemas, n.onlySchema = c.table.hasSeveralSchemas, c.table.onlySchema
	n.lastEventID = c.cursor.Text()
	n.position, _ = c.cursor.Position()
	n.count = len(c.table.entries)
	n.digest = c.table.digest()
	n.source, n.isConfirmed = c.source, c.source == FromServer
	if len(touched) > 0 {
		n.content++
	}
	copiedKeys, copiedIDs := map[uint64]bool{}, map[uint64]bool{}
	for _, at := range touched {
		shard := shardOf(at.key)
		if !copiedKeys[shard] {
			copiedKeys[shard] = true
			n.byKey[shard] = cloneMap(n.byKey[shard])
		}
		old := find(n.byKey[shard][at.key], at.schema)
		now := c.table.byName[at]
		replace(n.byKey[shard], at.key, old, now)
		for _, e := range []*entry{old, now} {
			if e == nil {
				continue
			}
			idShard := uint64(e.flag.ID) % shards
			if !copiedIDs[idShard] {
				copiedIDs[idShard] = true
				n.byID[idShard] = cloneMap(n.byID[idShard])
			}
		}
		// A flag that was renamed is stored under its new name: the old name must not remove it.
		if old != nil && (now == nil || now.flag.ID != old.flag.ID) && c.table.entries[old.identity()] == nil {
			shard := uint64(old.flag.ID) % shards
			replace(n.byID[shard], old.flag.ID, find(n.byID[shard][old.flag.ID], old.schema), nil)
		}
		if now != nil {
			shard := uint64(now.flag.ID) % shards
			replace(n.byID[shard], now.flag.ID, find(n.byID[shard][now.flag.ID], now.schema), now)
		}
	}
	return &n
}

func cloneMap[K comparable](m map[K][]*entry) map[K][]*entry {
	if m == nil {
		return map[K][]*entry{}
	}
	return maps.Clone(m)
}

func find(entries []*entry, schema string) *entry {
	for _, e := range entries {
		if e.schema == schema {
			return e
		}
	}
	return nil
}

// replace puts a new list in place of the one of a key: readers may hold the old one.
func replace[K comparable](m map[K][]*entry, key K, old, now *entry) {
	list := make([]*entry, 0, len(m[key])+1)
	for _, e := range m[key] {
		if e != old {
			list = append(list, e)
		}
	}
	if now != nil {
		list = append(list, now)
	}
	if len(list) == 0 {
		delete(m, key)
		return
	}
	m[key] = list
}

// lookupSchema is the schema name under which a caller's schema is found.
func (v *view) lookupSchema(schema string) string {
	if v.hasSeveralSchemas || (v.onlySchema != "" && v.onlySchema != schema) {
		return schema
	}
	return ""
}

// get returns the flag of a key. schema is "" where the caller names none.
func (v *view) get(key, schema string) (*Flag, error) {
	entries := v.byKey[shardOf(key)][key]
	if schema != "" {
		if e := find(entries, v.lookupSchema(schema)); e != nil {
			return e.flag, nil
		}
		return nil, ErrFlagNotFound
	}
	switch len(entries) {
	case 0:
		return nil, ErrFlagNotFound
	case 1:
		return entries[0].flag, nil
	}
	schemas := make([]string, 0, len(entries))
	for _, e := range entries {
		schemas = append(schemas, e.schema)
	}
	slices.Sort(schemas)
	return nil, &AmbiguousFlagError{Key: key, Schemas: schemas}
}

func (v *view) getID(id int64, schema string) *Flag {
	if schema != "" {
		schema = v.lookupSchema(schema)
	}
	if e := find(v.byID[uint64(id)%shards][id], schema); e != nil {
		return e.flag
	}
	return nil
}

// findEnabled returns the enabled flag whose id, or else whose key, is the name; nil without one.
func (v *view) findEnabled(name, schema string) (*Flag, error) {
	if isIDText(name) {
		if id, err := strconv.ParseInt(name, 10, 64); err == nil {
			if flag := v.getID(id, schema); flag != nil && flag.Enabled {
				return flag, nil
			}
		}
	}
	flag, err := v.get(name, schema)
	if err == ErrFlagNotFound || (err == nil && !flag.Enabled) {
		return nil, nil
	}
	return flag, err
}

// isIDText reports whether a text is a number as a flag's id is written.
func isIDText(text string) bool {
	if text == "" || (text[0] == '0' && len(text) > 1) {
		return false
	}
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return false
		}
	}
	return true
}

// all returns the flags, ordered by schema and key.
func (v *view) all() []*Flag {
	entries := make([]*entry, 0, v.count)
	for _, shard := range v.byKey {
		for _, list := range shard {
			entries = append(entries, list...)
		}
	}
	slices.SortFunc(entries, func(a, b *entry) int {
		return cmp.Or(cmp.Compare(a.schema, b.schema), cmp.Compare(a.flag.Key, b.flag.Key))
	})
	flags := make([]*Flag, len(entries))
	for i, e := range entries {
		flags[i] = e.flag
	}
	return flags
}
