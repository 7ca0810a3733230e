package flagent

import (
	"context"
	"time"
)

// Hooks observe a client: for metrics and traces. Every field may be nil. Hooks are called on the path of a message:
// they must return at once, and must not call the client.
type Hooks struct {
	// Connected: a connection is established.
	Connected func(transport Transport)
	// Disconnected: a connection ended, or could not be made; err says why.
	Disconnected func(transport Transport, err error)
	// Received: a message arrived. kind is its type, size its bytes.
	Received func(kind string, size int)
	// Committed: an event arrived; delay is the time since its commit, by this machine's clock.
	Committed func(event EventType, delay time.Duration)
	// StatusChanged: a store has another status.
	StatusChanged func(status Status)
	// Request is called before each HTTP request; the returned function is called with its outcome.
	Request func(ctx context.Context, method, path string) (context.Context, func(status int, err error))
}

// WithHooks observes a client.
func WithHooks(hooks Hooks) Option {
	return func(o *options) error {
		o.hooks = hooks
		return nil
	}
}
