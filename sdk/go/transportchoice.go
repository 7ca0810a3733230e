package flagent

import "time"

// The transport changes after maxLosses within lossWindow, and after maxUnavailable answers in a row that ask to come back
// later. A client on a lesser transport tries the better ones after defaultRetryBetter.
const (
	maxLosses          = 3
	lossWindow         = 30 * time.Second
	maxUnavailable     = 3
	defaultRetryBetter = 5 * time.Minute
)

// input is what happened to a connection.
type input string

const (
	firstMessage input = "firstMessage"
	// failed: the handshake got an answer that this transport cannot use.
	failed input = "failed"
	// silent: connected, and no byte in time.
	silent input = "silent"
	// refused: no connection (TCP, DNS or TLS). It says nothing about the transport.
	refused input = "refused"
	// unavailable: the server, or a proxy, asked to come back later.
	unavailable input = "unavailable"
	// lost: the connection ended after its first message.
	lost        input = "lost"
	tick        input = "tick"
	probeWorked input = "probeWorked"
	probeFailed input = "probeFailed"
)

// action is what the shell does next.
type action string

const (
	goOn action = ""
	// connectNow: open the transport at once.
	connectNow action = "connect"
	// backOff: wait, then open the transport.
	backOff action = "backoff"
	// probe: try a transport beside the connection that works, and report probeWorked or probeFailed. A probe that is
	// under way when the connection ends is abandoned and not reported.
	probe action = "probe"
	// switchOver: replace the connection by one of the transport.
	switchOver action = "switch"
)

// step is what to do next; probe is the transport to try, with the action probe only.
type step struct {
	action action
	probe  Transport
}

// transportChoice decides which transport a client uses, of a list with the best first. Pure: the shell reports what
// happens to its connection, with the time of one monotonic clock, and does what the step says.
type transportChoice struct {
	transports  []Transport
	retryBetter time.Duration
	index       int
	losses      []time.Duration
	inARow      int
	lesserSince time.Duration
	isConnected bool
	// probed is the index of the transport that is being tried, -1 for none.
	probed int
}

func newTransportChoice(transports []Transport, retryBetter time.Duration) *transportChoice {
	return &transportChoice{transports: transports, retryBetter: retryBetter, probed: -1}
}

// current is the transport of the present connection, or of the next one.
func (t *transportChoice) current() Transport { return t.transports[t.index] }

// following is the next lesser transport; ok is false for the last.
func (t *transportChoice) following() (next Transport, ok bool) {
	if t.index+1 >= len(t.transports) {
		return "", false
	}
	return t.transports[t.index+1], true
}

func (t *transportChoice) step(in input, now time.Duration) step {
	switch in {
	case firstMessage:
		t.inARow = 0
		t.isConnected = true
		return step{}
	case tick:
		if !t.isConnected || t.probed >= 0 || !t.isRetryDue(now) {
			return step{}
		}
		return t.try(0)
	case probeWorked:
		if t.probed < 0 {
			return step{}
		}
		t.use(t.probed, now)
		t.isConnected, t.probed = false, -1
		return step{action: switchOver}
	case probeFailed:
		if t.probed < 0 {
			return step{}
		}
		if t.probed+1 < t.index {
			return t.try(t.probed + 1)
		}
		t.probed, t.lesserSince = -1, now
		return step{}
	}
	return t.ended(in, now)
}

func (t *transportChoice) ended(in input, now time.Duration) step {
	isEnough := in == failed || in == silent
	switch in {
	case lost:
		t.inARow = 0
		recent := []time.Duration{}
		for _, at := range t.losses {
			if now-at <= lossWindow {
				recent = append(recent, at)
			}
		}
		t.losses = append(recent, now)
		isEnough = len(t.losses) >= maxLosses
	case unavailable:
		t.inARow++
		isEnough = t.inARow >= maxUnavailable
	}
	t.isConnected, t.probed = false, -1
	if _, ok := t.following(); ok && isEnough {
		t.use(t.index+1, now)
		return step{action: connectNow}
	}
	if t.isRetryDue(now) {
		t.use(0, now)
	}
	return step{action: backOff}
}

func (t *transportChoice) try(index int) step {
	t.probed = index
	return step{probe, t.transports[index]}
}

func (t *transportChoice) use(index int, now time.Duration) {
	t.index, t.lesserSince = index, now
	t.losses, t.inARow = nil, 0
}

func (t *transportChoice) isRetryDue(now time.Duration) bool {
	return t.index > 0 && now-t.lesserSince >= t.retryBetter
}
