package flagent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/flagent-cdc/flagent-go/internal/jsontext"
	"github.com/flagent-cdc/flagent-go/internal/policy"
)

const (
	// pollWait is how long the server may hold a request; proxies commonly end one without an answer after 10 s or more.
	pollWait = 8 * time.Second
	// shortestPoll is the least time between the beginnings of two requests.
	shortestPoll = time.Second
)

// pollingLink asks for a snapshot again and again, for networks that let no stream through. An answer with flags counts
// as a resync, one without changes as a heartbeat. The server holds a request until the next commit, so that a change
// arrives almost as fast as on a stream. Its fields need the client's lock.
type pollingLink struct {
	address string
	etag    string
	// hurry wakes the loop, and ends the request under way: the answer would be of another selection.
	hurry chan struct{}
}

func newPollingLink(address string) *pollingLink {
	return &pollingLink{address: address, hurry: make(chan struct{}, 1)}
}

func (l *pollingLink) run(conn *connection) error {
	c := conn.client
	c.mu.Lock()
	conn.newRequest()
	c.mu.Unlock()
	for isFirst := true; ; {
		began := c.clock.now()
		messages, err := l.pollUnlessHurried(conn, isFirst)
		if err != nil {
			return err
		}
		if messages == nil {
			continue
		}
		c.mu.Lock()
		if isFirst {
			conn.opened()
			isFirst = false
		}
		conn.heard()
		c.mu.Unlock()
		for _, m := range messages {
			if err := conn.accept(m); err != nil {
				return err
			}
		}
		took := c.clock.now() - began
		pause := shortestPoll
		if len(messages) == 1 && took < pollWait/2 {
			pause = c.options.pollInterval // the server does not hold requests
		}
		if err := l.pause(conn, pause-took); err != nil {
			return err
		}
	}
}

func (l *pollingLink) pause(conn *connection, length time.Duration) error {
	timer := time.NewTimer(max(0, length))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.hurry:
		signal(l.hurry) // the next request is made at once, and takes the signal
	case <-conn.ctx.Done():
		return context.Cause(conn.ctx)
	}
	return nil
}

// pollUnlessHurried makes one request; it returns nothing when the request was abandoned because another must be made.
func (l *pollingLink) pollUnlessHurried(conn *connection, isFirst bool) ([]message, error) {
	select {
	case <-l.hurry:
	default:
	}
	ctx, cancel := context.WithCancel(conn.ctx)
	defer cancel()
	isHurried := make(chan bool, 1)
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		select {
		case <-l.hurry:
			isHurried <- true
			cancel()
		case <-ctx.Done():
		}
	}()
	messages, err := l.poll(ctx, conn.client, isFirst)
	cancel()
	<-watching
	if len(isHurried) > 0 {
		return nil, nil
	}
	return messages, err
}

// poll makes one request; it returns the answer as messages in the WebSocket's form.
func (l *pollingLink) poll(ctx context.Context, c *Client, isFirst bool) ([]message, error) {
	c.mu.Lock()
	etag := l.etag
	query := c.wanted().query()
	c.mu.Unlock()
	header := http.Header{"Accept": {"application/json"}, "Cache-Control": {"no-cache"}}
	limit := c.options.connectTimeout
	query.Del("type")
	query.Del("table")
	query.Del("segments")
	if etag != "" {
		header.Set("If-None-Match", etag)
		query.Set("waitMs", strconv.Itoa(int(pollWait/time.Millisecond)))
		limit += pollWait
	}
	answer, err := c.get(ctx, withQuery(l.address, query), header, limit)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	isFresh := answer.Header.Get("Flagent-Stale") == ""
	id := answer.Header.Get("Flagent-Position")
	if answer.StatusCode == http.StatusNotModified {
		return []message{stateMessage("heartbeat", id, isFresh, 0)}, nil
	}
	snapshot, err := readSnapshot(answer, c.options.maxMessageBytes)
	if err != nil {
		return nil, err
	}
	if own := text(snapshot, "id"); own != "" {
		id = own
	}
	c.mu.Lock()
	if l.etag == etag {
		l.etag = answer.Header.Get("ETag")
	}
	c.mu.Unlock()
	resync := newMessage(jsontext.NewObject(
		jsontext.Member{Name: "type", Value: jsontext.NewString("resync")},
		jsontext.Member{Name: "id", Value: jsontext.NewString(id)},
		jsontext.Member{Name: "reason", Value: jsontext.NewString("polling")},
		jsontext.Member{Name: "snapshot", Value: snapshot},
	))
	if isFirst {
		// Silence is measured by the interval between two answers.
		return []message{stateMessage("connected", id, isFresh, max(c.options.pollInterval, pollWait)), resync}, nil
	}
	return []message{resync, stateMessage("heartbeat", id, isFresh, 0)}, nil
}

func readSnapshot(answer *http.Response, limit int64) (jsontext.Value, error) {
	if contentType := answer.Header.Get("Content-Type"); !policy.IsContentType(contentType, "application/json") {
		return jsontext.Value{}, &ConnectionLostError{Reason: fmt.Sprintf("the response is %q, not a snapshot; check the URL, and that the "+
			"network needs no login", contentType), Status: answer.StatusCode, kind: failed}
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, limit+1))
	if err != nil {
		return jsontext.Value{}, &ConnectionLostError{Reason: "the snapshot broke off: " + causeText(err), Cause: err}
	}
	if int64(len(body)) > limit {
		return jsontext.Value{}, &ConnectionLostError{Reason: fmt.Sprintf("the snapshot has more than %d bytes", limit), kind: failed}
	}
	snapshot, err := jsontext.Parse(body)
	if err != nil || snapshot.Get("flags").Kind != jsontext.Array {
		return jsontext.Value{}, &ConnectionLostError{Reason: "the snapshot is not JSON with a list of flags", kind: failed}
	}
	return snapshot, nil
}

// stateMessage is what an answer says about the state of the server.
func stateMessage(kind, id string, isFresh bool, heartbeat time.Duration) message {
	position, _, _ := strings.Cut(id, "@")
	position, _, _ = strings.Cut(position, "-")
	var object bytes.Buffer
	fmt.Fprintf(&object, `{"type":%q,"position":%s,"id":%s,"fresh":%v,"ageMs":0`, kind,
		jsontext.AppendString(nil, position), jsontext.AppendString(nil, id), isFresh)
	if heartbeat > 0 {
		fmt.Fprintf(&object, `,"heartbeatMs":%d`, heartbeat.Milliseconds())
	}
	value, err := jsontext.Parse(append(object.Bytes(), '}'))
	if err != nil {
		// Every part of the object was escaped above.
		panic("flagent: a state became invalid JSON: " + err.Error())
	}
	return newMessage(value)
}

func (l *pollingLink) probe(ctx context.Context, c *Client) error {
	_, err := l.poll(ctx, c, true)
	return err
}

func (l *pollingLink) pollAnew() {
	l.etag = ""
	signal(l.hurry)
}

func (l *pollingLink) applySelection(*connection) { l.pollAnew() }

func (l *pollingLink) requestSnapshot(*connection, *storeDriver) { l.pollAnew() }

func (l *pollingLink) snapshotRequester(string) *storeDriver { return nil }

// canCarry reports whether a transport can carry a selection.
func canCarry(transport Transport, s *selection) error {
	if transport == WebSocket {
		return webSocketLimits.check(s.weight())
	}
	if transport == Polling && len(s.tables) > 0 {
		return errors.New("polling carries no tables")
	}
	return sseLimits.check(s.weight())
}
