package flagent

import (
	"fmt"
	"math"
	"time"

	"github.com/flagent-cdc/flagent-go/internal/policy"
)

// Unlimited, as MaxAttempts, reconnects without limit.
const Unlimited = -1

// ReconnectConfig says when a client reconnects and when it gives up. Zero fields have their defaults.
//
// The wait before attempt n is random, up to min(MaxDelay, InitialDelay × Multiplier^(n−1)), so that clients that lost
// the same server do not reconnect at the same time. The client gives up after MaxAttempts failed attempts in a row. The
// count returns to zero when a connection has lasted StableAfter past its first message.
type ReconnectConfig struct {
	// MaxAttempts is 10 by default, but without limit for a client that feeds a [Store]. [Unlimited] is no limit.
	MaxAttempts int
	// InitialDelay is 1 s by default.
	InitialDelay time.Duration
	// MaxDelay is 60 s by default.
	MaxDelay time.Duration
	// Multiplier is 2 by default.
	Multiplier float64
	// StableAfter is 5 s by default.
	StableAfter time.Duration

	isDefaultAttempts bool
}

const defaultAttempts = 10

func (c ReconnectConfig) withDefaults() (ReconnectConfig, error) {
	switch {
	case c.MaxAttempts < Unlimited:
		return c, fmt.Errorf("flagent: MaxAttempts is %d; it must be positive, 0 (the default) or Unlimited", c.MaxAttempts)
	case c.InitialDelay < 0 || c.MaxDelay < 0 || c.StableAfter < 0:
		return c, fmt.Errorf("flagent: a time of ReconnectConfig is negative: %+v", c)
	case c.Multiplier != 0 && !(c.Multiplier >= 1):
		return c, fmt.Errorf("flagent: Multiplier is %v; it must be 1 or more", c.Multiplier)
	}
	if c.MaxAttempts == 0 {
		c.MaxAttempts, c.isDefaultAttempts = defaultAttempts, true
	}
	if c.InitialDelay == 0 {
		c.InitialDelay = time.Second
	}
	if c.MaxDelay == 0 {
		c.MaxDelay = time.Minute
	}
	if c.Multiplier == 0 {
		c.Multiplier = 2
	}
	if c.StableAfter == 0 {
		c.StableAfter = 5 * time.Second
	}
	return c, nil
}

// wait is a time that the server may have asked for.
type wait struct {
	length time.Duration
	isSet  bool
}

// reconnectDelay is the wait before a reconnection attempt (1 is the first); ok is false to give up. random is in [0, 1];
// retry is the last "retry:" and retryAfter the Retry-After, if any. feedsStore: a store depends on the connection.
func reconnectDelay(c ReconnectConfig, attempt int, random float64, retry, retryAfter wait, feedsStore bool) (delay time.Duration, ok bool) {
	isLimited := c.MaxAttempts > 0 && !(feedsStore && c.isDefaultAttempts)
	if isLimited && attempt > c.MaxAttempts {
		return 0, false
	}
	ceiling := math.Min(float64(c.MaxDelay), float64(c.InitialDelay)*math.Pow(c.Multiplier, float64(attempt-1)))
	jitter := time.Duration(random * ceiling)
	delay = jitter
	if retry.isSet {
		delay = max(delay, min(retry.length, c.MaxDelay))
	}
	if retryAfter.isSet {
		delay = max(delay, min(retryAfter.length, policy.MaxRetryAfter)+jitter)
	}
	return delay, true
}

// backoff counts the attempts of one client. Times are of one monotonic clock.
type backoff struct {
	config       ReconnectConfig
	attempts     int
	firstMessage wait
	retryTime    wait
}

// connected: the transport is connected; the count stays until the connection is stable.
func (b *backoff) connected() { b.firstMessage = wait{} }

// message: a message arrived.
func (b *backoff) message(now time.Duration) {
	if !b.firstMessage.isSet {
		b.firstMessage = wait{now, true}
	}
}

// retry: the server sent "retry:", which applies until it sends another one.
func (b *backoff) retry(length time.Duration) { b.retryTime = wait{length, true} }

// lost: the connection was lost or could not be made; it returns how long to wait, and false to give up.
func (b *backoff) lost(now time.Duration, random float64, retryAfter wait, feedsStore bool) (time.Duration, bool) {
	if b.firstMessage.isSet && now-b.firstMessage.length >= b.config.StableAfter {
		b.attempts = 0
	}
	b.firstMessage = wait{}
	b.attempts++
	return reconnectDelay(b.config, b.attempts, random, b.retryTime, retryAfter, feedsStore)
}
