package flagent

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
)

// storeOf is a store of these flags, without a connection.
func storeOf(t testing.TB, flags ...json.RawMessage) *Store {
	t.Helper()
	client, err := NewClient("http://localhost", WithManualStart())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	store, err := NewStore(client)
	if err != nil {
		t.Fatal(err)
	}
	list, err := json.Marshal(append([]json.RawMessage{}, flags...))
	if err != nil {
		t.Fatal(err)
	}
	snapshot := fmt.Sprintf(`{"type":"snapshot","id":"1@k","position":"1","flags":%s}`, list)
	if update := store.driver.receive(newMessage(parsed(t, []byte(snapshot))), 0, false); update.err != nil {
		t.Fatal(update.err)
	}
	return store
}

func optional[T comparable](value T) any {
	var zero T
	if value == zero {
		return nil
	}
	return value
}

// shownResult is a result as JSON: by way of JSON, so that numbers compare.
func shownResult(t *testing.T, r Result) map[string]any {
	var attachment any
	if r.VariantAttachment != nil {
		attachment = r.VariantAttachment
	}
	tags := r.FlagTags
	if tags == nil {
		tags = []string{}
	}
	text, err := json.Marshal(map[string]any{
		"flagID": r.FlagID, "flagKey": r.FlagKey, "flagSnapshotID": r.FlagSnapshotID, "flagTags": tags,
		"segmentID": optional(r.SegmentID), "variantID": optional(r.VariantID), "variantKey": optional(r.VariantKey),
		"variantAttachment": attachment, "evalContext": map[string]any{"entityID": r.EntityID, "entityType": r.EntityType},
	})
	if err != nil {
		t.Fatal(err)
	}
	var shown map[string]any
	if err := json.Unmarshal(text, &shown); err != nil {
		t.Fatal(err)
	}
	return shown
}

func TestVectorsOfEvaluation(t *testing.T) {
	var cases []struct {
		Name       string
		Flag       json.RawMessage
		OtherFlags []json.RawMessage
		Request    struct {
			FlagKey              string
			FlagID               int64
			EntityID, EntityType string
			EntityContext        map[string]any
		}
		Expected map[string]any
	}
	loadJSON(t, "../../tests/vectors/evaluation_vectors.json", &cases)
	if len(cases) == 0 {
		t.Fatal("there are no vectors")
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			var live []json.RawMessage
			for _, flag := range append(c.OtherFlags, c.Flag) {
				if !truth(parsed(t, flag), "archived") {
					live = append(live, flag)
				}
			}
			store := storeOf(t, live...)
			entity := Entity{c.Request.EntityID, c.Request.EntityType, c.Request.EntityContext}
			result, err := store.Evaluate(c.Request.FlagKey, entity)
			if c.Request.FlagID != 0 {
				result, err = store.EvaluateID(c.Request.FlagID, entity)
				if result.FlagKey == "" {
					result.FlagKey = c.Request.FlagKey
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			seen := shownResult(t, result)
			for name, want := range c.Expected {
				found := seen[name]
				if context, ok := want.(map[string]any); ok && name == "evalContext" {
					for key := range found.(map[string]any) {
						if _, ok := context[key]; !ok {
							delete(found.(map[string]any), key)
						}
					}
					for key := range context {
						if _, ok := found.(map[string]any)[key]; !ok {
							delete(context, key)
						}
					}
				}
				if !reflect.DeepEqual(found, want) {
					t.Errorf("%s is %v, want %v", name, found, want)
				}
			}
		})
	}
}

// TestVectorsOfEntityIDs is tc-entity-id as far as Go goes: an id is a string, so that the compiler refuses other types.
func TestVectorsOfEntityIDs(t *testing.T) {
	var vectors struct {
		EntityID []struct {
			ID    string
			Value any
			Text  *string
		}
	}
	loadVectors(t, "values.json", &vectors)
	store := storeOf(t)
	for _, c := range vectors.EntityID {
		id, isText := c.Value.(string)
		if !isText {
			continue // an entity's id is a string in Go
		}
		t.Run(c.ID, func(t *testing.T) {
			result, err := store.Evaluate("a", Entity{ID: id})
			if err != nil {
				t.Fatal(err)
			}
			checkEqual(t, result.EntityID, *c.Text)
		})
	}
}

// simple is a flag that gives everybody who meets the constraints the variant "on".
func simple(id int, key string, dependsOn []string, constraints ...string) json.RawMessage {
	depends, _ := json.Marshal(dependsOn)
	return json.RawMessage(fmt.Sprintf(`{"id":%d,"key":%q,"enabled":true,"dependsOn":%s,
		"segments":[{"id":1,"rank":0,"rolloutPercent":100,"constraints":[%s],"distributions":[{"id":1,"variantID":1,"percent":100}]}],
		"variants":[{"id":1,"key":"on","attachment":null}]}`, id, key, depends, strings.Join(constraints, ",")))
}

func constraint(operator, value string) string {
	return fmt.Sprintf(`{"id":1,"property":"p","operator":%q,"value":%q}`, operator, value)
}

// TestCycles is tc-cycle: a cycle of any length blocks, a chain may have any length.
func TestCycles(t *testing.T) {
	const length = 3000
	chain := func(last ...string) *Store {
		var flags []json.RawMessage
		for n := 1; n < length; n++ {
			flags = append(flags, simple(n, "f"+strconv.Itoa(n), []string{"f" + strconv.Itoa(n+1)}))
		}
		return storeOf(t, append(flags, simple(length, "f"+strconv.Itoa(length), last))...)
	}
	for want, store := range map[string]*Store{"on": chain(), "": chain("f2")} {
		result, err := store.Evaluate("f1", Entity{ID: "e"})
		if err != nil || result.VariantKey != want {
			t.Errorf("%q (%v), want %q", result.VariantKey, err, want)
		}
	}
	result, err := storeOf(t, simple(1, "a", []string{"a"})).Evaluate("a", Entity{ID: "e"})
	if err != nil || result.HasVariant() || result.SegmentID != 0 || result.Message == "" {
		t.Errorf("a flag that depends on itself gives %+v (%v)", result, err)
	}
}

// TestLimitsOfRegularExpressions is tc-regex-limits: outside the limits neither EREG nor NEREG holds.
func TestLimitsOfRegularExpressions(t *testing.T) {
	for _, c := range [][2]string{{strings.Repeat("a", 1001), "a"}, {"a*", strings.Repeat("a", 4097)}, {`(?=(a+)+b)a*`, strings.Repeat("a", 4000)}} {
		for _, operator := range []string{"EREG", "NEREG"} {
			start := time.Now()
			result, err := storeOf(t, simple(1, "a", nil, constraint(operator, c[0]))).Evaluate("a", Entity{ID: "e", Context: Context{"p": c[1]}})
			if isLong := len(c[0]) > 1000 || len(c[1]) > 4096; err != nil || isLong && result.HasVariant() {
				t.Errorf("%s %.20q gives %q (%v)", operator, c[0], result.VariantKey, err)
			}
			if took := time.Since(start); took > 2*time.Second {
				t.Errorf("%.20q takes %v", c[0], took)
			}
		}
	}
	for operator, want := range map[string]string{"EREG": "", "NEREG": "on"} {
		result, err := storeOf(t, simple(1, "a", nil, constraint(operator, "["))).Evaluate("a", Entity{ID: "e", Context: Context{"p": "["}})
		if err != nil || result.VariantKey != want {
			t.Errorf("%s of an invalid expression gives %q (%v)", operator, result.VariantKey, err)
		}
	}
}

func TestAContextValueOfAnotherTypeIsAnError(t *testing.T) {
	store := storeOf(t, simple(1, "a", nil))
	for _, key := range []string{"a", "there is none"} {
		for _, bad := range []any{[]string{"x"}, math.NaN(), map[string]any{}} {
			var failure *ContextError
			if _, err := store.Evaluate(key, Entity{ID: "e", Context: Context{"p": bad}}); !errors.As(err, &failure) || failure.Property != "p" {
				t.Errorf("%v of %s: %v", bad, key, err)
			}
		}
	}
}

// TestReducedFlags is tc-reduced-flag: a flag that was sent reduced, and one that depends on it, cannot be evaluated here.
func TestReducedFlags(t *testing.T) {
	store := storeOf(t, json.RawMessage(`{"id":1,"key":"huge","enabled":true,"tooLarge":2000000,"segments":[],"variants":[]}`), simple(2, "a", []string{"huge"}))
	flag, err := store.Get("huge")
	if err != nil || flag.TooLarge != 2000000 {
		t.Fatalf("%+v (%v)", flag, err)
	}
	for _, key := range []string{"huge", "a"} {
		var reduced *ReducedFlagError
		if _, err := store.Evaluate(key, Entity{ID: "e"}); !errors.As(err, &reduced) || reduced.Key != "huge" || reduced.Size != 2000000 {
			t.Errorf("%s: %v", key, err)
		}
	}
}

// TestNumbersInAContext is E4 of the behaviour table: numbers are compared as their JSON text.
func TestNumbersInAContext(t *testing.T) {
	for _, c := range []struct {
		operator, operand string
		value             any
		want              bool
	}{
		{"EQ", "3", 3.0, true}, {"EQ", "3", 3, true}, {"EQ", "3.0", 3.0, false}, {"EQ", "true", true, true}, {"IN", "1, 2 ,3", 2, true},
		{"GT", "2", 3, true}, {"GT", "2", "3", true}, {"LT", "1e3", 999.5, true}, {"LTE", "NaN", 1, false}, {"GTE", "x", 1, false},
		{"NEQ", "1", nil, false}, {"XX", "1", "1", false}, {"NOTIN", "a,b", "c", true}, {"NOTCONTAINS", "b", "abc", false},
	} {
		result, err := storeOf(t, simple(1, "a", nil, constraint(c.operator, c.operand))).Evaluate("a", Entity{ID: "e", Context: Context{"p": c.value}})
		if err != nil || result.HasVariant() != c.want {
			t.Errorf("%v %s %q: %v (%v)", c.value, c.operator, c.operand, result.HasVariant(), err)
		}
	}
}

func benchmarkStore(b *testing.B) *Store {
	flags := []json.RawMessage{json.RawMessage(`{"id":7,"key":"checkout","enabled":true,"segments":[
		{"id":1,"rank":0,"rolloutPercent":50,"constraints":[{"property":"country","operator":"IN","value":"DE,AT,CH"},{"property":"plan","operator":"EQ","value":"pro"}],
		 "distributions":[{"id":1,"variantID":1,"percent":50},{"id":2,"variantID":2,"percent":50}]},
		{"id":2,"rank":1,"rolloutPercent":100,"constraints":[{"property":"age","operator":"GTE","value":"18"}],"distributions":[{"id":3,"variantID":1,"percent":100}]}],
		"variants":[{"id":1,"key":"on","attachment":null},{"id":2,"key":"off","attachment":null}],"tags":[{"id":1,"value":"web"}]}`)}
	for n := range 1000 {
		flags = append(flags, simple(1000+n, "flag_"+strconv.Itoa(n), nil))
	}
	return storeOf(b, flags...)
}

// BenchmarkEvaluate evaluates a flag with two segments and three constraints.
func BenchmarkEvaluate(b *testing.B) {
	store := benchmarkStore(b)
	entity := Entity{ID: "user123", Context: Context{"country": "FR", "plan": "pro", "age": "42"}}
	b.ReportAllocs()
	for b.Loop() {
		if result, err := store.Evaluate("checkout", entity); err != nil || result.VariantKey != "on" {
			b.Fatal(result, err)
		}
	}
}

// largeStore is the flags of bench/sdk: each with two segments of two constraints and two distributions.
func largeStore(b *testing.B, count int) *Store {
	flags := make([]json.RawMessage, 0, count)
	for n := 1; n <= count; n++ {
		segment := func(id int, country string) string {
			return fmt.Sprintf(`{"id":%[1]d,"rank":%[1]d,"rolloutPercent":100,"constraints":[{"property":"country","operator":"EQ","value":%[2]q},{"property":"age","operator":"GTE","value":"18"}],
				"distributions":[{"variantID":%[3]d,"percent":50},{"variantID":%[4]d,"percent":50}]}`, id, country, 2*n, 2*n+1)
		}
		flags = append(flags, json.RawMessage(fmt.Sprintf(`{"id":%[1]d,"key":"flag_%[1]d","enabled":true,"segments":[%[2]s,%[3]s],
			"variants":[{"id":%[4]d,"key":"on","attachment":{"value":"1"}},{"id":%[5]d,"key":"off"}]}`, n, segment(3*n, "US"), segment(3*n+2, "DE"), 2*n, 2*n+1)))
	}
	return storeOf(b, flags...)
}

// BenchmarkEvaluateAtRandom evaluates flags at random, of 10 000, as bench/sdk does in the other languages.
func BenchmarkEvaluateAtRandom(b *testing.B) {
	const count = 10_000
	store := largeStore(b, count)
	keys, entities := make([]string, count), make([]Entity, 1000)
	for n := range keys {
		keys[n] = "flag_" + strconv.Itoa(n*7919%count+1)
	}
	for n := range entities {
		entities[n] = Entity{ID: "user" + strconv.Itoa(n), Context: Context{"country": "DE", "age": "42"}}
	}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if result, err := store.Evaluate(keys[n%count], entities[n%1000]); err != nil || !result.HasVariant() {
			b.Fatal(result, err)
		}
	}
}

// BenchmarkEvaluateSame is the same for one flag.
func BenchmarkEvaluateSame(b *testing.B) {
	store := largeStore(b, 100)
	entity := Entity{ID: "user7", Context: Context{"country": "DE", "age": "42"}}
	b.ReportAllocs()
	for b.Loop() {
		if result, err := store.Evaluate("flag_77", entity); err != nil || !result.HasVariant() {
			b.Fatal(result, err)
		}
	}
}

// BenchmarkApply folds an event into a store of 10 000 flags.
func BenchmarkApply(b *testing.B) {
	store := largeStore(b, 10_000)
	flag, err := store.Get("flag_77")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for n := 2; b.Loop(); n++ {
		event := fmt.Sprintf(`{"type":"flag_updated","id":"%d-0@k","schema":"public","flagKey":"flag_77","flagID":77,"flag":%s}`, n, flag.Raw)
		if update := store.driver.receive(newMessage(parsed(b, []byte(event))), 0, false); update.err != nil {
			b.Fatal(update.err)
		}
	}
}

func BenchmarkGet(b *testing.B) {
	store := benchmarkStore(b)
	b.ReportAllocs()
	for b.Loop() {
		if flag, err := store.Get("flag_500"); err != nil || flag.ID != 1500 {
			b.Fatal(flag, err)
		}
	}
}

func TestReadingAllocatesNothing(t *testing.T) {
	store := storeOf(t, simple(1, "a", nil, constraint("GTE", "18"), constraint("EREG", "[0-9]+")))
	entity := Entity{ID: "e", Context: Context{"p": "42"}}
	allocations := testing.AllocsPerRun(100, func() {
		if result, err := store.Evaluate("a", entity); err != nil || !result.HasVariant() {
			t.Fatal(result, err)
		}
		if _, err := store.Get("a"); err != nil {
			t.Fatal(err)
		}
	})
	checkEqual(t, allocations, 0)
}
