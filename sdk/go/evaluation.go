package flagent

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/flagent-cdc/flagent-go/internal/values"
)

// Context is what is known about an entity, by property. Values are strings, finite numbers of any Go type, booleans or
// nil, which counts as missing. A number is compared as JavaScript writes it, so that 3 and 3.0 are the same value.
type Context map[string]any

// Entity is a user, or whatever else gets variants. Without an ID, a random entity is evaluated.
type Entity struct {
	ID string
	// Type replaces the flag's entity type in the result; it changes nothing else.
	Type    string
	Context Context
}

// Result is the evaluation of one flag for one entity.
type Result struct {
	FlagID         int64
	FlagKey        string
	FlagSnapshotID int64
	// FlagTags, and VariantAttachment below, are shared with the flag: do not change them.
	FlagTags []string
	// SegmentID is the segment that was evaluated last, 0 for none.
	SegmentID int64
	// VariantID is 0, and VariantKey "", when the entity gets no variant.
	VariantID         int64
	VariantKey        string
	VariantAttachment map[string]string
	EntityID          string
	EntityType        string
	// Message says why the entity gets no variant, where that is known.
	Message string
	Time    time.Time
}

// HasVariant reports whether the entity gets a variant.
func (r *Result) HasVariant() bool { return r.VariantID != 0 }

// ContextError says which value of a context is of a type that cannot be compared. Nothing was evaluated.
type ContextError struct {
	Property string
	Reason   string
}

func (e *ContextError) Error() string {
	return fmt.Sprintf("flagent: the context value %q %s", e.Property, e.Reason)
}

// ReducedFlagError says that the server sent a flag without its segments and variants, because it is too large. Ask the
// server: see [Client.Evaluate].
type ReducedFlagError struct {
	Key  string
	Size int64
}

func (e *ReducedFlagError) Error() string {
	return fmt.Sprintf("flagent: flag %q has %d bytes, more than the server sends; let the server evaluate it, with Client.Evaluate", e.Key, e.Size)
}

// Evaluate evaluates the flag of a key without network; the result equals the server's. A flag that does not exist or is
// switched off gives a result without a variant. A key that is a number is looked up among the ids of flags first, as on
// the server.
//
// It returns a [*ContextError], a [*ReducedFlagError], and an [*AmbiguousFlagError] as [Store.Get] does. It allocates
// nothing while the context's values are strings.
func (s *Store) Evaluate(key string, entity Entity) (Result, error) {
	return s.evaluate(key, "", 0, key, entity)
}

// EvaluateID evaluates the flag of an id; see [Store.Evaluate].
func (s *Store) EvaluateID(id int64, entity Entity) (Result, error) {
	return s.evaluate(strconv.FormatInt(id, 10), "", id, "", entity)
}

// Evaluate evaluates a flag of this schema; see [Store.Evaluate].
func (v SchemaView) Evaluate(key string, entity Entity) (Result, error) {
	return v.store.evaluate(key, v.schema, 0, key, entity)
}

func (s *Store) evaluate(name, schema string, id int64, key string, entity Entity) (Result, error) {
	table := s.driver.view.Load()
	flag, err := table.findEnabled(name, schema)
	if err != nil {
		return Result{}, err
	}
	result, err := evaluateFlag(flag, table, schema, entity)
	if err != nil {
		return Result{}, err
	}
	if flag == nil {
		result.FlagID, result.FlagKey = id, key
	}
	if exposures := s.client.exposures; exposures.isUsed.Load() {
		s.expose(table, name, schema, flag, &result, entity.Context)
	}
	return result, nil
}

// expose reports an evaluation of a flag that the store holds, off or without a variant too.
func (s *Store) expose(table *view, name, schema string, flag *Flag, result *Result, context Context) {
	if flag == nil {
		var err error
		if flag, err = table.get(name, schema); err != nil {
			return
		}
	}
	known := ""
	if table.hasSeveralSchemas {
		known = flag.Schema
	}
	s.client.exposures.add(flag, known, result, context, table.position)
}

// evaluateFlag evaluates a flag, nil for none, with the dependencies of a table.
func evaluateFlag(flag *Flag, table *view, schema string, entity Entity) (Result, error) {
	for property, value := range entity.Context {
		if _, isText := value.(string); isText {
			continue
		}
		if err := values.Check(value); err != nil {
			return Result{}, &ContextError{property, err.Error()}
		}
	}
	result := Result{EntityID: entity.ID, EntityType: entity.Type, Time: time.Now()}
	if values.IsBlank(entity.ID) {
		result.EntityID = "randomly_generated_" + strconv.Itoa(int(rand.Int32()))
	}
	if flag == nil || !flag.Enabled || flag.Archived {
		result.Message = "the flag does not exist or is disabled"
		return result, nil
	}
	if flag.TooLarge > 0 {
		return Result{}, &ReducedFlagError{flag.Key, flag.TooLarge}
	}
	result.FlagID, result.FlagKey, result.FlagSnapshotID, result.FlagTags = flag.ID, flag.Key, flag.SnapshotID, flag.plan.tags
	if result.EntityType == "" {
		result.EntityType = flag.EntityType
	}
	if len(flag.DependsOn) > 0 {
		missing, err := blockedBy(flag, table, schema, result.EntityID, entity.Context)
		if err != nil {
			return Result{}, err
		}
		if missing != "" {
			result.Message = fmt.Sprintf("the dependency %q is missing, disabled or has no variant", missing)
			return result, nil
		}
	}
	segmentID, found := flag.plan.decide(result.EntityID, entity.Context)
	result.SegmentID = segmentID
	switch {
	case found == nil && len(flag.Segments) == 0:
		result.Message = "the flag has no segments"
	case found != nil:
		result.VariantID = found.variantID
		if found.variant != nil {
			result.VariantKey, result.VariantAttachment = found.variant.Key, found.variant.Attachment
		}
	}
	return result, nil
}

// blockedBy is the dependency that blocks a flag, "" for none: each must exist and give the entity a variant. A cycle
// blocks.
func blockedBy(flag *Flag, table *view, schema, entityID string, context Context) (string, error) {
	known := map[string]bool{flag.Key: false}
	for _, key := range flag.DependsOn {
		if _, ok := known[key]; !ok {
			if err := decideDependency(key, table, schema, entityID, context, known); err != nil {
				return "", err
			}
		}
		if !known[key] {
			return key, nil
		}
	}
	return "", nil
}

// decideDependency records in known whether the flag of a key, and every flag that it depends on, gives the entity a
// variant. It is iterative, so that a chain may have any length.
func decideDependency(key string, table *view, schema, entityID string, context Context, known map[string]bool) error {
	known[key] = false // reached again below itself, it is part of a cycle, and a cycle blocks
	path := []string{key}
	for len(path) > 0 {
		at := path[len(path)-1]
		flag, err := table.get(at, schema)
		if err != nil && err != ErrFlagNotFound {
			return err
		}
		below, isBlocked := "", flag == nil || !flag.Enabled || flag.Archived
		if !isBlocked && flag.TooLarge > 0 {
			return &ReducedFlagError{flag.Key, flag.TooLarge}
		}
		if !isBlocked {
			for _, each := range flag.DependsOn {
				if result, isKnown := known[each]; !isKnown {
					below = each
					break
				} else if !result {
					isBlocked = true
					break
				}
			}
		}
		switch {
		case below != "":
			known[below] = false
			path = append(path, below)
			continue
		case !isBlocked:
			_, found := flag.plan.decide(entityID, context)
			known[at] = found != nil
		}
		path = path[:len(path)-1]
	}
	return nil
}

// EvaluateID evaluates the flag of an id in this schema; see [Store.Evaluate].
func (v SchemaView) EvaluateID(id int64, entity Entity) (Result, error) {
	return v.store.evaluate(strconv.FormatInt(id, 10), v.schema, id, "", entity)
}
