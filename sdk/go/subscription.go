package flagent

import (
	"bytes"
	"slices"
	"sync/atomic"

	"github.com/flagent-cdc/flagent-go/internal/jsontext"
)

// Subscription is a registered handler.
type Subscription struct {
	client    *Client
	selection *selection // nil for OnEvent, which selects nothing itself
	// since is the number of items queued before this subscription was made; it receives later ones only.
	since   uint64
	isEnded atomic.Bool
	deliver func(s *Subscription, events []*Event, isOnly bool)
	// stopContext ends the wait for the context that was given to the subscribing method.
	stopContext func() bool
	// ended is closed when the subscription ends.
	ended chan struct{}
	// onFailure is called when the client fails for good; nil for handlers. It must not block.
	onFailure func()
	// background runs in a goroutine of its own until the subscription ends; nil for handlers.
	background func(*Subscription)
}

// Unsubscribe ends the subscription: the handler is not called again, except for a call that is running. Idempotent.
func (s *Subscription) Unsubscribe() {
	if s.isEnded.CompareAndSwap(false, true) {
		close(s.ended)
		s.client.forget(s)
	}
}

func (s *Subscription) call(handler func()) {
	if !s.isEnded.Load() {
		s.client.dispatcher.call(handler)
	}
}

// deliverEvents calls a handler with each event of the selection. isOnly: the connection requested this selection and no
// other.
func deliverEvents(handler func(Event)) func(*Subscription, []*Event, bool) {
	return func(s *Subscription, events []*Event, isOnly bool) {
		for _, event := range events {
			if s.selection == nil || isOnly || event.Type == Resync || s.selection.selectsEvent(event) {
				s.call(func() { handler(*event) })
			}
		}
	}
}

// seenFlags are the flags as a handler last saw them, so that it is called once per difference.
//
// Events name their schema. Snapshots of a server with one schema do not; there, the events' schema applies.
type seenFlags struct {
	selection *selection
	seen      map[identity]*Flag
	schema    string
}

// update applies an event; it returns the flags to deliver and the keys of deleted flags.
func (s *seenFlags) update(event *Event, isOnly bool) (changed []*Flag, deleted []string) {
	if event.Type == Resync {
		return s.replace(event)
	}
	if event.Schema != "" && s.schema == "" {
		s.schema = event.Schema
		seen := map[identity]*Flag{}
		for id, flag := range s.seen {
			if id.schema == "" {
				id.schema = event.Schema
			}
			seen[id] = flag
		}
		s.seen = seen
	}
	schema := event.Schema
	if schema == "" {
		schema = s.schema
	}
	id := identity{schema, event.FlagID}
	known := s.seen[id]
	if !isOnly && known == nil && !s.selection.selectsEvent(event) {
		return nil, nil
	}
	if event.Type == FlagDeleted {
		if known != nil && known.Key != event.FlagKey {
			return nil, nil // a rename: the flag was delivered with its new key already
		}
		delete(s.seen, id)
		return nil, []string{event.FlagKey}
	}
	if event.Flag == nil || (known != nil && isSameFlag(known, event.Flag)) {
		return nil, nil
	}
	if s.selection.selectsFlag(event.Flag) {
		s.seen[id] = event.Flag
	} else {
		delete(s.seen, id)
	}
	return []*Flag{event.Flag}, nil
}

func (s *seenFlags) replace(event *Event) (changed []*Flag, deleted []string) {
	old := s.seen
	s.seen = map[identity]*Flag{}
	keys := map[string]bool{}
	for _, flag := range event.Flags {
		if !s.selection.selectsFlag(flag) {
			continue
		}
		id := identity{flag.Schema, flag.ID}
		if id.schema == "" {
			id.schema = s.schema
		}
		s.seen[id] = flag
		keys[flag.Key] = true
		if before := old[id]; before == nil || !isSameFlag(before, flag) {
			changed = append(changed, flag)
		}
	}
	for _, flag := range old {
		if !keys[flag.Key] {
			deleted = append(deleted, flag.Key)
		}
	}
	slices.Sort(deleted)
	return changed, deleted
}

// isSameFlag compares two flags as JSON, whatever the order of their members.
func isSameFlag(a, b *Flag) bool {
	return bytes.Equal(a.Raw, b.Raw) || bytes.Equal(canonicalText(a), canonicalText(b))
}

func canonicalText(flag *Flag) []byte {
	value, err := jsontext.Parse(flag.Raw)
	if err != nil {
		return flag.Raw
	}
	return jsontext.AppendCanonical(nil, value)
}

// flagHandlers are what a subscription to flags calls; nil functions are not called.
type flagHandlers struct {
	one     func(Flag)
	list    func([]Flag)
	deleted func(key string)
}

// deliverFlags calls handlers with each flag that differs from what they saw last; list is called once per message.
func deliverFlags(selected *selection, handlers flagHandlers) func(*Subscription, []*Event, bool) {
	seen := &seenFlags{selection: selected, seen: map[identity]*Flag{}}
	return func(s *Subscription, events []*Event, isOnly bool) {
		var flags []Flag
		places := map[identity]int{}
		for _, event := range events {
			changed, deleted := seen.update(event, isOnly)
			for _, flag := range changed {
				if handlers.one != nil {
					s.call(func() { handlers.one(*flag) })
					continue
				}
				id := identity{flag.Schema, flag.ID}
				if place, ok := places[id]; ok {
					flags[place] = *flag
				} else {
					places[id] = len(flags)
					flags = append(flags, *flag)
				}
			}
			for _, key := range deleted {
				if handlers.deleted != nil {
					s.call(func() { handlers.deleted(key) })
				}
			}
		}
		if len(flags) > 0 && handlers.list != nil {
			s.call(func() { handlers.list(flags) })
		}
	}
}
