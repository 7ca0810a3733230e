package flagent

import (
	lru "container/list"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// The memory of exposures.
const (
	exposureWindow = time.Hour
	maxRemembered  = 10_000
	maxExposures   = 10_000
)

// Exposure says that an entity was evaluated: who saw which variant.
type Exposure struct {
	FlagKey string
	FlagID  int64
	// Schema is "" while the server has one schema only.
	Schema string
	// VariantKey is "" when the entity got no variant.
	VariantKey string
	EntityID   string
	SegmentID  int64
	// Position is that of the store.
	Position Position
	// ContextKeys are the sorted names of the context, never its values.
	ContextKeys []string
	Time        time.Time
}

type exposureKey struct{ schema, flag, entity, variant string }

// exposureMemory decides which exposures are reported: the first per schema, flag, entity and variant within a window. It
// remembers a limited number; the least recently evaluated is forgotten. Pure: the caller supplies the time.
type exposureMemory struct {
	window time.Duration
	limit  int
	order  *lru.List
	known  map[exposureKey]*lru.Element
}

type remembered struct {
	key        exposureKey
	reportedAt time.Duration
}

func newExposureMemory(window time.Duration, limit int) *exposureMemory {
	return &exposureMemory{window: window, limit: limit, order: lru.New(), known: map[exposureKey]*lru.Element{}}
}

func (m *exposureMemory) isNew(key exposureKey, now time.Duration) bool {
	if element := m.known[key]; element != nil {
		m.order.MoveToFront(element)
		entry := element.Value.(*remembered)
		if now-entry.reportedAt < m.window {
			return false
		}
		entry.reportedAt = now
		return true
	}
	m.known[key] = m.order.PushFront(&remembered{key, now})
	if len(m.known) > m.limit {
		oldest := m.order.Back()
		delete(m.known, m.order.Remove(oldest).(*remembered).key)
	}
	return true
}

// exposureHandlers calls handlers with exposures, in a goroutine of its own: evaluating is neither delayed nor failed.
type exposureHandlers struct {
	isUsed   atomic.Bool
	dropped  atomic.Uint64
	client   *Client
	handlers listeners[Exposure]

	mu     sync.Mutex
	memory *exposureMemory
	queue  []Exposure
	filled chan struct{}
	isRun  bool
}

func newExposureHandlers(c *Client) *exposureHandlers {
	return &exposureHandlers{client: c, memory: newExposureMemory(exposureWindow, maxRemembered), filled: make(chan struct{}, 1)}
}

// OnExposure calls a handler for each flag that a store of this client evaluates: the first time per flag, entity and
// variant within an hour; of the last 10 000 of these. A slow handler delays no evaluation: of more than 10 000 exposures
// that wait, the oldest are dropped and counted. It returns a function that removes the handler.
func (c *Client) OnExposure(handler func(Exposure)) (remove func()) {
	e := c.exposures
	c.mu.Lock()
	defer c.mu.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	forget := e.handlers.add(handler)
	e.isUsed.Store(true)
	if !e.isRun && !c.isClosed {
		e.isRun = true
		c.running.Add(1)
		go func() {
			defer c.running.Done()
			e.run()
		}()
	}
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		forget()
		e.isUsed.Store(!e.handlers.isEmpty())
	}
}

// DroppedExposures counts those that were dropped because handlers were too slow.
func (c *Client) DroppedExposures() uint64 { return c.exposures.dropped.Load() }

// add notes an evaluation.
func (e *exposureHandlers) add(flag *Flag, schema string, result *Result, context Context, position int64) {
	now := e.client.clock.now()
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.memory.isNew(exposureKey{schema, flag.Key, result.EntityID, result.VariantKey}, now) {
		return
	}
	keys := make([]string, 0, len(context))
	for name := range context {
		keys = append(keys, name)
	}
	slices.Sort(keys)
	if len(e.queue) >= maxExposures {
		e.queue = e.queue[1:]
		e.dropped.Add(1)
	}
	e.queue = append(e.queue, Exposure{
		FlagKey: flag.Key, FlagID: flag.ID, Schema: schema, VariantKey: result.VariantKey, EntityID: result.EntityID,
		SegmentID: result.SegmentID, Position: Position(position), ContextKeys: keys, Time: result.Time,
	})
	signal(e.filled)
}

func (e *exposureHandlers) run() {
	for {
		select {
		case <-e.filled:
		case <-e.client.dispatcher.stopped:
			return
		}
		e.mu.Lock()
		queue := e.queue
		e.queue = nil
		e.mu.Unlock()
		handlers := e.handlers.present()
		for _, exposure := range queue {
			for _, handler := range handlers {
				e.client.dispatcher.call(func() { handler.call(exposure) })
			}
		}
	}
}
