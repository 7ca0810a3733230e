package flagent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/flagent-cdc/flagent-go/internal/eventid"
	"github.com/flagent-cdc/flagent-go/internal/liveness"
)

// closeLimit bounds Close: the goodbye to a silent peer, and the wait for a handler that is running.
const closeLimit = 2 * time.Second

// Client receives events from a server, and feeds stores. Its methods may be called from every goroutine.
//
// It runs one goroutine that connects, one that calls handlers, and those of the present connection; Close ends all.
type Client struct {
	options    options
	addresses  addresses
	dispatcher *dispatcher
	clock      clock
	logger     *slog.Logger
	http       *http.Client

	mu              sync.Mutex
	backoff         backoff
	liveness        liveness.Liveness
	subscriptions   []*Subscription
	stores          []*storeDriver
	cursor          eventid.Cursor
	weight          weight
	limits          selectionLimits
	conn            *connection
	requests        *pendingRequests
	failure         error
	lastError       error
	isStarted       bool
	isClosed        bool
	isOffline       bool
	onlineAgain     chan struct{}
	cancel          context.CancelFunc
	running         sync.WaitGroup
	choice          *transportChoice
	hadMessage      bool
	isLimitReported bool
	closed          chan struct{}
	exposures       *exposureHandlers
	// table is the store of rows that the client exists for, nil for one of flags.
	table *TableStore
	// hasReceived: a message has arrived on some connection.
	hasReceived bool
	// address is the one that was given.
	address string
	// firstKey was fetched for saved flags, and is that of the first connection.
	firstKey *string
	// wentOffline is closed when the client goes offline, and replaced when it connects again.
	wentOffline chan struct{}
}

// NewClient returns a client of a server: https://flags.example, with the path of the server where it has one. The
// client then uses the best transport that works. A WebSocket's address (wss://flags.example/ws) or an event stream's
// (https://flags.example/api/v1/events/stream) is used alone.
//
// The first subscription, store or request connects. Close the client at the end.
func NewClient(address string, opts ...Option) (*Client, error) {
	o := options{
		queueSize:       1000,
		maxMessageBytes: 64 << 20,
		connectTimeout:  10 * time.Second,
		pollInterval:    10 * time.Second,
		retryBetter:     defaultRetryBetter,
		logger:          slog.Default(),
		savePace:        defaultPace,
		reportInterval:  reportInterval,
		clock:           systemClock{start: time.Now()},
	}
	for _, option := range opts {
		if err := option(&o); err != nil {
			return nil, err
		}
	}
	at, allowed, err := resolveAddress(address)
	if err != nil {
		return nil, err
	}
	if o.transports == nil {
		o.transports = allowed
	}
	for _, transport := range o.transports {
		if !slices.Contains(allowed, transport) {
			return nil, fmt.Errorf("flagent: the address is that of one transport, %s; pass the address of the server to use %s", allowed[0], transport)
		}
	}
	if o.reconnect, err = o.reconnect.withDefaults(); err != nil {
		return nil, err
	}
	if o.httpTransport == nil {
		o.httpTransport = http.DefaultTransport.(*http.Transport).Clone()
	}
	return newClient(o, at, address), nil
}

// newClient returns a client with resolved options.
func newClient(o options, at addresses, address string) *Client {
	c := &Client{
		options:    o,
		addresses:  at,
		address:    address,
		dispatcher: newDispatcher(o.queueSize, o.logger),
		clock:      o.clock,
		logger:     o.logger,
		http: &http.Client{
			Transport:     o.httpTransport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		backoff:     backoff{config: o.reconnect},
		cursor:      eventid.NewCursor(o.lastEventID),
		requests:    newPendingRequests(),
		closed:      make(chan struct{}),
		choice:      newTransportChoice(o.transports, o.retryBetter),
		onlineAgain: make(chan struct{}),
		wentOffline: make(chan struct{}),
	}
	c.exposures = newExposureHandlers(c)
	// The narrowest of the transports decides: a fall-back must be able to select as much.
	c.limits = webSocketLimits
	if o.transports[0] == SSE {
		c.limits = sseLimits
	}
	return c
}

// Start connects in the background, and returns at once. Idempotent. Without [WithManualStart], the first subscription,
// store or request starts the client.
func (c *Client) Start() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isClosed {
		return ErrClosed
	}
	if c.isOffline {
		c.isOffline = false
		close(c.onlineAgain)
		c.onlineAgain, c.wentOffline = make(chan struct{}), make(chan struct{})
	}
	c.start()
	return nil
}

// Offline ends the connection; none is made until [Client.Start]. Stores are Stale and readable, and save their flags.
// Idempotent.
func (c *Client) Offline() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isClosed {
		return ErrClosed
	}
	if c.isOffline {
		return nil
	}
	c.isOffline = true
	close(c.wentOffline)
	if c.conn != nil {
		c.conn.cancel(ErrOffline)
	}
	for _, store := range c.stores {
		if store.saver != nil {
			signal(store.saver.flush)
		}
	}
	return nil
}

// start needs the lock.
func (c *Client) start() {
	if c.isStarted || c.isClosed {
		return
	}
	c.isStarted = true
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	c.running.Add(1)
	go func() {
		defer c.running.Done()
		c.run(ctx)
	}()
	go c.dispatcher.run()
}

// startAutomatically needs the lock.
func (c *Client) startAutomatically() {
	if !c.options.isManualStart {
		c.start()
	}
}

// Close closes the connection and the stores, and ends all goroutines. It returns within two seconds. Idempotent; it may
// be called from a handler. No handler is called after it has returned, unless a handler that ignores the end of its
// context runs for more than two seconds.
func (c *Client) Close() error {
	c.mu.Lock()
	if c.isClosed {
		c.mu.Unlock()
		<-c.closed
		return nil
	}
	c.isClosed = true
	c.dispatcher.stop()
	for _, store := range c.stores {
		store.close()
	}
	subscriptions, conn, isStarted := c.subscriptions, c.conn, c.isStarted
	c.requests.closeAll(ErrClosed)
	c.mu.Unlock()
	defer close(c.closed)
	for _, subscription := range subscriptions {
		subscription.Unsubscribe()
	}
	deadline := time.NewTimer(closeLimit)
	defer deadline.Stop()
	if conn != nil {
		conn.sayGoodbye()
	}
	if isStarted {
		c.cancel()
	}
	// A handler that closes the client returns only after Close has.
	isByHandler := isInHandler()
	done := make(chan struct{})
	go func() {
		c.running.Wait()
		if isStarted && !isByHandler {
			<-c.dispatcher.done
		}
		close(done)
	}()
	select {
	case <-done:
	case <-deadline.C:
		c.logger.Warn("A handler is still running after the client was closed", "action", "close_timed_out")
	}
	c.http.CloseIdleConnections()
	return nil
}

// IsConnected reports whether a connection is open now.
func (c *Client) IsConnected() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn != nil && c.conn.isOpen
}

// Transport is the transport of the present connection, or of the next one.
func (c *Client) Transport() Transport {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		return c.conn.transport
	}
	return c.choice.current()
}

// Err is the error that ended the client for good, nil while it works.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failure
}

// LastEventID is the event id up to which everything was received; a new client can resume from it. "" before the first.
func (c *Client) LastEventID() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cursor.Text()
}

// QueuedMessages is the number of messages that wait for handlers.
func (c *Client) QueuedMessages() int {
	queued, _ := c.dispatcher.counts()
	return queued
}

// OnError calls a handler with each reported error: lost connections, skipped messages, panics of handlers, the fatal
// error. It returns a function that removes the handler.
func (c *Client) OnError(handler func(error)) (remove func()) {
	return c.dispatcher.onError.add(handler)
}

// checkOpen needs the lock.
func (c *Client) checkOpen() error {
	if c.isClosed {
		return ErrClosed
	}
	return nil
}

// allSelections are what the subscriptions and stores select. It needs the lock.
func (c *Client) allSelections() []*selection {
	parts := make([]*selection, 0, len(c.subscriptions)+len(c.stores))
	for _, subscription := range c.subscriptions {
		if subscription.selection != nil {
			parts = append(parts, subscription.selection)
		}
	}
	for _, store := range c.stores {
		parts = append(parts, store.core.selection)
	}
	return parts
}

// wanted is what the subscriptions and stores select together. It needs the lock.
func (c *Client) wanted() *selection {
	parts := c.allSelections()
	if len(parts) == 0 && len(c.subscriptions) > 0 {
		return everything
	}
	return union(parts)
}

// addSelection counts a selection; it needs the lock.
func (c *Client) addSelection(added *selection) error {
	if err := added.checkValues(); err != nil {
		return err
	}
	sum := c.weight.plus(added.weight())
	if c.limits.check(sum) != nil {
		// Equal selectors of several subscriptions count once, but comparing them takes time.
		if err := c.limits.check(union(append(c.allSelections(), added)).weight()); err != nil {
			return err
		}
	}
	c.weight = sum
	return nil
}

// applySelection brings an open connection in line with what is wanted. It needs the lock.
func (c *Client) applySelection() {
	if !c.isClosed && c.conn != nil && c.conn.isOpen && !c.conn.isEnding() {
		c.conn.link.applySelection(c.conn)
	}
}

func (c *Client) key(ctx context.Context) (string, error) {
	if c.options.apiKey == nil {
		return "", nil
	}
	c.mu.Lock()
	first := c.firstKey
	c.firstKey = nil
	c.mu.Unlock()
	if first != nil {
		return *first, nil
	}
	key, err := c.options.apiKey(ctx)
	if err != nil {
		return "", &ConnectionLostError{Reason: fmt.Sprintf("the function for the API key failed: %v", err), Cause: err, kind: refused}
	}
	return key, nil
}

// fail ends the client for good.
func (c *Client) fail(err error) {
	c.logger.Error("The client failed for good", "action", "client_failed", "reason", err.Error())
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failure = err
	if c.table != nil {
		c.table.fail(err)
	}
	for _, store := range c.stores {
		store.fail()
	}
	c.dispatcher.report(err)
	c.requests.closeAll(err)
	for _, subscription := range c.subscriptions {
		if subscription.onFailure != nil {
			subscription.onFailure()
		}
	}
}

func isRefused(err error) bool {
	var refused *ConnectionRefusedError
	return errors.As(err, &refused)
}
