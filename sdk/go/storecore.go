package flagent

import (
	"math"
	"slices"
	"time"

	"github.com/flagent-cdc/flagent-go/internal/eventid"
	"github.com/flagent-cdc/flagent-go/internal/jsontext"
	"github.com/flagent-cdc/flagent-go/internal/liveness"
)

// maxPendingEvents are kept while a snapshot is awaited. Then the oldest are dropped, and the next digest shows the
// difference.
const maxPendingEvents = 10_000

// Status says how current the flags of a store are. They stay readable in every status.
type Status int32

const (
	// Initializing: no snapshot has arrived yet.
	Initializing Status = iota
	// Ready: connected, caught up, and the server confirms that it is fresh.
	Ready
	// Stale: connection, freshness or digest cannot be confirmed: the flags may be out of date.
	Stale
	// Failed: the client failed for good: the flags are no longer updated.
	Failed
	// Closed: the store or its client was closed.
	Closed
)

// String is the name of the status in the behaviour table of all SDKs.
func (s Status) String() string {
	return [...]string{"INITIALIZING", "READY", "STALE", "ERROR", "CLOSED"}[s]
}

// storeUpdate is what one message did, and what the shell must do.
type storeUpdate struct {
	changes          []entryChange
	touched          []name
	requestsSnapshot bool
	err              *MalformedMessageError
}

// storeCore is the state machine of one selection of flags, without I/O, clock or randomness.
//
// Input is the messages of the stream, in the WebSocket's form, and signals, each with a time of one monotonic clock.
// Server input never fails: a malformed message is the update's err and changes nothing. The shell calls receive for each
// message in order; the stream's connected or subscribed is a message too, given with resumed (whether this connection
// resumed by id). The message caught_up is not on the wire: a shell that knows that a replay has ended may send it. After
// an update with requestsSnapshot the shell must bring a snapshot; until then the core does not request another one.
type storeCore struct {
	selection *selection
	status    Status
	source    Source
	table     *flagTable
	// awaitsSnapshot: the state must be replaced; a connection that does not resume must bring a snapshot.
	awaitsSnapshot bool
	cursor         eventid.Cursor
	liveness       liveness.Liveness
	digests        digestCheck
	pending        []message
	isConnected    bool
	isFresh        bool
	isSilent       bool
	// head is the position that the store must reach before it is Ready; -1 for none.
	head int64
}

func newStoreCore(s *selection) *storeCore {
	return &storeCore{selection: s, table: newFlagTable(), awaitsSnapshot: true, head: -1}
}

func (c *storeCore) isOver() bool { return c.status == Closed || c.status == Failed }

// begin loads flags that are known before the server confirms them. Without an id, a snapshot stays awaited.
func (c *storeCore) begin(k known) {
	c.load(k.flags)
	c.table.takeChanges()
	c.source = k.source
	c.cursor = eventid.NewCursor(k.id)
	c.awaitsSnapshot = k.id == ""
	c.status = Stale
}

// tick: time has passed. Idempotent.
func (c *storeCore) tick(now time.Duration) {
	if c.liveness.IsSilent(now) {
		c.isSilent = true
		c.updateStatus()
	}
}

// connectionLost: the connection ended; the client will connect again.
func (c *storeCore) connectionLost() {
	c.isConnected = false
	c.updateStatus()
}

// fail: the client failed for good. Later messages are ignored.
func (c *storeCore) fail() {
	if c.status != Closed {
		c.status = Failed
	}
}

func (c *storeCore) close() { c.status = Closed }

// snapshotFailed: the requested snapshot cannot be delivered; the next digest may request another one.
func (c *storeCore) snapshotFailed() {
	if c.status == Stale && c.isConnected {
		c.awaitsSnapshot = false
		c.updateStatus()
	}
}

// receive applies one message of the stream.
func (c *storeCore) receive(m message, now time.Duration, resumed bool) storeUpdate {
	var update storeUpdate
	if c.isOver() {
		return update
	}
	c.liveness.Message(now)
	update.err = c.apply(m, now, resumed, &update)
	update.changes, update.touched = c.table.takeChanges()
	c.updateStatus()
	return update
}

func (c *storeCore) apply(m message, now time.Duration, resumed bool, update *storeUpdate) *MalformedMessageError {
	switch m.kind {
	case "":
		return malformed("a message has no type")
	case "connected", "subscribed":
		c.connected(m, now, resumed)
	case "caught_up":
		c.head = -1
	case "heartbeat":
		c.heartbeat(m, now, update)
	case "snapshot":
		return c.replace(m.value, m.id, update)
	case "resync":
		snapshot := m.value.Get("snapshot")
		if snapshot.Kind != jsontext.Object {
			return malformed("a resync has no snapshot")
		}
		c.pending = nil
		return c.replace(snapshot, m.id, update)
	case "batch":
		return c.applyEvents(m.value.Get("events"), update)
	default:
		return c.applyEvent(m, update)
	}
	return nil
}

func (c *storeCore) applyEvents(events jsontext.Value, update *storeUpdate) (failure *MalformedMessageError) {
	if events.Kind != jsontext.Array {
		return malformed("a batch has no list of events")
	}
	for _, event := range events.Items() {
		if err := c.applyEvent(newMessage(event), update); err != nil {
			failure = err
		}
	}
	return failure
}

func (c *storeCore) connected(m message, now time.Duration, resumed bool) {
	c.liveness.Connected(now)
	c.liveness.Announced(milliseconds(m.value.Get("heartbeatMs")))
	c.isConnected, c.isSilent = true, false
	c.isFresh = m.value.Get("fresh").Kind != jsontext.False
	c.head = positionOf(m.value)
	if c.cursor.IsOtherLog(text(m.value, "id")) {
		// Positions of different logs cannot be compared: a resync follows.
		c.head = math.MaxInt64
	}
	if !resumed {
		c.awaitsSnapshot = true
		c.pending = nil
	}
}

func milliseconds(v jsontext.Value) time.Duration {
	ms, _ := v.Float()
	return time.Duration(min(ms, 1e12) * float64(time.Millisecond))
}

// positionOf is the position of a message, -1 without one.
func positionOf(v jsontext.Value) int64 {
	if position, ok := v.Get("position").Decimal(); ok {
		return position
	}
	return -1
}

func (c *storeCore) heartbeat(m message, now time.Duration, update *storeUpdate) {
	c.liveness.Heartbeat(now)
	c.isSilent = false
	fresh, hasFresh := m.value.Get("fresh").Bool()
	if hasFresh {
		c.isFresh = fresh
	}
	if c.awaitsSnapshot {
		return
	}
	if fresh && !c.cursor.IsOtherLog(m.id) {
		c.head = -1
	}
	position := positionOf(m.value)
	mine, hasMine := c.cursor.Position()
	digest := text(m.value, "digest")
	// Everything before a heartbeat has arrived and nothing after it, so the state is that of its position.
	isComparable := position >= 0 && hasMine && mine <= position && isDigest(digest)
	if c.selection.everything && isComparable && c.digests.compare(c.table.digest(), digest) {
		c.requestSnapshot(update)
	}
	if m.id != "" && !c.cursor.IsOtherLog(m.id) {
		c.cursor.Advance(m.id)
	}
}

func (c *storeCore) requestSnapshot(update *storeUpdate) {
	c.awaitsSnapshot = true
	c.pending = nil
	update.requestsSnapshot = true
}

func (c *storeCore) replace(snapshot jsontext.Value, id string, update *storeUpdate) *MalformedMessageError {
	flags := snapshot.Get("flags")
	if flags.Kind != jsontext.Array || !all(flags.Items(), isFlag) {
		return malformed("a snapshot has no list of flags")
	}
	if id == "" {
		return malformed("a snapshot has no id")
	}
	c.load(flags.Items())
	c.source = FromServer
	c.cursor = eventid.NewCursor(id)
	c.head = -1
	c.awaitsSnapshot = false
	c.digests.snapshotReceived()
	pending := c.pending
	c.pending = nil
	for _, event := range pending {
		if !c.cursor.IsOtherLog(event.id) {
			// It was checked when it was kept.
			_ = c.applyEvent(event, update)
		}
	}
	return nil
}

// load replaces all flags.
func (c *storeCore) load(flags []jsontext.Value) {
	hasSeveral := slices.ContainsFunc(flags, func(flag jsontext.Value) bool { return flag.Get("schema").Kind == jsontext.String })
	old := c.table.beginReplacement(hasSeveral)
	kept := make(map[identity]bool, len(flags))
	for _, value := range flags {
		if flag := decodeFlag(value, ""); c.selection.selectsFlag(flag) {
			kept[c.table.put(newEntry(c.table.storedSchema(flag.Schema), flag, value))] = true
		}
	}
	for _, e := range old {
		if id := e.identity(); !kept[id] {
			c.table.remove(id)
		}
	}
}

func all(values []jsontext.Value, is func(jsontext.Value) bool) bool {
	return !slices.ContainsFunc(values, func(v jsontext.Value) bool { return !is(v) })
}

func (c *storeCore) applyEvent(m message, update *storeUpdate) *MalformedMessageError {
	if m.kind == "" {
		return malformed("an event is not an object with a type")
	}
	value := m.value.Get("flag")
	hasFlag := value.Kind != jsontext.Missing && value.Kind != jsontext.Null
	if hasFlag && !isFlag(value) {
		return malformed("the flag of an event has no key or no id")
	}
	if m.id == "" {
		if hasFlag || m.kind == string(FlagDeleted) {
			return malformed("an event has no id")
		}
		return nil
	}
	if c.awaitsSnapshot {
		if len(c.pending) == maxPendingEvents {
			c.pending = c.pending[1:]
		}
		c.pending = append(c.pending, m)
		if c.cursor.Text() == "" {
			return nil
		}
	}
	if c.cursor.Covers(m.id) {
		return nil
	}
	if c.cursor.IsOtherLog(m.id) {
		c.postpone(m, update)
		return nil
	}
	c.cursor = eventid.NewCursor(m.id)
	schema, hasSchema := m.value.Get("schema").Text()
	key, hasKey := m.value.Get("flagKey").Text()
	deletes := m.kind == string(FlagDeleted) && hasKey
	if hasSchema && !c.table.hasSeveralSchemas && (hasFlag || deletes) {
		if c.table.onlySchema == "" {
			c.table.onlySchema = schema
		} else if c.table.onlySchema != schema {
			c.postpone(m, update)
			return nil
		}
	}
	stored := c.table.storedSchema(schema)
	switch {
	case hasFlag:
		flag := decodeFlag(value, schema)
		if c.selection.selectsFlag(flag) {
			c.table.put(newEntry(stored, flag, value))
		} else {
			c.table.remove(identity{stored, flag.ID})
		}
	case deletes:
		e := c.table.byName[name{stored, key}]
		id, hasID := m.value.Get("flagID").Int()
		if e != nil && (!hasID || e.flag.ID == id) {
			c.table.remove(e.identity())
		}
	}
	return nil
}

// postpone keeps an event that does not fit the state, and requests a snapshot in which it does.
func (c *storeCore) postpone(m message, update *storeUpdate) {
	c.digests.differs = true
	if !c.awaitsSnapshot {
		c.requestSnapshot(update)
		c.pending = append(c.pending, m)
	}
}

func (c *storeCore) updateStatus() {
	if c.isOver() || (c.status == Initializing && c.awaitsSnapshot) {
		return
	}
	if mine, ok := c.cursor.Position(); ok && c.head >= 0 && mine >= c.head {
		c.head = -1
	}
	c.status = Stale
	if c.isConnected && c.isFresh && !c.isSilent && !c.awaitsSnapshot && !c.digests.differs && c.head < 0 {
		c.status = Ready
		c.source = FromServer
	}
}

func isFlag(v jsontext.Value) bool {
	_, hasKey := v.Get("key").Text()
	_, hasID := v.Get("id").Int()
	return hasKey && hasID
}
