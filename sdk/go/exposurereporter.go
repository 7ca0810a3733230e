package flagent

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/flagent-cdc/flagent-go/internal/jsontext"
)

const (
	reportInterval = 10 * time.Second
	maxReport      = 1_000
	maxUnreported  = 10_000
	maxCount       = 1_000_000
	lastReport     = time.Second
)

// exposureCount is what a report counts together.
type exposureCount struct{ schema, flag, variant string }

// exposureCounts are exposures by schema, flag and variant, in the order of their first one.
type exposureCounts struct {
	counts map[exposureCount]int
	order  []exposureCount
}

func newExposureCounts() *exposureCounts { return &exposureCounts{counts: map[exposureCount]int{}} }

func (c *exposureCounts) add(key exposureCount, count int) {
	if _, ok := c.counts[key]; !ok {
		c.order = append(c.order, key)
	}
	c.counts[key] += count
}

// drop removes the oldest beyond a limit; it returns how many exposures they were.
func (c *exposureCounts) drop(limit int) (dropped int) {
	for len(c.order) > limit {
		dropped += c.counts[c.order[0]]
		delete(c.counts, c.order[0])
		c.order = c.order[1:]
	}
	return dropped
}

// take removes what one report holds, and returns its body; nil when there is nothing.
func (c *exposureCounts) take() (taken *exposureCounts, body []byte) {
	if len(c.order) == 0 {
		return nil, nil
	}
	taken = newExposureCounts()
	body = append(body, `{"exposures":[`...)
	for n := 0; n < maxReport && len(c.order) > 0; n++ {
		key := c.order[0]
		count := min(c.counts[key], maxCount)
		taken.add(key, count)
		if c.counts[key] -= count; c.counts[key] == 0 {
			delete(c.counts, key)
			c.order = c.order[1:]
		}
		if n > 0 {
			body = append(body, ',')
		}
		body = append(jsontext.AppendString(append(body, `{"flagKey":`...), key.flag), `,"variantKey":`...)
		if key.variant == "" {
			body = append(body, "null"...)
		} else {
			body = jsontext.AppendString(body, key.variant)
		}
		body = strconv.AppendInt(append(body, `,"count":`...), int64(count), 10)
		if key.schema != "" {
			body = jsontext.AppendString(append(body, `,"schema":`...), key.schema)
		}
		body = append(body, '}')
	}
	return taken, append(body, "]}"...)
}

// ExposureReporter counts the exposures of a client, and sends the counts to the server: every ten seconds, or when there
// are a thousand different ones. It never fails the client: what cannot be sent is counted together and sent later, up to
// 10 000 different ones; an answer that no retry changes ends the reports.
type ExposureReporter struct {
	client  *Client
	remove  func()
	mu      sync.Mutex
	counts  *exposureCounts
	dropped uint64
	isOver  bool
	full    chan struct{}
	closed  chan struct{}
	done    chan struct{}
	once    sync.Once
}

// NewExposureReporter reports the exposures of a client until it, or the client, is closed.
func NewExposureReporter(client *Client) (*ExposureReporter, error) {
	r := &ExposureReporter{client: client, counts: newExposureCounts(), full: make(chan struct{}, 1), closed: make(chan struct{}), done: make(chan struct{})}
	client.mu.Lock()
	if client.isClosed {
		client.mu.Unlock()
		return nil, ErrClosed
	}
	client.running.Add(1)
	client.mu.Unlock()
	r.remove = client.OnExposure(r.add)
	go func() {
		defer client.running.Done()
		defer close(r.done)
		r.run()
	}()
	return r, nil
}

func (r *ExposureReporter) add(e Exposure) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.isOver {
		return
	}
	r.counts.add(exposureCount{e.Schema, e.FlagKey, e.VariantKey}, 1)
	r.dropped += uint64(r.counts.drop(maxUnreported))
	if len(r.counts.order) >= maxReport {
		signal(r.full)
	}
}

// Dropped counts the exposures that were dropped because they could not be sent.
func (r *ExposureReporter) Dropped() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.dropped
}

// Close sends what is left once, within a second, and ends the reports. Idempotent.
func (r *ExposureReporter) Close() error {
	r.once.Do(func() {
		r.remove()
		close(r.closed)
	})
	<-r.done
	return nil
}

func (r *ExposureReporter) run() {
	c := r.client
	failures := backoff{config: c.options.reconnect}
	failures.config.MaxAttempts = Unlimited
	pause := c.options.reportInterval
	for {
		timer := time.NewTimer(pause)
		isLast := false
		select {
		case <-timer.C:
		case <-r.full:
		case <-r.closed:
			isLast = true
		case <-c.dispatcher.stopped:
			isLast = true
		}
		timer.Stop()
		err := r.send(isLast)
		if isLast || r.isEnded() {
			return
		}
		pause = c.options.reportInterval
		if err == nil {
			failures.attempts = 0
		} else if delay, ok := failures.lost(c.clock.now(), c.clock.random(), wait{}, true); ok {
			pause = max(delay, 10*time.Millisecond)
		}
	}
}

func (r *ExposureReporter) isEnded() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.isOver
}

// send sends all counts; it returns why some are left.
func (r *ExposureReporter) send(isLast bool) error {
	limit := r.client.options.connectTimeout
	if isLast {
		limit = lastReport
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for {
		r.mu.Lock()
		taken, body := r.counts.take()
		r.mu.Unlock()
		if taken == nil {
			return nil
		}
		_, err := r.client.post(ctx, "/api/v1/exposures", body)
		if err == nil {
			continue
		}
		r.mu.Lock()
		var refusal *RequestError
		if errors.As(err, &refusal) && refusal.isFinal() {
			r.isOver = true
			r.counts = newExposureCounts()
		} else {
			for _, key := range taken.order {
				r.counts.add(key, taken.counts[key])
			}
			r.dropped += uint64(r.counts.drop(maxUnreported))
		}
		isOver := r.isOver
		r.mu.Unlock()
		if isOver {
			r.client.logger.Warn("Exposures are no longer reported", "action", "exposures_refused", "reason", err.Error())
			r.client.dispatcher.report(err)
		}
		return err
	}
}
