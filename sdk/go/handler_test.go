package flagent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func streaming(count, size int, announced ...object) script {
	return func(p *peer) {
		p.open()
		p.greet(10, announced...)
		if p.wantsSnapshot() {
			p.snapshot(10)
		}
		for n := range count {
			p.send(anEvent(FlagUpdated, fmt.Sprintf("%d-0@k", 11+n), aFlag(1, "a").with(object{"n": n, "notes": strings.Repeat("x", size)})))
		}
		p.gone()
	}
}

// TestHandlerOrder is tc-handler-order: one at a time, in order, and the store is never behind the handler.
func TestHandlerOrder(t *testing.T) {
	both(t, func(t *testing.T, transport Transport) {
		server := newScriptedServer(t, streaming(50, 0))
		client := connect(t, server.url(transport))
		var running atomic.Int32
		var seen list[int]
		store := newStore(t, client)
		handler := func(e Event) {
			if running.Add(1) != 1 {
				t.Error("two handlers run at the same time")
			}
			if flag, err := store.Get("a"); err != nil || numbered(flag) < numbered(e.Flag) {
				t.Errorf("the store has %d (%v) at event %d", numbered(flag), err, numbered(e.Flag))
			}
			seen.add(numbered(e.Flag))
			running.Add(-1)
		}
		client.OnEvent(soon(t), handler)
		client.OnEvent(soon(t), handler)
		startClient(t, client)
		eventually(t, "all arrive", func() bool { return seen.len() == 100 })
		for i, n := range seen.all() {
			checkEqual(t, n, i/2)
		}
	})
}

// TestHandlersPanic is tc-handler-raises: reported, the others are called, the stream goes on.
func TestHandlersPanic(t *testing.T) {
	both(t, func(t *testing.T, transport Transport) {
		server := newScriptedServer(t, streaming(3, 0))
		client := connect(t, server.url(transport))
		var reported list[error]
		var seen list[string]
		mine := errors.New("mine")
		client.OnError(func(error) { panic("an error handler") })
		client.OnError(reported.add)
		client.OnEvent(soon(t), func(Event) { panic(mine) })
		client.OnEvent(soon(t), func(e Event) { seen.add(e.ID) })
		startClient(t, client)
		eventually(t, "all arrive", func() bool { return seen.len() == 3 && reported.len() == 3 })
		for _, err := range reported.all() {
			var failure *HandlerPanicError
			checkEqual(t, errors.As(err, &failure) && errors.Is(err, mine) && strings.Contains(string(failure.Stack), "handler_test.go"), true)
		}
		checkEqual(t, server.count(), 1)
	})
}

// TestSlowHandlers is tc-slow-handler: at the limit the socket is not read, the server blocks, silence does not count; then
// all arrive.
func TestSlowHandlers(t *testing.T) {
	both(t, func(t *testing.T, transport Transport) {
		const total = 400
		server := newScriptedServer(t, streaming(total, 50_000, object{"heartbeatMs": 1000}))
		client := connect(t, server.url(transport), WithQueueSize(5))
		gate := make(chan struct{})
		var seen list[string]
		client.OnEvent(soon(t), func(e Event) {
			seen.add(e.ID)
			<-gate
		})
		startClient(t, client)
		eventually(t, "the queue is full", func() bool { return client.QueuedMessages() == 5 })
		// Longer than 2.5 of the announced intervals, during which nothing may happen.
		for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			checkEqual(t, client.QueuedMessages(), 5)
		}
		checkEqual(t, server.count(), 1)
		close(gate)
		eventually(t, "all arrive", func() bool { return seen.len() == total })
		checkEqual(t, seen.all()[total-1], fmt.Sprintf("%d-0@k", 10+total))
	})
}

// TestEventsAndChannelsAreHandlersToo: a loop that is slow slows the stream, and leaving it ends the subscription.
func TestEventsAndChannelsAreHandlersToo(t *testing.T) {
	both(t, func(t *testing.T, transport Transport) {
		server := newScriptedServer(t, streaming(50, 0))
		client := connect(t, server.url(transport), WithQueueSize(3))
		startClient(t, client)
		seen := 0
		for event, err := range client.Events(soon(t), Selectors{Flags: []string{"a"}}) {
			if err != nil || numbered(event.Flag) != seen {
				t.Fatal(event, err)
			}
			if seen++; seen == 20 {
				break
			}
		}
		checkEqual(t, client.wanted().isEmpty(), true)
		ctx, cancel := context.WithCancel(context.Background())
		events, err := client.Channel(ctx, Selectors{})
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		for range events {
		}
		closing, err := client.Channel(context.Background(), Selectors{})
		if err != nil {
			t.Fatal(err)
		}
		client.Close()
		for range closing {
		}
		for _, err := range client.Events(soon(t), Selectors{}) {
			checkEqual(t, errors.Is(err, ErrClosed), true)
		}
	})
}

func TestEventsEndWithTheErrorOfTheClient(t *testing.T) {
	withoutLeaks(t)
	server := newScriptedServer(t, func(p *peer) { p.request(); p.answer("403 Forbidden", "") })
	client, err := NewClient(server.url(SSE))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var failure error
	for _, err := range client.Events(soon(t), Selectors{}) {
		failure = err
	}
	checkEqual(t, isRefused(failure), true)
	if _, err := client.Subscribe(soon(t), "a", ignore); !isRefused(err) {
		t.Fatal(err)
	}
}

// TestCloseInHandler is tc-close-in-handler: allowed, and no handler is called after it.
func TestCloseInHandler(t *testing.T) {
	both(t, func(t *testing.T, transport Transport) {
		server := newScriptedServer(t, streaming(20, 0))
		client := connect(t, server.url(transport))
		var seen list[string]
		closed := make(chan time.Duration)
		client.OnEvent(soon(t), func(e Event) {
			seen.add(e.ID)
			start := time.Now()
			client.Close()
			closed <- time.Since(start)
		})
		client.OnEvent(soon(t), func(Event) { seen.add("late") })
		startClient(t, client)
		if took := <-closed; took > closeLimit {
			t.Fatalf("Close took %v", took)
		}
		client.Close()
		checkEqual(t, fmt.Sprint(seen.all()), "[11-0@k]")
	})
}

// TestClose is tc-close: ends in time even if the peer is silent; no goroutine or socket is left.
func TestClose(t *testing.T) {
	both(t, func(t *testing.T, transport Transport) {
		ended := make(chan struct{})
		defer close(ended)
		server := newScriptedServer(t, func(p *peer) {
			p.open()
			p.greet(10)
			p.snapshot(10)
			<-ended // silent, also after the client's goodbye
			p.gone()
		})
		client := connect(t, server.url(transport))
		store := newStore(t, client)
		startClient(t, client)
		ready(t, store)
		start := time.Now()
		client.Close()
		client.Close()
		if took := time.Since(start); took > closeLimit {
			t.Fatalf("Close took %v", took)
		}
		checkEqual(t, store.Status(), Closed)
	})
}

// TestCloseWhileWaiting is tc-close-while-waiting, and TestCloseWhileConnecting tc-close-while-connecting.
func TestCloseWhileWaiting(t *testing.T) {
	both(t, func(t *testing.T, transport Transport) {
		server := newScriptedServer(t, func(p *peer) { p.abort() })
		clock := newPlayedClock()
		clock.isLong = true
		client := connect(t, server.url(transport), withClock(clock))
		client.SubscribeAll(soon(t), func(Event) {})
		startClient(t, client)
		eventually(t, "it waits", func() bool { return clock.slept.len() == 1 })
		start := time.Now()
		client.Close()
		checkEqual(t, time.Since(start) < closeLimit, true)
	})
}

func TestCloseWhileConnecting(t *testing.T) {
	both(t, func(t *testing.T, transport Transport) {
		server := newScriptedServer(t, func(p *peer) { p.request(); p.gone() })
		client := connect(t, server.url(transport))
		client.SubscribeAll(soon(t), func(Event) {})
		startClient(t, client)
		eventually(t, "it connects", func() bool { return server.count() == 1 })
		start := time.Now()
		client.Close()
		checkEqual(t, time.Since(start) < closeLimit, true)
		checkEqual(t, errors.Is(client.Start(), ErrClosed), true)
	})
}

// TestStartTwice is tc-start-twice, and tc-lazy: nothing connects before Start, and a second Start changes nothing.
func TestStartTwice(t *testing.T) {
	both(t, func(t *testing.T, transport Transport) {
		server := newScriptedServer(t, serving(10))
		client := connect(t, server.url(transport))
		store := newStore(t, client)
		client.SubscribeAll(soon(t), func(Event) {})
		checkEqual(t, server.count(), 0)
		startClient(t, client)
		startClient(t, client)
		ready(t, store)
		checkEqual(t, server.count(), 1)
	})
}

// -------------------------------------------------------------------------------------------------------- evaluating

// TestEvaluate is tc-evaluate.
func TestEvaluate(t *testing.T) {
	withoutLeaks(t)
	var received list[object]
	server := newScriptedServer(t, func(p *peer) {
		p.open()
		p.greet(10)
		for {
			request := p.receive()
			received.add(request)
			id := request["requestId"]
			switch {
			case request["type"] == "evaluate_batch":
				p.frame(object{"type": "evaluation_result", "requestId": id, "results": []object{{"flagKey": "a"}, {"flagKey": "b"}}})
			case request["flagKey"] == "a":
				p.frame(object{"type": "evaluation_result", "requestId": "other", "result": object{"flagKey": "z"}})
				p.frame(object{"type": "evaluation_result", "requestId": id, "position": "12", "result": object{
					"flagID": 1, "flagKey": "a", "variantKey": "on", "variantID": 2, "variantAttachment": object{"x": "1"}, "flagTags": []string{"t"}, "evalContext": object{"entityID": "e"}}})
			case request["flagKey"] == "bad":
				p.frame(object{"type": "error", "code": "invalid_input", "message": "No.", "requestId": id})
			case request["flagKey"] == "reset":
				p.abort()
			}
		}
	})
	client := connect(t, server.url(WebSocket))
	client.SubscribeAll(soon(t), func(Event) {})
	startClient(t, client)
	answer, err := client.Evaluate(soon(t), Query{FlagKey: "a", MinPosition: 12, Entity: Entity{ID: "e", Context: Context{"country": "US", "age": 25, "score": 3.0, "none": nil}}})
	if err != nil || answer.VariantKey != "on" || answer.VariantID != 2 || answer.EntityID != "e" || answer.VariantAttachment["x"] != "1" || answer.FlagTags[0] != "t" {
		t.Fatal(answer, err)
	}
	checkMessages(t, received.all(), `{"entityContext":{"age":"25","country":"US","score":"3"},"entityID":"e","flagKey":"a","minPosition":"12","type":"evaluate"}`)
	answers, err := client.EvaluateBatch(soon(t), BatchQuery{Entities: []Entity{{ID: "42"}, {}}, FlagKeys: []string{"a", "b"}})
	if err != nil || len(answers) != 2 || answers[1].FlagKey != "b" {
		t.Fatal(answers, err)
	}
	entities, _ := json.Marshal(received.all()[1]["entities"])
	checkEqual(t, string(entities), `[{"entityID":"42"},{}]`)
	var wrong *ContextError
	if _, err := client.Evaluate(soon(t), Query{FlagKey: "a", Entity: Entity{Context: Context{"n": math.NaN()}}}); !errors.As(err, &wrong) {
		t.Fatal(err)
	}
	var failure *RequestError
	if _, err := client.Evaluate(soon(t), Query{FlagKey: "bad"}); !errors.As(err, &failure) || failure.Code != "invalid_input" {
		t.Fatal(err)
	}
	var lost *ConnectionLostError
	if _, err := client.Evaluate(soon(t), Query{FlagKey: "reset"}); !errors.As(err, &lost) {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if _, err := client.Evaluate(short, Query{FlagKey: "silent"}); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no response") {
		t.Fatal(err)
	}
	pending := func() int {
		client.requests.mu.Lock()
		defer client.requests.mu.Unlock()
		return len(client.requests.responses)
	}
	checkEqual(t, pending(), 0)
	waiting := make(chan error)
	go func() {
		_, err := client.Evaluate(soon(t), Query{FlagKey: "silent"})
		waiting <- err
	}()
	eventually(t, "the request waits", func() bool { return pending() == 1 })
	client.Close()
	if err := <-waiting; !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
}

// TestEvaluateAlone is tc-evaluate-alone: a request starts the client, without any subscription.
func TestEvaluateAlone(t *testing.T) {
	withoutLeaks(t)
	server := newScriptedServer(t, func(p *peer) {
		p.request()
		p.accept()
		request := p.receive()
		p.frame(object{"type": "evaluation_result", "requestId": request["requestId"], "result": object{"flagKey": "a"}})
		p.gone()
	})
	client := connect(t, server.url(WebSocket))
	if answer, err := client.Evaluate(context.Background(), Query{FlagKey: "a", Entity: Entity{ID: "e"}}); err != nil || answer.FlagKey != "a" {
		t.Fatal(answer, err)
	}
	client.Close()
	if _, err := client.Evaluate(soon(t), Query{FlagKey: "a"}); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
}
