package flagent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func ignore(Flag) {}

// -------------------------------------------------------------------------------------------------------- connecting

// TestKey is tc-key: the key is sent in a header, and is in no URL and no log line.
func TestKey(t *testing.T) {
	both(t, func(t *testing.T, transport Transport) {
		server := newScriptedServer(t, serving(10))
		var log bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		client := connect(t, server.url(transport), WithAPIKey("fla_secret"), WithLogger(logger))
		store := newStore(t, client)
		startClient(t, client)
		ready(t, store)
		p := server.peer(0)
		checkEqual(t, p.header.Get("X-API-Key"), "fla_secret")
		if client.Close(); strings.Contains(p.path+p.query.Encode()+log.String(), "fla_secret") {
			t.Fatal("the key is in the URL or in the log")
		}
	})
}

// TestKeyFunction is tc-key-function: called for each connection, and once more after a 401.
func TestKeyFunction(t *testing.T) {
	both(t, func(t *testing.T, transport Transport) {
		keys := []string{"old", "new", "third", "fourth"}
		refuse := func(p *peer) { p.request(); p.answer("401 Unauthorized", "") }
		reset := func(p *peer) { p.open(); p.greet(10); p.snapshot(10); p.abort() }
		server := newScriptedServer(t, refuse, reset, refuse, refuse)
		client := connect(t, server.url(transport), WithAPIKeyFunc(func(context.Context) (string, error) {
			key := keys[0]
			keys = keys[1:]
			return key, nil
		}))
		newStore(t, client)
		startClient(t, client)
		eventually(t, "the client fails", func() bool { return client.Err() != nil })
		for i, want := range []string{"old", "new", "third", "fourth"} {
			checkEqual(t, server.peer(i).header.Get("X-API-Key"), want)
		}
		checkEqual(t, isRefused(client.Err()), true)
	})
}

// TestSSERequest is tc-sse-request.
func TestSSERequest(t *testing.T) {
	withoutLeaks(t)
	reset := func(p *peer) { p.open(); p.greet(10); p.snapshot(10); p.heartbeat(12); p.abort() }
	server := newScriptedServer(t, reset, serving(12))
	client := connect(t, server.url(SSE))
	store := newStore(t, client, StoreFlags("a", "b c"), StoreFlagIDs(3), StoreTags("t&u"))
	startClient(t, client)
	eventually(t, "it resumes", func() bool { return server.count() == 2 && store.Status() == Ready })
	first, second := server.peer(0), server.peer(1)
	checkEqual(t, first.header.Get("Accept"), "text/event-stream")
	want := url.Values{"flag": {"a", "b c"}, "flagID": {"3"}, "tag": {"t&u"}, "envelope": {"true"}, "snapshot": {"true"}}
	if !reflect.DeepEqual(first.query, want) || first.header.Get("Last-Event-ID") != "" {
		t.Fatalf("%v, want %v", first.query, want)
	}
	if second.query.Has("snapshot") || second.lastEventID() != "12@k" {
		t.Fatalf("%v, %q", second.query, second.lastEventID())
	}
}

func withoutID(m object) object {
	rest := m.with(nil)
	delete(rest, "requestId")
	return rest
}

func checkMessages(t *testing.T, found []object, want ...string) {
	t.Helper()
	shown := []string{}
	for _, m := range found {
		text, _ := json.Marshal(withoutID(m))
		shown = append(shown, string(text))
	}
	if !slices.Equal(shown, want) {
		t.Fatalf("%v, want %v", shown, want)
	}
}

// TestWebSocketSubscribes is tc-ws-subscribe: one message for the union; differing types narrow on the client.
func TestWebSocketSubscribes(t *testing.T) {
	withoutLeaks(t)
	server := newScriptedServer(t, serving(10))
	client := connect(t, server.url(WebSocket))
	client.Subscribe(soon(t), "a", ignore)
	client.SubscribeTags(soon(t), []string{"t"}, func([]Flag) {})
	client.SubscribeEvents(soon(t), Selectors{Flags: []string{"b"}, Types: []EventType{FlagDeleted}}, func(Event) {})
	startClient(t, client)
	eventually(t, "it is greeted", func() bool { return client.LastEventID() == "10@k" })
	checkMessages(t, []object{server.peer(0).subscribe}, `{"flags":["a","b"],"tags":["t"],"type":"subscribe"}`)
}

// TestSubscribingLive is tc-subscribe-live: an added selection is subscribed at once, a removed one is unsubscribed.
func TestSubscribingLive(t *testing.T) {
	withoutLeaks(t)
	var received list[object]
	server := newScriptedServer(t, func(p *peer) {
		p.open()
		p.greet(10)
		for {
			received.add(p.receive())
		}
	})
	client := connect(t, server.url(WebSocket))
	first, _ := client.Subscribe(soon(t), "a", ignore)
	startClient(t, client)
	eventually(t, "it is greeted", func() bool { return client.LastEventID() == "10@k" })
	ctx, cancel := context.WithCancel(context.Background())
	client.Subscribe(ctx, "b", ignore)
	eventually(t, "it subscribes", func() bool { return received.len() == 1 })
	first.Unsubscribe()
	eventually(t, "it unsubscribes", func() bool { return received.len() == 2 })
	cancel() // the end of its context ends a subscription
	eventually(t, "nothing is subscribed", func() bool { return received.len() == 3 })
	checkMessages(t, received.all(), `{"flags":["b"],"type":"subscribe"}`, `{"flags":["a"],"type":"unsubscribe"}`, `{"type":"unsubscribe"}`)
}

func TestAWiderSelectionReplacesTheEventStreamAndResumes(t *testing.T) {
	withoutLeaks(t)
	server := newScriptedServer(t, serving(10))
	client := connect(t, server.url(SSE))
	client.Subscribe(soon(t), "a", ignore)
	startClient(t, client)
	eventually(t, "it is greeted", func() bool { return client.LastEventID() == "10@k" })
	client.Subscribe(soon(t), "b", ignore)
	eventually(t, "it is replaced", func() bool { return server.count() == 2 && client.IsConnected() })
	checkEqual(t, strings.Join(server.peer(1).query["flag"], ","), "a,b")
	checkEqual(t, server.peer(1).lastEventID(), "10@k")
}

// TestTables is tc-tables: an event stream cannot select everything and tables at once; the WebSocket can.
func TestTables(t *testing.T) {
	both(t, func(t *testing.T, transport Transport) {
		row := object{"type": RowUpdated, "id": "11-0@k", "schema": "shop", "table": "shop.orders", "key": object{"id": 1}, "before": object{"id": 1}, "after": object{"id": 1, "n": 1.5}, "changed": []string{"n"}}
		server := newScriptedServer(t, func(p *peer) { p.open(); p.greet(10); p.send(row); p.gone() })
		client := connect(t, server.url(transport))
		var rows, all list[Event]
		client.SubscribeTable(soon(t), "orders", rows.add)
		client.SubscribeAll(soon(t), all.add)
		startClient(t, client)
		if transport == SSE {
			eventually(t, "it is refused", func() bool { return client.Err() != nil })
			return
		}
		eventually(t, "the row arrives", func() bool { return rows.len() == 1 })
		event := rows.all()[0]
		checkEqual(t, fmt.Sprintf("%s %s %s %v", event.Row.Table, event.Row.Key, event.Row.After, event.Row.Changed), `shop.orders {"id":1} {"id":1,"n":1.5} [n]`)
		checkEqual(t, all.len(), 0)
	})
}

// TestAnUnreadableRow is tc-unreadable-row.
func TestAnUnreadableRow(t *testing.T) {
	row := object{"type": RowUpdated, "id": "11-0@k", "table": "shop.orders", "key": object{"id": 1}, "before": nil, "after": nil, "unreadable": "too_large"}
	text, _ := json.Marshal(row)
	event, err := decodeEvent(newMessage(parsed(t, text)))
	if err != nil || event.Row.Unreadable != "too_large" || event.Row.Before != nil || event.Row.After != nil {
		t.Fatalf("%+v (%v)", event.Row, err)
	}
}

// TestManySelectors is tc-many-selectors: parts of 1 000 values and 64 KiB; a resume and a snapshot select everything for a
// moment.
func TestManySelectors(t *testing.T) {
	withoutLeaks(t)
	keys := []string{}
	for n := range 2500 {
		keys = append(keys, strings.Repeat("k", 100)+fmt.Sprint(n))
	}
	received := []*list[object]{{}, {}}
	var after list[object]
	server := newScriptedServer(t, func(p *peer) {
		p.open()
		log := received[p.number]
		log.add(p.subscribe)
		p.greet(10 + p.number)
		if p.wantsSnapshot() {
			p.snapshot(10, aFlag(1, keys[0]), aFlag(2, "other"))
		}
		for m := p.subscribe; m["type"] != "unsubscribe"; log.add(m) {
			m = p.receive()
		}
		if p.number == 0 {
			p.abort()
		}
		p.send(anEvent(FlagUpdated, "12-0@k", aFlag(2, "other").with(object{"n": 1})))
		for i := 0; i < 5; i++ {
			p.send(anEvent(FlagUpdated, fmt.Sprintf("%d-0@k", 13+i), aFlag(13+i, keys[500*i])))
		}
		for {
			after.add(p.receive())
		}
	})
	client := connect(t, server.url(WebSocket))
	var calls list[string]
	for _, key := range keys {
		client.Subscribe(context.Background(), key, func(f Flag) { calls.add(f.Key) })
	}
	store := newStore(t, client, StoreFlags(keys[:1500]...), StoreTags("t"))
	startClient(t, client)
	eventually(t, "the events arrive", func() bool { return calls.len() == 5 })
	if want := []string{keys[0], keys[500], keys[1000], keys[1500], keys[2000]}; !slices.Equal(calls.all(), want) {
		t.Fatal(calls.all())
	}
	checkEqual(t, store.Len(), 3)
	for number, log := range received {
		messages := log.all()
		begin := []string{`{"snapshot":true,"subscribeAll":true,"type":"subscribe"}`, `{"lastEventId":"10@k","subscribeAll":true,"type":"subscribe"}`}[number]
		checkMessages(t, []object{messages[0], messages[len(messages)-1]}, begin, `{"subscribeAll":true,"type":"unsubscribe"}`)
		found := []string{}
		for _, part := range messages[1 : len(messages)-1] {
			text, _ := json.Marshal(part)
			flags, _ := part["flags"].([]any)
			if part["type"] == "ping" {
				continue
			}
			if len(flags) > maxValues || len(text) > 66_000 {
				t.Fatalf("a part has %d flags and %d bytes", len(flags), len(text))
			}
			for _, key := range flags {
				found = append(found, key.(string))
			}
		}
		want := slices.Sorted(slices.Values(keys))
		if !slices.Equal(found, want) {
			t.Fatalf("%d keys are subscribed", len(found))
		}
	}
	checkEqual(t, server.count(), 2)
}

// TestSelectionLimits is tc-selection-limits: what exceeds a limit is refused at once, and the rest stays.
func TestSelectionLimits(t *testing.T) {
	for transport, limit := range map[Transport]int{WebSocket: 9_999, SSE: 1_000} {
		client := connect(t, "http://localhost/", WithTransports(transport))
		for n := range limit - 1 {
			if _, err := client.Subscribe(context.Background(), fmt.Sprintf("f%d", n), ignore); err != nil {
				t.Fatal(err)
			}
		}
		store := newStore(t, client, StoreFlags("last", "f1"))
		if _, err := client.Subscribe(context.Background(), "f1", ignore); err != nil {
			t.Fatal(err)
		}
		_, one := client.Subscribe(context.Background(), "one more", ignore)
		_, tags := client.SubscribeTags(context.Background(), []string{"t"}, nil)
		_, segments := client.SubscribeSegments(context.Background(), nil)
		_, ids := NewStore(client, StoreFlagIDs(1))
		for _, err := range []error{one, tags, segments, ids} {
			var refusal *SelectionError
			if !errors.As(err, &refusal) || !strings.Contains(err.Error(), fmt.Sprintf("would select %d", limit+1)) {
				t.Fatal(err)
			}
		}
		store.Close()
		if _, err := client.Subscribe(context.Background(), "one more", ignore); err != nil {
			t.Fatal(err)
		}
	}
	client := connect(t, "http://localhost/")
	for _, key := range []string{"", strings.Repeat("k", 257)} {
		_, flag := client.Subscribe(context.Background(), key, ignore)
		_, table := client.SubscribeTable(context.Background(), key, nil)
		_, tag := NewStore(client, StoreTags(key))
		_, id := NewStore(client, StoreFlagIDs(1<<31))
		for _, err := range []error{flag, table, tag, id} {
			if err == nil || !strings.Contains(err.Error(), "it must be a") {
				t.Fatal(err)
			}
		}
	}
}

// TestFatalStatus is tc-401 and tc-403: fatal, reported once, and the client does not reconnect.
func TestFatalStatus(t *testing.T) {
	for _, status := range []string{"401 Unauthorized", "403 Forbidden", "404 Not Found"} {
		both(t, func(t *testing.T, transport Transport) {
			server := newScriptedServer(t, func(p *peer) { p.request(); p.answer(status, "") })
			client := connect(t, server.url(transport))
			var reported list[error]
			client.OnError(reported.add)
			store := newStore(t, client)
			startClient(t, client)
			var refusal *ConnectionRefusedError
			if err := store.Ready(soon(t)); !errors.As(err, &refusal) || !strings.HasPrefix(status, fmt.Sprint(refusal.Status)) {
				t.Fatal(err)
			}
			checkEqual(t, store.Status(), Failed)
			eventually(t, "it is reported", func() bool { return reported.len() > 0 })
			if all := reported.all(); len(all) != 1 || !errors.As(all[0], &refusal) {
				t.Fatal(all)
			}
			checkEqual(t, server.count(), 1)
		})
	}
}

// TestUnavailable is tc-503: the wait is Retry-After plus jitter, once.
func TestUnavailable(t *testing.T) {
	both(t, func(t *testing.T, transport Transport) {
		busy := func(p *peer) { p.request(); p.answer("503 Service Unavailable", "", "Retry-After: 7") }
		broken := func(p *peer) { p.request(); p.answer("500 Internal Server Error", "") }
		server := newScriptedServer(t, busy, broken, serving(10))
		clock := newPlayedClock(1, 0.5)
		client := connect(t, server.url(transport), withClock(clock), WithReconnect(ReconnectConfig{MaxAttempts: Unlimited, InitialDelay: 2 * time.Second}))
		store := newStore(t, client)
		startClient(t, client)
		ready(t, store)
		if slept := clock.slept.all(); !slices.Equal(slept, []time.Duration{9 * time.Second, 2 * time.Second}) {
			t.Fatal(slept)
		}
	})
}

// TestErrorsNameTheirCause is tc-error-names-cause: the server's own sentence, DNS and TLS are in the message.
func TestErrorsNameTheirCause(t *testing.T) {
	both(t, func(t *testing.T, transport Transport) {
		body := `{"code":"not_allowed","title":"Forbidden","detail":"This key may not read the flag \n 'x'."}`
		server := newScriptedServer(t, func(p *peer) { p.request(); p.answer("403 Forbidden", body, "Content-Type: application/problem+json") })
		client := connect(t, server.url(transport))
		store := newStore(t, client)
		startClient(t, client)
		if err := store.Ready(soon(t)); err == nil || !strings.Contains(err.Error(), "status 403: This key may not read the flag 'x'.; the API key") {
			t.Fatal(err)
		}
		noTLS := newScriptedServer(t, func(p *peer) { p.write("this is not TLS\r\n"); p.gone() })
		for address, want := range map[string]string{
			strings.Replace(noTLS.url(transport), "://", "s://", 1):                  "tls|TLS",
			strings.Replace(noTLS.url(transport), "127.0.0.1", "nowhere.invalid", 1): "no such host|lookup",
		} {
			var reported list[error]
			client := connect(t, address)
			client.OnError(reported.add)
			newStore(t, client)
			startClient(t, client)
			eventually(t, "it is reported", func() bool { return reported.len() > 0 })
			if text := reported.all()[0].Error(); !regexp.MustCompile("cannot connect: .*(" + want + ")").MatchString(text) {
				t.Fatal(text)
			}
			client.Close()
		}
	})
}

// TestRedirects is tc-redirect: the key stays with its origin, a target without a query keeps the selection, a loop ends.
func TestRedirects(t *testing.T) {
	both(t, func(t *testing.T, transport Transport) {
		other := newScriptedServer(t, serving(10))
		same := func(p *peer) { p.request(); p.answer("307 Temporary Redirect", "", "Location: /elsewhere") }
		foreign := func(p *peer) {
			p.request()
			p.answer("308 Permanent Redirect", "", "Location: http://"+other.listener.Addr().String()+"/there")
		}
		server := newScriptedServer(t, same, foreign)
		client := connect(t, server.url(transport), WithAPIKey("key"))
		store := newStore(t, client)
		startClient(t, client)
		ready(t, store)
		checkEqual(t, server.peer(1).path+" "+server.peer(1).header.Get("X-API-Key"), "/elsewhere key")
		checkEqual(t, other.peer(0).path+" "+other.peer(0).header.Get("X-API-Key"), "/there ")
		checkEqual(t, other.peer(0).query.Encode(), server.peer(0).query.Encode())
		client.Close()
		loop := newScriptedServer(t, same)
		client = connect(t, loop.url(transport))
		store = newStore(t, client)
		startClient(t, client)
		if err := store.Ready(soon(t)); err == nil || !strings.Contains(err.Error(), "redirect") {
			t.Fatal(err)
		}
		checkEqual(t, loop.count(), 6)
	})
}

// TestCloseCodes is tc-close-code.
func TestCloseCodes(t *testing.T) {
	for code, isFatal := range map[int]bool{1001: false, 1008: false, 1012: false, 4401: true, 4403: true} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			withoutLeaks(t)
			server := newScriptedServer(t, func(p *peer) { p.open(); p.greet(10); p.closeFrame(code, "because") }, serving(10))
			client := connect(t, server.url(WebSocket))
			var reported list[error]
			client.OnError(reported.add)
			client.SubscribeAll(soon(t), func(Event) {})
			startClient(t, client)
			eventually(t, "it is reported", func() bool { return reported.len() > 0 })
			err := reported.all()[0]
			var lost *ConnectionLostError
			var refusal *ConnectionRefusedError
			switch {
			case isFatal && errors.As(err, &refusal):
				checkEqual(t, refusal.CloseCode, code)
				checkEqual(t, client.Err(), err)
			case !isFatal && errors.As(err, &lost):
				checkEqual(t, lost.CloseCode, code)
				eventually(t, "it reconnects", func() bool { return server.count() == 2 })
			default:
				t.Fatal(err)
			}
			checkEqual(t, strings.Contains(err.Error(), "because"), true)
		})
	}
}

// ----------------------------------------------------------------------------------------------------------- reading

// TestKeepAlive is tc-keep-alive: freshness and the resume id come from heartbeats.
func TestKeepAlive(t *testing.T) {
	both(t, func(t *testing.T, transport Transport) {
		server := newScriptedServer(t, func(p *peer) {
			p.open()
			p.greet(10)
			p.snapshot(10)
			p.heartbeat(20, object{"fresh": false})
			p.gone()
		})
		client := connect(t, server.url(transport))
		store := newStore(t, client)
		startClient(t, client)
		eventually(t, "the store is stale", func() bool { return store.Status() == Stale && client.LastEventID() == "20@k" })
		checkEqual(t, store.Position(), 20)
	})
}

// TestMalformed is tc-malformed: reported and skipped; the connection stays open.
func TestMalformed(t *testing.T) {
	both(t, func(t *testing.T, transport Transport) {
		deep := strings.Repeat("[", 100_000)
		server := newScriptedServer(t, func(p *peer) {
			p.open()
			p.greet(10)
			p.snapshot(10)
			if p.isSocket {
				for _, frame := range []string{"{", "[1]", `{"no":"type"}`, deep, `{"type":"flag_updated","id":"11-0@k","flag":5}`} {
					p.frame(frame)
				}
				p.rawFrame(2, []byte{0, 1})
			} else {
				for _, data := range []string{"{", "[1]", deep, `{"id":"11-0@k","flag":5}`} {
					p.write("event: flag_updated\ndata: " + data + "\n\n")
				}
			}
			p.send(object{"type": "weather", "id": "12-0@k", "rain": true})
			p.send(anEvent(FlagCreated, "13-0@k", aFlag(1, "a")))
			p.gone()
		})
		client := connect(t, server.url(transport))
		var reported list[error]
		var events list[Event]
		client.OnError(reported.add)
		client.OnEvent(soon(t), events.add)
		store := newStore(t, client)
		startClient(t, client)
		eventually(t, "the events arrive", func() bool { return events.len() == 2 && store.Len() == 1 })
		want := map[Transport]int{WebSocket: 6, SSE: 4}[transport]
		for _, err := range reported.all() {
			var failure *MalformedMessageError
			checkEqual(t, errors.As(err, &failure), true)
		}
		checkEqual(t, reported.len(), want)
		checkEqual(t, fmt.Sprint(events.all()[0].Type, " ", events.all()[1].Type), "weather flag_created")
		checkEqual(t, server.count(), 1)
	})
}

// TestTooBig is tc-too-big: the connection is dropped, reported and made again.
func TestTooBig(t *testing.T) {
	both(t, func(t *testing.T, transport Transport) {
		server := newScriptedServer(t, func(p *peer) {
			p.open()
			p.greet(10)
			p.send(anEvent(FlagUpdated, "11-0@k", aFlag(1, "a").with(object{"notes": strings.Repeat("x", 20_000)})))
			p.gone()
		}, serving(10))
		client := connect(t, server.url(transport), WithMaxMessageBytes(10_000))
		var reported list[error]
		client.OnError(reported.add)
		client.SubscribeAll(soon(t), func(Event) {})
		startClient(t, client)
		eventually(t, "it reconnects", func() bool { return server.count() == 2 && reported.len() > 0 })
		var lost *ConnectionLostError
		checkEqual(t, errors.As(reported.all()[0], &lost), true)
	})
}

// TestDuplicates is tc-duplicate: an event at or before the last id reaches no handler.
func TestDuplicates(t *testing.T) {
	both(t, func(t *testing.T, transport Transport) {
		server := newScriptedServer(t, func(p *peer) {
			p.open()
			p.greet(10)
			for _, id := range []string{"11-0@k", "11-1@k", "11-0@k", "11-1@k", "9-0@k", "12-0@k"} {
				p.send(anEvent(FlagUpdated, id, aFlag(1, "a").with(object{"n": id})))
			}
			p.gone()
		})
		client := connect(t, server.url(transport))
		var seen list[string]
		client.OnEvent(soon(t), func(e Event) { seen.add(e.ID) })
		startClient(t, client)
		eventually(t, "the last arrives", func() bool { return slices.Contains(seen.all(), "12-0@k") })
		checkEqual(t, strings.Join(seen.all(), " "), "11-0@k 11-1@k 12-0@k")
	})
}

func TestABatchIsDeliveredEventByEvent(t *testing.T) {
	both(t, func(t *testing.T, transport Transport) {
		tags := object{"tags": []object{{"id": 1, "value": "t"}}}
		server := newScriptedServer(t, func(p *peer) {
			p.open()
			p.greet(10)
			events := []object{}
			for n := range 3 {
				events = append(events, anEvent(FlagUpdated, fmt.Sprintf("11-%d@k", n), aFlag(n, fmt.Sprintf("f%d", n)).with(tags)))
			}
			p.send(object{"type": "batch", "id": "11-2@k", "events": events})
			p.gone()
		})
		client := connect(t, server.url(transport))
		var seen list[string]
		var lists list[int]
		client.OnEvent(soon(t), func(e Event) { seen.add(e.FlagKey) })
		client.SubscribeTags(soon(t), []string{"t"}, func(flags []Flag) { lists.add(len(flags)) })
		startClient(t, client)
		eventually(t, "the list arrives", func() bool { return lists.len() > 0 })
		checkEqual(t, strings.Join(seen.all(), " ")+fmt.Sprint(lists.all()), "f0 f1 f2[3]")
	})
}
