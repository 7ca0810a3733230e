package flagent

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/flagent-cdc/flagent-go/internal/jsontext"
	"github.com/flagent-cdc/flagent-go/internal/policy"
	"github.com/flagent-cdc/flagent-go/internal/sse"
)

const (
	snapshotLimit = 30 * time.Second
	problemLimit  = 2 * time.Second
	readBytes     = 32 * 1024
)

// sseLink is one event stream.
type sseLink struct{ address string }

func (l *sseLink) run(conn *connection) error {
	c := conn.client
	c.mu.Lock()
	request := conn.newRequest()
	c.mu.Unlock()
	body, err := l.open(conn.ctx, c, request)
	if err != nil {
		return err
	}
	defer body.Close()
	c.mu.Lock()
	conn.opened()
	if c.table == nil && !request.selection.covers(c.wanted()) {
		// Something was subscribed while connecting.
		conn.replace()
	}
	c.mu.Unlock()
	parser := sse.NewParser(int(c.options.maxMessageBytes))
	return readStream(&hearingReader{body, conn}, parser, func(item sse.Item) error {
		if item.Kind == sse.Retry {
			c.mu.Lock()
			c.backoff.retry(time.Duration(item.RetryMs) * time.Millisecond)
			c.mu.Unlock()
			return nil
		}
		m, ok, failure := decodeItem(item)
		if failure != nil {
			c.mu.Lock()
			conn.reportMalformed(failure)
			c.mu.Unlock()
			return nil
		}
		if !ok {
			return nil
		}
		return conn.accept(m)
	})
}

// hearingReader notes when bytes arrive.
type hearingReader struct {
	io.Reader
	conn *connection
}

func (r *hearingReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.conn.client.mu.Lock()
	r.conn.heard()
	r.conn.client.mu.Unlock()
	return n, err
}

// probe opens a stream beside the present connection, waits for its first message, and closes it.
func (l *sseLink) probe(ctx context.Context, c *Client) error {
	c.mu.Lock()
	selected := c.wanted()
	c.mu.Unlock()
	limited, cancel := context.WithTimeout(ctx, c.options.connectTimeout)
	defer cancel()
	_, err := l.first(limited, c, request{selection: selected}, "connected")
	return err
}

// readStream feeds a parser to the end of a stream, which is an error too.
func readStream(body io.Reader, parser *sse.Parser, emit func(sse.Item) error) error {
	buffer := make([]byte, readBytes)
	for {
		n, err := body.Read(buffer)
		if failure := parser.Feed(buffer[:n], emit); failure != nil {
			return failure
		}
		if errors.Is(err, io.EOF) {
			return &ConnectionLostError{Reason: "the stream has ended"}
		}
		if err != nil {
			return &ConnectionLostError{Reason: "the stream broke: " + causeText(err), Cause: err}
		}
	}
}

// decodeItem returns an item of the stream as a message in the WebSocket's form; ok is false when it carries none.
func decodeItem(item sse.Item) (m message, ok bool, failure *MalformedMessageError) {
	switch item.Kind {
	case sse.Comment:
		m, ok = parseKeepAlive(string(item.Data))
		return m, ok, nil
	case sse.ID:
		return message{kind: "position", id: item.LastEventID}, item.LastEventID != "", nil
	case sse.Event:
		// The item's data is valid only until the next read.
		value, err := jsontext.Parse(bytes.Clone(item.Data))
		if err != nil {
			return m, false, malformed("the data of a %s event is %v", item.Name, err)
		}
		if value.Kind != jsontext.Object {
			return m, false, malformed("the data of a %s event is not an object", item.Name)
		}
		m = newMessage(value)
		if value.Get("type").Kind == jsontext.Missing {
			m.kind = item.Name
		}
		if value.Get("id").Kind == jsontext.Missing && item.Name != "connected" {
			m.id = item.LastEventID
		}
		return m, true, nil
	}
	return m, false, nil
}

// open returns the body of a response that is an event stream.
func (l *sseLink) open(ctx context.Context, c *Client, r request) (io.ReadCloser, error) {
	if r.selection.everything && len(r.selection.tables) > 0 {
		return nil, &ConnectionRefusedError{Reason: "an event stream cannot select everything and tables at once; use two clients or the WebSocket"}
	}
	header := http.Header{"Accept": {"text/event-stream"}, "Cache-Control": {"no-cache"}, "Accept-Encoding": {"identity"}}
	query := r.selection.query()
	if c.table != nil {
		query = c.table.query.values()
	}
	query.Set("envelope", "true")
	if r.lastEventID != "" {
		header.Set("Last-Event-ID", r.lastEventID)
	}
	if r.snapshot {
		query.Set("snapshot", "true")
	}
	response, err := c.get(ctx, withQuery(l.address, query), header, c.options.connectTimeout)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK || !policy.IsContentType(response.Header.Get("Content-Type"), "text/event-stream") {
		response.Body.Close()
		return nil, &ConnectionLostError{Reason: "the response is not an event stream; check the path of the URL", Status: response.StatusCode, kind: failed}
	}
	return response.Body, nil
}

// withQuery adds parameters to those of an address.
func withQuery(address string, query url.Values) string {
	u, err := url.Parse(address)
	if err != nil {
		panic("flagent: the address was parsed before: " + err.Error())
	}
	if added := query.Encode(); u.RawQuery == "" {
		u.RawQuery = added
	} else if added != "" {
		u.RawQuery += "&" + added
	}
	return u.String()
}

// get requests an address, with the key; it follows redirects, and renews a key that the server does not take. The
// response has status 200 or 304; others are errors.
func (c *Client) get(ctx context.Context, address string, header http.Header, limit time.Duration) (*http.Response, error) {
	key, err := c.key(ctx)
	if err != nil {
		return nil, err
	}
	for hop, isRenewed := 0, false; ; {
		response, err := c.do(ctx, http.MethodGet, address, key, header, nil, limit)
		if err != nil {
			return nil, err
		}
		status := response.StatusCode
		if status == http.StatusOK || (status == http.StatusNotModified && header.Get("If-None-Match") != "") {
			return response, nil
		}
		body := problemBody(response)
		response.Body.Close()
		switch {
		case policy.Status(status) == policy.Redirect:
			hop++
			target, sendKey, ok := policy.ResolveRedirect(address, response.Header.Get("Location"), hop)
			if !ok {
				return nil, badRedirect(status)
			}
			if address = target; !sendKey {
				key = ""
			}
		case status == http.StatusUnauthorized && c.options.isKeyFunction && !isRenewed:
			isRenewed = true
			if key, err = c.key(ctx); err != nil {
				return nil, err
			}
		default:
			return nil, responseError(status, response.Header, body)
		}
	}
}

// do sends one request; the head of the response must come within the limit.
func (c *Client) do(ctx context.Context, method, address, key string, header http.Header, content []byte, limit time.Duration) (*http.Response, error) {
	headCtx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(limit, func() { cancel(context.DeadlineExceeded) })
	defer timer.Stop()
	var reader io.Reader
	if content != nil {
		reader = bytes.NewReader(content)
	}
	tracedCtx, isConnected := traced(headCtx)
	request, err := http.NewRequestWithContext(tracedCtx, method, address, reader)
	if err != nil {
		cancel(nil)
		return nil, &ConnectionRefusedError{Reason: "the URL cannot be requested: " + causeText(err)}
	}
	for name, values := range header {
		request.Header[name] = values
	}
	if key != "" {
		request.Header.Set("X-API-Key", key)
	}
	done := func(int, error) {}
	if hook := c.options.hooks.Request; hook != nil {
		var hooked context.Context
		hooked, done = hook(tracedCtx, method, request.URL.Path)
		request = request.WithContext(hooked)
	}
	response, err := c.http.Do(request)
	if err != nil {
		if cause := context.Cause(headCtx); cause != nil {
			err = cause
		}
		cancel(nil)
		done(0, err)
		return nil, connectError(err, isConnected.Load(), limit)
	}
	done(response.StatusCode, nil)
	response.Body = &cancelingBody{response.Body, cancel}
	return response, nil
}

// cancelingBody releases a request's context together with its body.
type cancelingBody struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
}

func (b *cancelingBody) Close() error {
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}

// problemBody is the beginning of a response's body; empty when it does not come in time.
func problemBody(response *http.Response) []byte {
	if body, ok := response.Body.(*cancelingBody); ok {
		timer := time.AfterFunc(problemLimit, func() { body.cancel(nil) })
		defer timer.Stop()
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxProblemBytes))
	if err != nil {
		return nil // the status alone decides; the body only explains it
	}
	return body
}

func (l *sseLink) applySelection(conn *connection) {
	if !conn.request.selection.covers(conn.client.wanted()) {
		conn.replace()
	}
}

func (l *sseLink) snapshotRequester(string) *storeDriver { return nil }

// requestSnapshot reads a snapshot from a second, short stream while the first one goes on.
func (l *sseLink) requestSnapshot(conn *connection, store *storeDriver) {
	selected := store.core.selection
	conn.side.Add(1)
	go func() {
		defer conn.side.Done()
		ctx, cancel := context.WithTimeout(conn.ctx, snapshotLimit)
		defer cancel()
		m, err := l.first(ctx, conn.client, request{selection: selected, snapshot: true}, "snapshot")
		conn.deliverSnapshot(store, m, err)
	}()
}

// deliverSnapshot hands a snapshot that was fetched beside the stream to its store, or reports why there is none.
func (conn *connection) deliverSnapshot(store *storeDriver, m message, err error) {
	c := conn.client
	c.mu.Lock()
	defer c.mu.Unlock()
	if conn.isEnding() {
		return
	}
	if err == nil {
		failure := conn.feed(store, m, c.clock.now())
		if failure == nil {
			return
		}
		err = failure
	}
	c.logger.Warn("A snapshot cannot be fetched; the store stays stale until the next attempt", "action", "snapshot_failed", "reason", err.Error())
	c.dispatcher.report(err)
	store.snapshotFailed()
}

// first reads a stream up to the first message of a kind.
func (l *sseLink) first(ctx context.Context, c *Client, r request, kind string) (message, error) {
	body, err := l.open(ctx, c, r)
	if err != nil {
		return message{}, err
	}
	defer body.Close()
	var first message
	errFound := errors.New("found")
	err = readStream(body, sse.NewParser(int(c.options.maxMessageBytes)), func(item sse.Item) error {
		m, ok, failure := decodeItem(item)
		if failure != nil {
			return failure
		}
		if ok && m.kind == kind {
			first = m
			return errFound
		}
		return nil
	})
	if errors.Is(err, errFound) {
		return first, nil
	}
	if ctx.Err() != nil {
		return message{}, &ConnectionLostError{Reason: "no " + kind + " came through the stream in time", Cause: ctx.Err(), kind: silent}
	}
	return message{}, err
}
