package flagent

import (
	"fmt"
	"net/url"
	"strconv"
)

// weight is how much of a connection's limits selections take; the sum of several is an upper bound of their union.
type weight struct {
	selectors, queryBytes, tables, tableBytes, narrowing int
}

func (w weight) plus(o weight) weight {
	return weight{w.selectors + o.selectors, w.queryBytes + o.queryBytes, w.tables + o.tables, w.tableBytes + o.tableBytes, w.narrowing + o.narrowing}
}

func (w weight) minus(o weight) weight {
	return w.plus(weight{-o.selectors, -o.queryBytes, -o.tables, -o.tableBytes, -o.narrowing})
}

func (s *selection) weight() weight {
	w := weight{
		selectors:  len(s.flags) + len(s.flagIDs) + len(s.tags) + len(s.tables),
		queryBytes: 18 * len(s.flagIDs),
		tables:     len(s.tables),
		narrowing:  len(s.types) + len(s.schemas),
	}
	for _, set := range []texts{s.flags, s.tags, s.tables, s.types, s.schemas} {
		for value := range set {
			w.queryBytes += len(url.QueryEscape(value)) + 8
		}
	}
	for value := range s.tables {
		w.tableBytes += jsonBytes(value)
	}
	if s.everything {
		w.selectors++
	}
	if s.segments {
		w.selectors++
	}
	return w
}

// selectionLimits are what one connection can select. isQuery: the selection is the query of a URL.
type selectionLimits struct {
	selectors int
	isQuery   bool
}

var (
	// The server's limit is 10 000. A selection that is sent in parts takes one more for a moment.
	webSocketLimits = selectionLimits{selectors: 9_999}
	sseLimits       = selectionLimits{selectors: maxValues, isQuery: true}
)

func (l selectionLimits) counted(w weight) int {
	if l.isQuery {
		return w.selectors + w.narrowing
	}
	return w.selectors
}

// check returns a *SelectionError for selections of this weight that are not within the limits.
func (l selectionLimits) check(w weight) error {
	what, instead := "connection", "another client for some"
	if l.isQuery {
		what, instead = "event stream", "the WebSocket"
	}
	switch {
	case l.counted(w) > l.selectors:
		return &SelectionError{fmt.Sprintf("this client would select %d flags, ids, tags and tables, but the limit of one %s is %d; "+
			"select everything, or use %s", w.selectors, what, l.selectors, instead)}
	case l.isQuery && w.queryBytes > maxQueryBytes:
		return &SelectionError{fmt.Sprintf("the selection would be a query of %d bytes, but the limit is %d; select everything, or use "+
			"the WebSocket", w.queryBytes, maxQueryBytes)}
	case w.tables > maxTables || w.tableBytes > maxPartBytes:
		return &SelectionError{fmt.Sprintf("this client would select %d tables, with %d bytes of names, but the limit of one connection "+
			"is %d tables and %d bytes; use another client for some", w.tables, w.tableBytes, maxTables, maxPartBytes)}
	}
	return nil
}

// query is the query of an event stream. One without selectors selects everything.
func (s *selection) query() url.Values {
	query := url.Values{}
	add := func(name string, values []string) {
		if len(values) > 0 {
			query[name] = values
		}
	}
	add("type", sorted(s.types))
	add("schema", sorted(s.schemas))
	if s.everything {
		return query
	}
	add("flag", sorted(s.flags))
	for _, id := range sorted(s.flagIDs) {
		query.Add("flagID", strconv.FormatInt(id, 10))
	}
	add("tag", sorted(s.tags))
	add("table", sorted(s.tables))
	if s.segments {
		query.Set("segments", "true")
	}
	return query
}
