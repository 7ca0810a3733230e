package flagent

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/flagent-cdc/flagent-go/internal/eventid"
	"github.com/flagent-cdc/flagent-go/internal/jsontext"
)

const defaultMaxRows = 100_000

// TableStore is a live copy of the rows of a watched table. It has a connection of its own, to the client's server with the
// client's options.
type TableStore struct {
	query    tableQuery
	maxRows  int
	client   *Client
	rows     atomic.Pointer[tableRows]
	status   atomic.Int32
	settled  chan struct{}
	onChange listeners[RowUpdate]
	onSchema listeners[SchemaChange]
	// What follows needs the client's lock.
	collected  *tableRows
	position   int64
	isFresh    bool
	isSettled  bool
	isComplete bool
}

// RowUpdate is how a row of a table store changed: Before is nil for one that came in, After for one that left.
type RowUpdate struct{ Before, After Row }

// SchemaChange says that a table has other columns. Raw is the whole message.
type SchemaChange struct {
	Table string
	Raw   json.RawMessage
}

// TableError says why a table cannot be followed. Code is stable.
type TableError struct{ Table, Code, Message string }

func (e *TableError) Error() string {
	return fmt.Sprintf("flagent: table %q: %s: %s", e.Table, e.Code, e.Message)
}

// TableOption narrows what a table store holds.
type TableOption func(*TableStore) error

// TableWhere selects rows by a condition, with $1, $2 … for the parameters.
func TableWhere(where string, params ...any) TableOption {
	return func(s *TableStore) error {
		s.query.where = where
		for _, param := range params {
			text, err := json.Marshal(param)
			if err != nil {
				return fmt.Errorf("flagent: a parameter of the condition cannot be written as JSON: %w", err)
			}
			s.query.params = append(s.query.params, text)
		}
		return nil
	}
}

// TableColumns selects columns; those of the key always come.
func TableColumns(columns ...string) TableOption {
	return func(s *TableStore) error {
		s.query.columns = columns
		return nil
	}
}

// TableMaxRows is the most rows, 100 000 by default; with more, the store fails.
func TableMaxRows(rows int) TableOption {
	return func(s *TableStore) error {
		if rows < 1 {
			return fmt.Errorf("flagent: the most rows of a table are %d; it must be 1 or more", rows)
		}
		s.maxRows = rows
		return nil
	}
}

// tableQuery is what is asked of a table.
type tableQuery struct {
	name, where string
	params      []json.RawMessage
	columns     []string
}

// command is the subscription on a WebSocket, without empty members.
func (q tableQuery) command(begin start) *command {
	table := (&command{object: []byte{'{'}}).text("name", q.name)
	if q.where != "" {
		table.text("where", q.where)
	}
	if len(q.params) > 0 {
		list := []byte{'['}
		for i, param := range q.params {
			if i > 0 {
				list = append(list, ',')
			}
			list = append(list, param...)
		}
		table.raw("params", append(list, ']'))
	}
	table.texts("columns", q.columns)
	return begin.addTo(newCommand("subscribe").raw("tables", append(append([]byte{'['}, table.bytes()...), ']')))
}

// values are the query of an event stream; a parameter that is a string is written as it is, others as JSON.
func (q tableQuery) values() url.Values {
	query := url.Values{"table": {q.name}}
	if q.where != "" {
		query.Set("where", q.where)
	}
	for _, param := range q.params {
		var text string
		if json.Unmarshal(param, &text) != nil {
			text = string(param)
		}
		query.Add("param", text)
	}
	if len(q.columns) > 0 {
		query.Set("columns", strings.Join(q.columns, ","))
	}
	return query
}

// NewTableStore returns a live copy of the rows of a watched table, named as in "flagent-cdc watch". It connects at once.
// Close it at the end.
func NewTableStore(client *Client, table string, opts ...TableOption) (*TableStore, error) {
	s := &TableStore{query: tableQuery{name: table}, maxRows: defaultMaxRows, settled: make(chan struct{}), collected: newTableRows()}
	for _, option := range opts {
		if err := option(s); err != nil {
			return nil, err
		}
	}
	if err := (&selection{tables: texts{table: {}}}).checkValues(); err != nil {
		return nil, err
	}
	s.rows.Store(newTableRows())
	o := client.options
	o.lastEventID, o.isManualStart = "", true
	o.transports = nil
	for _, transport := range client.options.transports {
		if transport != Polling {
			o.transports = append(o.transports, transport)
		}
	}
	if len(o.transports) == 0 {
		return nil, &SelectionError{"polling carries no tables; use the WebSocket or the event stream"}
	}
	s.client = newClient(o, client.addresses, client.address)
	s.client.table = s
	return s, s.client.Start()
}

// Close ends the connection; the rows stay readable. Idempotent.
func (s *TableStore) Close() error {
	err := s.client.Close()
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	s.set(Closed)
	return err
}

// Rows are all rows at this moment, in no order. A row that cannot be delivered is nil. Do not change them.
func (s *TableStore) Rows() []Row { return s.rows.Load().all() }

// Len is the number of rows.
func (s *TableStore) Len() int { return s.rows.Load().len() }

// Get returns the row of a key: a value where the key is one column, else a map[string]any of its columns. ok is false when
// there is none.
func (s *TableStore) Get(key any) (row Row, ok bool) { return s.rows.Load().get(key) }

// Status is how current the rows are, as of flags.
func (s *TableStore) Status() Status { return Status(s.status.Load()) }

// Position is the position up to which the rows are complete, 0 before all of them have arrived.
func (s *TableStore) Position() Position {
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	return Position(s.position)
}

// Err is why the store failed, nil while it works.
func (s *TableStore) Err() error { return s.client.Err() }

// OnChange calls a handler with each change of a row after the first rows, in order. It returns a function that removes it.
func (s *TableStore) OnChange(handler func(RowUpdate)) (remove func()) {
	return s.onChange.add(handler)
}

// OnSchemaChange calls a handler when the table has other columns. It returns a function that removes it.
func (s *TableStore) OnSchemaChange(handler func(SchemaChange)) (remove func()) {
	return s.onSchema.add(handler)
}

// OnError calls a handler with each reported error of the store's connection. It returns a function that removes it.
func (s *TableStore) OnError(handler func(error)) (remove func()) { return s.client.OnError(handler) }

// Ready waits until all rows have arrived; errors are those of [Store.Ready], or a [*TableError].
func (s *TableStore) Ready(ctx context.Context) error {
	select {
	case <-s.settled:
	case <-ctx.Done():
		s.client.mu.Lock()
		defer s.client.mu.Unlock()
		if last := s.client.lastError; last != nil {
			return fmt.Errorf("%w (%v; last error: %w): %w", ErrNotReady, s.Status(), last, ctx.Err())
		}
		return fmt.Errorf("%w (%v): %w", ErrNotReady, s.Status(), ctx.Err())
	}
	switch s.Status() {
	case Failed:
		return s.client.Err()
	case Closed:
		return ErrClosed
	}
	return nil
}

// ------------------------------------------------------------------------------ what follows needs the client's lock

func (s *TableStore) set(status Status) {
	if is := s.Status(); is == Closed || is == Failed && status != Closed {
		return
	}
	s.status.Store(int32(status))
	if !s.isSettled && status != Stale && status != Initializing {
		s.isSettled = true
		close(s.settled)
	}
}

// stale: the rows cannot be confirmed.
func (s *TableStore) stale() {
	if s.Status() == Ready {
		s.set(Stale)
	}
}

// request is what a new connection asks for: all rows, or what has changed since.
func (s *TableStore) request() request {
	id := s.client.cursor.Text()
	if id == "" {
		s.collected, s.isComplete = newTableRows(), false
	}
	return request{lastEventID: id, snapshot: id == ""}
}

// reload begins again: the old rows stay readable until the new ones are complete.
func (s *TableStore) reload(conn *connection) {
	s.client.cursor = eventid.NewCursor("")
	s.stale()
	conn.replace()
}

func (s *TableStore) fail(err error) { s.set(Failed) }

func (s *TableStore) receive(conn *connection, m message) {
	switch m.kind {
	case "connected", "subscribed":
		conn.isGreeted = true
		s.client.lastError = nil
		s.client.liveness.Announced(milliseconds(m.value.Get("heartbeatMs")))
		s.isFresh = m.value.Get("fresh").Kind != jsontext.False
		conn.watch()
	case "heartbeat":
		s.client.liveness.Heartbeat(s.client.clock.now())
		if fresh, ok := m.value.Get("fresh").Bool(); ok {
			s.isFresh = fresh
		}
		s.advance(m.id)
		s.confirm(conn)
	case "position", "caught_up":
		s.advance(m.id)
		s.confirm(conn)
	case "rows":
		for _, item := range m.value.Get("rows").Items() {
			s.store(conn, item)
		}
	case "rows_end":
		s.complete(conn, m)
	case "resync":
		s.reload(conn)
	case "schema_changed":
		s.schemaChanged(conn, m)
	case "backfill_failed", "error":
		s.refused(conn, text(m.value, "code"), text(m.value, "message"))
	case "batch":
		for _, item := range m.value.Get("events").Items() {
			s.event(conn, newMessage(item))
		}
	default:
		s.event(conn, m)
	}
}

func (s *TableStore) advance(id string) {
	if id != "" && s.isComplete {
		s.client.cursor.Advance(id)
		s.position, _ = s.client.cursor.Position()
	}
}

// confirm: the server has said how fresh it is.
func (s *TableStore) confirm(conn *connection) {
	if s.isComplete && conn.isGreeted && s.isFresh {
		s.set(Ready)
	} else {
		s.stale()
	}
}

func (s *TableStore) store(conn *connection, item jsontext.Value) {
	if text(item, "unreadable") != "" {
		conn.reportMalformed(malformed("a row of table %s cannot be read: %s", s.query.name, text(item, "unreadable")))
	}
	s.collected.put(item.Get("key"), item.Get("row"))
	s.checkSize(conn, s.collected)
}

func (s *TableStore) checkSize(conn *connection, rows *tableRows) {
	if rows.len() > s.maxRows {
		conn.cancel(&ConnectionRefusedError{Reason: fmt.Sprintf("table %q has more than %d rows; select fewer with TableWhere, or raise "+
			"TableMaxRows", s.query.name, s.maxRows)})
	}
}

func (s *TableStore) complete(conn *connection, m message) {
	s.isComplete = true
	s.rows.Store(s.collected)
	s.advance(m.id)
	s.confirm(conn)
}

func (s *TableStore) event(conn *connection, m message) {
	kind := EventType(m.kind)
	if !kind.isRow() || m.id != "" && s.client.cursor.Covers(m.id) {
		return
	}
	if reason := text(m.value, "unreadable"); reason != "" {
		conn.reportMalformed(malformed("a row of table %s cannot be read: %s", s.query.name, reason))
	}
	rows := s.collected
	if kind == TableTruncated {
		rows = newTableRows()
		s.collected = rows
		if s.isComplete {
			s.rows.Store(rows)
		}
	} else {
		before, after := rows.apply(kind, m.value)
		if s.isComplete {
			s.onChange.post(s.client.dispatcher, RowUpdate{before, after})
		}
		s.checkSize(conn, rows)
	}
	s.advance(m.id)
}

func (s *TableStore) schemaChanged(conn *connection, m message) {
	s.advance(m.id)
	if truth(m.value, "rewritten") {
		s.reload(conn)
		return
	}
	change := SchemaChange{Table: text(m.value, "table"), Raw: append([]byte(nil), m.value.Raw()...)}
	s.onSchema.post(s.client.dispatcher, change)
}

// refused: the rows cannot be read; some reasons pass.
func (s *TableStore) refused(conn *connection, code, sentence string) {
	switch code {
	case "too_busy", "too_slow", "database_unavailable", "not_ready":
		conn.cancel(&ConnectionLostError{Reason: code + ": " + sentence})
	default:
		conn.cancel(&tableRefusal{TableError{s.query.name, code, sentence}})
	}
}

// tableRefusal ends the client of a table for good.
type tableRefusal struct{ TableError }

func (e *tableRefusal) Error() string { return e.TableError.Error() }

func (e *tableRefusal) As(target any) bool {
	switch target := target.(type) {
	case **ConnectionRefusedError:
		*target = &ConnectionRefusedError{Reason: e.Code + ": " + e.Message}
	case **TableError:
		*target = &e.TableError
	default:
		return false
	}
	return true
}

func (s *TableStore) tick(now time.Duration) {
	if s.client.liveness.IsSilent(now) {
		s.stale()
	}
}
