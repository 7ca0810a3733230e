// Package policy says what a status, a close code, a content type or a redirect means for a connection.
package policy

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Outcome is what a client does next.
type Outcome uint8

// The outcomes: read the stream, follow, reconnect with backoff, or fail for good.
const (
	Stream Outcome = iota
	Redirect
	Retry
	Fatal
)

// String is the outcome's name in the conformance vectors.
func (o Outcome) String() string { return [...]string{"stream", "redirect", "retry", "fatal"}[o] }

const (
	// MaxRedirects is how many redirects in a row are followed.
	MaxRedirects = 5
	// MaxRetryAfter is what a longer Retry-After counts as.
	MaxRetryAfter = time.Hour
)

// Status says what an HTTP status means. A retry after a 4xx helps only for 408, 425 and 429.
func Status(status int) Outcome {
	switch {
	case status == 200:
		return Stream
	case status == 301 || status == 302 || status == 303 || status == 307 || status == 308:
		return Redirect
	case status >= 500 || status == 408 || status == 425 || status == 429:
		return Retry
	}
	return Fatal
}

// CloseCode says what a WebSocket close code means. 44xx stands for HTTP status 4xx; 3000 and 3003 for 401 and 403 (IANA).
func CloseCode(code int) Outcome {
	if code == 1010 || code == 3000 || code == 3003 || (code >= 4400 && code < 4500 && Status(code-4000) == Fatal) {
		return Fatal
	}
	return Retry
}

// IsContentType reports whether a Content-Type header names a media type, whatever its parameters.
func IsContentType(header, mediaType string) bool {
	name, _, _ := strings.Cut(header, ";")
	return strings.EqualFold(strings.TrimSpace(name), mediaType)
}

// RetryAfter reads a Retry-After header, seconds or an HTTP date, one hour at most; ok is false when it is unreadable.
func RetryAfter(header string, now time.Time) (wait time.Duration, ok bool) {
	text := strings.TrimSpace(header)
	if text != "" && strings.Trim(text, "0123456789") == "" {
		seconds, err := strconv.ParseInt(text[:min(len(text), 12)], 10, 64)
		if err != nil || seconds > int64(MaxRetryAfter/time.Second) {
			return MaxRetryAfter, true
		}
		return time.Duration(seconds) * time.Second, true
	}
	date, err := http.ParseTime(text)
	if err != nil {
		return 0, false
	}
	return min(max(0, date.Sub(now)), MaxRetryAfter), true
}

var (
	isSecure     = map[string]bool{"http": false, "ws": false, "https": true, "wss": true}
	defaultPorts = map[string]string{"http": "80", "ws": "80", "https": "443", "wss": "443"}
)

// ResolveRedirect returns the target of a redirect and whether the API key may be sent to it; ok is false when it must
// not be followed.
//
// hop is 1 for the first redirect. The result keeps the scheme family of address (http or ws). The query is the
// selection, without which the target would be another stream: a target without a query keeps it.
func ResolveRedirect(address, location string, hop int) (target string, sendKey, ok bool) {
	if location == "" || hop > MaxRedirects {
		return "", false, false
	}
	old, err := url.Parse(address)
	if err != nil {
		return "", false, false
	}
	next, err := old.Parse(location)
	if err != nil || next.Hostname() == "" {
		return "", false, false
	}
	nextSecure, known := isSecure[next.Scheme]
	oldSecure := isSecure[old.Scheme]
	if !known || (oldSecure && !nextSecure) {
		return "", false, false
	}
	oldPort, nextPort := port(old), port(next)
	isUpgraded := !oldSecure && nextSecure && oldPort == "80" && nextPort == "443"
	sendKey = strings.EqualFold(old.Hostname(), next.Hostname()) && (isUpgraded || (oldSecure == nextSecure && oldPort == nextPort))
	next.Scheme = family(old.Scheme, nextSecure)
	next.Fragment, next.RawFragment, next.ForceQuery = "", "", false
	if next.RawQuery == "" {
		next.RawQuery = old.RawQuery
		if !sendKey {
			next.RawQuery = withoutToken(old.RawQuery)
		}
	}
	return next.String(), sendKey, true
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	return defaultPorts[u.Scheme]
}

func family(scheme string, secure bool) string {
	name := "http"
	if strings.HasPrefix(scheme, "ws") {
		name = "ws"
	}
	if secure {
		name += "s"
	}
	return name
}

// withoutToken removes a token, which is a credential: it stays with its origin, as the key does.
func withoutToken(query string) string {
	var kept []string
	for part := range strings.SplitSeq(query, "&") {
		if name, _, _ := strings.Cut(part, "="); name != "token" && part != "" {
			kept = append(kept, part)
		}
	}
	return strings.Join(kept, "&")
}
