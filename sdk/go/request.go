package flagent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/flagent-cdc/flagent-go/internal/jsontext"
	"github.com/flagent-cdc/flagent-go/internal/values"
)

// requestLimit bounds a request whose context has no deadline.
const requestLimit = 5 * time.Second

// Query is what [Client.Evaluate] asks the server. Either FlagKey or FlagID names the flag.
type Query struct {
	FlagKey string
	FlagID  int64
	Entity  Entity
	// MinPosition makes the server wait until it has reached this position; 0 does not wait.
	MinPosition Position
	// Debug asks for the server's reasons, which are in Answer.Raw.
	Debug bool
}

// BatchQuery is what [Client.EvaluateBatch] asks the server: flags by key, id and tag, which add up, for each entity.
type BatchQuery struct {
	FlagKeys []string
	FlagIDs  []int64
	FlagTags []string
	// AllTags selects the flags that have all of the tags, instead of any.
	AllTags     bool
	Entities    []Entity
	MinPosition Position
	Debug       bool
}

// Answer is a result of the server.
type Answer struct {
	Result
	// Raw is the result as the server wrote it.
	Raw []byte
}

// Evaluate lets the server evaluate a flag, on the WebSocket while that is open, else by a request of its own. It connects
// the client, and waits for the answer at most five seconds where the context has no deadline.
//
// It returns a [*RequestError] with the server's code, a [*ConnectionLostError] when the connection ends before the
// answer, the context's error, a [*ContextError], a [*MalformedMessageError], [ErrClosed], and the client's error when it
// failed for good.
func (c *Client) Evaluate(ctx context.Context, q Query) (Answer, error) {
	request := newCommand("evaluate")
	if q.FlagKey != "" {
		request.text("flagKey", q.FlagKey)
	}
	if q.FlagID != 0 {
		request.raw("flagID", strconv.AppendInt(nil, q.FlagID, 10))
	}
	if err := addEntity(request, q.Entity); err != nil {
		return Answer{}, err
	}
	addQuery(request, q.MinPosition, q.Debug)
	answer, err := c.ask(ctx, request, "/api/v1/evaluation")
	if err != nil {
		return Answer{}, err
	}
	result := answer
	if answer.Get("type").Kind == jsontext.String {
		result = answer.Get("result")
	}
	if result.Kind != jsontext.Object {
		return Answer{}, malformed("the response to evaluate has no result")
	}
	return decodeAnswer(result), nil
}

// EvaluateBatch lets the server evaluate several flags for several entities; the answers are in the server's order. See
// [Client.Evaluate].
func (c *Client) EvaluateBatch(ctx context.Context, q BatchQuery) ([]Answer, error) {
	entities := []byte{'['}
	for i, entity := range q.Entities {
		// An entity is an object of its own: a command without a type.
		object := &command{object: []byte{'{'}}
		if err := addEntity(object, entity); err != nil {
			return nil, err
		}
		if i > 0 {
			entities = append(entities, ',')
		}
		entities = append(entities, object.bytes()...)
	}
	request := newCommand("evaluate_batch").raw("entities", append(entities, ']')).
		texts("flagKeys", q.FlagKeys).numbers("flagIDs", q.FlagIDs).texts("flagTags", q.FlagTags)
	if q.AllTags {
		request.text("flagTagsOperator", "ALL")
	}
	addQuery(request, q.MinPosition, q.Debug)
	answer, err := c.ask(ctx, request, "/api/v1/evaluation/batch")
	if err != nil {
		return nil, err
	}
	results := answer.Get("results")
	if results.Kind == jsontext.Missing {
		results = answer.Get("evaluationResults")
	}
	if results.Kind != jsontext.Array {
		return nil, malformed("the response to evaluate_batch has no list of results")
	}
	answers := make([]Answer, 0, len(results.Items()))
	for _, result := range results.Items() {
		if result.Kind == jsontext.Object {
			answers = append(answers, decodeAnswer(result))
		}
	}
	return answers, nil
}

func addQuery(c *command, position Position, debug bool) {
	if debug {
		c.truth("enableDebug")
	}
	if position != 0 {
		c.text("minPosition", strconv.FormatInt(int64(position), 10))
	}
}

// addEntity adds an entity. The server compares the JSON text of a value, as a local evaluation does, so numbers are sent
// as their text.
func addEntity(c *command, e Entity) error {
	if e.ID != "" {
		c.text("entityID", e.ID)
	}
	if e.Type != "" {
		c.text("entityType", e.Type)
	}
	if e.Context == nil {
		return nil
	}
	context := &command{object: []byte{'{'}}
	for property, value := range e.Context {
		if err := values.Check(value); err != nil {
			return &ContextError{property, err.Error()}
		}
		if text, ok := values.Text(value); ok {
			context.text(property, text)
		}
	}
	c.raw("entityContext", context.bytes())
	return nil
}

// decodeAnswer decodes a result of the server, leniently.
func decodeAnswer(v jsontext.Value) Answer {
	entity := v.Get("evalContext")
	answer := Answer{Raw: append([]byte(nil), v.Raw()...), Result: Result{
		FlagID: number(v, "flagID"), FlagKey: text(v, "flagKey"), FlagSnapshotID: number(v, "flagSnapshotID"),
		SegmentID: number(v, "segmentID"), VariantID: number(v, "variantID"), VariantKey: text(v, "variantKey"),
		VariantAttachment: decodeVariant(jsontext.NewObject(jsontext.Member{Name: "attachment", Value: v.Get("variantAttachment")})).Attachment,
		EntityID:          text(entity, "entityID"), EntityType: text(entity, "entityType"),
		Message: text(v.Get("evalDebugLog"), "msg"), Time: moment(v.Get("timestamp")),
	}}
	for _, item := range v.Get("flagTags").Items() {
		if tag, ok := item.Text(); ok {
			answer.FlagTags = append(answer.FlagTags, tag)
		}
	}
	return answer
}

// ask sends a request and waits for its response.
func (c *Client) ask(ctx context.Context, request *command, path string) (jsontext.Value, error) {
	if _, hasDeadline := ctx.Deadline(); !hasDeadline {
		limited, cancel := context.WithTimeout(ctx, requestLimit)
		defer cancel()
		ctx = limited
	}
	c.mu.Lock()
	if err := c.checkOpen(); err != nil {
		c.mu.Unlock()
		return jsontext.Value{}, err
	}
	if c.isOffline {
		c.mu.Unlock()
		return jsontext.Value{}, ErrOffline
	}
	failure := c.failure
	c.start()
	usesSocket := c.choice.current() == WebSocket
	c.mu.Unlock()
	if failure != nil {
		return jsontext.Value{}, failure
	}
	if !usesSocket {
		return c.post(ctx, path, request.bytes())
	}
	if err := c.requests.waitConnection(ctx); err != nil {
		return jsontext.Value{}, unanswered(err)
	}
	c.mu.Lock()
	var socket *webSocketLink
	if c.conn != nil && c.conn.isOpen {
		socket, _ = c.conn.link.(*webSocketLink)
	}
	if socket == nil {
		c.mu.Unlock()
		return jsontext.Value{}, &ConnectionLostError{Reason: "the connection ended before the request was sent"}
	}
	id := socket.post(request)
	answer := c.requests.add(id)
	c.mu.Unlock()
	defer c.requests.forget(id)
	select {
	case r := <-answer:
		return r.value, r.err
	case <-ctx.Done():
		return jsontext.Value{}, unanswered(ctx.Err())
	}
}

func unanswered(err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return fmt.Errorf("flagent: there is no response to the request: %w", err)
	}
	return err
}

// post sends a request to the server's HTTP API.
func (c *Client) post(ctx context.Context, path string, content []byte) (jsontext.Value, error) {
	key, err := c.key(ctx)
	if err != nil {
		return jsontext.Value{}, err
	}
	header := http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}}
	answer, err := c.do(ctx, http.MethodPost, c.addresses.base+path, key, header, content, c.options.connectTimeout)
	if err != nil {
		return jsontext.Value{}, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, c.options.maxMessageBytes))
	if err != nil {
		return jsontext.Value{}, &ConnectionLostError{Reason: "the response broke off: " + causeText(err), Cause: err}
	}
	value, err := jsontext.Parse(body)
	if answer.StatusCode/100 != 2 {
		code := text(value, "code")
		if code == "" {
			code = "status_" + strconv.Itoa(answer.StatusCode)
		}
		return jsontext.Value{}, &RequestError{Code: code, Message: problemSentence(answer.Header.Get("Content-Type"), body), Status: answer.StatusCode}
	}
	if err != nil {
		return jsontext.Value{}, malformed("the response is %v", err)
	}
	return value, nil
}
