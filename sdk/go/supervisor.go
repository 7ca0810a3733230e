package flagent

import (
	"context"
	"errors"
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
	// probe opens a connection beside the present one, waits for its first message, and closes it.
	probe(ctx context.Context, c *Client) error
}

// run keeps one connection: it connects, reconnects with backoff, and gives up.
func (c *Client) run(ctx context.Context) {
	for {
		if !c.waitOnline(ctx) {
			return
		}
		c.loadPending(ctx)
		transport, err := c.connect(ctx)
		if ctx.Err() != nil || c.isOver() {
			return
		}
		if errors.Is(err, errReplaced) || errors.Is(err, ErrOffline) {
			continue
		}
		next, delay, failure := c.afterLoss(err)
		if failure != nil && isRefused(failure) {
			c.fail(failure)
			return
		}
		reported := asLost(err)
		c.logger.Warn("The connection is lost: "+reported.Reason, "action", "connection_lost", "reason", reported.Reason, "transport", string(transport))
		c.dispatcher.report(reported)
		if failure != nil {
			c.fail(failure)
			return
		}
		if next == backOff && !c.clock.sleep(ctx, delay) {
			return
		}
	}
}

// asLost is the end of a connection as a lost one: a refusal of one transport is none of the client.
func asLost(err error) *ConnectionLostError {
	var was *ConnectionLostError
	if errors.As(err, &was) {
		return was
	}
	var refusal *ConnectionRefusedError
	if errors.As(err, &refusal) {
		return &ConnectionLostError{Reason: refusal.Reason, Status: refusal.Status, CloseCode: refusal.CloseCode, Cause: err}
	}
	return &ConnectionLostError{Reason: "the connection failed: " + err.Error(), Cause: err}
}

func (c *Client) isOver() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.isClosed
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
	conn := newConnection(c, c.choice.current(), connCtx, cancel)
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
	c.conn, c.hadMessage = nil, conn.hasMessage
	c.mu.Unlock()
	if hook := c.options.hooks.Disconnected; hook != nil {
		hook(conn.transport, err)
	}
	return conn.transport, err
}
