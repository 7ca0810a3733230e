package flagent

import (
	"errors"
	"time"
)

const (
	// maxLosses within lossWindow, on one transport, lead to the next one.
	maxLosses  = 3
	lossWindow = 30 * time.Second
	// retryBetterAfter is when a client on a lesser transport tries the better ones again.
	retryBetterAfter = 5 * time.Minute
)

// transportChooser decides which transport is used. Pure: the caller supplies the time.
type transportChooser struct {
	transports []Transport
	at         int
	losses     []time.Duration
}

func newTransportChooser(transports []Transport) *transportChooser {
	return &transportChooser{transports: transports}
}

func (t *transportChooser) current() Transport { return t.transports[t.at] }

// next is the transport of the next connection.
func (t *transportChooser) next(time.Duration) Transport { return t.current() }

// firstMessage: the present connection has had its first message.
func (t *transportChooser) firstMessage(time.Duration) {}

// isSilent reports whether the connection has been without a message for too long.
func (t *transportChooser) isSilent(time.Duration) bool { return false }

// lost: a connection ended or could not be made. It reports whether the next transport is tried at once.
func (t *transportChooser) lost(now time.Duration, err error) bool {
	var lost *ConnectionLostError
	return errors.As(err, &lost) && false
}
