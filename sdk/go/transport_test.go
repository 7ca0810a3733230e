package flagent

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// serve accepts a request that was read, streams a snapshot of one flag, and stays open. A probe gets its pong.
func serve(p *peer) {
	p.accept()
	if p.isSocket {
		if p.subscribe = p.receive(); p.subscribe["type"] == "ping" {
			p.frame(object{"type": "pong", "requestId": p.subscribe["requestId"]})
			p.gone()
			return
		}
	}
	p.greet(10, object{"heartbeatMs": 60_000})
	if p.wantsSnapshot() {
		p.snapshot(10, aFlag(1, "a"))
	}
	p.gone()
}

// hold is a proxy that buffers: the connection opens, and no byte follows.
func hold(p *peer) {
	p.accept()
	p.gone()
}

func answering(status, body string, headers ...string) script {
	return func(p *peer) { p.answer(status, body, headers...) }
}

// snapshots answers polls. A request that knows the present state waits for the next one.
type snapshots struct {
	mu       sync.Mutex
	position int
	flags    []object
	isStale  bool
	requests []*peer
	changed  chan struct{}
}

func newSnapshots(position int, flags ...object) *snapshots {
	return &snapshots{position: position, flags: flags, changed: make(chan struct{})}
}

func (s *snapshots) change(position int, isStale bool, flags ...object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.position, s.isStale, s.flags = position, isStale, flags
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *snapshots) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.requests)
}

func (s *snapshots) play(p *peer) {
	s.mu.Lock()
	s.requests = append(s.requests, p)
	changed, isKnown := s.changed, p.header.Get("If-None-Match") == fmt.Sprintf(`W/"%d"`, s.position)
	s.mu.Unlock()
	if isKnown {
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			_, _ = p.reader.ReadByte()
		}()
		select {
		case <-changed:
		case <-gone:
			return
		}
		defer func() { <-gone }()
	}
	s.mu.Lock()
	position, isStale := s.position, s.isStale
	body := strings.ReplaceAll(fmt.Sprintf(`{"type":"snapshot","id":"%d@k","position":"%d","flags":%s}`, position, position, jsonOf(s.flags)), "null", "[]")
	s.mu.Unlock()
	headers := []string{fmt.Sprintf("Flagent-Position: %d@k", position), fmt.Sprintf(`ETag: W/"%d"`, position), "Content-Type: application/json"}
	if isStale {
		headers = append(headers, "Flagent-Stale: 9")
	}
	p.answer("200 OK", body, headers...)
}

// network is a server, or what a network makes of it, and a client that is not started.
func network(t *testing.T, ws, sse, polling script, options ...Option) (*scriptedServer, *Client) {
	t.Helper()
	server := newScriptedServer(t, func(p *peer) {
		p.request()
		switch p.path {
		case "/ws":
			ws(p)
		case "/api/v1/events/stream":
			sse(p)
		case "/api/v1/snapshot":
			polling(p)
		default:
			t.Errorf("the path is %q", p.path)
		}
	})
	return server, connect(t, strings.TrimSuffix(server.url(SSE), "/stream"), options...)
}

func paths(s *scriptedServer) string {
	var names []string
	for n := range s.count() {
		switch s.peer(n).path {
		case "/ws":
			names = append(names, "ws")
		case "/api/v1/events/stream":
			names = append(names, "sse")
		case "/api/v1/snapshot":
			names = append(names, "poll")
		}
	}
	return strings.Join(names, " ")
}

// TestTransportFallback is tc-transport-fallback: a handshake that fails leads to the next transport at once.
func TestTransportFallback(t *testing.T) {
	for name, blocked := range map[string]script{
		"426": answering("426 Upgrade Required", ""), "200": answering("200 OK", "<html>"), "400": answering("400 Bad Request", ""),
		"404": answering("404 Not Found", ""), "bad redirect": answering("302 Found", ""), "closed": func(p *peer) { p.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			withoutLeaks(t)
			server, client := network(t, blocked, serve, serve)
			store := newStore(t, client)
			var seen list[string]
			client.SubscribeAll(soon(t), func(e Event) { seen.add(e.ID) })
			startClient(t, client)
			ready(t, store)
			checkEqual(t, string(client.Transport())+" "+paths(server), "sse ws sse")
			server.peer(1).send(anEvent(FlagUpdated, "11-0@k", aFlag(1, "a").with(object{"enabled": true})))
			eventually(t, "the event arrives", func() bool { return seen.len() == 1 })
			checkEqual(t, fmt.Sprint(store.Enabled("a"), store.Status(), store.LastEventID()), "true READY11-0@k")
		})
	}
	t.Run("the best is the WebSocket", func(t *testing.T) {
		withoutLeaks(t)
		server, client := network(t, serve, serve, serve)
		store := newStore(t, client)
		startClient(t, client)
		ready(t, store)
		checkEqual(t, string(client.Transport())+" "+paths(server), "websocket ws")
	})
}

// TestTransportSilent is tc-transport-silent: connected, but a proxy holds every byte back, or a snapshot.
func TestTransportSilent(t *testing.T) {
	withoutLeaks(t)
	holdSnapshot := func(p *peer) {
		p.accept()
		p.greet(10)
		p.write("event: snapshot\nid: 10@k\ndata: {\"position\": \"10\", \"flags\": [")
		p.gone()
	}
	for _, stream := range []script{hold, holdSnapshot} {
		server, client := network(t, hold, stream, newSnapshots(10, aFlag(1, "a")).play, WithConnectTimeout(300*time.Millisecond))
		store := newStore(t, client)
		startClient(t, client)
		ready(t, store)
		checkEqual(t, client.Transport(), Polling)
		checkEqual(t, strings.HasPrefix(paths(server), "ws sse poll"), true)
		client.Close()
	}
}

// TestTransportLost is tc-transport-lost: three losses within 30 s; the event stream resumes.
func TestTransportLost(t *testing.T) {
	withoutLeaks(t)
	die := func(p *peer) {
		p.accept()
		p.subscribe = p.receive()
		p.greet(10)
		if p.wantsSnapshot() {
			p.snapshot(10, aFlag(1, "a"))
		}
		p.abort()
	}
	server, client := network(t, die, serve, serve)
	store := newStore(t, client)
	startClient(t, client)
	eventually(t, "it goes on by the event stream", func() bool { return client.Transport() == SSE && store.Status() == Ready })
	checkEqual(t, paths(server)+server.peer(3).lastEventID(), "ws ws ws sse10@k")
}

// TestTransportRefused is tc-transport-refused: a server that is down says nothing about the transport; of one that asks to
// come back later, the third answer in a row does.
func TestTransportRefused(t *testing.T) {
	withoutLeaks(t)
	server, client := network(t, answering("503 Service Unavailable", ""), serve, serve)
	newStore(t, client)
	startClient(t, client)
	eventually(t, "it tries the event stream", func() bool { return client.Transport() == SSE && client.IsConnected() })
	checkEqual(t, paths(server), "ws ws ws sse")
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free.Close()
	down := connect(t, "http://"+free.Addr().String())
	var reported list[error]
	down.OnError(reported.add)
	newStore(t, down)
	startClient(t, down)
	eventually(t, "it tries again", func() bool { return reported.len() >= 5 })
	checkEqual(t, down.Transport(), WebSocket)
	for _, err := range reported.all() {
		var lost *ConnectionLostError
		checkEqual(t, errors.As(err, &lost), true)
	}
}

func TestARefusalEndsTheClientOnEveryTransport(t *testing.T) {
	withoutLeaks(t)
	for n := range 3 {
		scripts := append(slices.Repeat([]script{answering("426 No", "")}, n), slices.Repeat([]script{answering("401 Unauthorized", "")}, 3-n)...)
		server, client := network(t, scripts[0], scripts[1], scripts[2])
		store := newStore(t, client)
		startClient(t, client)
		if err := store.Ready(soon(t)); !isRefused(err) || !strings.Contains(err.Error(), "401") || server.count() != n+1 {
			t.Fatal(n, err, server.count())
		}
	}
	server, client := network(t, answering("404 No", ""), answering("404 No", ""), answering("404 No", ""))
	store := newStore(t, client)
	startClient(t, client)
	if err := store.Ready(soon(t)); !isRefused(err) || paths(server) != "ws sse poll" {
		t.Fatal(err, paths(server))
	}
}

// TestTransportBack is tc-transport-back: the better transport is tried again, and the working one stays until it has had a
// message.
func TestTransportBack(t *testing.T) {
	withoutLeaks(t)
	opened := make(chan struct{})
	socket := func(p *peer) {
		select {
		case <-opened:
			serve(p)
		default:
			p.answer("426 Upgrade Required", "")
		}
	}
	server, client := network(t, socket, serve, serve, WithConnectTimeout(400*time.Millisecond), func(o *options) error {
		o.retryBetter = 200 * time.Millisecond
		return nil
	})
	store := newStore(t, client)
	startClient(t, client)
	ready(t, store)
	eventually(t, "two probes fail", func() bool { return strings.Count(paths(server), "ws") >= 3 })
	checkEqual(t, fmt.Sprint(client.Transport(), " ", store.Status(), " ", strings.Count(paths(server), "sse")), "sse READY 1")
	close(opened)
	eventually(t, "it is back", func() bool { return client.Transport() == WebSocket && store.Status() == Ready })
	checkEqual(t, server.peer(server.count()-1).lastEventID(), "10@k")
}

// TestPolling is tc-polling: a change arrives with the held request, and differences call the handlers.
func TestPolling(t *testing.T) {
	withoutLeaks(t)
	s := newSnapshots(10, aFlag(1, "a"), aFlag(2, "b"))
	_, client := network(t, answering("426 No", ""), answering("502 Bad Gateway", ""), s.play)
	store := newStore(t, client)
	var flags list[bool]
	client.Subscribe(soon(t), "a", func(f Flag) { flags.add(f.Enabled) })
	startClient(t, client)
	eventually(t, "it polls", func() bool { return store.Status() == Ready && s.count() == 2 })
	checkEqual(t, client.Transport(), Polling)
	first, held := s.requests[0], s.requests[1]
	checkEqual(t, first.query.Encode()+first.header.Get("If-None-Match"), "")
	checkEqual(t, held.query.Encode()+held.header.Get("If-None-Match"), `waitMs=8000W/"10"`)
	s.change(11, false, aFlag(1, "a").with(object{"enabled": true}))
	eventually(t, "the change arrives", func() bool { return slices.Contains(flags.all(), true) })
	checkEqual(t, fmt.Sprint(store.LastEventID(), store.Len(), store.Status()), "11@k1 READY")
	s.change(12, true, aFlag(1, "a").with(object{"enabled": true}))
	eventually(t, "it is stale", func() bool { return store.Status() == Stale })
	s.change(13, false)
	eventually(t, "it is ready and empty", func() bool { return store.Status() == Ready && store.Len() == 0 })
}

// TestGarbage is tc-garbage, and tc-ready-never-hangs: whatever answers, it is reported, and Ready ends with the cause.
func TestGarbage(t *testing.T) {
	for name, garbage := range map[string]script{
		"html": answering("200 OK", "<html>Log in</html>", "Content-Type: text/html"), "broken": answering("200 OK", "{", "Content-Type: application/json"),
		"no flags": answering("200 OK", `{"flags": [{"id": "x"}]}`, "Content-Type: application/json"),
		"large":    answering("200 OK", strings.Repeat("x", 5000), "Content-Type: application/json"),
	} {
		t.Run(name, func(t *testing.T) {
			withoutLeaks(t)
			_, client := network(t, garbage, garbage, garbage, WithMaxMessageBytes(4096))
			var reported list[error]
			client.OnError(reported.add)
			store := newStore(t, client)
			if err := store.Ready(soon(t)); !errors.Is(err, ErrNotReady) || !strings.Contains(err.Error(), "not started") {
				t.Fatal(err)
			}
			startClient(t, client)
			eventually(t, "it is reported", func() bool { return reported.len() >= 3 })
			checkEqual(t, fmt.Sprint(store.Len(), store.Status()), "0 INITIALIZING")
		})
	}
}

// TestTransportLimits is tc-transport-limits: a selection that only the WebSocket can carry keeps the client there.
func TestTransportLimits(t *testing.T) {
	withoutLeaks(t)
	server, client := network(t, answering("426 Upgrade Required", ""), serve, serve)
	var reported list[error]
	client.OnError(reported.add)
	keys := []string{}
	for n := range 1001 {
		keys = append(keys, fmt.Sprint("f", n))
	}
	newStore(t, client, StoreFlags(keys...))
	startClient(t, client)
	eventually(t, "it tries again", func() bool { return server.count() >= 4 && reported.len() >= 4 })
	checkEqual(t, strings.Contains(paths(server), "sse"), false)
	refusals := 0
	for _, err := range reported.all() {
		var refusal *SelectionError
		if errors.As(err, &refusal) {
			refusals++
		}
	}
	checkEqual(t, refusals, 1)
}

func TestAnAddressThatIsNoneIsRefused(t *testing.T) {
	for _, address := range []string{"flags.example", "ftp://x", "", "http://", "http://[", "wss:///ws"} {
		if client, err := NewClient(address); err == nil {
			client.Close()
			t.Errorf("%q is accepted", address)
		}
	}
}
