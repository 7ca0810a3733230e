package flagent

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/flagent-cdc/flagent-go/internal/jsontext"
)

// The server's limits of one message and of one connection.
const (
	maxValues    = 1_000
	maxPartBytes = 64 * 1024
	// maxQueryBytes: the server's limit is 64 KiB, with the parameters that are not the selection.
	maxQueryBytes = 60_000
	maxTables     = 900
	maxNarrowing  = 100
	maxText       = 256
	maxFlagID     = 1<<31 - 1
)

type texts map[string]struct{}

func textSet(values []string) texts {
	if len(values) == 0 {
		return nil
	}
	set := make(texts, len(values))
	for _, value := range values {
		set[value] = struct{}{}
	}
	return set
}

func sorted[K string | int64](set map[K]struct{}) []K { return slices.Sorted(maps.Keys(set)) }

// selection is a set of selectors, which add up; types and schemas narrow the result. A selection without selectors
// selects nothing. Selections are never changed.
type selection struct {
	everything bool
	flags      texts
	flagIDs    map[int64]struct{}
	tags       texts
	tables     texts
	segments   bool
	types      texts
	schemas    texts
}

var everything = &selection{everything: true}

func (s *selection) isEmpty() bool {
	return !s.everything && !s.segments && len(s.flags) == 0 && len(s.flagIDs) == 0 && len(s.tags) == 0 && len(s.tables) == 0
}

// selectsFlag reports whether the selectors include a flag; types and schemas are not considered.
func (s *selection) selectsFlag(flag *Flag) bool {
	if s.everything || has(s.flags, flag.Key) || has(s.flagIDs, flag.ID) {
		return true
	}
	return len(s.tags) > 0 && slices.ContainsFunc(flag.Tags, func(tag Tag) bool { return has(s.tags, tag.Value) })
}

func has[K comparable](set map[K]struct{}, value K) bool {
	_, ok := set[value]
	return ok
}

// selectsEvent reports whether an event belongs to the selection. Only the flag's tags after the change are known here.
func (s *selection) selectsEvent(e *Event) bool {
	if len(s.types) > 0 && !has(s.types, string(e.Type)) || len(s.schemas) > 0 && !has(s.schemas, e.Schema) {
		return false
	}
	if e.Row != nil {
		long, short := tableNames(e.Row.Table, e.Schema)
		return has(s.tables, long) || has(s.tables, short)
	}
	return s.everything || has(s.flags, e.FlagKey) || has(s.flagIDs, e.FlagID) || (s.segments && e.Type.isSegment()) ||
		(e.Flag != nil && len(s.tags) > 0 && slices.ContainsFunc(e.Flag.Tags, func(tag Tag) bool { return has(s.tags, tag.Value) }))
}

// tableNames are the names that select the table of a row event: with its schema, and without. A part that contains a
// dot or a quote is quoted as in SQL.
func tableNames(table, schema string) (long, short string) {
	if strings.ContainsAny(schema, `."`) {
		schema = `"` + strings.ReplaceAll(schema, `"`, `""`) + `"`
	}
	return table, strings.TrimPrefix(table, schema+".")
}

// minus are the selectors that are not in other; types and schemas stay.
func (s *selection) minus(other *selection) *selection {
	return &selection{
		everything: s.everything && !other.everything,
		flags:      without(s.flags, other.flags),
		flagIDs:    without(s.flagIDs, other.flagIDs),
		tags:       without(s.tags, other.tags),
		tables:     without(s.tables, other.tables),
		segments:   s.segments && !other.segments,
		types:      s.types,
		schemas:    s.schemas,
	}
}

func without[K comparable](set, other map[K]struct{}) map[K]struct{} {
	rest := map[K]struct{}{}
	for value := range set {
		if !has(other, value) {
			rest[value] = struct{}{}
		}
	}
	return rest
}

func (s *selection) equals(other *selection) bool {
	return s == other || (s.everything == other.everything && s.segments == other.segments && maps.Equal(s.flags, other.flags) &&
		maps.Equal(s.flagIDs, other.flagIDs) && maps.Equal(s.tags, other.tags) && maps.Equal(s.tables, other.tables) && s.hasNarrowingOf(other))
}

func (s *selection) hasNarrowingOf(other *selection) bool {
	return maps.Equal(s.types, other.types) && maps.Equal(s.schemas, other.schemas)
}

// covers reports whether an event stream that requested this selection delivers all of other. A request without
// selectors delivers every flag; tables are delivered only when they were requested.
func (s *selection) covers(other *selection) bool {
	if !s.hasNarrowingOf(other) && (len(s.types) > 0 || len(s.schemas) > 0) {
		return false
	}
	missing := other.minus(s)
	if s.everything || s.isEmpty() {
		return len(missing.tables) == 0
	}
	return missing.isEmpty()
}

// union is one selection that includes each of the others. It keeps types and schemas only when they are the same in
// all; otherwise the client narrows itself.
func union(selections []*selection) *selection {
	all := &selection{flags: texts{}, flagIDs: map[int64]struct{}{}, tags: texts{}, tables: texts{}}
	isFirst := true
	for _, each := range selections {
		if each.isEmpty() {
			continue
		}
		all.everything = all.everything || each.everything
		all.segments = all.segments || each.segments
		maps.Copy(all.flags, each.flags)
		maps.Copy(all.flagIDs, each.flagIDs)
		maps.Copy(all.tags, each.tags)
		maps.Copy(all.tables, each.tables)
		if isFirst {
			all.types, all.schemas, isFirst = each.types, each.schemas, false
			continue
		}
		if !maps.Equal(all.types, each.types) {
			all.types = nil
		}
		if !maps.Equal(all.schemas, each.schemas) {
			all.schemas = nil
		}
	}
	return all
}

// checkValues refuses values that the server would refuse.
func (s *selection) checkValues() error {
	for _, part := range []struct {
		name string
		set  texts
	}{{"flag", s.flags}, {"tag", s.tags}, {"table", s.tables}, {"schema", s.schemas}} {
		for value := range part.set {
			if length := utf8.RuneCountInString(value); length == 0 || length > maxText {
				return &SelectionError{fmt.Sprintf("a %s is %.60q; it must be a string of 1 to %d characters", part.name, value, maxText)}
			}
		}
	}
	for id := range s.flagIDs {
		if id <= 0 || id > maxFlagID {
			return &SelectionError{fmt.Sprintf("a flag id is %d; it must be a whole number from 1 to %d", id, maxFlagID)}
		}
	}
	if count := len(s.types) + len(s.schemas); count > maxNarrowing {
		return &SelectionError{fmt.Sprintf("a subscription has %d types and schemas, but the limit is %d", count, maxNarrowing)}
	}
	return nil
}

// parts are selections of one message each that add up to this one; the first has every table.
func (s *selection) parts() []*selection {
	base, baseBytes := len(s.types)+len(s.schemas), 0
	for _, narrowing := range []texts{s.types, s.schemas} {
		for value := range narrowing {
			baseBytes += jsonBytes(value)
		}
	}
	newPart := func() *selection { return &selection{types: s.types, schemas: s.schemas} }
	parts := []*selection{newPart()}
	parts[0].everything, parts[0].segments = s.everything, s.segments
	count, size := base, baseBytes
	last := func(needed int) *selection {
		if count > base && (count >= maxValues || size+needed > maxPartBytes) {
			parts = append(parts, newPart())
			count, size = base, baseBytes
		}
		count, size = count+1, size+needed
		return parts[len(parts)-1]
	}
	for _, value := range sorted(s.tables) {
		put(&last(jsonBytes(value)).tables, value)
	}
	for _, value := range sorted(s.flags) {
		put(&last(jsonBytes(value)).flags, value)
	}
	for _, value := range sorted(s.flagIDs) {
		part := last(len(strconv.FormatInt(value, 10)) + 2)
		if part.flagIDs == nil {
			part.flagIDs = map[int64]struct{}{}
		}
		part.flagIDs[value] = struct{}{}
	}
	for _, value := range sorted(s.tags) {
		put(&last(jsonBytes(value)).tags, value)
	}
	return parts
}

func put(set *texts, value string) {
	if *set == nil {
		*set = texts{}
	}
	(*set)[value] = struct{}{}
}

func jsonBytes(text string) int { return len(jsontext.AppendString(nil, text)) + 2 }

// isDivided reports whether the selection takes more than one message.
func (s *selection) isDivided() bool {
	count := len(s.flags) + len(s.flagIDs) + len(s.tags) + len(s.tables)
	return count > 0 && len(s.parts()) > 1
}

// command is a message of the client. Its fields are in the order in which they were added.
type command struct{ object []byte }

func newCommand(kind string) *command {
	return &command{object: jsontext.AppendString([]byte(`{"type":`), kind)}
}

func (c *command) name(name string) {
	if len(c.object) > 1 {
		c.object = append(c.object, ',')
	}
	c.object = append(jsontext.AppendString(c.object, name), ':')
}

func (c *command) text(name, value string) *command {
	c.name(name)
	c.object = jsontext.AppendString(c.object, value)
	return c
}

func (c *command) truth(name string) *command {
	c.name(name)
	c.object = append(c.object, "true"...)
	return c
}

func (c *command) raw(name string, value []byte) *command {
	c.name(name)
	c.object = append(c.object, value...)
	return c
}

func (c *command) texts(name string, values []string) *command {
	if len(values) == 0 {
		return c
	}
	c.name(name)
	for i, value := range values {
		c.object = jsontext.AppendString(append(c.object, "[,"[min(i, 1)]), value)
	}
	c.object = append(c.object, ']')
	return c
}

func (c *command) numbers(name string, values []int64) *command {
	if len(values) == 0 {
		return c
	}
	c.name(name)
	for i, value := range values {
		c.object = strconv.AppendInt(append(c.object, "[,"[min(i, 1)]), value, 10)
	}
	c.object = append(c.object, ']')
	return c
}

func (c *command) bytes() []byte { return append(c.object, '}') }

// selecting adds the fields of a selection.
func (c *command) selecting(s *selection) *command {
	if s.everything {
		c.truth("subscribeAll")
	}
	c.texts("flags", sorted(s.flags)).numbers("flagIDs", sorted(s.flagIDs)).texts("tags", sorted(s.tags)).texts("tables", sorted(s.tables))
	if s.segments {
		c.truth("segments")
	}
	return c.texts("types", sorted(s.types)).texts("schemas", sorted(s.schemas))
}

// start is how a subscription begins: with a snapshot, after an event id, or with what comes next.
type start struct {
	snapshot    bool
	lastEventID string
}

func (s start) isLive() bool { return s == start{} }

func (s start) addTo(c *command) *command {
	if s.snapshot {
		c.truth("snapshot")
	}
	if s.lastEventID != "" {
		c.text("lastEventId", s.lastEventID)
	}
	return c
}

// subscribeCommands are the messages that subscribe to a selection. Where a divided one resumes or needs a snapshot, the
// first selects everything, so that the replay or the snapshot arrives in one piece and in order, and the last takes that
// back.
func subscribeCommands(s *selection, begin start) []*command {
	parts := s.parts()
	commands := make([]*command, 0, len(parts)+2)
	if len(parts) == 1 || begin.isLive() {
		commands = append(commands, begin.addTo(newCommand("subscribe").selecting(parts[0])))
		parts = parts[1:]
	} else {
		wide := &selection{everything: true, tables: s.tables, types: s.types, schemas: s.schemas}
		commands = append(commands, begin.addTo(newCommand("subscribe").selecting(wide)))
	}
	isWide := len(parts) > 0 && !begin.isLive()
	for _, part := range parts {
		commands = append(commands, newCommand("subscribe").selecting(part))
	}
	if isWide && !s.everything {
		commands = append(commands, newCommand("unsubscribe").selecting(&selection{everything: true, types: s.types, schemas: s.schemas}))
	}
	return commands
}
