package flagent

import (
	"context"
	"iter"
	"slices"
)

// Selectors select events. They add up; Types and Schemas narrow the result. Without any selector every flag is selected.
type Selectors struct {
	Flags    []string
	FlagIDs  []int64
	Tags     []string
	Tables   []string
	Segments bool
	Types    []EventType
	Schemas  []string
}

func (s Selectors) selection() *selection {
	selected := &selection{
		flags: textSet(s.Flags), tags: textSet(s.Tags), tables: textSet(s.Tables), segments: s.Segments, schemas: textSet(s.Schemas),
	}
	if len(s.FlagIDs) > 0 {
		selected.flagIDs = map[int64]struct{}{}
	}
	for _, id := range s.FlagIDs {
		selected.flagIDs[id] = struct{}{}
	}
	for _, kind := range s.Types {
		put(&selected.types, string(kind))
	}
	selected.everything = selected.isEmpty()
	return selected
}

// Subscribe calls a handler with the flag of a key after each change. Handlers are called one at a time and in order, and
// once per difference. The subscription ends with its context, or with [Subscription.Unsubscribe].
//
// This and the other subscribing methods return [ErrClosed], the error that ended the client, and a [*SelectionError]
// when one connection cannot select that much.
func (c *Client) Subscribe(ctx context.Context, key string, handler func(Flag)) (*Subscription, error) {
	return c.SubscribeFlag(ctx, key, handler, nil)
}

// SubscribeFlag is [Client.Subscribe] with a second handler, which is called with the key when the flag is deleted. Either
// handler may be nil.
func (c *Client) SubscribeFlag(ctx context.Context, key string, handler func(Flag), onDeleted func(key string)) (*Subscription, error) {
	selected := &selection{flags: texts{key: {}}}
	return c.subscribe(ctx, &Subscription{selection: selected, deliver: deliverFlags(selected, flagHandlers{one: handler, deleted: onDeleted})})
}

// SubscribeTags calls a handler with the changed flags that have any of the tags, or had one before the change: one list
// per message.
func (c *Client) SubscribeTags(ctx context.Context, tags []string, handler func([]Flag)) (*Subscription, error) {
	selected := &selection{tags: textSet(tags)}
	return c.subscribe(ctx, &Subscription{selection: selected, deliver: deliverFlags(selected, flagHandlers{list: handler})})
}

// SubscribeAll calls a handler with every event about a flag.
func (c *Client) SubscribeAll(ctx context.Context, handler func(Event)) (*Subscription, error) {
	return c.subscribe(ctx, &Subscription{selection: everything, deliver: deliverEvents(handler)})
}

// SubscribeSegments calls a handler with the events of segments and distributions of every flag.
func (c *Client) SubscribeSegments(ctx context.Context, handler func(Event)) (*Subscription, error) {
	return c.subscribe(ctx, &Subscription{selection: &selection{segments: true}, deliver: deliverEvents(handler)})
}

// SubscribeTable calls a handler with the row events of a watched table, named as in "flagent-cdc watch".
func (c *Client) SubscribeTable(ctx context.Context, table string, handler func(Event)) (*Subscription, error) {
	return c.subscribe(ctx, &Subscription{selection: &selection{tables: texts{table: {}}}, deliver: deliverEvents(handler)})
}

// SubscribeEvents calls a handler with the events of a selection.
func (c *Client) SubscribeEvents(ctx context.Context, selectors Selectors, handler func(Event)) (*Subscription, error) {
	return c.subscribe(ctx, &Subscription{selection: selectors.selection(), deliver: deliverEvents(handler)})
}

// OnEvent calls a handler with every event that arrives. It selects nothing itself: it receives what the other
// subscriptions and the stores select, or everything when there are none.
func (c *Client) OnEvent(ctx context.Context, handler func(Event)) (*Subscription, error) {
	return c.subscribe(ctx, &Subscription{selection: nil, deliver: deliverEvents(handler)})
}

// Channel returns a channel of the events of a selection. It is closed when the context ends and when the client is
// closed or has failed; see [Client.Err]. The channel is unbuffered: a receiver that is slow slows the stream, as a
// handler does.
func (c *Client) Channel(ctx context.Context, selectors Selectors) (<-chan Event, error) {
	_, events, err := c.channel(ctx, selectors)
	return events, err
}

func (c *Client) channel(ctx context.Context, selectors Selectors) (*Subscription, <-chan Event, error) {
	selected := selectors.selection()
	received := make(chan Event)
	failed := make(chan struct{})
	out := make(chan Event)
	subscription := &Subscription{
		selection: selected,
		deliver: func(s *Subscription, events []*Event, isOnly bool) {
			deliverEvents(func(event Event) {
				select {
				case received <- event:
				case <-s.ended:
				case <-failed:
				}
			})(s, events, isOnly)
		},
		onFailure: func() { close(failed) },
		// This goroutine alone sends to what is returned, so that it can close it.
		background: func(s *Subscription) {
			defer close(out)
			forward(s, received, out, failed)
		},
	}
	if _, err := c.subscribe(ctx, subscription); err != nil {
		return nil, nil, err
	}
	return subscription, out, nil
}

// forward passes events on until the subscription ends or the client fails.
func forward(s *Subscription, from <-chan Event, to chan<- Event, failed <-chan struct{}) {
	for {
		select {
		case event := <-from:
			select {
			case to <- event:
			case <-s.ended:
				return
			}
		case <-s.ended:
			return
		case <-failed:
			s.Unsubscribe()
			return
		}
	}
}

// Events iterates over the events of a selection, in order. The iteration ends when the loop is left, when the context
// ends and when the client is closed. When the client fails for good, or cannot subscribe, the error is the last that is
// yielded.
func (c *Client) Events(ctx context.Context, selectors Selectors) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		subscription, events, err := c.channel(ctx, selectors)
		if err != nil {
			yield(Event{}, err)
			return
		}
		defer subscription.Unsubscribe()
		for event := range events {
			if !yield(event, nil) {
				return
			}
		}
		if err := c.Err(); err != nil {
			yield(Event{}, err)
		}
	}
}

func (c *Client) subscribe(ctx context.Context, s *Subscription) (*Subscription, error) {
	s.client, s.ended = c, make(chan struct{})
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.checkOpen(); err != nil {
		return nil, err
	}
	if c.failure != nil {
		return nil, c.failure
	}
	if s.selection != nil {
		if err := c.addSelection(s.selection); err != nil {
			return nil, err
		}
	}
	_, s.since = c.dispatcher.counts()
	c.subscriptions = append(slices.Clip(c.subscriptions), s)
	s.stopContext = context.AfterFunc(ctx, s.Unsubscribe)
	if s.background != nil {
		c.running.Add(1)
		go func() {
			defer c.running.Done()
			s.background(s)
		}()
	}
	c.startAutomatically()
	c.applySelection()
	return s, nil
}

// forget removes a subscription that has ended.
func (c *Client) forget(s *Subscription) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.stopContext()
	c.subscriptions = removed(c.subscriptions, s)
	if s.selection != nil {
		c.weight = c.weight.minus(s.selection.weight())
	}
	c.applySelection()
}

// Unsubscribe ends all subscriptions to a flag's key; stores stay.
func (c *Client) Unsubscribe(key string) {
	of := &selection{flags: texts{key: {}}}
	c.mu.Lock()
	subscriptions := c.subscriptions
	c.mu.Unlock()
	for _, subscription := range subscriptions {
		if subscription.selection != nil && subscription.selection.equals(of) {
			subscription.Unsubscribe()
		}
	}
}
