package flagent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/flagent-cdc/flagent-go/internal/jsontext"
	"github.com/flagent-cdc/flagent-go/internal/policy"
)

const (
	maxProblemBytes = 16 * 1024
	maxSentence     = 500
)

var statusHints = map[int]string{
	401: "check the API key",
	403: "the API key does not permit this; check its permissions",
	404: "check the path of the URL",
}

// keyHeader is the API key as a header; it is never part of a URL.
func keyHeader(key string) http.Header {
	header := http.Header{}
	if key != "" {
		header.Set("X-API-Key", key)
	}
	return header
}

// responseError is the error for a response with this status: fatal, or lost with the wait that the server requested. It
// contains the server's own sentence, where the body is a problem.
func responseError(status int, header http.Header, body []byte) error {
	text := "the server answered with status " + strconv.Itoa(status)
	if sentence := problemSentence(header.Get("Content-Type"), body); sentence != "" {
		text += ": " + sentence
	}
	if policy.Status(status) == policy.Fatal {
		if hint := statusHints[status]; hint != "" {
			text += "; " + hint
		}
		return &ConnectionRefusedError{Reason: text, Status: status}
	}
	answer := &ConnectionLostError{Reason: text, Status: status, kind: unavailable}
	if status == http.StatusNotImplemented || status == http.StatusHTTPVersionNotSupported {
		answer.kind = failed
	}
	answer.RetryAfter, answer.HasRetryAfter = policy.RetryAfter(header.Get("Retry-After"), time.Now())
	return answer
}

func badRedirect(status int) error {
	return &ConnectionRefusedError{Reason: "the server sent a redirect that must not be followed; check the URL", Status: status}
}

// problemSentence is the detail of a problem (RFC 9457), or its title, in one line.
func problemSentence(contentType string, body []byte) string {
	if !strings.Contains(strings.ToLower(contentType), "json") {
		return ""
	}
	problem, err := jsontext.Parse(body)
	if err != nil {
		return "" // the status alone decides; the body only explains it
	}
	sentence := text(problem, "detail")
	if sentence == "" {
		sentence = text(problem, "title")
	}
	sentence = strings.Join(strings.Fields(sentence), " ")
	return sentence[:min(len(sentence), maxSentence)]
}

// connectError is the error for a request without an answer. isConnected: there was a connection, so that the answer was
// missing, or was not HTTP.
func connectError(err error, isConnected bool, limit time.Duration) error {
	lost := &ConnectionLostError{Reason: "cannot connect: " + causeText(err), Cause: err, kind: refused}
	switch {
	case errors.Is(err, context.DeadlineExceeded) && isConnected:
		lost.Reason, lost.kind = fmt.Sprintf("connected, but there was no answer within %v", limit), silent
	case errors.Is(err, context.DeadlineExceeded):
		lost.Reason = fmt.Sprintf("cannot connect within %v", limit)
	case isConnected:
		lost.kind = failed
	}
	return lost
}

// traced returns a context whose request reports whether there was a connection.
func traced(ctx context.Context) (context.Context, *atomic.Bool) {
	isConnected := new(atomic.Bool)
	return tracedTo(ctx, func(net.Conn) { isConnected.Store(true) }), isConnected
}

// tracedTo returns a context whose request hands over its connection.
func tracedTo(ctx context.Context, got func(net.Conn)) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { got(info.Conn) }})
}

// causeText is what the operating system, TLS or DNS said, in one line and without the address, which may hold a token.
func causeText(err error) string {
	var request *url.Error
	for errors.As(err, &request) {
		err = request.Err
	}
	return strings.Join(strings.Fields(err.Error()), " ")
}
