package flagent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestVectorsOfExposures(t *testing.T) {
	var vectors struct {
		Windows []struct {
			ID       string
			WindowMs int64
			Limit    int
			Steps    []struct {
				At                int64
				FlagKey, EntityID string
				VariantKey        *string
				IsReported        bool
			}
		}
		Batches []struct {
			ID        string
			Exposures [][]*string
			Body      json.RawMessage
		}
	}
	loadVectors(t, "exposures.json", &vectors)
	for _, c := range vectors.Windows {
		t.Run(c.ID, func(t *testing.T) {
			memory := newExposureMemory(time.Duration(c.WindowMs)*time.Millisecond, c.Limit)
			for i, s := range c.Steps {
				variant := ""
				if s.VariantKey != nil {
					variant = *s.VariantKey
				}
				if found := memory.isNew(exposureKey{"", s.FlagKey, s.EntityID, variant}, time.Duration(s.At)*time.Millisecond); found != s.IsReported {
					t.Fatalf("step %d is reported: %v", i, found)
				}
			}
		})
	}
	for _, c := range vectors.Batches {
		t.Run(c.ID, func(t *testing.T) {
			counts := newExposureCounts()
			for _, e := range c.Exposures {
				variant := ""
				if e[1] != nil {
					variant = *e[1]
				}
				counts.add(exposureCount{"", *e[0], variant}, 1)
			}
			_, body := counts.take()
			checkEqual(t, canonical(parsed(t, body)), canonical(parsed(t, c.Body)))
		})
	}
}

// TestExposures is tc-exposure: after each evaluation of a flag that the store holds, once within the window.
func TestExposures(t *testing.T) {
	withoutLeaks(t)
	store := storeOf(t, simple(1, "a", nil), json.RawMessage(`{"id":2,"key":"off","enabled":false}`))
	var seen list[Exposure]
	remove := store.client.OnExposure(seen.add)
	for range 2 {
		for _, key := range []string{"a", "off", "none"} {
			if _, err := store.Evaluate(key, Entity{ID: "u", Context: Context{"secret": "value", "age": 3}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	eventually(t, "they arrive", func() bool { return seen.len() == 2 })
	e := seen.all()[0]
	checkEqual(t, fmt.Sprint(e.FlagKey, e.FlagID, e.VariantKey, e.EntityID, e.SegmentID, e.Position, e.ContextKeys, e.Time.IsZero()), "a1onu1 1 [age secret] false")
	checkEqual(t, seen.all()[1].FlagKey+seen.all()[1].VariantKey, "off")
	remove()
	checkEqual(t, store.client.exposures.isUsed.Load(), false)
}

// TestExposureHandlersThatPanic is tc-exposure-raises: reported; a slow one delays nothing, and the oldest are dropped.
func TestExposureHandlersThatPanic(t *testing.T) {
	withoutLeaks(t)
	store := storeOf(t, simple(1, "a", nil))
	startClient(t, store.client)
	var reported list[error]
	store.client.OnError(reported.add)
	gate := make(chan struct{})
	defer close(gate)
	store.client.OnExposure(func(Exposure) { panic("mine") })
	store.client.OnExposure(func(Exposure) { await(gate) })
	const extra = 50
	for n := range 2*maxExposures + extra {
		if _, err := store.Evaluate("a", Entity{ID: fmt.Sprint(n)}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "it is reported", func() bool {
		var failure *HandlerPanicError
		for _, err := range reported.all() {
			if errors.As(err, &failure) {
				return true
			}
		}
		return false
	})
	checkEqual(t, store.client.DroppedExposures() > 0, true)
}

// exposureServer answers POST /api/v1/exposures.
type exposureServer struct {
	*httptest.Server
	mu     sync.Mutex
	status int
	bodies []string
}

func newExposureServer(t *testing.T, status int) *exposureServer {
	s := &exposureServer{status: status}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		defer s.mu.Unlock()
		if r.URL.Path != "/api/v1/exposures" || r.Header.Get("X-API-Key") != "key" {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		s.bodies = append(s.bodies, string(body))
		w.WriteHeader(s.status)
		fmt.Fprint(w, `{"accepted":1,"unknown":[]}`)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *exposureServer) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string{}, s.bodies...)
}

func (s *exposureServer) answer(status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status = status
}

func reporting(t *testing.T, s *exposureServer, interval time.Duration) (*Store, *ExposureReporter) {
	t.Helper()
	client := connect(t, s.URL, WithAPIKey("key"), func(o *options) error {
		o.reportInterval = interval
		return nil
	})
	store := newStore(t, client, WithBootstrap([]byte("["+string(simple(1, "a", nil))+"]")))
	reporter, err := NewExposureReporter(client)
	if err != nil {
		t.Fatal(err)
	}
	return store, reporter
}

func evaluate(t *testing.T, store *Store, count int) {
	t.Helper()
	for n := range count {
		if _, err := store.Evaluate("a", Entity{ID: fmt.Sprint(n)}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestReportingExposures is tc-exposure-report and tc-exposure-close: counted, sent in time, and what is left at the end.
func TestReportingExposures(t *testing.T) {
	withoutLeaks(t)
	s := newExposureServer(t, 202)
	store, reporter := reporting(t, s, 50*time.Millisecond)
	evaluate(t, store, 3)
	total := func() (sum int) {
		for _, text := range s.all() {
			var body struct {
				Exposures []struct {
					FlagKey, VariantKey string
					Count               int
				}
			}
			if err := json.Unmarshal([]byte(text), &body); err != nil || len(body.Exposures) != 1 || body.Exposures[0].VariantKey != "on" {
				t.Fatal(text, err)
			}
			sum += body.Exposures[0].Count
		}
		return sum
	}
	eventually(t, "they are reported", func() bool { return total() == 3 })
	reporter.Close()
	reporter.Close()
	store, reporter = reporting(t, s, time.Hour)
	evaluate(t, store, 2)
	eventually(t, "they are counted", func() bool {
		reporter.mu.Lock()
		defer reporter.mu.Unlock()
		return reporter.counts.counts[exposureCount{"", "a", "on"}] == 2
	})
	reporter.Close()
	checkEqual(t, total(), 5)
}

// TestExposuresThatCannotBeSent is tc-exposure-fails: kept and sent later; some answers end the reports.
func TestExposuresThatCannotBeSent(t *testing.T) {
	withoutLeaks(t)
	s := newExposureServer(t, 503)
	store, reporter := reporting(t, s, 20*time.Millisecond)
	evaluate(t, store, 3)
	eventually(t, "it is tried again", func() bool { return len(s.all()) >= 2 })
	s.answer(202)
	eventually(t, "it is sent", func() bool {
		all := s.all()
		reporter.mu.Lock()
		defer reporter.mu.Unlock()
		return len(reporter.counts.order) == 0 && strings.Contains(all[len(all)-1], `"count":3`)
	})
	checkEqual(t, reporter.Dropped(), 0)
	reporter.Close()
	s.answer(404)
	store, reporter = reporting(t, s, 20*time.Millisecond)
	startClient(t, store.client)
	var reported list[error]
	store.client.OnError(reported.add)
	evaluate(t, store, 3)
	eventually(t, "it ends", reporter.isEnded)
	eventually(t, "it is reported", func() bool {
		var refusal *RequestError
		for _, err := range reported.all() {
			if errors.As(err, &refusal) {
				return refusal.Status == 404
			}
		}
		return false
	})
	reporter.Close()
	counts := newExposureCounts()
	for n := range maxUnreported + 5 {
		counts.add(exposureCount{"", fmt.Sprint(n), ""}, 2)
	}
	checkEqual(t, counts.drop(maxUnreported), 10)
}
