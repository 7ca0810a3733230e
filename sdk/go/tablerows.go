package flagent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/flagent-cdc/flagent-go/internal/jsontext"
)

// Row is a row of a table by column. Numbers are [json.Number], with every digit of the database; nil is null.
type Row map[string]any

// storedRow is a row, nil for one that cannot be delivered, and how often it is there: a table without a key may have it
// several times.
type storedRow struct {
	row   Row
	count int
}

// tableRows are the rows of a table by key. Safe for use by several goroutines.
type tableRows struct {
	mu   sync.RWMutex
	rows map[string]*storedRow
	// columns are the names of the key's columns, as the server sends them.
	columns []string
	count   int
}

func newTableRows() *tableRows { return &tableRows{rows: map[string]*storedRow{}} }

func canonical(v jsontext.Value) string { return string(jsontext.AppendCanonical(nil, v)) }

// keyOf is the key of a row: that of the event or, in a table without one, the whole row.
func keyOf(key, row jsontext.Value) string {
	if key.Kind == jsontext.Object {
		return canonical(key)
	}
	return canonical(row)
}

// decodeRow decodes a row; nil for what is no object.
func decodeTableRow(v jsontext.Value) Row {
	if v.Kind != jsontext.Object {
		return nil
	}
	decoder := json.NewDecoder(bytes.NewReader(v.Raw()))
	decoder.UseNumber()
	var row Row
	if err := decoder.Decode(&row); err != nil {
		return nil // a text that PostgreSQL takes for JSON and Go does not: the row is unreadable here
	}
	return row
}

// put stores a row, and returns what was there before.
func (t *tableRows) put(key, row jsontext.Value) (before, after Row) {
	name := keyOf(key, row)
	after = decodeTableRow(row)
	t.mu.Lock()
	defer t.mu.Unlock()
	if key.Kind == jsontext.Object && t.columns == nil {
		key.Members(func(name string, _ jsontext.Value) { t.columns = append(t.columns, name) })
	}
	old := t.rows[name]
	if old != nil && key.Kind != jsontext.Object {
		old.count++
		t.count++
		return nil, after
	}
	if old == nil {
		t.count++
	} else {
		before = old.row
	}
	t.rows[name] = &storedRow{after, 1}
	return before, after
}

// remove removes a row, and returns it.
func (t *tableRows) remove(name string) Row {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.rows[name]
	if old == nil {
		return nil
	}
	t.count--
	if old.count--; old.count == 0 {
		delete(t.rows, name)
	}
	return old.row
}

// oldKey is the key that a row had before an update, "" where the update did not change it.
func oldKey(key, before jsontext.Value) string {
	if key.Kind != jsontext.Object || before.Kind != jsontext.Object {
		return ""
	}
	var members []jsontext.Member
	key.Members(func(name string, _ jsontext.Value) {
		if value := before.Get(name); value.Kind != jsontext.Missing {
			members = append(members, jsontext.Member{Name: name, Value: value})
		}
	})
	old := canonical(jsontext.NewObject(members...))
	if old == canonical(key) || len(members) == 0 {
		return ""
	}
	return old
}

// apply folds an event in; it returns the rows before and after.
func (t *tableRows) apply(kind EventType, v jsontext.Value) (before, after Row) {
	key, old, now := v.Get("key"), v.Get("before"), v.Get("after")
	switch kind {
	case RowDeleted:
		return t.remove(keyOf(key, old)), nil
	case RowUpdated:
		if was := oldKey(key, old); was != "" {
			before = t.remove(was)
		} else if key.Kind != jsontext.Object {
			before = t.remove(canonical(old))
		}
	}
	replaced, after := t.put(key, now)
	if before == nil {
		before = replaced
	}
	return before, after
}

// get returns the row of a key: a value where the key is one column, else the columns by name.
func (t *tableRows) get(key any) (Row, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	columns, isColumns := key.(map[string]any)
	if !isColumns {
		if len(t.columns) != 1 {
			return nil, false
		}
		columns = map[string]any{t.columns[0]: key}
	}
	text, err := json.Marshal(columns)
	if err != nil {
		return nil, false
	}
	value, err := jsontext.Parse(text)
	if err != nil {
		panic(fmt.Sprintf("flagent: json.Marshal wrote %q", text))
	}
	found := t.rows[canonical(value)]
	if found == nil {
		return nil, false
	}
	return found.row, true
}

func (t *tableRows) all() []Row {
	t.mu.RLock()
	defer t.mu.RUnlock()
	all := make([]Row, 0, t.count)
	for _, stored := range t.rows {
		for range stored.count {
			all = append(all, stored.row)
		}
	}
	return all
}

func (t *tableRows) len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.count
}
