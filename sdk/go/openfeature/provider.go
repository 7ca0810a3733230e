// Package flagentprovider is an OpenFeature provider on a live copy of Flagent's flags: evaluation uses no network.
//
//	provider := flagentprovider.New(func() (*flagent.Client, error) { return flagent.NewClient("https://flags.example") })
//	err := openfeature.SetProviderAndWait(provider)
//
// Every evaluation needs a targeting key: without one, a flag that divides its entities would give another variant at each
// call. A missing or blank key is the error TARGETING_KEY_MISSING.
//
// A variant's value is its attachment's "value" or, without one, its key; an object is the whole attachment. As a boolean,
// true, on, yes and enabled are true, false, off, no and disabled are false, ignoring case. A number is written as in JSON;
// as an integer, any whole number (3.0, 1e3) is read. A text that is no number, or a number whose digits would be lost, is
// the error TYPE_MISMATCH. A disabled flag, and a flag that gives the entity no variant, return the caller's default.
//
// Reasons are those of the server's OFREP: STATIC when every entity gets the variant, TARGETING_MATCH when a constraint
// selected it, SPLIT when the rollout or the distribution did; STALE when the store is not ready.
package flagentprovider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	flagent "github.com/flagent-cdc/flagent-go"
	"github.com/flagent-cdc/flagent-go/internal/values"
	of "github.com/open-feature/go-sdk/openfeature"
)

// StaleReason is the reason of a value whose freshness cannot be confirmed.
const StaleReason of.Reason = "STALE"

const (
	readyLimit   = 10 * time.Second
	queuedEvents = 100
)

// Provider resolves flags from a live local copy. It may be set again after it was replaced.
type Provider struct {
	make   func() (*flagent.Client, error)
	isOurs bool
	schema string
	store  []flagent.StoreOption
	events chan of.Event

	mu     sync.Mutex
	client *flagent.Client
	copied *flagent.Store
	ended  chan struct{}
	isLive bool
	isLate bool
}

// Option changes a provider.
type Option func(*Provider)

// WithSchema names the schema of the flags; it is needed only when the server watches several.
func WithSchema(schema string) Option { return func(p *Provider) { p.schema = schema } }

// WithStoreOptions gives the provider's store its options: a selection, saved flags, a bootstrap.
func WithStoreOptions(options ...flagent.StoreOption) Option {
	return func(p *Provider) { p.store = append(p.store, options...) }
}

// New returns a provider that makes its client with a function, and closes it at its shutdown.
func New(makeClient func() (*flagent.Client, error), options ...Option) *Provider {
	p := &Provider{make: makeClient, isOurs: true, events: make(chan of.Event, queuedEvents)}
	for _, option := range options {
		option(p)
	}
	return p
}

// NewWithClient returns a provider on a client that stays open: its maker closes it.
func NewWithClient(client *flagent.Client, options ...Option) *Provider {
	p := New(func() (*flagent.Client, error) { return client, nil }, options...)
	p.isOurs = false
	return p
}

// Metadata names the provider.
func (p *Provider) Metadata() of.Metadata { return of.Metadata{Name: "flagent"} }

// Hooks are none.
func (p *Provider) Hooks() []of.Hook { return nil }

// EventChannel delivers PROVIDER_READY, PROVIDER_STALE, PROVIDER_ERROR and PROVIDER_CONFIGURATION_CHANGED.
func (p *Provider) EventChannel() <-chan of.Event { return p.events }

// Init starts the copy, and waits until it is ready: ten seconds at most.
func (p *Provider) Init(evaluation of.EvaluationContext) error {
	ctx, cancel := context.WithTimeout(context.Background(), readyLimit)
	defer cancel()
	return p.InitWithContext(ctx, evaluation)
}

// InitWithContext starts the copy, and waits until it is ready or the context ends.
func (p *Provider) InitWithContext(ctx context.Context, _ of.EvaluationContext) error {
	store, err := p.open()
	if err == nil {
		err = store.Ready(ctx)
	}
	if err == nil {
		return nil
	}
	code := of.ProviderFatalCode
	if errors.Is(err, flagent.ErrNotReady) {
		p.mu.Lock()
		p.isLate = true
		p.mu.Unlock()
		code = of.ProviderNotReadyCode
	}
	return &of.ProviderInitError{ErrorCode: code, Message: err.Error()}
}

func (p *Provider) open() (*flagent.Store, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.copied != nil {
		return p.copied, nil
	}
	client, err := p.make()
	if err != nil {
		return nil, err
	}
	store, err := flagent.NewStore(client, p.store...)
	if err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	p.client, p.copied, p.ended = client, store, ended
	store.OnStatus(func(status flagent.Status) { p.statusChanged(client, ended, status) })
	store.OnChange(func(change flagent.Change) {
		p.mu.Lock()
		isLive := p.isLive && p.ended == ended
		p.mu.Unlock()
		// The first snapshot arrives before the first Ready: it is the configuration, not a change of it.
		if isLive {
			p.emit(ended, of.ProviderConfigChange, of.ProviderEventDetails{FlagChanges: []string{change.Key}})
		}
	})
	return store, client.Start()
}

func (p *Provider) statusChanged(client *flagent.Client, ended chan struct{}, status flagent.Status) {
	p.mu.Lock()
	wasLive, isLate := p.isLive, p.isLate
	if status == flagent.Ready {
		p.isLive = true
	}
	p.mu.Unlock()
	switch {
	case status == flagent.Ready && (wasLive || isLate):
		// OpenFeature emits the first Ready itself, when Init has returned.
		p.emit(ended, of.ProviderReady, of.ProviderEventDetails{})
	case status == flagent.Stale && wasLive:
		p.emit(ended, of.ProviderStale, of.ProviderEventDetails{Message: "the freshness of the flags cannot be confirmed"})
	case status == flagent.Failed:
		p.emit(ended, of.ProviderError, of.ProviderEventDetails{Message: fmt.Sprint(client.Err()), ErrorCode: of.ProviderFatalCode})
	}
}

// emit waits while OpenFeature does not take events; the shutdown ends the wait.
func (p *Provider) emit(ended chan struct{}, kind of.EventType, details of.ProviderEventDetails) {
	select {
	case p.events <- of.Event{ProviderName: p.Metadata().Name, EventType: kind, ProviderEventDetails: details}:
	case <-ended:
	}
}

// Shutdown ends the copy, and closes a client that the provider made.
func (p *Provider) Shutdown() {
	p.mu.Lock()
	client, store, ended := p.client, p.copied, p.ended
	p.client, p.copied, p.ended, p.isLive, p.isLate = nil, nil, nil, false, false
	p.mu.Unlock()
	if store == nil {
		return
	}
	close(ended)
	// Neither returns an error when it was closed before.
	_ = store.Close()
	if p.isOurs {
		_ = client.Close()
	}
}

// ShutdownWithContext is Shutdown, which is bounded by itself.
func (p *Provider) ShutdownWithContext(context.Context) error {
	p.Shutdown()
	return nil
}

// BooleanEvaluation resolves a boolean.
func (p *Provider) BooleanEvaluation(_ context.Context, flag string, fallback bool, flat of.FlattenedContext) of.BoolResolutionDetail {
	return resolve(p, flag, fallback, flat, func(r *flagent.Result) (bool, error) {
		switch value := strings.ToLower(textOf(r)); value {
		case "true", "on", "yes", "enabled":
			return true, nil
		case "false", "off", "no", "disabled":
			return false, nil
		default:
			return false, fmt.Errorf("%q is not a boolean; true, on, yes, enabled, false, off, no and disabled are", value)
		}
	})
}

// StringEvaluation resolves a string.
func (p *Provider) StringEvaluation(_ context.Context, flag string, fallback string, flat of.FlattenedContext) of.StringResolutionDetail {
	return resolve(p, flag, fallback, flat, func(r *flagent.Result) (string, error) { return textOf(r), nil })
}

// FloatEvaluation resolves a number.
func (p *Provider) FloatEvaluation(_ context.Context, flag string, fallback float64, flat of.FlattenedContext) of.FloatResolutionDetail {
	return resolve(p, flag, fallback, flat, func(r *flagent.Result) (float64, error) { return values.ReadNumber(textOf(r)) })
}

// IntEvaluation resolves a whole number.
func (p *Provider) IntEvaluation(_ context.Context, flag string, fallback int64, flat of.FlattenedContext) of.IntResolutionDetail {
	return resolve(p, flag, fallback, flat, func(r *flagent.Result) (int64, error) {
		number, err := values.ReadInteger(textOf(r))
		if err != nil {
			return 0, err
		}
		if !number.IsInt64() {
			return 0, fmt.Errorf("%s is beyond 64 bits", number)
		}
		return number.Int64(), nil
	})
}

// ObjectEvaluation resolves the attachment of a variant, a map[string]any of strings.
func (p *Provider) ObjectEvaluation(_ context.Context, flag string, fallback any, flat of.FlattenedContext) of.InterfaceResolutionDetail {
	return resolve(p, flag, fallback, flat, func(r *flagent.Result) (any, error) {
		if r.VariantAttachment == nil {
			return nil, errors.New("the variant has no attachment, and an object value requires one")
		}
		object := make(map[string]any, len(r.VariantAttachment))
		for name, value := range r.VariantAttachment {
			object[name] = value
		}
		return object, nil
	})
}

func textOf(r *flagent.Result) string {
	if value, ok := r.VariantAttachment["value"]; ok {
		return value
	}
	return r.VariantKey
}

func resolve[T any](p *Provider, key string, fallback T, flat of.FlattenedContext, read func(*flagent.Result) (T, error)) of.GenericResolutionDetail[T] {
	detail := of.GenericResolutionDetail[T]{Value: fallback}
	fail := func(err of.ResolutionError) of.GenericResolutionDetail[T] {
		detail.Reason, detail.ResolutionError = of.ErrorReason, err
		return detail
	}
	p.mu.Lock()
	store := p.copied
	p.mu.Unlock()
	if store == nil || store.Status() == flagent.Initializing {
		return fail(of.NewProviderNotReadyResolutionError("no flags have arrived yet; the first snapshot is pending"))
	}
	entity, failure := entityOf(flat)
	if failure != nil {
		return fail(*failure)
	}
	flag, result, err := p.evaluate(store, key, entity)
	switch {
	case errors.Is(err, flagent.ErrFlagNotFound):
		return fail(of.NewFlagNotFoundResolutionError(fmt.Sprintf("flag %q does not exist", key)))
	case err != nil:
		return fail(of.NewGeneralResolutionError(err.Error()))
	case !flag.Enabled:
		detail.Reason = of.DisabledReason
		return detail
	case !result.HasVariant():
		detail.Reason = of.DefaultReason
		return detail
	}
	value, err := read(&result)
	if err != nil {
		return fail(of.NewTypeMismatchResolutionError(fmt.Sprintf("variant %q of %q: %v", result.VariantKey, key, err)))
	}
	detail.Value, detail.Variant = value, result.VariantKey
	detail.Reason = reasonOf(store, flag, &result)
	detail.FlagMetadata = of.FlagMetadata{"flagID": result.FlagID, "snapshotID": result.FlagSnapshotID}
	return detail
}

// evaluate looks the flag up by its key, and evaluates it by its id: a key of digits would be looked up among the ids.
func (p *Provider) evaluate(store *flagent.Store, key string, entity flagent.Entity) (*flagent.Flag, flagent.Result, error) {
	if p.schema != "" {
		flag, err := store.In(p.schema).Get(key)
		if err != nil {
			return nil, flagent.Result{}, err
		}
		result, err := store.In(p.schema).EvaluateID(flag.ID, entity)
		return flag, result, err
	}
	flag, err := store.Get(key)
	if err != nil {
		return nil, flagent.Result{}, err
	}
	result, err := store.EvaluateID(flag.ID, entity)
	return flag, result, err
}

func reasonOf(store *flagent.Store, flag *flagent.Flag, result *flagent.Result) of.Reason {
	if store.Status() != flagent.Ready {
		return StaleReason
	}
	at := slices.IndexFunc(flag.Segments, func(s flagent.Segment) bool { return s.ID == result.SegmentID })
	if at < 0 {
		return of.UnknownReason
	}
	segment := flag.Segments[at]
	shares := 0
	for _, d := range segment.Distributions {
		if d.Percent > 0 {
			shares++
		}
	}
	switch {
	case segment.RolloutPercent < 100 || shares > 1:
		return of.SplitReason
	case len(segment.Constraints) == 0 && at == 0:
		return of.StaticReason
	}
	return of.TargetingMatchReason
}

func entityOf(flat of.FlattenedContext) (flagent.Entity, *of.ResolutionError) {
	given, ok := flat[of.TargetingKey]
	key, isText := given.(string)
	if ok && given != nil && !isText {
		err := of.NewInvalidContextResolutionError(fmt.Sprintf("the targeting key must be a string; it is a %T", given))
		return flagent.Entity{}, &err
	}
	if values.IsBlank(key) {
		err := of.NewTargetingKeyMissingResolutionError("the context has no targeting key; pass the id of the user or other entity")
		return flagent.Entity{}, &err
	}
	entity := flagent.Entity{ID: key, Context: flagent.Context{}}
	for name, value := range flat {
		if name == of.TargetingKey {
			continue
		}
		if converted, ok := contextValue(value); ok {
			entity.Context[name] = converted
		}
	}
	return entity, nil
}

// contextValue is an attribute as a value for constraints: times as ISO 8601, structures as JSON text. A number that is not
// finite, which JSON cannot hold, counts as missing.
func contextValue(value any) (any, bool) {
	if number := reflect.ValueOf(value); number.IsValid() && number.CanFloat() && (math.IsNaN(number.Float()) || math.IsInf(number.Float(), 0)) {
		return nil, false
	}
	if moment, ok := value.(time.Time); ok {
		return moment.Format(time.RFC3339Nano), true
	}
	if values.Check(value) == nil {
		return value, true
	}
	text, err := json.Marshal(value)
	if err != nil {
		return nil, false // a value that JSON cannot hold counts as missing
	}
	return string(text), true
}
