package flagent

import (
	"bufio"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

const testDeadline = time.Minute

// withoutLeaks fails the test when it leaves a goroutine.
func withoutLeaks(t *testing.T) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
}

func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(testDeadline); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("did not happen in %v: %s", testDeadline, what)
		}
	}
}

func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), testDeadline)
	t.Cleanup(cancel)
	return ctx
}

// object is a JSON object.
type object map[string]any

func (o object) with(more object) object {
	merged := object{}
	for name, value := range o {
		merged[name] = value
	}
	for name, value := range more {
		merged[name] = value
	}
	return merged
}

func aFlag(id int, key string) object { return object{"id": id, "key": key, "enabled": false} }

// anEvent is an event about a flag; flag_deleted has no flag.
func anEvent(kind EventType, id string, flag object) object {
	event := object{"type": kind, "id": id, "flagKey": flag["key"], "flagID": flag["id"], "schema": "public", "committedAt": "2026-11-23T08:00:00.123456Z"}
	if kind != FlagDeleted {
		event["flag"] = flag
	}
	return event
}

// script plays the server's end of one connection.
type script func(p *peer)

// errPeer ends a script whose connection has ended.
var errPeer = errors.New("the connection of a script has ended")

// peer is the server's end of one connection. It reads a request and writes raw bytes; it can also send the same message
// over either transport, so that one test covers both.
type peer struct {
	net.Conn
	reader    *bufio.Reader
	number    int
	method    string
	host      string
	path      string
	query     url.Values
	header    http.Header
	isSocket  bool
	subscribe object
	// isRead is closed when the request has been read: what is above can be read by the test then.
	isRead chan struct{}
}

func check(err error) {
	if err != nil {
		panic(errPeer)
	}
}

// request reads a request's head.
func (p *peer) request() {
	r, err := http.ReadRequest(p.reader)
	check(err)
	p.method, p.host = r.Method, r.Host
	p.path, p.query, p.header = r.URL.Path, r.URL.Query(), r.Header
	p.isSocket = strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
	close(p.isRead)
}

func (p *peer) write(text string) {
	_, err := io.WriteString(p.Conn, text)
	check(err)
}

// answer responds and closes. Headers are lines.
func (p *peer) answer(status, body string, headers ...string) {
	p.write(fmt.Sprintf("HTTP/1.1 %s\r\n%sContent-Length: %d\r\nConnection: close\r\n\r\n%s", status, lines(headers), len(body), body))
	p.Close()
}

func lines(headers []string) string {
	var all strings.Builder
	for _, header := range headers {
		all.WriteString(header + "\r\n")
	}
	return all.String()
}

// abort resets the connection.
func (p *peer) abort() {
	_ = p.Conn.(*net.TCPConn).SetLinger(0)
	p.Close()
}

// gone waits until the client has closed; its close frame is answered by closing.
func (p *peer) gone() {
	for {
		if p.isSocket {
			if code, _ := p.readFrame(); code == 8 {
				break
			}
		} else if _, err := p.reader.ReadByte(); err != nil {
			break
		}
	}
	p.Close()
}

// open reads the request and accepts the stream; over WebSocket it reads the subscription too.
func (p *peer) open() {
	p.request()
	p.accept()
	if p.isSocket {
		p.subscribe = p.receive()
	}
}

func (p *peer) accept() {
	if !p.isSocket {
		p.write("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
		return
	}
	hash := sha1.Sum([]byte(p.header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	p.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
		base64.StdEncoding.EncodeToString(hash[:]) + "\r\n\r\n")
}

func (p *peer) lastEventID() string {
	if p.isSocket {
		id, _ := p.subscribe["lastEventId"].(string)
		return id
	}
	return p.header.Get("Last-Event-ID")
}

func (p *peer) wantsSnapshot() bool {
	if p.isSocket {
		return p.subscribe["snapshot"] == true
	}
	return p.query.Get("snapshot") == "true"
}

func state(position int, more ...object) object {
	o := object{"position": fmt.Sprint(position), "id": fmt.Sprintf("%d@k", position), "fresh": true, "ageMs": 1}
	for _, each := range more {
		o = o.with(each)
	}
	return o
}

func (p *peer) greet(position int, more ...object) {
	o := state(position, more...)
	if p.isSocket {
		p.frame(o.with(object{"type": "subscribed", "requestId": p.subscribe["requestId"]}))
		return
	}
	text, _ := json.Marshal(o)
	p.write("event: connected\ndata: " + string(text) + "\n\n")
}

// send sends a message given in the WebSocket's form.
func (p *peer) send(m object) {
	if p.isSocket {
		p.frame(m)
		return
	}
	if m["type"] == "heartbeat" {
		digest := ""
		if m["digest"] != nil {
			digest = fmt.Sprint(" digest=", m["digest"])
		}
		p.write(fmt.Sprintf(": keep-alive position=%v fresh=%v ageMs=1%s\nid: %v\n\n", m["position"], m["fresh"], digest, m["id"]))
		return
	}
	text, _ := json.Marshal(m)
	p.write(fmt.Sprintf("event: %v\nid: %v\ndata: %s\n\n", m["type"], m["id"], text))
}

func (p *peer) snapshot(position int, flags ...object) {
	m := object{"type": "snapshot", "id": fmt.Sprintf("%d@k", position), "position": fmt.Sprint(position), "flags": append([]object{}, flags...)}
	if p.isSocket {
		m["requestId"] = p.subscribe["requestId"]
	}
	p.send(m)
}

func (p *peer) heartbeat(position int, more ...object) {
	p.send(state(position, more...).with(object{"type": "heartbeat"}))
}

// frame sends a text frame: strings as they are, others as JSON.
func (p *peer) frame(m any) {
	text, isText := m.(string)
	if !isText {
		data, err := json.Marshal(m)
		check(err)
		text = string(data)
	}
	p.rawFrame(1, []byte(text))
}

func (p *peer) rawFrame(code byte, payload []byte) {
	head := []byte{0x80 | code}
	switch size := len(payload); {
	case size < 126:
		head = append(head, byte(size))
	case size < 65536:
		head = binary.BigEndian.AppendUint16(append(head, 126), uint16(size))
	default:
		head = binary.BigEndian.AppendUint64(append(head, 127), uint64(size))
	}
	_, err := p.Write(append(head, payload...))
	check(err)
}

func (p *peer) closeFrame(code int, reason string) {
	p.rawFrame(8, append(binary.BigEndian.AppendUint16(nil, uint16(code)), reason...))
	p.gone()
}

func (p *peer) readFrame() (code byte, payload []byte) {
	head := make([]byte, 2)
	_, err := io.ReadFull(p.reader, head)
	check(err)
	size := uint64(head[1] & 0x7f)
	if size >= 126 {
		extended := make([]byte, 2+6*(size-126))
		_, err = io.ReadFull(p.reader, extended)
		check(err)
		size = 0
		for _, b := range extended {
			size = size<<8 | uint64(b)
		}
	}
	masked := make([]byte, 4+size)
	_, err = io.ReadFull(p.reader, masked)
	check(err)
	payload = masked[4:]
	for i := range payload {
		payload[i] ^= masked[i%4]
	}
	return head[0] & 0xf, payload
}

// receive is the next text frame of the client.
func (p *peer) receive() object {
	for {
		if code, payload := p.readFrame(); code == 1 {
			var m object
			check(json.Unmarshal(payload, &m))
			return m
		}
	}
}

// scriptedServer runs one script per connection, in the order in which connections arrive; the last one for all further
// ones.
type scriptedServer struct {
	listener net.Listener
	scripts  []script
	running  sync.WaitGroup
	mu       sync.Mutex
	peers    []*peer
}

func newScriptedServer(t *testing.T, scripts ...script) *scriptedServer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &scriptedServer{listener: listener, scripts: scripts}
	s.running.Add(1)
	go s.serve(t)
	t.Cleanup(func() {
		listener.Close()
		s.mu.Lock()
		for _, p := range s.peers {
			p.abort()
		}
		s.mu.Unlock()
		s.running.Wait()
	})
	return s
}

func (s *scriptedServer) serve(t *testing.T) {
	defer s.running.Done()
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		p := &peer{Conn: conn, reader: bufio.NewReader(conn), number: len(s.peers), isRead: make(chan struct{})}
		s.peers = append(s.peers, p)
		play := s.scripts[min(p.number, len(s.scripts)-1)]
		s.mu.Unlock()
		s.running.Add(1)
		go func() {
			defer s.running.Done()
			defer func() {
				if failure := recover(); failure != nil && failure != errPeer {
					t.Errorf("a script panicked: %v", failure)
				}
			}()
			play(p)
		}()
	}
}

func (s *scriptedServer) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.peers)
}

func (s *scriptedServer) peer(number int) *peer {
	s.mu.Lock()
	p := s.peers[number]
	s.mu.Unlock()
	select {
	case <-p.isRead:
	case <-time.After(testDeadline): // a script that reads no request
	}
	return p
}

func (s *scriptedServer) url(transport Transport) string {
	scheme := "http"
	if transport == WebSocket {
		scheme = "ws"
	}
	return scheme + "://" + s.listener.Addr().String() + "/stream"
}

var quick = WithReconnect(ReconnectConfig{MaxAttempts: Unlimited, InitialDelay: 10 * time.Millisecond, MaxDelay: 50 * time.Millisecond})

func connect(t *testing.T, address string, options ...Option) *Client {
	t.Helper()
	client, err := NewClient(address, append([]Option{quick, WithManualStart()}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

func startClient(t *testing.T, client *Client) {
	t.Helper()
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
}

func newStore(t *testing.T, client *Client, options ...StoreOption) *Store {
	t.Helper()
	store, err := NewStore(client, options...)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func ready(t *testing.T, store *Store) {
	t.Helper()
	if err := store.Ready(soon(t)); err != nil {
		t.Fatal(err)
	}
}

// both runs a test over both streams.
func both(t *testing.T, test func(t *testing.T, transport Transport)) {
	for _, transport := range []Transport{WebSocket, SSE} {
		t.Run(string(transport), func(t *testing.T) {
			withoutLeaks(t)
			test(t, transport)
		})
	}
}

// serving greets, sends the snapshot, and keeps the connection open.
func serving(position int, flags ...object) script {
	return func(p *peer) {
		p.open()
		p.greet(position)
		if p.wantsSnapshot() {
			p.snapshot(position, flags...)
		}
		p.gone()
	}
}

// list is a list that handlers append to.
type list[T any] struct {
	mu    sync.Mutex
	items []T
}

func (l *list[T]) add(item T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.items = append(l.items, item)
}

func (l *list[T]) all() []T {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]T{}, l.items...)
}

func (l *list[T]) len() int { return len(l.all()) }

// playedClock is real time, given randomness, and sleeps that are recorded and end at once.
type playedClock struct {
	systemClock
	randoms list[float64]
	slept   list[time.Duration]
	// isLong: sleeps last, until their context ends.
	isLong bool
}

func newPlayedClock(randoms ...float64) *playedClock {
	return &playedClock{systemClock: systemClock{time.Now()}, randoms: list[float64]{items: randoms}}
}

func (c *playedClock) random() float64 {
	c.randoms.mu.Lock()
	defer c.randoms.mu.Unlock()
	if len(c.randoms.items) == 0 {
		return 0.5
	}
	next := c.randoms.items[0]
	c.randoms.items = c.randoms.items[1:]
	return next
}

func (c *playedClock) sleep(ctx context.Context, d time.Duration) bool {
	c.slept.add(d)
	if c.isLong {
		<-ctx.Done()
	}
	return ctx.Err() == nil
}

func withClock(c clock) Option {
	return func(o *options) error {
		o.clock = c
		return nil
	}
}

// await waits in a script for what the test does, so that a test that fails does not hang.
func await(channel chan struct{}) {
	select {
	case <-channel:
	case <-time.After(2 * testDeadline):
		panic(errPeer)
	}
}

func jsonOf(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return string(text)
}
