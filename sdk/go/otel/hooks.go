// Package flagentotel reports what a Flagent client does as OpenTelemetry metrics and traces.
//
//	hooks, err := flagentotel.Hooks()
//	client, err := flagent.NewClient("https://flags.example", flagent.WithHooks(hooks))
//
// Metrics: flagent.client.connections, flagent.client.disconnections, flagent.client.messages, flagent.client.message.size,
// flagent.client.event.delay, flagent.store.status. Each HTTP request, WebSocket handshakes excepted, is a span.
package flagentotel

import (
	"context"
	"errors"
	"time"

	flagent "github.com/flagent-cdc/flagent-go"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

const scope = "github.com/flagent-cdc/flagent-go"

type config struct {
	meters  metric.MeterProvider
	tracers trace.TracerProvider
}

// Option replaces a global provider.
type Option func(*config)

// WithMeterProvider uses a provider of metrics instead of the global one.
func WithMeterProvider(provider metric.MeterProvider) Option {
	return func(c *config) { c.meters = provider }
}

// WithTracerProvider uses a provider of traces instead of the global one.
func WithTracerProvider(provider trace.TracerProvider) Option {
	return func(c *config) { c.tracers = provider }
}

// Hooks returns hooks for [flagent.WithHooks]. The error is of the provider of metrics.
func Hooks(options ...Option) (flagent.Hooks, error) {
	c := config{otel.GetMeterProvider(), otel.GetTracerProvider()}
	for _, option := range options {
		option(&c)
	}
	meter, tracer := c.meters.Meter(scope), c.tracers.Tracer(scope)
	connections, err1 := meter.Int64Counter("flagent.client.connections", metric.WithDescription("Connections that were established."), metric.WithUnit("{connection}"))
	ends, err2 := meter.Int64Counter("flagent.client.disconnections", metric.WithDescription("Connections that ended, or could not be made."), metric.WithUnit("{connection}"))
	messages, err3 := meter.Int64Counter("flagent.client.messages", metric.WithDescription("Messages that arrived."), metric.WithUnit("{message}"))
	size, err4 := meter.Int64Counter("flagent.client.message.size", metric.WithDescription("Bytes of messages that arrived."), metric.WithUnit("By"))
	delay, err5 := meter.Float64Histogram("flagent.client.event.delay", metric.WithDescription("Time from a commit to the arrival of its event, by this machine's clock."), metric.WithUnit("s"))
	status, err6 := meter.Int64Gauge("flagent.store.status", metric.WithDescription("0 initializing, 1 ready, 2 stale, 3 failed, 4 closed."))
	if err := errors.Join(err1, err2, err3, err4, err5, err6); err != nil {
		return flagent.Hooks{}, err
	}
	ctx := context.Background()
	transport := func(t flagent.Transport) metric.MeasurementOption {
		return metric.WithAttributes(attribute.String("flagent.transport", string(t)))
	}
	return flagent.Hooks{
		Connected:    func(t flagent.Transport) { connections.Add(ctx, 1, transport(t)) },
		Disconnected: func(t flagent.Transport, _ error) { ends.Add(ctx, 1, transport(t)) },
		Received: func(kind string, bytes int) {
			kinds := metric.WithAttributes(attribute.String("flagent.message.type", known(kind)))
			messages.Add(ctx, 1, kinds)
			size.Add(ctx, int64(bytes), kinds)
		},
		Committed: func(event flagent.EventType, took time.Duration) {
			delay.Record(ctx, took.Seconds(), metric.WithAttributes(attribute.String("flagent.event.type", known(string(event)))))
		},
		StatusChanged: func(s flagent.Status) { status.Record(ctx, int64(s)) },
		Request: func(ctx context.Context, method, path string) (context.Context, func(int, error)) {
			ctx, span := tracer.Start(ctx, method+" "+path, trace.WithSpanKind(trace.SpanKindClient),
				trace.WithAttributes(attribute.String("http.request.method", method), attribute.String("url.path", path)))
			return ctx, func(code int, err error) {
				if code != 0 {
					span.SetAttributes(attribute.Int("http.response.status_code", code))
				}
				if err != nil {
					span.RecordError(err)
					span.SetStatus(codes.Error, err.Error())
				} else if code >= 400 {
					span.SetStatus(codes.Error, "")
				}
				span.End()
			}
		},
	}, nil
}

var kinds = map[string]bool{
	"connected": true, "subscribed": true, "snapshot": true, "resync": true, "heartbeat": true, "position": true, "caught_up": true,
	"batch": true, "rows": true, "rows_end": true, "schema_changed": true, "backfill_failed": true,
	string(flagent.FlagCreated): true, string(flagent.FlagUpdated): true, string(flagent.FlagDeleted): true, string(flagent.FlagEnabled): true,
	string(flagent.FlagDisabled): true, string(flagent.SegmentUpdated): true, string(flagent.DistributionUpdated): true,
	string(flagent.VariantUpdated): true, string(flagent.RowInserted): true, string(flagent.RowUpdated): true,
	string(flagent.RowDeleted): true, string(flagent.TableTruncated): true,
}

// known bounds the values of an attribute, whatever a server sends.
func known(kind string) string {
	if kinds[kind] {
		return kind
	}
	return "other"
}
