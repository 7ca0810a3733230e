package flagent

import (
	"slices"
	"sync"
)

// listeners are the handlers of one kind of value. The dispatcher calls those that are registered when their turn comes.
type listeners[T any] struct {
	mu sync.Mutex
	// registered is replaced and never changed: a caller may be in the middle of it.
	registered []*listener[T]
}

type listener[T any] struct{ call func(T) }

// add returns a function that removes the handler.
func (l *listeners[T]) add(call func(T)) (remove func()) {
	added := &listener[T]{call}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.registered = append(slices.Clip(l.registered), added)
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.registered = removed(l.registered, added)
	}
}

func (l *listeners[T]) present() []*listener[T] {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.registered
}

func (l *listeners[T]) isEmpty() bool { return len(l.present()) == 0 }

// post queues the calls for values that belong together.
func (l *listeners[T]) post(d *dispatcher, values ...T) {
	if l.isEmpty() {
		return
	}
	d.post(func() {
		called := l.present()
		for _, value := range values {
			for _, each := range called {
				d.call(func() { each.call(value) })
			}
		}
	})
}

// removed is a new slice without an item: others may be reading the old one.
func removed[T comparable](items []T, item T) []T {
	rest := make([]T, 0, len(items))
	for _, each := range items {
		if each != item {
			rest = append(rest, each)
		}
	}
	return rest
}
