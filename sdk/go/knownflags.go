package flagent

import (
	"context"
	"time"

	"github.com/flagent-cdc/flagent-go/internal/eventid"
)

// loadKnown begins a store with its bootstrap, and with saved flags where the credential is known already. It runs before
// the store is attached.
func (d *storeDriver) loadKnown() {
	if d.options.persistence == nil && d.options.bootstrap == nil {
		return
	}
	c := d.client
	switch {
	case c.options.cacheIdentity != nil:
		d.credential = c.options.cacheIdentity
	case c.options.isKeyFunction:
		d.isKeyPending = d.options.persistence != nil
	case c.options.apiKey != nil:
		// The key is a constant: its function needs no context, and cannot fail.
		if key, err := c.options.apiKey(context.Background()); err == nil {
			d.credential = &key
		}
	}
	var bootstrap *known
	if d.options.bootstrap != nil {
		found, reason := readBootstrap(d.options.bootstrap)
		if reason == "" {
			bootstrap = &found
		} else {
			c.reportSnapshot("the bootstrap is ignored: "+reason, nil)
		}
	}
	var cache *known
	if !d.isKeyPending {
		cache = d.loadCache(context.Background())
	}
	if best := chosen(cache, bootstrap); best != nil {
		d.begin(*best)
	}
}

func (d *storeDriver) begin(k known) {
	d.core.begin(k)
	names := make([]name, 0, len(d.core.table.byName))
	for n := range d.core.table.byName {
		names = append(names, n)
	}
	d.view.Store(d.view.Load().next(d.core, names))
	d.updateStatus()
}

// loadCache reads the saved flags; nil where there are none that can be used.
func (d *storeDriver) loadCache(ctx context.Context) *known {
	if d.options.persistence == nil {
		return nil
	}
	key, _ := d.cacheKey()
	var document []byte
	err := guarded(func() (err error) {
		document, err = d.options.persistence.Load(ctx, key)
		return err
	})
	if err != nil {
		d.client.reportSnapshot("the saved flags cannot be read: "+causeText(err), err)
		return nil
	}
	if document == nil {
		return nil
	}
	found, reason := readSaved(document, key, time.Now(), d.options.maxAge)
	if reason != "" {
		d.client.reportSnapshot("the saved flags are ignored: "+reason, nil)
		return nil
	}
	return &found
}

// cacheKey is the key of the saved flags; ok is false while the credential is not known.
func (d *storeDriver) cacheKey() (key string, ok bool) {
	d.client.mu.Lock()
	credential, isPending := d.credential, d.isKeyPending
	d.client.mu.Unlock()
	return cacheKey(d.client.address, d.core.selection, credential), !isPending
}

// loadPending reads the caches that wait for the key of the first connection.
func (c *Client) loadPending(ctx context.Context) {
	c.mu.Lock()
	var pending []*storeDriver
	for _, store := range c.stores {
		if store.isKeyPending {
			pending = append(pending, store)
		}
	}
	c.mu.Unlock()
	if len(pending) == 0 {
		return
	}
	key, err := c.key(ctx)
	if err != nil {
		return // the connection fails for the same reason, and reports it
	}
	c.mu.Lock()
	c.firstKey = &key
	for _, store := range pending {
		store.credential, store.isKeyPending = &key, false
	}
	c.mu.Unlock()
	for _, store := range pending {
		cache := store.loadCache(ctx)
		c.mu.Lock()
		if cache != nil && store.core.source != FromServer && !store.core.isOver() {
			bootstrap := &known{id: store.core.cursor.Text()}
			if store.core.source != FromBootstrap || chosen(cache, bootstrap) == cache {
				store.begin(*cache)
			}
		}
		c.mu.Unlock()
	}
}

// resumeFromKnown makes a client that has received nothing yet resume from what its stores began with: from the lowest of
// their ids, if each has one of the same log. Otherwise snapshots are requested. It needs the lock.
func (c *Client) resumeFromKnown() {
	if c.hasReceived || len(c.stores) == 0 {
		return
	}
	lowest, hasAll := c.cursor.Text(), true
	hasKnown := false
	for _, store := range c.stores {
		if store.core.awaitsSnapshot {
			hasAll = false
			continue
		}
		hasKnown = true
		id := store.core.cursor.Text()
		if lowest == "" {
			lowest = id
			continue
		}
		order, ok := eventid.Compare(id, lowest)
		if !ok {
			hasAll = false
		} else if order < 0 {
			lowest = id
		}
	}
	switch {
	case !hasKnown:
	case hasAll:
		c.cursor = eventid.NewCursor(lowest)
	default:
		for _, store := range c.stores {
			store.core.awaitsSnapshot = true
		}
	}
}
