package flagent

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Transport is how a client is connected.
type Transport string

// The transports, the best one first.
const (
	WebSocket Transport = "websocket"
	SSE       Transport = "sse"
	Polling   Transport = "polling"
)

// Option changes how a client works; see the functions that begin with With.
type Option func(*options) error

type options struct {
	apiKey          func(context.Context) (string, error)
	isKeyFunction   bool
	reconnect       ReconnectConfig
	lastEventID     string
	queueSize       int
	maxMessageBytes int64
	connectTimeout  time.Duration
	pollInterval    time.Duration
	retryBetter     time.Duration
	httpTransport   http.RoundTripper
	logger          *slog.Logger
	transports      []Transport
	isManualStart   bool
	cacheIdentity   *string
	savePace        savePace
	reportInterval  time.Duration
	hooks           Hooks
	clock           clock
}

// WithAPIKey sends a key in the header X-API-Key of every request; it is never part of a URL.
func WithAPIKey(key string) Option {
	return func(o *options) error {
		o.apiKey = func(context.Context) (string, error) { return key, nil }
		o.isKeyFunction = false
		return nil
	}
}

// WithAPIKeyFunc calls a function for the key of each connection, and once more after the server has answered 401.
func WithAPIKeyFunc(key func(context.Context) (string, error)) Option {
	return func(o *options) error {
		o.apiKey, o.isKeyFunction = key, true
		return nil
	}
}

// WithReconnect says when to reconnect and when to give up.
func WithReconnect(config ReconnectConfig) Option {
	return func(o *options) error {
		o.reconnect = config
		return nil
	}
}

// WithLastEventID resumes after an id, from [Client.LastEventID] of an earlier client.
func WithLastEventID(id string) Option {
	return func(o *options) error {
		o.lastEventID = id
		return nil
	}
}

// WithQueueSize is the number of messages that may wait for handlers, 1 000 by default; at this number the client stops
// reading the socket.
func WithQueueSize(messages int) Option {
	return func(o *options) error {
		if messages < 1 {
			return fmt.Errorf("flagent: the queue size is %d; it must be 1 or more", messages)
		}
		o.queueSize = messages
		return nil
	}
}

// WithMaxMessageBytes is the largest message, 64 MiB by default; a larger one ends the connection.
func WithMaxMessageBytes(size int64) Option {
	return func(o *options) error {
		if size < 1024 {
			return fmt.Errorf("flagent: the largest message is %d bytes; it must be 1024 or more", size)
		}
		o.maxMessageBytes = size
		return nil
	}
}

// WithConnectTimeout bounds each attempt to connect, and the wait for the first message; 10 s by default.
func WithConnectTimeout(limit time.Duration) Option {
	return func(o *options) error {
		if limit <= 0 {
			return fmt.Errorf("flagent: the connect timeout is %v; it must be positive", limit)
		}
		o.connectTimeout = limit
		return nil
	}
}

// WithPollInterval is the time between two requests of a client that polls a server that does not hold requests; 10 s by
// default.
func WithPollInterval(interval time.Duration) Option {
	return func(o *options) error {
		if interval <= 0 {
			return fmt.Errorf("flagent: the poll interval is %v; it must be positive", interval)
		}
		o.pollInterval = interval
		return nil
	}
}

// WithHTTPTransport sends all requests, WebSocket handshakes included, through a round tripper: for certificates, proxies
// and instrumentation. By default it is a copy of [http.DefaultTransport], which reads HTTP_PROXY, HTTPS_PROXY and
// NO_PROXY.
func WithHTTPTransport(transport http.RoundTripper) Option {
	return func(o *options) error {
		o.httpTransport = transport
		return nil
	}
}

// WithLogger logs to a logger instead of [slog.Default]. Each record has an attribute "action", a stable name.
func WithLogger(logger *slog.Logger) Option {
	return func(o *options) error {
		o.logger = logger
		return nil
	}
}

// WithTransports restricts the transports; they are tried in this order.
func WithTransports(transports ...Transport) Option {
	return func(o *options) error {
		if len(transports) == 0 {
			return fmt.Errorf("flagent: WithTransports needs a transport")
		}
		for _, transport := range transports {
			if transport != WebSocket && transport != SSE && transport != Polling {
				return fmt.Errorf("flagent: %q is no transport; WebSocket, SSE and Polling are", transport)
			}
		}
		o.transports = transports
		return nil
	}
}

// WithManualStart waits with the connection for [Client.Start]. By default the first subscription, store or request
// starts the client.
func WithManualStart() Option {
	return func(o *options) error {
		o.isManualStart = true
		return nil
	}
}

// clock is a source of time and randomness.
type clock interface {
	// now is the time on a monotonic clock.
	now() time.Duration
	// random is in [0, 1).
	random() float64
	// sleep waits this long; it returns false when the context ended first.
	sleep(ctx context.Context, d time.Duration) bool
}

type systemClock struct{ start time.Time }

func (c systemClock) now() time.Duration { return time.Since(c.start) }

func (c systemClock) random() float64 { return rand.Float64() }

func (c systemClock) sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// addresses are where a client connects, "" for transports that it does not use.
type addresses struct {
	webSocket, sse, base string
}

// resolveAddress returns the addresses of a server, and the transports that they allow.
func resolveAddress(address string) (addresses, []Transport, error) {
	u, err := url.Parse(address)
	if err != nil {
		// The parser's error has the whole address, which may hold a token.
		return addresses{}, nil, fmt.Errorf("flagent: the address of the server is not a URL such as https://flags.example")
	}
	if u.Host == "" {
		return addresses{}, nil, fmt.Errorf("flagent: the address %q has no host; write it as https://flags.example", u.Redacted())
	}
	u.Fragment = ""
	switch u.Scheme {
	case "ws", "wss":
		base := *u
		base.Scheme = strings.Replace(u.Scheme, "ws", "http", 1)
		base.Path, base.RawQuery = strings.TrimSuffix(strings.TrimSuffix(u.Path, "/"), "/ws"), ""
		return addresses{webSocket: u.String(), base: base.String()}, []Transport{WebSocket}, nil
	case "http", "https":
	default:
		return addresses{}, nil, fmt.Errorf("flagent: the scheme of the address is %q; it must be https, http, wss or ws", u.Scheme)
	}
	const stream = "/api/v1/events/stream"
	if strings.HasSuffix(u.Path, "/stream") {
		base := *u
		base.Path, base.RawQuery = strings.TrimSuffix(u.Path, stream), ""
		return addresses{sse: u.String(), base: base.String()}, []Transport{SSE}, nil
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	socket, events := *u, *u
	socket.Scheme = strings.Replace(u.Scheme, "http", "ws", 1)
	socket.Path += "/ws"
	events.Path += stream
	u.RawQuery = ""
	return addresses{webSocket: socket.String(), sse: events.String(), base: u.String()}, []Transport{WebSocket, SSE, Polling}, nil
}
