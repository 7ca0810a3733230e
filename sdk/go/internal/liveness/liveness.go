// Package liveness decides how long a connection may be silent. The caller supplies the time, in any monotonic clock.
package liveness

import "time"

const (
	// DefaultInterval is the server's default; it holds until the server announces its interval or two heartbeats have
	// arrived.
	DefaultInterval = 30 * time.Second
	// ShortestObserved is what a shorter observed interval counts as.
	ShortestObserved = time.Second
)

// Liveness measures the silence of a connection. The zero value is ready for use.
type Liveness struct {
	announced     time.Duration
	observed      time.Duration
	lastHeartbeat time.Duration
	lastMessage   time.Duration
	hasHeartbeat  bool
	hasMessage    bool
}

// Connected begins a connection. The known interval stays; the time of the last heartbeat does not.
func (l *Liveness) Connected(now time.Duration) {
	l.hasHeartbeat = false
	l.Message(now)
}

// Announced notes the heartbeat interval that the server announced; one that is not positive is ignored.
func (l *Liveness) Announced(interval time.Duration) {
	if interval > 0 {
		l.announced = interval
	}
}

// Message notes that a message of any kind arrived.
func (l *Liveness) Message(now time.Duration) { l.lastMessage, l.hasMessage = now, true }

// Heartbeat notes that a heartbeat or keep-alive arrived.
func (l *Liveness) Heartbeat(now time.Duration) {
	if l.hasHeartbeat {
		l.observed = max(ShortestObserved, now-l.lastHeartbeat)
	}
	l.lastHeartbeat, l.hasHeartbeat = now, true
	l.Message(now)
}

// Limit is the silence after which the connection counts as lost: 2.5 heartbeat intervals.
func (l *Liveness) Limit() time.Duration {
	interval := DefaultInterval
	if l.announced > 0 {
		interval = l.announced
	} else if l.observed > 0 {
		interval = l.observed
	}
	return interval * 5 / 2
}

// IsSilent reports whether the silence exceeds the limit.
func (l *Liveness) IsSilent(now time.Duration) bool {
	return l.hasMessage && now-l.lastMessage > l.Limit()
}
