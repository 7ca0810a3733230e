package flagentprovider_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	flagent "github.com/flagent-cdc/flagent-go"
	flagentprovider "github.com/flagent-cdc/flagent-go/openfeature"
	of "github.com/open-feature/go-sdk/openfeature"
	"go.uber.org/goleak"
)

func flag(id int, key, variant, attachment, more string) string {
	return fmt.Sprintf(`{"id":%d,"key":%q,"enabled":true,"segments":[{"id":1,"rank":0,"rolloutPercent":100,"distributions":[{"variantID":1,"percent":100}]%s}],
		"variants":[{"id":1,"key":%q,"attachment":%s}]}`, id, key, more, variant, attachment)
}

// stream is a server of one event stream, which sends what it is given.
type stream struct {
	*httptest.Server
	send chan string
	mu   sync.Mutex
	seen int
}

func newStream(t *testing.T, flags ...string) *stream {
	s := &stream{send: make(chan string)}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.seen++
		s.mu.Unlock()
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprintf(w, "event: connected\ndata: {\"position\":\"10\",\"id\":\"10@k\",\"fresh\":true}\n\n")
		compact := strings.NewReplacer("\n", "", "\t", "").Replace(strings.Join(flags, ","))
		fmt.Fprintf(w, "event: snapshot\nid: 10@k\ndata: {\"position\":\"10\",\"flags\":[%s]}\n\n", compact)
		w.(http.Flusher).Flush()
		for {
			select {
			case text := <-s.send:
				fmt.Fprint(w, text)
				w.(http.Flusher).Flush()
			case <-r.Context().Done():
				return
			}
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *stream) provider(options ...flagentprovider.Option) *flagentprovider.Provider {
	return flagentprovider.New(func() (*flagent.Client, error) { return flagent.NewClient(s.URL + "/stream") }, options...)
}

func withoutLeaks(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
}

func user(attributes map[string]any) of.EvaluationContext {
	return of.NewEvaluationContext("user123", attributes)
}

func set(t *testing.T, provider of.FeatureProvider) *of.Client {
	t.Helper()
	if err := of.SetProviderAndWait(provider); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(of.Shutdown)
	return of.NewDefaultClient()
}

func TestValuesAndReasons(t *testing.T) {
	withoutLeaks(t)
	s := newStream(t,
		flag(1, "bool", "on", "null", ""), flag(2, "int", "x", `{"value":"3.0"}`, ""), flag(3, "float", "x", `{"value":"2.5"}`, `,"constraints":[{"property":"country","operator":"EQ","value":"DE"}]`),
		flag(4, "split", "on", `{"a":"1"}`, `,"x":1`), strings.Replace(flag(5, "off", "on", "null", ""), `"enabled":true`, `"enabled":false`, 1),
		strings.Replace(flag(6, "half", "on", "null", ""), `"rolloutPercent":100`, `"rolloutPercent":0`, 1),
		strings.Replace(flag(7, "big", "on", "null", ""), `"enabled":true`, `"enabled":true,"tooLarge":5`, 1))
	client := set(t, s.provider())
	ctx := context.Background()
	boolean, err := client.BooleanValueDetails(ctx, "bool", false, user(nil))
	check(t, boolean.Value == true && boolean.Reason == of.StaticReason && boolean.Variant == "on" && boolean.FlagMetadata["flagID"] == int64(1), boolean, err)
	integer, err := client.IntValueDetails(ctx, "int", 0, user(nil))
	check(t, integer.Value == 3, integer, err)
	float, err := client.FloatValueDetails(ctx, "float", 0, user(map[string]any{"country": "DE", "since": time.Now(), "list": []int{1}, "bad": math.NaN()}))
	check(t, float.Value == 2.5 && float.Reason == of.TargetingMatchReason, float, err)
	object, err := client.ObjectValueDetails(ctx, "split", nil, user(nil))
	check(t, object.Value.(map[string]any)["a"] == "1", object, err)
	for key, want := range map[string]of.Reason{"off": of.DisabledReason, "half": of.DefaultReason} {
		detail, err := client.StringValueDetails(ctx, key, "mine", user(nil))
		check(t, detail.Value == "mine" && detail.Reason == want, detail, err)
	}
	for key, want := range map[string]of.ErrorCode{"none": of.FlagNotFoundCode, "bool": of.TypeMismatchCode, "big": of.GeneralCode} {
		detail, _ := client.FloatValueDetails(ctx, key, 7, user(nil))
		check(t, detail.Value == 7 && detail.ErrorCode == want, detail, nil)
	}
}

// TestTargetingKeys is tc-targeting-key.
func TestTargetingKeys(t *testing.T) {
	withoutLeaks(t)
	client := set(t, newStream(t, flag(1, "bool", "on", "null", "")).provider())
	for _, none := range []of.EvaluationContext{{}, of.NewEvaluationContext("", nil), of.NewEvaluationContext("\u00a0", nil)} {
		for _, key := range []string{"bool", "none"} {
			detail, _ := client.BooleanValueDetails(context.Background(), key, true, none)
			check(t, detail.ErrorCode == of.TargetingKeyMissingCode, detail, nil)
		}
	}
	provider := newStream(t, flag(1, "bool", "on", "null", "")).provider()
	defer provider.Shutdown()
	if err := provider.Init(of.EvaluationContext{}); err != nil {
		t.Fatal(err)
	}
	detail := provider.BooleanEvaluation(context.Background(), "bool", true, of.FlattenedContext{of.TargetingKey: 7})
	check(t, strings.Contains(detail.ResolutionError.Error(), string(of.InvalidContextCode)), detail, nil)
}

// TestProvidersAreSetAgain is tc-provider-again: it follows the flags again, and never closes a client that was given.
func TestProvidersAreSetAgain(t *testing.T) {
	withoutLeaks(t)
	s := newStream(t, flag(1, "bool", "on", "null", ""))
	given, err := flagent.NewClient(s.URL + "/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer given.Close()
	for _, provider := range []*flagentprovider.Provider{s.provider(), flagentprovider.NewWithClient(given)} {
		for range 2 {
			if err := provider.Init(of.EvaluationContext{}); err != nil {
				t.Fatal(err)
			}
			detail := provider.BooleanEvaluation(context.Background(), "bool", false, of.FlattenedContext{of.TargetingKey: "u"})
			check(t, detail.Value, detail, nil)
			provider.Shutdown()
			detail = provider.BooleanEvaluation(context.Background(), "bool", false, of.FlattenedContext{of.TargetingKey: "u"})
			check(t, !detail.Value && strings.Contains(detail.ResolutionError.Error(), string(of.ProviderNotReadyCode)), detail, nil)
		}
	}
	check(t, given.Start() == nil, given.Err(), nil)
}

func TestEventsFollowTheStore(t *testing.T) {
	withoutLeaks(t)
	s := newStream(t, flag(1, "bool", "on", "null", ""))
	client := set(t, s.provider())
	seen := make(chan string, 10)
	for _, kind := range []of.EventType{of.ProviderConfigChange, of.ProviderStale, of.ProviderReady} {
		callback := func(details of.EventDetails) { seen <- string(kind) + fmt.Sprint(details.FlagChanges) }
		client.AddHandler(kind, &callback)
	}
	next := func(want string) {
		t.Helper()
		select {
		case found := <-seen:
			check(t, found == want, found, nil)
		case <-time.After(10 * time.Second):
			t.Fatalf("no %s", want)
		}
	}
	next("PROVIDER_READY[]")
	text, _ := json.Marshal(map[string]any{"id": 1, "key": "bool", "enabled": false})
	s.send <- fmt.Sprintf("event: flag_updated\nid: 11-0@k\ndata: {\"type\":\"flag_updated\",\"flag\":%s}\n\n", text)
	next("PROVIDER_CONFIGURATION_CHANGED[bool]")
	s.send <- ": keep-alive position=11 fresh=false\nid: 11@k\n\n"
	next("PROVIDER_STALE[]")
	s.send <- ": keep-alive position=11 fresh=true\nid: 11@k\n\n"
	next("PROVIDER_READY[]")
}

func check(t *testing.T, isRight bool, found any, err error) {
	t.Helper()
	if !isRight || err != nil {
		t.Fatalf("%+v (%v)", found, err)
	}
}
