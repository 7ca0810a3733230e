package flagent

import (
	"context"
	"fmt"
	"iter"
	"math"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/flagent-cdc/flagent-go/internal/eventid"
)

// Position is the place of a commit in the log of the database. Positions grow in commit order; 0 is before the first.
type Position int64

// Change is how a flag of a store changed. Before is nil for a created flag, After for a deleted one. Schema is "" while
// the server has one schema only.
type Change struct {
	Kind          ChangeKind
	Key           string
	Schema        string
	Before, After *Flag
}

// Store is a live local copy of the flags that a client receives. Reading it uses no network and takes no lock; it is
// readable in every status and from every goroutine.
type Store struct {
	client *Client
	driver *storeDriver
}

// StoreOption restricts what a store holds, or gives it a beginning; see the functions that begin with Store and With.
type StoreOption func(*storeOptions) error

type storeOptions struct {
	flags       []string
	flagIDs     []int64
	tags        []string
	persistence Persistence
	maxAge      time.Duration
	bootstrap   []byte
}

// StoreFlags selects flags by key. Selectors add up.
func StoreFlags(keys ...string) StoreOption {
	return func(o *storeOptions) error {
		o.flags = append(o.flags, keys...)
		return nil
	}
}

// StoreFlagIDs selects flags by id.
func StoreFlagIDs(ids ...int64) StoreOption {
	return func(o *storeOptions) error {
		o.flagIDs = append(o.flagIDs, ids...)
		return nil
	}
}

// StoreTags selects the flags that have one of the tags.
func StoreTags(tags ...string) StoreOption {
	return func(o *storeOptions) error {
		o.tags = append(o.tags, tags...)
		return nil
	}
}

// NewStore returns a live copy of flags, and connects the client. Without a selecting option it holds every flag; only
// such a store can verify itself by the server's digest. It returns [ErrClosed] when the client is closed, and a
// [*SelectionError] when one connection cannot select that much.
func NewStore(client *Client, opts ...StoreOption) (*Store, error) {
	var o storeOptions
	for _, option := range opts {
		if err := option(&o); err != nil {
			return nil, err
		}
	}
	selected := everything
	if len(o.flags)+len(o.flagIDs)+len(o.tags) > 0 {
		selected = &selection{flags: textSet(o.flags), tags: textSet(o.tags), flagIDs: map[int64]struct{}{}}
		for _, id := range o.flagIDs {
			selected.flagIDs[id] = struct{}{}
		}
	}
	store := &Store{client: client, driver: newStoreDriver(client, selected)}
	store.driver.options = o
	if o.persistence != nil {
		store.driver.saver = newSaver(client, store.driver, o.persistence)
	}
	store.driver.loadKnown()
	if err := client.attach(store.driver); err != nil {
		return nil, err
	}
	return store, nil
}

func (c *Client) attach(store *storeDriver) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.checkOpen(); err != nil {
		return err
	}
	if err := c.addSelection(store.core.selection); err != nil {
		return err
	}
	c.stores = append(slices.Clip(c.stores), store)
	if store.saver != nil {
		c.running.Add(1)
		saved := store.view.Load()
		go func() {
			defer c.running.Done()
			store.saver.run(saved)
		}()
	}
	if c.failure != nil {
		store.fail()
		return nil
	}
	c.startAutomatically()
	c.applySelection()
	if conn := c.conn; conn != nil && conn.isGreeted && !conn.isEnding() {
		store.receive(conn.greeting, c.clock.now(), false)
		conn.link.requestSnapshot(conn, store)
	}
	return nil
}

// Close stops updating the store; the client stays open and the flags stay readable. Idempotent.
func (s *Store) Close() error {
	c := s.client
	c.mu.Lock()
	defer c.mu.Unlock()
	s.driver.close()
	if slices.Contains(c.stores, s.driver) {
		c.stores = removed(c.stores, s.driver)
		c.weight = c.weight.minus(s.driver.core.selection.weight())
		c.applySelection()
	}
	return nil
}

// ------------------------------------------------------------------------------------------------------------ reading

// Get returns the flag of a key; [ErrFlagNotFound] when there is none, and an [*AmbiguousFlagError] when several schemas
// have it. It allocates nothing.
func (s *Store) Get(key string) (*Flag, error) { return s.driver.view.Load().get(key, "") }

// Enabled reports whether there is a flag of this key that is switched on.
func (s *Store) Enabled(key string) bool {
	flag, err := s.Get(key)
	return err == nil && flag.Enabled
}

// All returns all flags at this moment, ordered by schema and key.
func (s *Store) All() []*Flag { return s.driver.view.Load().all() }

// Flags iterates over all flags as of the beginning of the iteration, in no order.
func (s *Store) Flags() iter.Seq[*Flag] {
	return func(yield func(*Flag) bool) {
		for _, shard := range s.driver.view.Load().byKey {
			for _, entries := range shard {
				for _, e := range entries {
					if !yield(e.flag) {
						return
					}
				}
			}
		}
	}
}

// Len is the number of flags.
func (s *Store) Len() int { return s.driver.view.Load().count }

// Status is how current the flags are.
func (s *Store) Status() Status { return Status(s.driver.status.Load()) }

// LastEventID is the event id up to which the store is complete, "" before the first snapshot.
func (s *Store) LastEventID() string { return s.driver.view.Load().lastEventID }

// Position is the position up to which the store is complete, 0 before the first snapshot.
func (s *Store) Position() Position { return Position(s.driver.view.Load().position) }

// Source is where the flags come from: saved ones and a bootstrap become those of the server when it confirms or replaces
// them. "" before the first flags.
func (s *Store) Source() Source { return s.driver.view.Load().source }

// Digest is <count>:<hex8>, equal to the server's digest of the same flags.
func (s *Store) Digest() string { return s.driver.view.Load().digest }

// In returns the part of the store that is one schema; it is needed only when the server watches several.
func (s *Store) In(schema string) SchemaView { return SchemaView{s, schema} }

// SchemaView reads the flags of one schema of a store.
type SchemaView struct {
	store  *Store
	schema string
}

// Get returns the flag of a key in this schema, or [ErrFlagNotFound].
func (v SchemaView) Get(key string) (*Flag, error) {
	return v.store.driver.view.Load().get(key, v.schema)
}

// ------------------------------------------------------------------------------------------------------------ waiting

// Ready waits until the store has been Ready once. It returns an error that wraps [ErrNotReady], the context's error and
// the last connection error when the context ends first, or [ErrOffline] when the client is or goes offline; the client's error when it failed for good; and [ErrClosed].
func (s *Store) Ready(ctx context.Context) error {
	select {
	case <-s.driver.settled:
		return s.over()
	default:
	}
	s.client.mu.Lock()
	isStarted, wentOffline := s.client.isStarted, s.client.wentOffline
	s.client.mu.Unlock()
	if !isStarted {
		return fmt.Errorf("%w: the client is not started; call Start", ErrNotReady)
	}
	select {
	case <-s.driver.settled:
		return s.over()
	case <-wentOffline:
		return fmt.Errorf("%w (%v): %w", ErrNotReady, s.Status(), ErrOffline)
	case <-ctx.Done():
	}
	s.client.mu.Lock()
	last := s.client.lastError
	s.client.mu.Unlock()
	if last != nil {
		return fmt.Errorf("%w (%v; last error: %w): %w", ErrNotReady, s.Status(), last, ctx.Err())
	}
	return fmt.Errorf("%w (%v): %w", ErrNotReady, s.Status(), ctx.Err())
}

// over is why the store is no longer updated, nil while it is.
func (s *Store) over() error {
	switch s.Status() {
	case Failed:
		return s.client.Err()
	case Closed:
		return ErrClosed
	}
	return nil
}

// WaitFor waits until the store is complete up to a position: then it has what was committed at that position. It returns
// the context's error, the client's when it failed for good, and [ErrClosed].
func (s *Store) WaitFor(ctx context.Context, position Position) error {
	return s.waitFor(ctx, eventid.ID{Position: int64(position), Index: math.MaxInt64})
}

// WaitForID waits until the store is complete up to an event id, or a position in digits. Besides the errors of
// [Store.WaitFor], it returns one at once for a text that is neither, and for an id of another log than the store's.
func (s *Store) WaitForID(ctx context.Context, id string) error {
	target, ok := eventid.Parse(id)
	if position, err := strconv.ParseInt(id, 10, 64); err == nil && position >= 0 {
		target, ok = eventid.ID{Position: position, Index: math.MaxInt64}, true
	}
	if !ok {
		return fmt.Errorf("flagent: %.60q is neither a position nor an event id such as 1042-0@k7q2mx.3f0c9a", id)
	}
	return s.waitFor(ctx, target)
}

// commitLimit bounds the wait for the rest of a commit: an event does not say whether it is the last one of its commit.
const commitLimit = 50 * time.Millisecond

func (s *Store) waitFor(ctx context.Context, target eventid.ID) error {
	for {
		s.client.mu.Lock()
		moved := s.driver.moved
		s.client.mu.Unlock()
		at := s.driver.view.Load()
		here, ok := eventid.Parse(at.lastEventID)
		var rest <-chan time.Time
		switch {
		case !ok:
		case target.Log != "" && here.Log != target.Log:
			// Flags that the server has not confirmed may still come to that log.
			if at.isConfirmed {
				return fmt.Errorf("flagent: the target is of change log %q, but the store follows %q", target.Log, here.Log)
			}
		case here.Position > target.Position || here.Position == target.Position && here.Index >= target.Index:
			return nil
		case here.Position == target.Position && target.Index == math.MaxInt64:
			timer := time.NewTimer(commitLimit)
			defer timer.Stop()
			rest = timer.C
		}
		if err := s.over(); err != nil {
			return err
		}
		select {
		case <-moved:
		case <-rest:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("flagent: the store is at position %d, not yet at %d: %w", s.Position(), target.Position, ctx.Err())
		}
	}
}

// OnChange calls a handler with each change, in order. It returns a function that removes the handler.
func (s *Store) OnChange(handler func(Change)) (remove func()) {
	return s.driver.onChange.add(handler)
}

// OnStatus calls a handler with each new status, in order. It returns a function that removes the handler.
func (s *Store) OnStatus(handler func(Status)) (remove func()) {
	return s.driver.onStatus.add(handler)
}

// storeDriver feeds a storeCore with a client's messages and signals, publishes its state to readers, and notifies the
// listeners of its store. Its methods need the client's lock.
type storeDriver struct {
	client *Client
	core   *storeCore
	view   atomic.Pointer[view]
	status atomic.Int32
	// settled is closed once the store has been Ready, or is Failed or Closed.
	settled   chan struct{}
	isSettled bool
	// moved is closed, and replaced, at each message that moves the position, and when the store ends.
	moved   chan struct{}
	options storeOptions
	saver   *saver
	// isKeyPending: the cache is read when the first connection has its key.
	isKeyPending bool
	credential   *string
	onChange     listeners[Change]
	onStatus     listeners[Status]
}

func newStoreDriver(c *Client, selected *selection) *storeDriver {
	d := &storeDriver{client: c, core: newStoreCore(selected), settled: make(chan struct{}), moved: make(chan struct{})}
	d.view.Store(&view{digest: formatDigest(0, 0)})
	return d
}

func (d *storeDriver) receive(m message, now time.Duration, resumed bool) storeUpdate {
	update := d.core.receive(m, now, resumed)
	d.publish(update)
	d.updateStatus()
	return update
}

// publish shows readers the new state, before listeners hear of it.
func (d *storeDriver) publish(update storeUpdate) {
	old := d.view.Load()
	if len(update.touched) > 0 || old.lastEventID != d.core.cursor.Text() || old.source != d.core.source {
		d.view.Store(old.next(d.core, update.touched))
		d.wake()
		if d.saver != nil {
			signal(d.saver.changed)
		}
	}
	if len(update.changes) == 0 || d.onChange.isEmpty() {
		return
	}
	changes := make([]Change, 0, len(update.changes))
	for _, change := range update.changes {
		changes = append(changes, Change{change.kind, change.name.key, change.name.schema, flagOf(change.before), flagOf(change.after)})
	}
	d.onChange.post(d.client.dispatcher, changes...)
}

func flagOf(e *entry) *Flag {
	if e == nil {
		return nil
	}
	return e.flag
}

func (d *storeDriver) wake() {
	close(d.moved)
	d.moved = make(chan struct{})
}

func (d *storeDriver) tick(now time.Duration) {
	d.core.tick(now)
	d.updateStatus()
}

func (d *storeDriver) connectionLost() {
	d.core.connectionLost()
	d.updateStatus()
}

func (d *storeDriver) fail() {
	d.core.fail()
	d.updateStatus()
}

func (d *storeDriver) snapshotFailed() {
	d.core.snapshotFailed()
	d.updateStatus()
}

func (d *storeDriver) close() {
	d.core.close()
	d.updateStatus()
	if d.saver != nil {
		d.saver.close()
	}
}

func (d *storeDriver) updateStatus() {
	status := d.core.status
	if status == Status(d.status.Load()) {
		return
	}
	d.status.Store(int32(status))
	if !d.isSettled && (status == Ready || d.core.isOver()) {
		d.isSettled = true
		close(d.settled)
	}
	if d.core.isOver() {
		d.wake()
	}
	if hook := d.client.options.hooks.StatusChanged; hook != nil {
		hook(status)
	}
	d.onStatus.post(d.client.dispatcher, status)
}
