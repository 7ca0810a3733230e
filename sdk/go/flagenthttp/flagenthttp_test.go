package flagenthttp_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	flagent "github.com/flagent-cdc/flagent-go"
	"github.com/flagent-cdc/flagent-go/flagenthttp"
	"go.uber.org/goleak"
)

func textOf(text *string) string {
	if text == nil {
		return ""
	}
	return *text
}

func TestVectorsOfBaggage(t *testing.T) {
	var vectors struct {
		Read []struct {
			ID            string
			Header, Value *string
		}
		Write []struct {
			ID                    string
			Header, Value, Result *string
		}
	}
	data, err := os.ReadFile("../../vectors/baggage.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &vectors); err != nil {
		t.Fatal(err)
	}
	for _, c := range vectors.Read {
		if found := flagenthttp.ReadPosition(textOf(c.Header)); found != textOf(c.Value) {
			t.Errorf("%s: %q, want %q", c.ID, found, textOf(c.Value))
		}
	}
	for _, c := range vectors.Write {
		if found := flagenthttp.WritePosition(textOf(c.Header), textOf(c.Value)); found != textOf(c.Result) {
			t.Errorf("%s: %q, want %q", c.ID, found, textOf(c.Result))
		}
	}
}

// TestBaggage is tc-baggage: a request waits for the position that it brings, and passes it on.
func TestBaggage(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	goOn := make(chan struct{})
	flags := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "event: connected\ndata: {\"position\":\"10\",\"id\":\"10@k\",\"fresh\":true}\n\nevent: snapshot\nid: 10@k\ndata: {\"flags\":[]}\n\n")
		w.(http.Flusher).Flush()
		select {
		case <-goOn:
			fmt.Fprint(w, ": keep-alive position=12 fresh=true\nid: 12@k\n\n")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		case <-r.Context().Done():
		}
	}))
	defer flags.Close()
	client, err := flagent.NewClient(flags.URL + "/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	store, err := flagent.NewStore(client)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := store.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	passed := make(chan string, 1)
	next := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { passed <- r.Header.Get("Baggage") }))
	defer next.Close()
	caller := http.Client{Transport: flagenthttp.Transport(nil, store)}
	defer http.DefaultClient.CloseIdleConnections()
	service := flagenthttp.Middleware(store, 5*time.Second)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		request, err := http.NewRequestWithContext(r.Context(), http.MethodGet, next.URL, nil)
		if err != nil {
			t.Error(err)
			return
		}
		answer, err := caller.Do(request)
		if err != nil {
			t.Error(err)
			return
		}
		answer.Body.Close()
	}))
	call := func(header string) string {
		request := httptest.NewRequest(http.MethodGet, "/", nil)
		request.Header.Set("Baggage", header)
		service.ServeHTTP(httptest.NewRecorder(), request)
		return <-passed
	}
	// Of another log, unreadable, or reached already: nothing is waited for.
	for header, want := range map[string]string{"": "flagent-position=10@k", "flagent-position=7@k": "flagent-position=10@k", "flagent-position=99@z": "flagent-position=10@k", "flagent-position=%zz": "flagent-position=10@k"} {
		start := time.Now()
		if found := call(header); found != want || time.Since(start) > 3*time.Second {
			t.Errorf("%q passes on %q after %v", header, found, time.Since(start))
		}
	}
	close(goOn)
	if found := call("a=b,flagent-position=12@k"); found != "flagent-position=12@k" || store.Position() != 12 {
		t.Errorf("it passes on %q at %d", found, store.Position())
	}
}
