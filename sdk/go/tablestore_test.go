package flagent

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func aRow(id int, more object) object {
	return object{"key": object{"id": id}, "row": object{"id": id}.with(more)}
}

func rowEvent(kind EventType, id string, key any, before, after any) object {
	return object{"type": kind, "id": id, "schema": "shop", "table": "shop.orders", "key": key, "before": before, "after": after, "changed": []string{}}
}

// servingRows greets and sends rows, and their end at a position.
func servingRows(p *peer, position int, rows ...object) {
	p.open()
	p.greet(position)
	if p.lastEventID() == "" {
		p.rows(rows...)
		p.send(object{"type": "rows_end", "id": fmt.Sprintf("%d@k", position), "table": "shop.orders", "position": fmt.Sprint(position), "rows": len(rows)})
	}
}

func (p *peer) rows(rows ...object) {
	message := object{"type": "rows", "table": "shop.orders", "sent": len(rows), "estimated": 10, "rows": rows}
	if p.isSocket {
		p.frame(message)
		return
	}
	text, _ := json.Marshal(message)
	p.write(fmt.Sprintf("event: rows\ndata: %s\n\n", text))
}

func newTable(t *testing.T, client *Client, options ...TableOption) *TableStore {
	t.Helper()
	table, err := NewTableStore(client, "shop.orders", options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { table.Close() })
	return table
}

func readyTable(t *testing.T, table *TableStore) {
	t.Helper()
	if err := table.Ready(soon(t)); err != nil {
		t.Fatal(err)
	}
}

// TestTableRequests is tc-table-request.
func TestTableRequests(t *testing.T) {
	both(t, func(t *testing.T, transport Transport) {
		server := newScriptedServer(t, func(p *peer) { servingRows(p, 10, aRow(1, nil)); p.gone() })
		client := connect(t, server.url(transport), WithAPIKey("key"))
		table := newTable(t, client, TableWhere("tenant_id = $1 and status = $2", 7, "it's"), TableColumns("status", "total"))
		readyTable(t, table)
		p := server.peer(0)
		checkEqual(t, p.header.Get("X-API-Key"), "key")
		if transport == WebSocket {
			checkMessages(t, []object{p.subscribe}, `{"snapshot":true,"tables":[{"columns":["status","total"],"name":"shop.orders","params":[7,"it's"],"where":"tenant_id = $1 and status = $2"}],"type":"subscribe"}`)
			return
		}
		checkEqual(t, fmt.Sprint(p.query), "map[columns:[status,total] envelope:[true] param:[7 it's] snapshot:[true] table:[shop.orders] where:[tenant_id = $1 and status = $2]]")
	})
}

// TestTableRowsAndEvents is tc-table-rows, tc-table-events and tc-table-numbers.
func TestTableRowsAndEvents(t *testing.T) {
	both(t, func(t *testing.T, transport Transport) {
		goOn := make(chan struct{})
		server := newScriptedServer(t, func(p *peer) {
			p.open()
			p.greet(10)
			p.rows(aRow(1, object{"n": json.RawMessage("12345678901234567890.12")}), aRow(2, nil))
			p.rows(aRow(3, nil))
			p.send(object{"type": "rows_end", "id": "10@k", "table": "shop.orders", "position": "10", "rows": 3})
			await(goOn)
			p.send(rowEvent(RowUpdated, "11-0@k", object{"id": 1}, object{"id": 1}, object{"id": 1, "n": 5}))
			p.send(rowEvent(RowUpdated, "11-1@k", object{"id": 9}, object{"id": 2}, object{"id": 9}))
			p.send(rowEvent(RowUpdated, "11-0@k", object{"id": 1}, nil, object{"id": 1, "n": 77}))
			p.send(rowEvent(RowDeleted, "12-0@k", object{"id": 3}, nil, nil).with(object{"moved": "out"}))
			p.send(rowEvent(RowInserted, "12-1@k", object{"id": 4}, nil, object{"id": 4}).with(object{"moved": "in"}))
			p.gone()
		})
		client := connect(t, server.url(transport))
		table := newTable(t, client)
		var changes list[string]
		table.OnChange(func(u RowUpdate) { changes.add(fmt.Sprint(u.Before["id"], " ", u.After["id"])) })
		readyTable(t, table)
		row, ok := table.Get(1)
		checkEqual(t, fmt.Sprint(ok, " ", row["n"], " ", table.Len(), " ", table.Position()), "true 12345678901234567890.12 3 10")
		if _, ok := row["n"].(json.Number); !ok {
			t.Fatalf("the number is a %T", row["n"])
		}
		close(goOn)
		eventually(t, "the events are applied", func() bool { return changes.len() == 4 })
		checkEqual(t, fmt.Sprint(changes.all()), "[1 1 2 9 3 <nil> <nil> 4]")
		row, _ = table.Get(map[string]any{"id": 1})
		_, hasOld := table.Get(2)
		checkEqual(t, fmt.Sprint(row["n"], " ", hasOld, " ", table.Len(), " ", len(table.Rows()), " ", table.Position()), "5 false 3 3 12")
	})
}

func TestATableWithoutAKeyIsHeldByWholeRows(t *testing.T) {
	rows := newTableRows()
	apply := func(kind EventType, before, after string) {
		value := parsed(t, []byte(fmt.Sprintf(`{"key":null,"before":%s,"after":%s}`, before, after)))
		rows.apply(kind, value)
	}
	apply(RowInserted, "null", `{"a":1}`)
	apply(RowInserted, "null", `{"a":1}`)
	apply(RowUpdated, `{"a":1}`, `{"a":2}`)
	checkEqual(t, rows.len(), 2)
	apply(RowDeleted, `{"a":1}`, "null")
	apply(RowDeleted, `{"a":1}`, "null")
	checkEqual(t, fmt.Sprint(rows.all()), "[map[a:2]]")
}

// TestTableResume is tc-table-resume: resumed by the id of rows_end or later; lost before it: begun again.
func TestTableResume(t *testing.T) {
	both(t, func(t *testing.T, transport Transport) {
		server := newScriptedServer(t,
			func(p *peer) { p.open(); p.greet(9); p.rows(aRow(7, nil)); p.heartbeat(9); p.abort() },
			func(p *peer) { servingRows(p, 10, aRow(1, nil)); p.heartbeat(11); p.abort() },
			func(p *peer) {
				p.open()
				p.greet(12)
				p.send(rowEvent(RowInserted, "12-0@k", object{"id": 2}, nil, object{"id": 2}))
				p.heartbeat(12)
				p.gone()
			})
		table := newTable(t, connect(t, server.url(transport)))
		readyTable(t, table)
		eventually(t, "it resumes", func() bool { return table.Len() == 2 && table.Status() == Ready })
		_, hasFirst := table.Get(7)
		checkEqual(t, fmt.Sprint(server.peer(1).lastEventID(), "|", server.peer(1).wantsSnapshot(), "|", server.peer(2).lastEventID(), "|", hasFirst), "|true|11@k|false")
	})
}

// TestTableResync is tc-table-resync and tc-table-schema-changed: begun again, and the old rows stay readable until then.
func TestTableResync(t *testing.T) {
	for name, cause := range map[string]object{
		"resync":    {"type": "resync", "id": "11@k", "reason": "pruned", "snapshot": object{"flags": []object{}}},
		"rewritten": {"type": "schema_changed", "id": "11-0@k", "table": "shop.orders", "before": []object{}, "after": []object{}, "rewritten": true},
	} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, transport Transport) {
				goOn := make(chan struct{})
				server := newScriptedServer(t, func(p *peer) { servingRows(p, 10, aRow(1, nil)); p.send(cause); p.gone() },
					func(p *peer) { p.request(); await(goOn); p.accept(); p.gone() }, func(p *peer) { servingRows(p, 12, aRow(2, nil), aRow(3, nil)); p.gone() })
				table := newTable(t, connect(t, server.url(transport), WithConnectTimeout(300*time.Millisecond)))
				eventually(t, "it begins again", func() bool { return server.count() == 2 && table.Status() == Stale })
				checkEqual(t, table.Len(), 1)
				close(goOn)
				server.peer(1).abort()
				eventually(t, "it is complete", func() bool { return table.Len() == 2 && table.Status() == Ready })
			})
		})
	}
	both(t, func(t *testing.T, transport Transport) {
		goOn := make(chan struct{})
		server := newScriptedServer(t, func(p *peer) {
			servingRows(p, 10, aRow(1, nil))
			await(goOn)
			p.send(object{"type": "schema_changed", "id": "11-0@k", "table": "shop.orders", "before": []object{}, "after": []object{{"name": "x"}}, "rewritten": false})
			p.send(rowEvent(TableTruncated, "12-0@k", nil, nil, nil))
			p.gone()
		})
		client := connect(t, server.url(transport))
		table := newTable(t, client)
		var changes list[string]
		table.OnSchemaChange(func(c SchemaChange) { changes.add(string(c.Raw)) })
		close(goOn)
		eventually(t, "it is truncated", func() bool { return table.Status() == Ready && table.Len() == 0 && changes.len() == 1 })
		checkEqual(t, strings.Contains(changes.all()[0], `"name":"x"`), true)
	})
}

// TestTablesThatAreTooLarge is tc-table-too-many.
func TestTablesThatAreTooLarge(t *testing.T) {
	both(t, func(t *testing.T, transport Transport) {
		server := newScriptedServer(t, func(p *peer) { servingRows(p, 10, aRow(1, nil), aRow(2, nil), aRow(3, nil)); p.gone() })
		table := newTable(t, connect(t, server.url(transport)), TableMaxRows(2))
		if err := table.Ready(soon(t)); err == nil || !strings.Contains(err.Error(), `"shop.orders" has more than 2 rows`) || table.Status() != Failed {
			t.Fatal(err)
		}
		checkEqual(t, server.count(), 1)
	})
}

// TestTablesThatFail is tc-table-fails: an error with the server's code and sentence; some reasons pass.
func TestTablesThatFail(t *testing.T) {
	both(t, func(t *testing.T, transport Transport) {
		fail := func(code string) script {
			return func(p *peer) {
				p.open()
				p.greet(10)
				p.send(object{"type": "backfill_failed", "id": "10@k", "code": code, "message": "No."})
				p.gone()
			}
		}
		server := newScriptedServer(t, fail("too_busy"), fail("unknown_table"))
		table := newTable(t, connect(t, server.url(transport)))
		var failure *TableError
		if err := table.Ready(soon(t)); !errors.As(err, &failure) || failure.Code != "unknown_table" || failure.Message != "No." {
			t.Fatal(err)
		}
		checkEqual(t, server.count(), 2)
	})
}

// TestUnreadableRowsOfATable is tc-table-unreadable: kept by its key with nothing as its row, and reported.
func TestUnreadableRowsOfATable(t *testing.T) {
	both(t, func(t *testing.T, transport Transport) {
		goOn := make(chan struct{})
		server := newScriptedServer(t, func(p *peer) {
			p.request()
			p.accept()
			if p.isSocket {
				p.subscribe = p.receive()
			}
			await(goOn)
			p.greet(10)
			p.rows(object{"key": object{"id": 1}, "row": nil, "unreadable": "too_large"})
			p.send(object{"type": "rows_end", "id": "10@k", "position": "10", "rows": 1})
			p.gone()
		})
		table := newTable(t, connect(t, server.url(transport)))
		var reported list[error]
		table.OnError(reported.add)
		close(goOn)
		readyTable(t, table)
		row, ok := table.Get(1)
		eventually(t, "it is reported", func() bool { return reported.len() == 1 })
		checkEqual(t, fmt.Sprint(row == nil, ok), "true true")
	})
}
