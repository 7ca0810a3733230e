package flagent

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/flagent-cdc/flagent-go/internal/eventid"
	"github.com/flagent-cdc/flagent-go/internal/jsontext"
)

// request is what a new connection asks for. lastEventID and snapshot exclude each other.
type request struct {
	selection   *selection
	lastEventID string
	snapshot    bool
}

func (r request) start() start { return start{snapshot: r.snapshot, lastEventID: r.lastEventID} }

// connection is one connection of a client, and what is known while it lasts. Its fields need the client's lock, except
// those that never change.
type connection struct {
	client    *Client
	transport Transport
	link      link
	ctx       context.Context
	cancel    context.CancelCauseFunc
	// side are goroutines besides the reader, all of which end with ctx.
	side sync.WaitGroup

	request        request
	isOpen         bool
	isEnded        bool
	isPaused       bool
	isGreeted      bool
	hasMessage     bool
	lastByte       time.Duration
	greeting       message
	awaitsSnapshot bool
	// awaitingStores are those that the connection's own first snapshot is for.
	awaitingStores []*storeDriver
	timer          *time.Timer
	goodbye        func()
}

func newConnection(c *Client, transport Transport, ctx context.Context, cancel context.CancelCauseFunc) *connection {
	return &connection{client: c, transport: transport, ctx: ctx, cancel: cancel, link: c.newLink(transport)}
}

// newRequest decides what to request from the server now. It needs the lock.
func (conn *connection) newRequest() request {
	c := conn.client
	if c.table != nil {
		conn.request = c.table.request()
		conn.request.selection = &selection{tables: texts{c.table.query.name: {}}}
		conn.awaitsSnapshot = conn.request.snapshot
		return conn.request
	}
	c.resumeFromKnown()
	var awaiting []*storeDriver
	for _, store := range c.stores {
		if store.core.awaitsSnapshot {
			awaiting = append(awaiting, store)
		}
	}
	onlyStoresWait := len(awaiting) > 0 && len(awaiting) == len(c.stores) && len(c.subscriptions) == 0
	conn.request = request{selection: c.wanted()}
	if c.cursor.Text() == "" || onlyStoresWait {
		conn.request.snapshot = len(awaiting) > 0
	} else {
		conn.request.lastEventID = c.cursor.Text()
	}
	conn.awaitsSnapshot = conn.request.snapshot
	conn.awaitingStores = nil
	if conn.request.snapshot {
		conn.awaitingStores = awaiting
	}
	return conn.request
}

// opened: the transport is connected. It needs the lock.
func (conn *connection) opened() {
	c := conn.client
	conn.isOpen = true
	conn.heard()
	c.liveness.Connected(c.clock.now())
	conn.watch()
	if hook := c.options.hooks.Connected; hook != nil {
		hook(conn.transport)
	}
}

// heard notes that bytes arrived. It needs the lock.
func (conn *connection) heard() { conn.lastByte = conn.client.clock.now() }

func (conn *connection) isEnding() bool { return conn.ctx.Err() != nil }

// drop ends the connection; the client reconnects after the backoff.
func (conn *connection) drop(reason string) { conn.cancel(&ConnectionLostError{Reason: reason}) }

// replace ends the connection and opens another one at once.
func (conn *connection) replace() { conn.cancel(errReplaced) }

// end: the connection ended, for any reason. It needs the lock.
func (conn *connection) end(err error) {
	c := conn.client
	conn.isEnded, conn.isOpen, conn.isGreeted = true, false, false
	if conn.timer != nil {
		conn.timer.Stop()
	}
	for _, store := range c.stores {
		store.connectionLost()
	}
	if c.table != nil {
		c.table.stale()
	}
	c.requests.connectionLost(err)
}

// sayGoodbye closes politely, where the transport has a way to; bounded.
func (conn *connection) sayGoodbye() {
	conn.client.mu.Lock()
	goodbye := conn.goodbye
	conn.client.mu.Unlock()
	if goodbye != nil {
		goodbye()
	}
}

// watch checks for silence now, and again whenever it may have lasted too long. It needs the lock.
func (conn *connection) watch() {
	c := conn.client
	now := c.clock.now()
	for _, store := range c.stores {
		store.tick(now)
	}
	if c.table != nil {
		c.table.tick(now)
	}
	limit := c.liveness.Limit()
	if c.liveness.IsSilent(now) && !conn.isPaused {
		conn.cancel(&ConnectionLostError{Reason: "nothing was received for " + limit.String(), kind: silent})
		return
	}
	conn.watchTransport(now)
	if conn.timer != nil {
		conn.timer.Stop()
	}
	conn.timer = time.AfterFunc(min(limit/5, time.Second, c.options.connectTimeout/4), func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !conn.isEnded && !conn.isEnding() {
			conn.watch()
		}
	})
}

// accept processes one message. It waits while the handlers' queue is full, so that the socket is not read.
func (conn *connection) accept(m message) error {
	c := conn.client
	if hook := c.options.hooks.Received; hook != nil {
		hook(m.kind, len(m.value.Raw()))
	}
	c.mu.Lock()
	if conn.isEnding() {
		c.mu.Unlock()
		return context.Cause(conn.ctx)
	}
	now := c.clock.now()
	conn.alive(now)
	conn.route(m, now)
	isFull := c.dispatcher.isFull()
	conn.isPaused = isFull
	c.mu.Unlock()
	if isFull {
		c.dispatcher.room(conn.ctx)
		c.mu.Lock()
		conn.isPaused = false
		c.liveness.Message(c.clock.now())
		c.mu.Unlock()
	}
	return nil
}

// alive notes a sign of life. It needs the lock.
func (conn *connection) alive(now time.Duration) {
	c := conn.client
	c.backoff.message(now)
	c.liveness.Message(now)
	if !conn.hasMessage {
		conn.hasMessage = true
		c.choice.step(firstMessage, now)
	}
}

func (conn *connection) route(m message, now time.Duration) {
	c := conn.client
	if c.table != nil {
		c.table.receive(conn, m)
		return
	}
	switch m.kind {
	case "":
		conn.reportMalformed(malformed("a message has no type"))
	case "connected", "subscribed":
		conn.greeted(m, now)
	case "heartbeat":
		c.liveness.Heartbeat(now)
		conn.feedStores(m, now)
		conn.advance(m.id)
	case "snapshot":
		conn.snapshot(m, now)
	case "position", "caught_up":
		conn.feedStores(m, now)
		conn.advance(m.id)
	case "resync":
		conn.awaitsSnapshot = false
		isReported := conn.feedStores(m, now)
		if m.id != "" && m.value.Get("snapshot").Kind == jsontext.Object {
			c.cursor = eventid.NewCursor(m.id)
		}
		conn.post([]message{m}, isReported)
	case "batch":
		conn.batch(m, now)
	default:
		if m.id != "" && c.cursor.Covers(m.id) {
			return
		}
		isReported := conn.feedStores(m, now)
		if !isReported {
			conn.advance(m.id)
		}
		conn.post([]message{m}, isReported)
	}
}

func (conn *connection) batch(m message, now time.Duration) {
	items := m.value.Get("events")
	if items.Kind != jsontext.Array {
		conn.feedStores(m, now)
		return
	}
	c := conn.client
	var events []message
	for _, item := range items.Items() {
		if event := newMessage(item); event.id == "" || !c.cursor.Covers(event.id) {
			events = append(events, event)
		}
	}
	// The stores drop what they have seen themselves.
	isReported := conn.feedStores(m, now)
	for _, event := range events {
		conn.advance(event.id)
	}
	conn.post(events, isReported)
	conn.advance(m.id)
}

// advance moves the resume id. While a snapshot is awaited, only the snapshot sets it.
func (conn *connection) advance(id string) {
	if id != "" && !conn.awaitsSnapshot {
		conn.client.cursor.Advance(id)
	}
}

func (conn *connection) greeted(m message, now time.Duration) {
	if conn.isGreeted {
		return
	}
	c := conn.client
	c.hasReceived = true
	conn.isGreeted, conn.greeting = true, m
	c.lastError = nil
	c.liveness.Announced(milliseconds(m.value.Get("heartbeatMs")))
	conn.watch()
	isResumed := conn.request.lastEventID != ""
	if !isResumed && !conn.request.snapshot {
		conn.advance(m.id)
	}
	for _, store := range c.stores {
		store.receive(m, now, isResumed)
		if store.core.awaitsSnapshot && !slices.Contains(conn.awaitingStores, store) {
			conn.link.requestSnapshot(conn, store)
		}
	}
}

func (conn *connection) snapshot(m message, now time.Duration) {
	if conn.awaitsSnapshot {
		conn.awaitsSnapshot = false
		conn.advance(m.id)
	}
	receivers := conn.awaitingStores
	if store := conn.link.snapshotRequester(text(m.value, "requestId")); store != nil {
		receivers = []*storeDriver{store}
	} else {
		conn.awaitingStores = nil
	}
	for _, store := range receivers {
		if !slices.Contains(conn.client.stores, store) {
			continue
		}
		if err := conn.feed(store, m, now); err != nil {
			conn.drop("a snapshot cannot be decoded: " + err.Reason)
		}
	}
}

// feedStores passes a message to every store. It reports whether it was malformed, in which case it was reported.
func (conn *connection) feedStores(m message, now time.Duration) bool {
	var failure *MalformedMessageError
	for _, store := range conn.client.stores {
		if err := conn.feed(store, m, now); err != nil {
			failure = err
		}
	}
	if failure != nil {
		conn.reportMalformed(failure)
	}
	return failure != nil
}

func (conn *connection) feed(store *storeDriver, m message, now time.Duration) *MalformedMessageError {
	update := store.receive(m, now, false)
	if update.requestsSnapshot {
		conn.client.logger.Warn("A store differs from the server; it requests a snapshot", "action", "snapshot_requested")
		conn.link.requestSnapshot(conn, store)
	}
	return update.err
}

func (conn *connection) reportMalformed(err *MalformedMessageError) {
	conn.client.logger.Warn("A message was skipped: "+err.Reason, "action", "message_skipped", "reason", err.Reason)
	conn.client.dispatcher.report(err)
}

// post queues the events of one message for the handlers.
func (conn *connection) post(messages []message, isReported bool) {
	c := conn.client
	hook := c.options.hooks.Committed
	if len(c.subscriptions) == 0 && hook == nil {
		return
	}
	var events []*Event
	for _, m := range messages {
		event, err := decodeEvent(m)
		if err == nil {
			if hook != nil && !event.CommittedAt.IsZero() {
				hook(event.Type, time.Since(event.CommittedAt))
			}
			events = append(events, &event)
		} else if !isReported {
			conn.reportMalformed(err)
			isReported = true
		}
	}
	if len(events) == 0 || len(c.subscriptions) == 0 {
		return
	}
	_, number := c.dispatcher.counts()
	c.dispatcher.post(func() { c.deliver(events, number) })
}

// deliver calls the handlers of all subscriptions; it runs in the dispatcher's goroutine.
func (c *Client) deliver(events []*Event, number uint64) {
	c.mu.Lock()
	subscriptions := c.subscriptions
	isOnly := len(c.stores) == 0 && c.hasOneSelection()
	c.mu.Unlock()
	for _, subscription := range subscriptions {
		if !subscription.isEnded.Load() && subscription.since <= number {
			subscription.deliver(subscription, events, isOnly)
		}
	}
}

// hasOneSelection reports whether all subscriptions share one selection, and the server sends exactly that. A selection
// that is sent in parts is wider for a moment. It needs the lock.
func (c *Client) hasOneSelection() bool {
	var only *selection
	for _, subscription := range c.subscriptions {
		switch {
		case subscription.selection == nil:
		case only == nil:
			only = subscription.selection
		case !only.equals(subscription.selection):
			return false
		}
	}
	return only != nil && !only.isDivided()
}
