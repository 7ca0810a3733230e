package flagentotel_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	flagent "github.com/flagent-cdc/flagent-go"
	flagentotel "github.com/flagent-cdc/flagent-go/otel"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/goleak"
)

func TestAClientIsMeasuredAndTraced(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "event: connected\ndata: {\"position\":\"10\",\"id\":\"10@k\",\"fresh\":true}\n\nevent: snapshot\nid: 10@k\ndata: {\"flags\":[]}\n\n")
		fmt.Fprintf(w, "event: flag_created\nid: 11-0@k\ndata: {\"type\":\"flag_created\",\"committedAt\":%q,\"flag\":{\"id\":1,\"key\":\"a\"}}\n\n", time.Now().UTC().Format(time.RFC3339Nano))
		fmt.Fprint(w, "event: invented\nid: 12-0@k\ndata: {}\n\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	defer server.Close()
	reader, spans := metric.NewManualReader(), tracetest.NewSpanRecorder()
	hooks, err := flagentotel.Hooks(flagentotel.WithMeterProvider(metric.NewMeterProvider(metric.WithReader(reader))),
		flagentotel.WithTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))))
	if err != nil {
		t.Fatal(err)
	}
	client, err := flagent.NewClient(server.URL+"/stream", flagent.WithHooks(hooks))
	if err != nil {
		t.Fatal(err)
	}
	store, err := flagent.NewStore(client)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := store.WaitFor(ctx, 12); err != nil {
		t.Fatal(err)
	}
	client.Close()
	var all metricdata.ResourceMetrics
	if err := reader.Collect(ctx, &all); err != nil {
		t.Fatal(err)
	}
	found := map[string]int64{}
	for _, m := range all.ScopeMetrics[0].Metrics {
		switch data := m.Data.(type) {
		case metricdata.Sum[int64]:
			for _, point := range data.DataPoints {
				found[m.Name] += point.Value
			}
		case metricdata.Histogram[float64]:
			found[m.Name] = int64(data.DataPoints[0].Count)
		case metricdata.Gauge[int64]:
			found[m.Name] = data.DataPoints[0].Value
		}
	}
	for name, want := range map[string]int64{"flagent.client.connections": 1, "flagent.client.disconnections": 1, "flagent.client.messages": 4,
		"flagent.client.event.delay": 1, "flagent.store.status": int64(flagent.Closed)} {
		if found[name] != want {
			t.Errorf("%s is %d, want %d", name, found[name], want)
		}
	}
	if ended := spans.Ended(); len(ended) != 1 || ended[0].Name() != "GET /stream" {
		t.Errorf("%d spans", len(ended))
	}
}
