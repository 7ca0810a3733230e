package flagent

import (
	"encoding/hex"
	"encoding/json"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/flagent-cdc/flagent-go/internal/eventid"
	"github.com/flagent-cdc/flagent-go/internal/jsontext"
	"github.com/flagent-cdc/flagent-go/internal/policy"
	"github.com/flagent-cdc/flagent-go/internal/sse"
)

// loadVectors reads a file of sdk/vectors.
func loadVectors(t testing.TB, name string, into any) {
	t.Helper()
	loadJSON(t, filepath.Join("..", "vectors", name), into)
}

func loadJSON(t testing.TB, path string, into any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatal(path, err)
	}
}

func parsed(t testing.TB, data []byte) jsontext.Value {
	t.Helper()
	value, err := jsontext.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func TestVectorsOfServerSentEvents(t *testing.T) {
	var cases []struct {
		ID, Input, InputHex string
		Outputs             []map[string]any
		LastEventID         string `json:"lastEventId"`
	}
	loadVectors(t, "sse.json", &cases)
	for _, c := range cases {
		t.Run(c.ID, func(t *testing.T) {
			raw := []byte(c.Input)
			if c.InputHex != "" {
				raw, _ = hex.DecodeString(c.InputHex)
			}
			splits := [][][]byte{{raw}}
			var single [][]byte
			for i := range raw {
				single = append(single, raw[i:i+1])
				splits = append(splits, [][]byte{raw[:i], raw[i:]})
			}
			for _, chunks := range append(splits, single) {
				parser := sse.NewParser(1 << 20)
				outputs := []map[string]any{}
				for _, chunk := range chunks {
					if err := parser.Feed(chunk, func(item sse.Item) error {
						outputs = append(outputs, shownItem(item))
						return nil
					}); err != nil {
						t.Fatal(err)
					}
				}
				if !reflect.DeepEqual(outputs, c.Outputs) {
					t.Fatalf("of %q: %v, want %v", chunks, outputs, c.Outputs)
				}
			}
			last := ""
			for _, output := range c.Outputs {
				if id, ok := output["lastEventId"].(string); ok {
					last = id
				}
			}
			if last != c.LastEventID {
				t.Fatalf("the last id is %q, want %q", last, c.LastEventID)
			}
		})
	}
}

func shownItem(item sse.Item) map[string]any {
	switch item.Kind {
	case sse.Event:
		return map[string]any{"kind": "event", "event": item.Name, "data": string(item.Data), "lastEventId": item.LastEventID}
	case sse.Comment:
		return map[string]any{"kind": "comment", "text": string(item.Data)}
	case sse.Retry:
		return map[string]any{"kind": "retry", "ms": float64(item.RetryMs)}
	}
	return map[string]any{"kind": "id", "lastEventId": item.LastEventID}
}

func TestVectorsOfKeepAlives(t *testing.T) {
	var cases []struct {
		ID, Comment string
		Heartbeat   map[string]any
	}
	loadVectors(t, "keepalive.json", &cases)
	for _, c := range cases {
		t.Run(c.ID, func(t *testing.T) {
			m, ok := parseKeepAlive(c.Comment)
			if ok != (c.Heartbeat != nil) {
				t.Fatalf("is a keep-alive: %v", ok)
			}
			if !ok {
				return
			}
			var found map[string]any
			if err := json.Unmarshal(m.value.Raw(), &found); err != nil {
				t.Fatal(err)
			}
			delete(found, "type")
			if !reflect.DeepEqual(found, c.Heartbeat) {
				t.Fatalf("%v, want %v", found, c.Heartbeat)
			}
		})
	}
}

type backoffConfig struct {
	MaxAttempts                               *int
	InitialDelayMs, MaxDelayMs, StableAfterMs float64
	Multiplier                                float64
}

// resolved is the configuration of a case; 0 attempts are without limit in the vectors.
func (c backoffConfig) resolved() ReconnectConfig {
	ms := func(value float64) time.Duration { return time.Duration(value * float64(time.Millisecond)) }
	config := ReconnectConfig{
		MaxAttempts: defaultAttempts, isDefaultAttempts: c.MaxAttempts == nil, Multiplier: c.Multiplier,
		InitialDelay: ms(c.InitialDelayMs), MaxDelay: ms(c.MaxDelayMs), StableAfter: ms(c.StableAfterMs),
	}
	if c.MaxAttempts != nil {
		config.MaxAttempts = *c.MaxAttempts
		if config.MaxAttempts == 0 {
			config.MaxAttempts = Unlimited
		}
	}
	return config
}

func waitOf(ms *float64) wait {
	if ms == nil {
		return wait{}
	}
	return wait{time.Duration(math.Min(*ms, 1e12) * float64(time.Millisecond)), true}
}

func checkDelay(t *testing.T, delay time.Duration, ok bool, want *float64) {
	t.Helper()
	if ok != (want != nil) {
		t.Fatalf("goes on: %v, want %v", ok, want != nil)
	}
	if ok && math.Abs(float64(delay)/float64(time.Millisecond)-*want) > 1 {
		t.Fatalf("waits %v, want %v ms", delay, *want)
	}
}

func TestVectorsOfBackoff(t *testing.T) {
	var vectors struct {
		Delays []struct {
			ID                             string
			Config                         backoffConfig
			Attempt                        int
			Random                         float64
			RetryMs, RetryAfterMs, DelayMs *float64
			FeedsStore                     bool
		}
		Sequences []struct {
			ID     string
			Config backoffConfig
			Steps  []struct {
				At                        float64
				Event                     string
				Random                    float64
				Ms, RetryAfterMs, DelayMs *float64
			}
		}
	}
	loadVectors(t, "backoff.json", &vectors)
	for _, c := range vectors.Delays {
		t.Run(c.ID, func(t *testing.T) {
			delay, ok := reconnectDelay(c.Config.resolved(), c.Attempt, c.Random, waitOf(c.RetryMs), waitOf(c.RetryAfterMs), c.FeedsStore)
			checkDelay(t, delay, ok, c.DelayMs)
		})
	}
	for _, c := range vectors.Sequences {
		t.Run(c.ID, func(t *testing.T) {
			b := backoff{config: c.Config.resolved()}
			for _, step := range c.Steps {
				now := time.Duration(step.At) * time.Millisecond
				switch step.Event {
				case "connected":
					b.connected()
				case "message":
					b.message(now)
				case "retry":
					b.retry(waitOf(step.Ms).length)
				case "lost":
					delay, ok := b.lost(now, step.Random, waitOf(step.RetryAfterMs), false)
					checkDelay(t, delay, ok, step.DelayMs)
				default:
					t.Fatalf("unknown step %q", step.Event)
				}
			}
		})
	}
}

func TestVectorsOfPolicy(t *testing.T) {
	var vectors struct {
		HTTP []struct {
			ID      string
			Status  int
			Outcome string
		}
		Close []struct {
			ID      string
			Code    int
			Outcome string
		}
		ContentType []struct {
			ID, Value string
			IsStream  bool
		}
		RetryAfter []struct {
			ID, Value string
			Now       time.Time
			Ms        *float64
		}
		Redirect []struct {
			ID, From string
			Location *string
			Hop      int
			Outcome  *struct {
				URL     string
				SendKey bool
			}
		}
	}
	loadVectors(t, "policy.json", &vectors)
	for _, c := range vectors.HTTP {
		t.Run(c.ID, func(t *testing.T) { checkEqual(t, policy.Status(c.Status).String(), c.Outcome) })
	}
	for _, c := range vectors.Close {
		t.Run(c.ID, func(t *testing.T) { checkEqual(t, policy.CloseCode(c.Code).String(), c.Outcome) })
	}
	for _, c := range vectors.ContentType {
		t.Run(c.ID, func(t *testing.T) { checkEqual(t, policy.IsContentType(c.Value, "text/event-stream"), c.IsStream) })
	}
	for _, c := range vectors.RetryAfter {
		t.Run(c.ID, func(t *testing.T) {
			delay, ok := policy.RetryAfter(c.Value, c.Now)
			checkDelay(t, delay, ok, c.Ms)
		})
	}
	for _, c := range vectors.Redirect {
		t.Run(c.ID, func(t *testing.T) {
			location := ""
			if c.Location != nil {
				location = *c.Location
			}
			target, sendKey, ok := policy.ResolveRedirect(c.From, location, c.Hop)
			checkEqual(t, ok, c.Outcome != nil)
			if ok {
				checkEqual(t, target, c.Outcome.URL)
				checkEqual(t, sendKey, c.Outcome.SendKey)
			}
		})
	}
}

func checkEqual[T comparable](t testing.TB, found, want T) {
	t.Helper()
	if found != want {
		t.Fatalf("%v, want %v", found, want)
	}
}

func TestVectorsOfDigests(t *testing.T) {
	var cases []struct {
		ID        string
		Flags     []json.RawMessage
		Canonical []json.RawMessage
		Digest    string
	}
	loadVectors(t, "digest.json", &cases)
	for _, c := range cases {
		t.Run(c.ID, func(t *testing.T) {
			var sum uint32
			for i, flag := range c.Flags {
				canonical := canonicalFlag(parsed(t, flag))
				// Half a surrogate pair in the expected text is an escape of it, as in the canonical text.
				want, _ := parsed(t, c.Canonical[i]).Text()
				checkEqual(t, canonical, want)
				sum += checksum(canonical)
			}
			checkEqual(t, formatDigest(len(c.Flags), sum), c.Digest)
		})
	}
}

func TestVectorsOfEventIDs(t *testing.T) {
	var cases []struct{ ID, A, B, AIs string }
	loadVectors(t, "event_ids.json", &cases)
	for _, c := range cases {
		t.Run(c.ID, func(t *testing.T) {
			order, ok := eventid.Compare(c.A, c.B)
			found := "incomparable"
			if ok {
				found = map[int]string{-1: "before", 0: "same", 1: "after"}[order]
			}
			checkEqual(t, found, c.AIs)
		})
	}
}

func TestVectorsOfMessages(t *testing.T) {
	var cases []struct {
		ID      string
		Message json.RawMessage
		Event   map[string]any
	}
	loadVectors(t, "messages.json", &cases)
	for _, c := range cases {
		t.Run(c.ID, func(t *testing.T) {
			event, err := decodeEvent(newMessage(parsed(t, c.Message)))
			if err != nil {
				t.Fatal(err)
			}
			seen := shownEvent(&event)
			for name, want := range c.Event {
				if !reflect.DeepEqual(seen[name], want) {
					t.Errorf("%s is %v, want %v", name, seen[name], want)
				}
			}
		})
	}
}

func shownEvent(e *Event) map[string]any {
	kind, key := "raw", any(nil)
	switch {
	case e.Type.carriesFlag():
		kind, key = "flag", e.Flag.Key
	case e.Type == FlagDeleted:
		kind, key = "key", e.FlagKey
	case e.Type == SegmentUpdated && e.Segment != nil:
		kind = "segment"
	case e.Type == DistributionUpdated:
		kind = "distributions"
	case e.Type == VariantUpdated && e.Variant != nil:
		kind = "variant"
	case e.Type == SegmentUpdated || e.Type == VariantUpdated:
		kind = "none"
	}
	seen := map[string]any{
		"type": strings.ToUpper(string(e.Type)), "typeName": string(e.Type), "id": any(e.ID), "flagKey": e.FlagKey, "flagID": float64(e.FlagID),
		"committedAt": e.CommittedAt.Format("2006-01-02T15:04:05.999999Z07:00"), "dataKind": kind, "dataKey": key,
		"segmentID": float64(e.SegmentID), "variantID": float64(e.VariantID), "count": float64(len(e.Distributions)),
	}
	if e.Type == "flag_painted" {
		seen["type"] = nil
	}
	if e.ID == "" {
		seen["id"] = nil
	}
	if e.CommittedAt.IsZero() {
		seen["committedAt"] = nil
	}
	if e.Row != nil {
		seen["table"] = e.Row.Table
	}
	return seen
}

type storeStep struct {
	At      float64
	Message json.RawMessage
	Signal  string
	Status  string
	Changes [][]string
	Request string
	Error   bool
}

func TestVectorsOfStores(t *testing.T) {
	var cases []struct {
		ID        string
		Selection *struct {
			Flags   []string
			FlagIDs []int64
			Tags    []string
		}
		Steps  []storeStep
		Flags  map[string]json.RawMessage
		Digest string
		Cursor *string
	}
	loadVectors(t, "store.json", &cases)
	for _, c := range cases {
		t.Run(c.ID, func(t *testing.T) {
			selected := everything
			if c.Selection != nil {
				selected = Selectors{Flags: c.Selection.Flags, FlagIDs: c.Selection.FlagIDs, Tags: c.Selection.Tags}.selection()
			}
			client, err := NewClient("http://localhost", WithManualStart())
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			driver := newStoreDriver(client, selected)
			for i, step := range c.Steps {
				play(t, i, driver, step)
			}
			core := driver.core
			checkEqual(t, core.table.digest(), c.Digest)
			want := ""
			if c.Cursor != nil {
				want = *c.Cursor
			}
			checkEqual(t, core.cursor.Text(), want)
			checkEqual(t, len(core.table.entries), len(c.Flags))
			store := &Store{client: client, driver: driver}
			checkEqual(t, store.Len(), len(c.Flags))
			for _, flag := range store.All() {
				// With several schemas, the vectors name one flag of each key.
				found := jsontext.AppendCanonical(nil, parsed(t, flag.Raw), "schema")
				checkEqual(t, string(found), string(jsontext.AppendCanonical(nil, parsed(t, c.Flags[flag.Key]))))
				if byID := driver.view.Load().getID(flag.ID, core.table.storedSchema(flag.Schema)); byID == nil || byID.Key != flag.Key {
					t.Fatalf("the flag with id %d is %v, want %q", flag.ID, byID, flag.Key)
				}
			}
		})
	}
}

func play(t *testing.T, number int, driver *storeDriver, step storeStep) {
	t.Helper()
	now := time.Duration(step.At * float64(time.Millisecond))
	var update storeUpdate
	switch {
	case step.Message != nil:
		value := parsed(t, step.Message)
		update = driver.receive(newMessage(value), now, truth(value, "resumed"))
	case step.Signal == "tick":
		driver.tick(now)
	case step.Signal == "lost":
		driver.connectionLost()
	case step.Signal == "failed":
		driver.fail()
	case step.Signal == "closed":
		driver.close()
	default:
		t.Fatalf("unknown signal %q", step.Signal)
	}
	if status := driver.core.status.String(); status != step.Status {
		t.Fatalf("step %d: the status is %s, want %s", number, status, step.Status)
	}
	changes := [][]string{}
	for _, change := range update.changes {
		shown := []string{string(change.kind), change.name.key}
		if change.name.schema != "" {
			shown = append(shown, change.name.schema)
		}
		changes = append(changes, shown)
	}
	if len(changes)+len(step.Changes) > 0 && !reflect.DeepEqual(changes, step.Changes) {
		t.Fatalf("step %d: the changes are %v, want %v", number, changes, step.Changes)
	}
	checkEqual(t, update.requestsSnapshot, step.Request == "snapshot")
	checkEqual(t, update.err != nil, step.Error)
}

func TestTheDefaultsAreThePromisedOnes(t *testing.T) {
	config, err := ReconnectConfig{}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	checkEqual(t, config, ReconnectConfig{10, time.Second, time.Minute, 2, 5 * time.Second, true})
	for _, bad := range []ReconnectConfig{{MaxAttempts: -2}, {InitialDelay: -1}, {Multiplier: 0.5}, {Multiplier: math.NaN()}} {
		if _, err := bad.withDefaults(); err == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
	checkEqual(t, http.DefaultTransport.(*http.Transport).Proxy != nil, true)
}

func TestVectorsOfTransports(t *testing.T) {
	var cases []struct {
		ID    string
		Steps []struct {
			At        float64
			Input     input
			Transport Transport
			Do        *action
			Probe     Transport
		}
	}
	loadVectors(t, "transports.json", &cases)
	for _, c := range cases {
		t.Run(c.ID, func(t *testing.T) {
			choice := newTransportChoice([]Transport{WebSocket, SSE, Polling}, defaultRetryBetter)
			for i, s := range c.Steps {
				want := step{probe: s.Probe}
				if s.Do != nil {
					want.action = *s.Do
				}
				if found := choice.step(s.Input, time.Duration(s.At)*time.Millisecond); found != want || choice.current() != s.Transport {
					t.Fatalf("step %d: %v on %s, want %v on %s", i, found, choice.current(), want, s.Transport)
				}
			}
		})
	}
}
