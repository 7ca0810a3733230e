// Package eventid orders event ids: <position>-<index>@<log>.<hash>, or without the index for a whole commit.
//
// Ids of another form and ids of different logs have no order. After a failover the database may assign the same
// positions again; then the log part is the only difference.
package eventid

import (
	"cmp"
	"math"
	"strconv"
	"strings"
)

// ID is a parsed event id. Index is math.MaxInt64 for a whole commit, which is ordered after each of its events.
type ID struct {
	Position int64
	Index    int64
	Log      string
}

// Parse reads an id, and reports whether it has the known form.
func Parse(text string) (ID, bool) {
	head, log, ok := strings.Cut(text, "@")
	if !ok {
		return ID{}, false
	}
	log, hash, hasHash := strings.Cut(log, ".")
	if log == "" || (hasHash && !isHash(hash)) {
		return ID{}, false
	}
	position, index, hasIndex := strings.Cut(head, "-")
	id := ID{Index: math.MaxInt64, Log: log}
	if id.Position, ok = number(position); !ok {
		return ID{}, false
	}
	if hasIndex {
		if id.Index, ok = number(index); !ok {
			return ID{}, false
		}
	}
	return id, true
}

func number(text string) (int64, bool) {
	if text == "" || text[0] < '0' || text[0] > '9' {
		return 0, false
	}
	value, err := strconv.ParseInt(text, 10, 64)
	return value, err == nil
}

func isHash(text string) bool {
	if text == "" || len(text) > 16 {
		return false
	}
	return strings.Trim(text, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}

// Compare is -1, 0 or 1 as a is before, at or after b; ok is false when they cannot be compared.
func Compare(a, b string) (order int, ok bool) {
	if a == b {
		return 0, true
	}
	left, leftOK := Parse(a)
	right, rightOK := Parse(b)
	if !leftOK || !rightOK || left.Log != right.Log {
		return 0, false
	}
	return compare(left, right), true
}

func compare(a, b ID) int {
	return cmp.Or(cmp.Compare(a.Position, b.Position), cmp.Compare(a.Index, b.Index))
}

// Cursor is the id of the last event, snapshot or heartbeat received. The zero value has none.
type Cursor struct {
	text     string
	id       ID
	isParsed bool
}

// NewCursor returns a cursor at an id; "" is none.
func NewCursor(text string) Cursor {
	c := Cursor{text: text}
	c.id, c.isParsed = Parse(text)
	return c
}

// Text is the id, "" for none.
func (c Cursor) Text() string { return c.text }

// Position is the position in the id; ok is false without an id or when the id has another form.
func (c Cursor) Position() (position int64, ok bool) { return c.id.Position, c.isParsed }

// Log is the log part of the id, "" without one.
func (c Cursor) Log() string { return c.id.Log }

// Covers reports whether an id is at or before this cursor in the same log, hence received already.
func (c Cursor) Covers(text string) bool {
	if c.text == "" {
		return false
	}
	if c.text == text {
		return true
	}
	other, ok := Parse(text)
	return ok && c.isParsed && other.Log == c.id.Log && compare(other, c.id) <= 0
}

// IsOtherLog reports whether both ids are readable and belong to different logs.
func (c Cursor) IsOtherLog(text string) bool {
	other, ok := Parse(text)
	return ok && c.isParsed && other.Log != c.id.Log
}

// Advance moves to an id, never back within one log.
func (c *Cursor) Advance(text string) {
	if !c.Covers(text) {
		*c = NewCursor(text)
	}
}
