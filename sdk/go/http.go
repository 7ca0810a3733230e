package flagent

import (
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
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
	lost := &ConnectionLostError{Reason: text, Status: status}
	lost.RetryAfter, lost.HasRetryAfter = policy.RetryAfter(header.Get("Retry-After"), time.Now())
	return lost
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

// isUnreachable reports whether there was no connection at all, which says nothing about the transport.
func isUnreachable(err error) bool {
	var operation *net.OpError
	var lookup *net.DNSError
	return errors.As(err, &lookup) || (errors.As(err, &operation) && operation.Op == "dial")
}
