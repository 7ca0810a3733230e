package flagent

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/flagent-cdc/flagent-go/internal/jsontext"
)

// EventType is the type of an event. A newer server may send types that are not listed here; they are passed on.
type EventType string

// The event types.
const (
	FlagCreated         EventType = "flag_created"
	FlagUpdated         EventType = "flag_updated"
	FlagDeleted         EventType = "flag_deleted"
	FlagEnabled         EventType = "flag_enabled"
	FlagDisabled        EventType = "flag_disabled"
	SegmentUpdated      EventType = "segment_updated"
	DistributionUpdated EventType = "distribution_updated"
	VariantUpdated      EventType = "variant_updated"
	RowInserted         EventType = "row_inserted"
	RowUpdated          EventType = "row_updated"
	RowDeleted          EventType = "row_deleted"
	TableTruncated      EventType = "table_truncated"
	// SchemaChanged says that the columns of a watched table changed; Raw has the members before, after and rewritten.
	SchemaChanged EventType = "schema_changed"
	// Resync says that the server could not replay: Flags are all selected flags, which replace the state.
	Resync EventType = "resync"
)

func (t EventType) isRow() bool {
	return t == RowInserted || t == RowUpdated || t == RowDeleted || t == TableTruncated
}

func (t EventType) isSegment() bool { return t == SegmentUpdated || t == DistributionUpdated }

func (t EventType) carriesFlag() bool {
	return t == FlagCreated || t == FlagUpdated || t == FlagEnabled || t == FlagDisabled
}

// Event is one event about a flag or a row of a watched table. Fields that its type does not have are zero.
type Event struct {
	Type EventType
	// ID is the event id, from which a client can resume.
	ID      string
	FlagKey string
	FlagID  int64
	Schema  string
	// CommittedAt is just before the commit, in UTC.
	CommittedAt time.Time
	// Flag is the flag as of the event's commit; nil for FlagDeleted, for rows and for Resync.
	Flag *Flag
	// SegmentID is set for SegmentUpdated and DistributionUpdated; Segment is nil when it was removed.
	SegmentID     int64
	Segment       *Segment
	Distributions []Distribution
	// VariantID is set for VariantUpdated; Variant is nil when it was removed.
	VariantID int64
	Variant   *Variant
	// Flags are all selected flags, for Resync.
	Flags []*Flag
	// Row is the change of a row of a watched table.
	Row *RowChange
	// Raw is the whole message.
	Raw json.RawMessage
}

// RowChange is the change of one row. Key, Before and After are JSON objects with every digit of the database's numbers;
// they are nil where the event has none. Decode them with a json.Decoder that uses UseNumber.
type RowChange struct {
	// Table includes the schema: shop.orders.
	Table   string
	Key     json.RawMessage
	Before  json.RawMessage
	After   json.RawMessage
	Changed []string
	// Moved is "in" or "out" for a row that an update moved into or out of the subscription's filter.
	Moved string
	// Unreadable is the reason why the values cannot be delivered, for example too_large.
	Unreadable string
}

// message is a message of the server in the WebSocket's form.
type message struct {
	kind  string
	id    string
	value jsontext.Value
}

// newMessage wraps an object; kind is "" when it has no type.
func newMessage(value jsontext.Value) message {
	return message{kind: text(value, "type"), id: text(value, "id"), value: value}
}

// decodeEvent decodes an event object; it fails when a field that its type requires is missing.
func decodeEvent(m message) (Event, *MalformedMessageError) {
	v := m.value
	if m.kind == "" {
		return Event{}, malformed("a message has no type")
	}
	event := Event{Type: EventType(m.kind), ID: m.id, Raw: bytes.Clone(v.Raw())}
	if event.Type == Resync {
		flags := v.Get("snapshot").Get("flags")
		if flags.Kind != jsontext.Array {
			return Event{}, malformed("a resync has no list of flags")
		}
		for _, item := range flags.Items() {
			if item.Kind == jsontext.Object {
				event.Flags = append(event.Flags, decodeFlag(item, ""))
			}
		}
		return event, nil
	}
	event.Schema = text(v, "schema")
	event.FlagKey = text(v, "flagKey")
	event.CommittedAt = moment(v.Get("committedAt"))
	if flag := v.Get("flag"); flag.Kind != jsontext.Missing && flag.Kind != jsontext.Null {
		if _, ok := flag.Get("key").Text(); !ok {
			return Event{}, malformed("the flag of a %s message is not an object with a key", m.kind)
		}
		event.Flag = decodeFlag(flag, event.Schema)
	}
	if id, ok := v.Get("flagID").Int(); ok {
		event.FlagID = id
	} else if event.Flag != nil {
		event.FlagID = event.Flag.ID
	}
	if event.FlagKey == "" && event.Flag != nil {
		event.FlagKey = event.Flag.Key
	}
	return event, event.decodeData(v)
}

func (e *Event) decodeData(v jsontext.Value) *MalformedMessageError {
	switch {
	case e.Type.carriesFlag() && e.Flag == nil:
		return malformed("a %s message has no flag", e.Type)
	case e.Type == FlagDeleted && e.FlagKey == "":
		return malformed("a flag_deleted message has no key")
	case e.Type == SegmentUpdated:
		if segment := v.Get("segment"); segment.Kind == jsontext.Object {
			decoded := decodeSegment(segment)
			e.Segment = &decoded
		}
	case e.Type == DistributionUpdated:
		e.Distributions = objects(v, "distributions", decodeDistribution)
	case e.Type == VariantUpdated:
		if variant := v.Get("variant"); variant.Kind == jsontext.Object {
			decoded := decodeVariant(variant)
			e.Variant = &decoded
		}
	case e.Type.isRow():
		e.Row = decodeRow(v)
	}
	e.SegmentID, e.VariantID = number(v, "segmentID"), number(v, "variantID")
	return nil
}

func decodeRow(v jsontext.Value) *RowChange {
	row := &RowChange{
		Table:      text(v, "table"),
		Key:        objectText(v.Get("key")),
		Before:     objectText(v.Get("before")),
		After:      objectText(v.Get("after")),
		Moved:      text(v, "moved"),
		Unreadable: text(v, "unreadable"),
	}
	for _, item := range v.Get("changed").Items() {
		if name, ok := item.Text(); ok {
			row.Changed = append(row.Changed, name)
		}
	}
	return row
}

func objectText(v jsontext.Value) json.RawMessage {
	if v.Kind != jsontext.Object {
		return nil
	}
	return bytes.Clone(v.Raw())
}

// moment reads a time of the wire; the zero time for anything else.
func moment(v jsontext.Value) time.Time {
	text, _ := v.Text()
	parsed, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}
	}
	return parsed.UTC()
}
