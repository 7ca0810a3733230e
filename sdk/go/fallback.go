package flagent

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// afterLoss decides what follows a connection that has ended: another one at once, one after a wait, or the end.
func (c *Client) afterLoss(end error) (next action, delay time.Duration, failure error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.clock.now()
	in, isFatal := c.classify(end)
	if isFatal {
		return goOn, 0, end
	}
	wasLost := asLost(end)
	c.lastError = wasLost
	if in != refused && c.isConfined() {
		in = refused
	}
	before := c.choice.current()
	next = c.choice.step(in, now).action
	if after := c.choice.current(); after != before {
		c.logger.Warn("The client goes on by another transport", "action", "transport_changed", "transport", string(after), "reason", wasLost.Reason)
	}
	if next == connectNow {
		return next, 0, nil
	}
	delay, ok := c.backoff.lost(now, c.clock.random(), wait{wasLost.RetryAfter, wasLost.HasRetryAfter}, len(c.stores) > 0 || c.table != nil)
	if !ok {
		return goOn, 0, &ReconnectExhaustedError{Attempts: c.options.reconnect.MaxAttempts, Cause: wasLost}
	}
	return backOff, delay, nil
}

// classify is what the end of a connection says about the transport, or that it is fatal on each of them. It needs the
// lock.
func (c *Client) classify(end error) (in input, isFatal bool) {
	var refusal *ConnectionRefusedError
	if errors.As(end, &refusal) {
		isAnswer := refusal.Status != 0 && refusal.Status != http.StatusUnauthorized && refusal.Status != http.StatusForbidden
		_, hasNext := c.choice.following()
		return failed, !isAnswer || !hasNext
	}
	was := asLost(end)
	switch {
	case was.kind == silent:
		return silent, false
	case was.Status == 0 && c.hadMessage || was.kind == "":
		return lost, false
	}
	return was.kind, false
}

// isConfined reports whether the next transport cannot carry the selection; the refusal is reported once. It needs the
// lock.
func (c *Client) isConfined() bool {
	next, ok := c.choice.following()
	if !ok {
		return false
	}
	err := canCarry(next, c.wanted())
	if err == nil {
		return false
	}
	if !c.isLimitReported {
		c.isLimitReported = true
		c.logger.Warn("The selection is too large for the next transport", "action", "transport_confined", "transport", string(next), "reason", err.Error())
		c.dispatcher.report(err)
	}
	return true
}

// watchTransport looks at the silence of a connection, and for a better transport. It needs the lock.
func (conn *connection) watchTransport(now time.Duration) {
	c := conn.client
	if len(c.options.transports) == 1 || conn.isPaused {
		return
	}
	if limit := c.options.connectTimeout; conn.isOpen && conn.awaitsAnswer() && now-conn.lastByte > limit {
		conn.cancel(&ConnectionLostError{Reason: "connected, but no byte arrived for " + limit.String() + ": a proxy may hold them back", kind: silent})
		return
	}
	if s := c.choice.step(tick, now); s.action == probe {
		conn.startProbe(s.probe)
	}
}

// awaitsAnswer reports whether the server must send something without delay: its first message, or a snapshot.
func (conn *connection) awaitsAnswer() bool {
	if !conn.hasMessage {
		return conn.transport != WebSocket || !conn.request.selection.isEmpty()
	}
	for _, store := range conn.client.stores {
		if store.core.awaitsSnapshot {
			return true
		}
	}
	return false
}

// startProbe tries a transport beside the connection. It needs the lock.
func (conn *connection) startProbe(transport Transport) {
	c := conn.client
	conn.side.Add(1)
	go func() {
		defer conn.side.Done()
		ctx, cancel := context.WithTimeout(conn.ctx, 2*c.options.connectTimeout)
		defer cancel()
		c.mu.Lock()
		err := canCarry(transport, c.wanted())
		c.mu.Unlock()
		if err == nil {
			err = c.newLink(transport).probe(ctx, c)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if conn.isEnding() {
			return // abandoned
		}
		in := probeWorked
		if err != nil {
			in = probeFailed
			c.logger.Info("A better transport does not work yet", "action", "transport_probe_failed", "transport", string(transport), "reason", err.Error())
		}
		switch s := c.choice.step(in, c.clock.now()); s.action {
		case probe:
			conn.startProbe(s.probe)
		case switchOver:
			conn.replace()
		}
	}()
}

// newLink is a connection by a transport that is not open yet.
func (c *Client) newLink(transport Transport) link {
	switch transport {
	case WebSocket:
		return newWebSocketLink(c.addresses.webSocket)
	case SSE:
		return &sseLink{address: c.addresses.sse}
	}
	return newPollingLink(c.addresses.base + "/api/v1/snapshot")
}
