package flagent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

// numbered is the member n of a flag, as a number.
func numbered(f *Flag) int {
	var content struct{ N int }
	if f == nil || json.Unmarshal(f.Raw, &content) != nil {
		return -1
	}
	return content.N
}

// TestResume is tc-resume and tc-restart: resumed by the last id, no event is lost or repeated, subscriptions survive.
func TestResume(t *testing.T) {
	both(t, func(t *testing.T, transport Transport) {
		update := func(p *peer, id string, n int) { p.send(anEvent(FlagUpdated, id, aFlag(1, "a").with(object{"n": n}))) }
		server := newScriptedServer(t,
			func(p *peer) { p.open(); p.greet(10); update(p, "11-0@k", 1); p.Close() },
			func(p *peer) {
				p.open()
				p.greet(13)
				update(p, "11-0@k", 1)
				update(p, "12-0@k", 2)
				p.heartbeat(15)
				p.abort()
			},
			func(p *peer) { p.open(); p.greet(15); update(p, "16-0@k", 3); p.gone() })
		client := connect(t, server.url(transport))
		var seen list[int]
		client.Subscribe(soon(t), "a", func(f Flag) { seen.add(numbered(&f)) })
		startClient(t, client)
		eventually(t, "all arrive", func() bool { return seen.len() == 3 })
		checkEqual(t, fmt.Sprint(seen.all(), server.peer(1).lastEventID(), server.peer(2).lastEventID()), "[1 2 3]11-0@k15@k")
	})
}

func TestANewClientResumesFromAGivenID(t *testing.T) {
	both(t, func(t *testing.T, transport Transport) {
		server := newScriptedServer(t, serving(10))
		client := connect(t, server.url(transport), WithLastEventID("7-1@k"))
		client.SubscribeAll(soon(t), func(Event) {})
		startClient(t, client)
		eventually(t, "it is greeted", func() bool {
			client.mu.Lock()
			defer client.mu.Unlock()
			return client.conn != nil && client.conn.isGreeted
		})
		checkEqual(t, server.peer(0).lastEventID(), "7-1@k")
	})
}

// TestRetry is tc-retry: "retry:" is the minimum wait from then on.
func TestRetry(t *testing.T) {
	withoutLeaks(t)
	gone := func(p *peer) { p.abort() }
	server := newScriptedServer(t, func(p *peer) { p.open(); p.write("retry: 3120\n\n"); p.greet(10); p.Close() }, gone, gone, serving(10))
	clock := newPlayedClock()
	client := connect(t, server.url(SSE), withClock(clock), WithReconnect(ReconnectConfig{MaxAttempts: Unlimited}))
	client.SubscribeAll(soon(t), func(Event) {})
	startClient(t, client)
	eventually(t, "it connects again", func() bool { return server.count() == 4 })
	for _, slept := range clock.slept.all() {
		checkEqual(t, slept, 3120*time.Millisecond)
	}
}

// TestUnlimited is tc-unlimited: by default a client gives up after ten attempts, and never while it feeds a store.
func TestUnlimited(t *testing.T) {
	both(t, func(t *testing.T, transport Transport) {
		gone := func(p *peer) { p.request(); p.abort() }
		fast := WithReconnect(ReconnectConfig{InitialDelay: time.Millisecond, MaxDelay: time.Millisecond})
		server := newScriptedServer(t, gone)
		client := connect(t, server.url(transport), fast)
		client.Subscribe(soon(t), "a", ignore)
		startClient(t, client)
		eventually(t, "it gives up", func() bool { return client.Err() != nil })
		var exhausted *ReconnectExhaustedError
		var lost *ConnectionLostError
		if err := client.Err(); !errors.As(err, &exhausted) || exhausted.Attempts != 10 || !errors.As(err, &lost) || server.count() != 11 {
			t.Fatal(err, server.count())
		}
		scripts := append(slices.Repeat([]script{gone}, 20), serving(10))
		server = newScriptedServer(t, scripts...)
		client = connect(t, server.url(transport), fast)
		store := newStore(t, client)
		startClient(t, client)
		ready(t, store)
		checkEqual(t, server.count(), 21)
	})
}

// TestLostBeforeSnapshot is tc-lost-before-snapshot: the snapshot is requested again.
func TestLostBeforeSnapshot(t *testing.T) {
	both(t, func(t *testing.T, transport Transport) {
		server := newScriptedServer(t, func(p *peer) { p.open(); p.greet(10); p.heartbeat(10); p.abort() }, serving(11, aFlag(1, "a")))
		client := connect(t, server.url(transport))
		store := newStore(t, client)
		startClient(t, client)
		ready(t, store)
		checkEqual(t, store.Len(), 1)
		checkEqual(t, server.peer(1).wantsSnapshot() && server.peer(1).lastEventID() == "", true)
	})
}

// TestResync is tc-resync: the state is replaced, the id may move back, handlers receive the differences.
func TestResync(t *testing.T) {
	both(t, func(t *testing.T, transport Transport) {
		n := func(id int, key string, n int) object { return aFlag(id, key).with(object{"n": n}) }
		server := newScriptedServer(t, func(p *peer) {
			p.open()
			p.greet(10)
			p.snapshot(10, aFlag(1, "a"), aFlag(2, "b"), aFlag(3, "c"))
			p.send(anEvent(FlagUpdated, "11-0@k", n(1, "a", 1)))
			p.send(anEvent(FlagUpdated, "11-1@k", n(2, "b", 1)))
			p.send(object{"type": "resync", "id": "5@z", "reason": "log_replaced", "snapshot": object{"position": "5", "flags": []object{n(1, "a", 1), n(2, "b", 2)}}})
			p.send(anEvent(FlagUpdated, "6-0@z", n(1, "a", 9)))
			p.gone()
		})
		client := connect(t, server.url(transport))
		var events list[EventType]
		var a, b list[int]
		client.OnEvent(soon(t), func(e Event) { events.add(e.Type) })
		client.Subscribe(soon(t), "a", func(f Flag) { a.add(numbered(&f)) })
		client.Subscribe(soon(t), "b", func(f Flag) { b.add(numbered(&f)) })
		store := newStore(t, client)
		startClient(t, client)
		eventually(t, "all arrive", func() bool { return events.len() == 4 && client.LastEventID() == "6-0@z" && a.len() == 2 })
		checkEqual(t, fmt.Sprint(events.all(), a.all(), b.all(), store.Len()), "[flag_updated flag_updated resync flag_updated] [1 9] [1 2] 2")
	})
}

// TestOncePerDifference is tc-once-per-difference: two events of one commit with the same flag cause one call.
func TestOncePerDifference(t *testing.T) {
	both(t, func(t *testing.T, transport Transport) {
		server := newScriptedServer(t, func(p *peer) {
			p.open()
			p.greet(10)
			for position, kind := range map[int]EventType{11: FlagEnabled} {
				toggled := aFlag(1, "a").with(object{"enabled": true, "tags": []object{{"id": 1, "value": "t"}}})
				p.send(anEvent(FlagUpdated, fmt.Sprintf("%d-0@k", position), toggled))
				p.send(anEvent(kind, fmt.Sprintf("%d-1@k", position), toggled))
			}
			p.send(anEvent(FlagUpdated, "12-0@k", aFlag(1, "a")))
			p.send(anEvent(FlagDeleted, "13-0@k", aFlag(1, "a")))
			p.gone()
		})
		client := connect(t, server.url(transport))
		var flags list[bool]
		var lists list[int]
		var deleted list[string]
		var events list[string]
		client.SubscribeFlag(soon(t), "a", func(f Flag) { flags.add(f.Enabled) }, deleted.add)
		client.SubscribeTags(soon(t), []string{"t"}, func(changed []Flag) { lists.add(len(changed)) })
		client.OnEvent(soon(t), func(e Event) { events.add(e.ID) })
		startClient(t, client)
		eventually(t, "all arrive", func() bool { return events.len() == 4 })
		// The second list is of the flag that has just lost the tag.
		checkEqual(t, fmt.Sprint(flags.all(), lists.all(), deleted.all()), "[true false] [1 1] [a]")
	})
}

// TestHalfOpen is tc-half-open: after 2.5 silent intervals the connection is dropped, the store is stale, and the stream
// resumes.
func TestHalfOpen(t *testing.T) {
	both(t, func(t *testing.T, transport Transport) {
		server := newScriptedServer(t,
			func(p *peer) { p.open(); p.greet(10, object{"heartbeatMs": 200}); p.snapshot(10); p.gone() },
			func(p *peer) { p.open(); p.greet(10, object{"heartbeatMs": 60_000}); p.gone() })
		client := connect(t, server.url(transport))
		store := newStore(t, client)
		var statuses list[Status]
		store.OnStatus(statuses.add)
		startClient(t, client)
		eventually(t, "it resumes", func() bool { return statuses.len() == 3 })
		checkEqual(t, fmt.Sprint(statuses.all(), server.peer(1).lastEventID()), "[READY STALE READY]10@k")
	})
}

func TestAServerThatAcceptsAndSendsNothingIsDropped(t *testing.T) {
	both(t, func(t *testing.T, transport Transport) {
		server := newScriptedServer(t, func(p *peer) { p.gone() }, serving(10))
		client := connect(t, server.url(transport), WithConnectTimeout(100*time.Millisecond))
		store := newStore(t, client)
		startClient(t, client)
		ready(t, store)
	})
}

func digestOf(t *testing.T, flags ...object) string {
	var sum uint32
	for _, flag := range flags {
		text, _ := json.Marshal(flag)
		sum += checksum(canonicalFlag(parsed(t, text)))
	}
	return formatDigest(len(flags), sum)
}

// TestHeal is tc-heal: a digest that differs causes one snapshot request; the stream goes on.
func TestHeal(t *testing.T) {
	both(t, func(t *testing.T, transport Transport) {
		truth := []object{aFlag(1, "a").with(object{"n": 2}), aFlag(2, "b")}
		server := newScriptedServer(t, func(p *peer) {
			p.open()
			p.greet(10)
			p.snapshot(10, aFlag(1, "a").with(object{"n": 1}), aFlag(2, "b"))
			p.heartbeat(12, object{"digest": digestOf(t, truth...)})
			if p.isSocket {
				request := p.receive()
				p.frame(state(12).with(object{"type": "subscribed", "requestId": request["requestId"]}))
				p.frame(object{"type": "snapshot", "id": "12@k", "position": "12", "flags": truth, "requestId": request["requestId"]})
			}
			p.gone()
		}, serving(12, truth...))
		client := connect(t, server.url(transport))
		store := newStore(t, client)
		var statuses list[Status]
		store.OnStatus(statuses.add)
		startClient(t, client)
		eventually(t, "it heals", func() bool { return statuses.len() == 3 && store.Digest() == digestOf(t, truth...) })
		checkEqual(t, fmt.Sprint(statuses.all()), "[READY STALE READY]")
	})
}

func TestAStoreCanJoinLater(t *testing.T) {
	both(t, func(t *testing.T, transport Transport) {
		goOn := make(chan struct{})
		server := newScriptedServer(t, func(p *peer) {
			p.open()
			p.greet(10)
			if p.isSocket {
				request := p.receive()
				p.frame(state(11).with(object{"type": "subscribed", "requestId": request["requestId"]}))
				p.frame(object{"type": "snapshot", "id": "11@k", "position": "11", "flags": []object{aFlag(1, "a")}, "requestId": request["requestId"]})
			}
			await(goOn)
			p.send(anEvent(FlagUpdated, "12-0@k", aFlag(1, "a").with(object{"n": 2})))
			p.gone()
		}, serving(11, aFlag(1, "a")))
		client := connect(t, server.url(transport))
		var seen list[string]
		client.SubscribeAll(soon(t), func(e Event) { seen.add(e.ID) })
		startClient(t, client)
		eventually(t, "it is greeted", func() bool { return client.LastEventID() == "10@k" })
		store := newStore(t, client)
		ready(t, store)
		close(goOn)
		eventually(t, "the event arrives", func() bool {
			flag, _ := store.Get("a")
			return numbered(flag) == 2 && seen.len() == 1
		})
	})
}

// TestReady is tc-ready: an error at the time limit, which names the last cause, and when the client is closed.
func TestReady(t *testing.T) {
	both(t, func(t *testing.T, transport Transport) {
		server := newScriptedServer(t, func(p *peer) { p.open(); p.gone() })
		client := connect(t, server.url(transport))
		store := newStore(t, client)
		startClient(t, client)
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		if err := store.Ready(ctx); !errors.Is(err, ErrNotReady) || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		waiting := make(chan error)
		go func() { waiting <- store.Ready(soon(t)) }()
		client.Close()
		if err := <-waiting; !errors.Is(err, ErrClosed) {
			t.Fatal(err)
		}
		if _, err := NewStore(client); !errors.Is(err, ErrClosed) {
			t.Fatal(err)
		}
	})
	t.Run("names the cause", func(t *testing.T) {
		withoutLeaks(t)
		free, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		free.Close()
		client := connect(t, "ws://"+free.Addr().String()+"/ws")
		store := newStore(t, client)
		startClient(t, client)
		ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
		defer cancel()
		var lost *ConnectionLostError
		if err := store.Ready(ctx); !errors.As(err, &lost) || !strings.Contains(err.Error(), "refused") || !strings.Contains(err.Error(), "INITIALIZING") {
			t.Fatal(err)
		}
	})
}

// TestWaitFor is tc-wait-for, and tc-position.
func TestWaitFor(t *testing.T) {
	both(t, func(t *testing.T, transport Transport) {
		goOn := make(chan struct{})
		server := newScriptedServer(t, func(p *peer) {
			p.open()
			p.greet(10)
			p.snapshot(10)
			await(goOn)
			p.send(anEvent(FlagUpdated, "11-0@k", aFlag(1, "a")))
			p.heartbeat(13)
			p.gone()
		})
		client := connect(t, server.url(transport))
		store := newStore(t, client)
		checkEqual(t, store.Position(), 0)
		startClient(t, client)
		ready(t, store)
		checkEqual(t, store.Position(), 10)
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		if err := store.WaitFor(ctx, 13); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "position 10") {
			t.Fatal(err)
		}
		close(goOn)
		for _, position := range []Position{9, 11, 13} {
			if err := store.WaitFor(soon(t), position); err != nil {
				t.Fatal(err)
			}
		}
		waiting := make(chan error)
		go func() { waiting <- store.WaitFor(soon(t), 99) }()
		client.Close()
		if err := <-waiting; !errors.Is(err, ErrClosed) {
			t.Fatal(err)
		}
	})
}

func TestARejectedSubscriptionEndsTheConnectionWithItsReason(t *testing.T) {
	withoutLeaks(t)
	server := newScriptedServer(t, func(p *peer) {
		p.open()
		p.frame(object{"type": "error", "code": "forbidden", "message": "Not yours.", "requestId": p.subscribe["requestId"]})
		p.gone()
	})
	client := connect(t, server.url(WebSocket), withClock(newPlayedClock()), WithReconnect(ReconnectConfig{MaxAttempts: 2}))
	store := newStore(t, client)
	startClient(t, client)
	var exhausted *ReconnectExhaustedError
	if err := store.Ready(soon(t)); !errors.As(err, &exhausted) || !strings.Contains(err.Error(), "forbidden") {
		t.Fatal(err)
	}
}
