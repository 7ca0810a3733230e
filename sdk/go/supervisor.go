package flagent

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// errReplaced ends a connection that is replaced by another one at once.
var errReplaced = errors.New("flagent: the connection is replaced")

// link is a transport: it runs connections.
type link interface {
	// run opens a connection and reads it to its end.
	run(conn *connection) error
	// applySelection brings an open connection in line with the selection. Called with the client's lock.
	applySelection(conn *connection)
	// requestSnapshot brings a snapshot to one store while the stream goes on; on failure it calls snapshotFailed of the
	// store. Called with the client's lock.
	requestSnapshot(conn *connection, store *storeDriver)
	// snapshotRequester is the store that asked for the snapshot with this requestId, nil for one of the stream; the
	// request is then complete. Called with the client's lock.
	snapshotRequester(requestID string) *storeDriver
}

// run keeps one connection: it connects, reconnects with backoff, and gives up.
func (c *Client) run(ctx context.Context) {
	for {
		if !c.waitOnline(ctx) {
			return
		}
		transport, err := c.connect(ctx)
		if ctx.Err() != nil || c.isOver() {
			return
		}
		if isRefused(err) {
			c.fail(err)
			return
		}
		if errors.Is(err, errReplaced) || errors.Is(err, ErrOffline) {
			continue
		}
		var lost *ConnectionLostError
		if !errors.As(err, &lost) {
			lost = &ConnectionLostError{Reason: fmt.Sprintf("the connection failed: %v", err), Cause: err}
		}
		c.logger.Warn("The connection is lost: "+lost.Reason, "action", "connection_lost", "reason", lost.Reason, "transport", string(transport))
		c.dispatcher.report(lost)
		delay, isImmediate, ok := c.afterLoss(lost)
		if !ok {
			c.fail(&ReconnectExhaustedError{Attempts: c.options.reconnect.MaxAttempts, Cause: lost})
			return
		}
		if !isImmediate && !c.sleep(ctx, delay) {
			return
		}
	}
}

func (c *Client) isOver() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.isClosed
}

// afterLoss decides what follows a lost connection: another transport at once, a wait, or the end (ok is false).
func (c *Client) afterLoss(lost *ConnectionLostError) (delay time.Duration, isImmediate, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.clock.now()
	c.lastError = lost
	if c.chooser.lost(now, lost) {
		return 0, true, true
	}
	delay, ok = c.backoff.lost(now, c.clock.random(), wait{lost.RetryAfter, lost.HasRetryAfter}, len(c.stores) > 0)
	return delay, false, ok
}

// sleep waits before the next attempt; going offline ends the wait.
func (c *Client) sleep(ctx context.Context, delay time.Duration) bool {
	return c.clock.sleep(ctx, delay)
}

// waitOnline waits while the client is offline; false when the context ended.
func (c *Client) waitOnline(ctx context.Context) bool {
	for {
		c.mu.Lock()
		isOffline, again := c.isOffline, c.onlineAgain
		c.mu.Unlock()
		if !isOffline {
			return ctx.Err() == nil
		}
		select {
		case <-again:
		case <-ctx.Done():
			return false
		}
	}
}

// connect runs one connection; it returns its transport and why it ended.
func (c *Client) connect(ctx context.Context) (Transport, error) {
	connCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c.mu.Lock()
	conn := newConnection(c, c.chooser.next(c.clock.now()), connCtx, cancel)
	c.conn = conn
	c.backoff.connected()
	c.mu.Unlock()
	err := conn.link.run(conn)
	if cause := context.Cause(connCtx); cause != nil {
		err = cause
	}
	if err == nil {
		err = &ConnectionLostError{Reason: "the stream has ended"}
	}
	cancel(err)
	conn.side.Wait()
	c.mu.Lock()
	conn.end(err)
	c.conn = nil
	c.mu.Unlock()
	if hook := c.options.hooks.Disconnected; hook != nil {
		hook(conn.transport, err)
	}
	return conn.transport, err
}
