package flagenthttp

import (
	"context"
	"net/http"
	"strings"
	"time"

	flagent "github.com/flagent-cdc/flagent-go"
)

type positionKey struct{}

// PositionFrom is what the present request has brought: an event id or a position, "" when it brought none.
func PositionFrom(ctx context.Context) string {
	position, _ := ctx.Value(positionKey{}).(string)
	return position
}

// WithPosition returns a context with a position that [Transport] passes on: an event id, or digits.
func WithPosition(ctx context.Context, position string) context.Context {
	return context.WithValue(ctx, positionKey{}, position)
}

// Middleware puts the position that a request brings into its context; see [PositionFrom]. With a store, the request waits
// until the store has reached it, limit at most; after that it goes on with the flags that there are. A value that cannot
// be read, or is of another log, is ignored.
func Middleware(store *flagent.Store, limit time.Duration) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			position := ReadPosition(strings.Join(r.Header.Values("Baggage"), ","))
			if position == "" {
				next.ServeHTTP(w, r)
				return
			}
			if store != nil {
				ctx, cancel := context.WithTimeout(r.Context(), limit)
				// Late, of another log, or a store that is no longer updated: its status says so to the application.
				_ = store.WaitForID(ctx, position)
				cancel()
			}
			next.ServeHTTP(w, r.WithContext(WithPosition(r.Context(), position)))
		})
	}
}

// Transport adds the header to requests: the newest of what the store holds and what the request's context has. base is
// http.DefaultTransport when it is nil; store may be nil.
func Transport(base http.RoundTripper, store *flagent.Store) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	return &transport{base, store}
}

type transport struct {
	base  http.RoundTripper
	store *flagent.Store
}

func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	header := WritePosition(strings.Join(r.Header.Values("Baggage"), ","), PositionFrom(r.Context()))
	if t.store != nil {
		header = WritePosition(header, t.store.LastEventID())
	}
	if header != "" {
		r = r.Clone(r.Context())
		r.Header.Set("Baggage", header)
	}
	return t.base.RoundTrip(r)
}
