package flagent

import (
	"context"
	"log/slog"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
)

// dispatcher calls handlers in order, one at a time, from a bounded queue.
//
// While the queue is full, the reader waits in room and the socket is not read: a slow handler causes TCP backpressure
// instead of memory growth.
type dispatcher struct {
	limit   int
	logger  *slog.Logger
	onError listeners[error]

	mu        sync.Mutex
	items     []func()
	filled    chan struct{}
	drained   chan struct{}
	isStopped bool
	stopped   chan struct{}
	// posted is the number of items queued so far.
	posted uint64
	done   chan struct{}
}

func newDispatcher(limit int, logger *slog.Logger) *dispatcher {
	return &dispatcher{
		limit: limit, logger: logger,
		filled: make(chan struct{}, 1), drained: make(chan struct{}, 1), stopped: make(chan struct{}), done: make(chan struct{}),
	}
}

// post queues an item; it never waits. The reader must call room before it continues.
func (d *dispatcher) post(item func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.isStopped {
		d.items = append(d.items, item)
		d.posted++
		signal(d.filled)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (d *dispatcher) counts() (queued int, posted uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.items), d.posted
}

func (d *dispatcher) isFull() bool {
	queued, _ := d.counts()
	return queued >= d.limit
}

// room waits until the queue is below its limit, or the context ends.
func (d *dispatcher) room(ctx context.Context) {
	for d.isFull() {
		select {
		case <-d.drained:
		case <-d.stopped:
			return
		case <-ctx.Done():
			return
		}
	}
}

// stop drops the queue; no further handler is called. Idempotent.
func (d *dispatcher) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.isStopped {
		d.isStopped = true
		d.items = nil
		close(d.stopped)
	}
}

// run calls handlers until stop.
func (d *dispatcher) run() {
	defer close(d.done)
	for {
		item := d.take()
		if item == nil {
			select {
			case <-d.filled:
				continue
			case <-d.stopped:
				return
			}
		}
		item()
	}
}

func (d *dispatcher) take() func() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.items) == 0 {
		return nil
	}
	item := d.items[0]
	d.items[0] = nil
	d.items = d.items[1:]
	signal(d.drained)
	return item
}

func (d *dispatcher) isOver() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.isStopped
}

// call calls one handler; a panic is reported to the error handlers.
func (d *dispatcher) call(handler func()) {
	if d.isOver() {
		return
	}
	if failure := invokeHandler(handler); failure != nil {
		d.logger.Error("A handler panicked; the stream goes on", "action", "handler_failed", "panic", failure.Value, "stack", string(failure.Stack))
		d.callErrorHandlers(failure)
	}
}

// invokeHandler is on the stack of every handler: isInHandler looks for its name.
//
//go:noinline
func invokeHandler(handler func()) (failure *HandlerPanicError) {
	defer func() {
		if value := recover(); value != nil {
			failure = &HandlerPanicError{Value: value, Stack: debug.Stack()}
		}
	}()
	handler()
	return nil
}

// isInHandler reports whether a handler called the caller: then nothing may wait for that handler to return.
func isInHandler() bool {
	pcs := make([]uintptr, 256)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	for {
		frame, more := frames.Next()
		if strings.HasSuffix(frame.Function, ".invokeHandler") {
			return true
		}
		if !more {
			return false
		}
	}
}

// report queues an error for the error handlers.
func (d *dispatcher) report(err error) {
	if !d.onError.isEmpty() {
		d.post(func() { d.callErrorHandlers(err) })
	}
}

func (d *dispatcher) callErrorHandlers(err error) {
	for _, handler := range d.onError.present() {
		if d.isOver() {
			return
		}
		if failure := invokeHandler(func() { handler.call(err) }); failure != nil {
			d.logger.Error("An error handler panicked; the stream goes on", "action", "error_handler_failed", "panic", failure.Value, "stack", string(failure.Stack))
		}
	}
}
