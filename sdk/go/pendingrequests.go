package flagent

import (
	"context"
	"sync"

	"github.com/flagent-cdc/flagent-go/internal/jsontext"
)

// response is the answer to a request.
type response struct {
	value jsontext.Value
	err   error
}

// pendingRequests are requests that wait for a connection, or for the response with their requestId.
type pendingRequests struct {
	mu        sync.Mutex
	responses map[string]chan response
	// connection is closed when requests can be sent; a new one is made when the connection ends.
	connection chan struct{}
	isOpen     bool
	over       chan struct{}
	failure    error
}

func newPendingRequests() *pendingRequests {
	return &pendingRequests{responses: map[string]chan response{}, connection: make(chan struct{}), over: make(chan struct{})}
}

// waitConnection waits until requests can be sent.
func (p *pendingRequests) waitConnection(ctx context.Context) error {
	p.mu.Lock()
	connection := p.connection
	p.mu.Unlock()
	select {
	case <-p.over:
		return p.failure
	default:
	}
	select {
	case <-connection:
		return nil
	case <-p.over:
		return p.failure
	case <-ctx.Done():
		return ctx.Err()
	}
}

// add registers a request; the channel receives one response.
func (p *pendingRequests) add(id string) chan response {
	p.mu.Lock()
	defer p.mu.Unlock()
	answer := make(chan response, 1)
	if p.failure != nil {
		answer <- response{err: p.failure}
		return answer
	}
	p.responses[id] = answer
	return answer
}

func (p *pendingRequests) forget(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.responses, id)
}

// resolve passes a response to its request; it reports whether the request is one of these.
func (p *pendingRequests) resolve(id string, r response) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	answer, ok := p.responses[id]
	if ok {
		delete(p.responses, id)
		answer <- r
	}
	return ok
}

// connected: requests can be sent.
func (p *pendingRequests) connected() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.isOpen {
		p.isOpen = true
		close(p.connection)
	}
}

// connectionLost fails the requests that were sent; those that wait for a connection stay.
func (p *pendingRequests) connectionLost(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failAll(err)
	if p.isOpen {
		p.isOpen = false
		p.connection = make(chan struct{})
	}
}

func (p *pendingRequests) failAll(err error) {
	for id, answer := range p.responses {
		answer <- response{err: err}
		delete(p.responses, id)
	}
}

// closeAll fails all requests, also later ones. The first error stays.
func (p *pendingRequests) closeAll(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failure == nil {
		p.failure = err
		close(p.over)
	}
	p.failAll(p.failure)
}
