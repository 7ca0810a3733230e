package flagent

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unique"

	"github.com/flagent-cdc/flagent-go/internal/javaregex"
	"github.com/flagent-cdc/flagent-go/internal/values"
)

// plan is a flag compiled for evaluation. Plans are never changed.
type plan struct {
	// salt is the state of the CRC-32 after the flag's id, which precedes the entity's id.
	salt     uint32
	segments []segmentPlan
	tags     []string
}

type segmentPlan struct {
	id int64
	// limit is the highest bucket of the rollout; 0 for none.
	limit  uint32
	tests  []test
	shares []share
}

// share is a variant and the highest bucket that it gets.
type share struct {
	limit     int64
	variantID int64
	variant   *Variant
}

func newPlan(f *Flag) *plan {
	p := &plan{salt: crcOf(^uint32(0), strconv.FormatInt(f.ID, 10)), tags: make([]string, 0, len(f.Tags))}
	for _, tag := range f.Tags {
		p.tags = append(p.tags, tag.Value)
	}
	segments := slices.Clone(f.Segments)
	slices.SortStableFunc(segments, func(a, b Segment) int { return cmp.Compare(a.Rank, b.Rank) })
	// What one evaluation reads lies side by side: with many flags, it waits for memory.
	testCount, shareCount := 0, 0
	for _, segment := range segments {
		testCount += len(segment.Constraints)
		shareCount += len(segment.Distributions)
	}
	tests, shares := make([]test, 0, testCount), make([]share, 0, shareCount)
	p.segments = make([]segmentPlan, 0, len(segments))
	for _, segment := range segments {
		s := segmentPlan{id: segment.ID}
		firstTest, firstShare := len(tests), len(shares)
		if segment.RolloutPercent > 0 && len(segment.Distributions) > 0 {
			s.limit = uint32(min(segment.RolloutPercent, 100) * 10)
		}
		for _, constraint := range segment.Constraints {
			tests = append(tests, newTest(constraint))
		}
		distributions := slices.Clone(segment.Distributions)
		slices.SortStableFunc(distributions, func(a, b Distribution) int { return cmp.Compare(a.Percent, b.Percent) })
		reached := int64(0)
		for _, d := range distributions {
			reached += d.Percent * 10
			at := slices.IndexFunc(f.Variants, func(v Variant) bool { return v.ID == d.VariantID })
			next := share{limit: reached, variantID: d.VariantID}
			if at >= 0 {
				next.variant = &f.Variants[at]
			}
			shares = append(shares, next)
		}
		s.tests, s.shares = tests[firstTest:len(tests):len(tests)], shares[firstShare:len(shares):len(shares)]
		p.segments = append(p.segments, s)
	}
	return p
}

// crcTable is of the IEEE polynomial. hash/crc32 takes bytes, and would move the text of an id to the heap.
var crcTable = func() (table [256]uint32) {
	for i := range table {
		crc := uint32(i)
		for range 8 {
			crc = crc>>1 ^ 0xedb88320*(crc&1)
		}
		table[i] = crc
	}
	return table
}()

func crcOf(crc uint32, text string) uint32 {
	for i := range len(text) {
		crc = crcTable[byte(crc)^text[i]] ^ crc>>8
	}
	return crc
}

// bucket is an entity's bucket, 1 to 1000.
func (p *plan) bucket(entityID string) uint32 { return ^crcOf(p.salt, entityID)%1000 + 1 }

// decide returns the segment that was evaluated last, and the share that the entity gets; nil for none. Zero is no
// segment: ids are positive.
func (p *plan) decide(entityID string, context map[string]any) (segmentID int64, found *share) {
	bucket := p.bucket(entityID)
	for i := range p.segments {
		s := &p.segments[i]
		segmentID = s.id
		if s.holds(context) && bucket <= s.limit {
			for j := range s.shares {
				if s.shares[j].limit >= int64(bucket) {
					return segmentID, &s.shares[j]
				}
			}
			return segmentID, &s.shares[len(s.shares)-1]
		}
	}
	return segmentID, nil
}

func (s *segmentPlan) holds(context map[string]any) bool {
	for i := range s.tests {
		value, ok := context[s.tests[i].property]
		if !ok || value == nil || !s.tests[i].holds(value) {
			return false
		}
	}
	return true
}

type operator uint8

const (
	never operator = iota
	equal
	notEqual
	in
	notIn
	contains
	notContains
	matches
	notMatches
	less
	lessOrEqual
	greater
	greaterOrEqual
)

var operators = map[string]operator{
	"EQ": equal, "NEQ": notEqual, "IN": in, "NOTIN": notIn, "CONTAINS": contains, "NOTCONTAINS": notContains,
	"EREG": matches, "NEREG": notMatches, "LT": less, "LTE": lessOrEqual, "GT": greater, "GTE": greaterOrEqual,
}

// test is a compiled constraint. An operator other than the twelve never holds.
type test struct {
	property string
	operator operator
	operand  string
	pieces   []string
	number   float64
	// pattern compiles the expression at its first use.
	pattern func() *javaregex.Pattern
}

func newTest(c Constraint) test {
	t := test{property: shared(c.Property), operator: operators[c.Operator], operand: shared(c.Value)}
	switch t.operator {
	case in, notIn:
		for piece := range strings.SplitSeq(c.Value, ",") {
			t.pieces = append(t.pieces, strings.Trim(piece, values.Whitespace))
		}
		slices.Sort(t.pieces)
	case matches, notMatches:
		t.pattern = sync.OnceValue(func() *javaregex.Pattern { return javaregex.Compile(c.Value) })
	case less, lessOrEqual, greater, greaterOrEqual:
		number, ok := values.ParseDouble(c.Value)
		if t.number = number; !ok {
			t.operator = never
		}
	}
	return t
}

// shared is the same text for all flags: few names of properties occur in many flags.
func shared(text string) string {
	if len(text) > maxShared {
		return text
	}
	return unique.Make(text).Value()
}

const maxShared = 64

func (t *test) holds(value any) bool {
	if t.operator >= less {
		return t.compares(value)
	}
	text, isText := value.(string)
	if !isText {
		if text, isText = values.Text(value); !isText {
			return false
		}
	}
	switch t.operator {
	case equal:
		return text == t.operand
	case notEqual:
		return text != t.operand
	case in:
		return t.hasPiece(text)
	case notIn:
		return !t.hasPiece(text)
	case contains:
		return strings.Contains(text, t.operand)
	case notContains:
		return !strings.Contains(text, t.operand)
	case matches, notMatches:
		// An undecided match fails both: a slow expression must not admit an entity that it might exclude.
		found, err := t.pattern().FullMatch(text)
		return err == nil && found == (t.operator == matches)
	}
	return false
}

func (t *test) hasPiece(text string) bool {
	_, found := slices.BinarySearch(t.pieces, text)
	return found
}

func (t *test) compares(value any) bool {
	var number float64
	switch value := value.(type) {
	case float64:
		number = value
	case int:
		number = float64(value)
	case int64:
		number = float64(value)
	default:
		text, isText := values.Text(value)
		if !isText {
			return false
		}
		var isNumber bool
		if number, isNumber = values.ParseDouble(text); !isNumber {
			return false
		}
	}
	switch t.operator {
	case less:
		return number < t.number
	case lessOrEqual:
		return number <= t.number
	case greater:
		return number > t.number
	}
	return number >= t.number
}
