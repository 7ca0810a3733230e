package flagent

import (
	"bytes"
	"encoding/json"
	"slices"

	"github.com/flagent-cdc/flagent-go/internal/jsontext"
)

// Flag is a feature flag as of one commit. Flags are shared between readers: do not change them.
//
// Decoding is lenient, so that a newer server does not break a client: a field that is missing, null or of another type
// is the zero value, and Raw has what this package does not know.
type Flag struct {
	ID                 int64
	Key                string
	Enabled            bool
	Description        string
	CreatedBy          string
	UpdatedBy          string
	SnapshotID         int64
	Notes              string
	DataRecordsEnabled bool
	EntityType         string
	EnvironmentID      int64
	ProjectID          int64
	// DependsOn are the keys of flags that must give an entity a variant before this one does.
	DependsOn []string
	Segments  []Segment
	Variants  []Variant
	Tags      []Tag
	// UpdatedAt is as the server wrote it, in ISO 8601.
	UpdatedAt string
	Archived  bool
	// Schema is the flag's schema in the database; "" where a snapshot of a server with one schema does not name it.
	Schema string
	// TooLarge is the size in bytes of a flag that the server sends reduced, without its segments and variants, because
	// it exceeds the server's limit; 0 for a whole flag. A reduced flag cannot be evaluated locally.
	TooLarge int64
	// Raw is the JSON object that the flag was decoded from.
	Raw json.RawMessage

	plan *plan
}

// Segment is a group of entities: those that meet all constraints, RolloutPercent of which get a variant. Segments are
// evaluated by ascending Rank. Distributions divide the entities among variants.
type Segment struct {
	ID             int64
	FlagID         int64
	Description    string
	Rank           int64
	RolloutPercent int64
	Constraints    []Constraint
	Distributions  []Distribution
}

// Constraint is a condition on one property of the entity's context. Operator is EQ, NEQ, IN, NOTIN, CONTAINS,
// NOTCONTAINS, EREG, NEREG, LT, LTE, GT or GTE.
type Constraint struct {
	ID        int64
	SegmentID int64
	Property  string
	Operator  string
	Value     string
}

// Distribution is the percentage of a segment's entities that get a variant; Percent is 0 to 100.
type Distribution struct {
	ID         int64
	SegmentID  int64
	VariantID  int64
	VariantKey string
	Percent    int64
}

// Variant is a possible result of a flag. Attachment is nil when the variant has none.
type Variant struct {
	ID         int64
	FlagID     int64
	Key        string
	Attachment map[string]string
}

// Tag is a tag of a flag.
type Tag struct {
	ID    int64
	Value string
}

// HasTag reports whether the flag has a tag of this value.
func (f *Flag) HasTag(value string) bool {
	return slices.ContainsFunc(f.Tags, func(tag Tag) bool { return tag.Value == value })
}

// UnmarshalJSON decodes a flag as the server writes it, leniently. It fails only for what is not a JSON object.
func (f *Flag) UnmarshalJSON(data []byte) error {
	value, err := jsontext.Parse(data)
	if err != nil {
		return &MalformedMessageError{Reason: err.Error()}
	}
	if value.Kind != jsontext.Object {
		return &MalformedMessageError{Reason: "a flag is not a JSON object"}
	}
	*f = *decodeFlag(value, "")
	return nil
}

// MarshalJSON returns Raw, or null for a flag that was not decoded.
func (f *Flag) MarshalJSON() ([]byte, error) {
	if f.Raw == nil {
		return []byte("null"), nil
	}
	return f.Raw, nil
}

// decodeFlag decodes a flag; schema applies when the object has none.
func decodeFlag(v jsontext.Value, schema string) *Flag {
	flag := &Flag{
		ID:                 number(v, "id"),
		Key:                text(v, "key"),
		Enabled:            truth(v, "enabled"),
		Description:        text(v, "description"),
		CreatedBy:          text(v, "createdBy"),
		UpdatedBy:          text(v, "updatedBy"),
		SnapshotID:         number(v, "snapshotID"),
		Notes:              text(v, "notes"),
		DataRecordsEnabled: truth(v, "dataRecordsEnabled"),
		EntityType:         text(v, "entityType"),
		EnvironmentID:      number(v, "environmentId"),
		ProjectID:          number(v, "projectId"),
		Segments:           objects(v, "segments", decodeSegment),
		Variants:           objects(v, "variants", decodeVariant),
		Tags:               objects(v, "tags", decodeTag),
		UpdatedAt:          text(v, "updatedAt"),
		Archived:           truth(v, "archived"),
		Schema:             v.Get("schema").TextOr(schema),
		TooLarge:           number(v, "tooLarge"),
		Raw:                bytes.Clone(v.Raw()),
	}
	for _, item := range v.Get("dependsOn").Items() {
		if key, ok := item.Text(); ok {
			flag.DependsOn = append(flag.DependsOn, key)
		}
	}
	flag.plan = newPlan(flag)
	return flag
}

func decodeSegment(v jsontext.Value) Segment {
	return Segment{
		ID:             number(v, "id"),
		FlagID:         number(v, "flagID"),
		Description:    text(v, "description"),
		Rank:           number(v, "rank"),
		RolloutPercent: number(v, "rolloutPercent"),
		Constraints:    objects(v, "constraints", decodeConstraint),
		Distributions:  objects(v, "distributions", decodeDistribution),
	}
}

func decodeConstraint(v jsontext.Value) Constraint {
	return Constraint{number(v, "id"), number(v, "segmentID"), text(v, "property"), text(v, "operator"), text(v, "value")}
}

func decodeDistribution(v jsontext.Value) Distribution {
	return Distribution{number(v, "id"), number(v, "segmentID"), number(v, "variantID"), text(v, "variantKey"), number(v, "percent")}
}

func decodeVariant(v jsontext.Value) Variant {
	variant := Variant{ID: number(v, "id"), FlagID: number(v, "flagID"), Key: text(v, "key")}
	if attachment := v.Get("attachment"); attachment.Kind == jsontext.Object {
		variant.Attachment = map[string]string{}
		attachment.Members(func(name string, value jsontext.Value) {
			if text, ok := value.Text(); ok {
				variant.Attachment[name] = text
			}
		})
	}
	return variant
}

func decodeTag(v jsontext.Value) Tag { return Tag{number(v, "id"), text(v, "value")} }

func number(v jsontext.Value, name string) int64 {
	value, _ := v.Get(name).Int()
	return value
}

func text(v jsontext.Value, name string) string { return v.Get(name).TextOr("") }

func truth(v jsontext.Value, name string) bool { return v.Get(name).Kind == jsontext.True }

func objects[T any](v jsontext.Value, name string, decode func(jsontext.Value) T) []T {
	items := v.Get(name).Items()
	if len(items) == 0 {
		return nil
	}
	decoded := make([]T, 0, len(items))
	for _, item := range items {
		if item.Kind == jsontext.Object {
			decoded = append(decoded, decode(item))
		}
	}
	return decoded
}
