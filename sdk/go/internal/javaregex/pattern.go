// Package javaregex matches Java regular expressions (java.util.regex.Pattern without flags), within limits of time.
//
// Expressions and values are untrusted: (a+)+b must not stop a program. The parser accepts what Java accepts. An
// expression that needs no backtracking runs on Go's regexp, in time linear in the value; all its classes are written
// out, so that nothing depends on Go's definition of a class, a line or a word. Others (look-around beyond leading
// look-aheads, back references, possessive and atomic groups that matter, line anchors within the text) run on a
// backtracking matcher that counts its steps.
//
// What differs from Java: grapheme clusters (\X, \b{g}), character names (\N{…}) and \p{javaMirrored} are undecided.
package javaregex

import (
	"errors"
	"regexp"
	"unicode/utf8"
)

// The limits of all SDKs: a longer expression or value is undecided.
const (
	MaxPattern = 1000
	MaxValue   = 4096
)

const (
	// maxLinearWork bounds the size of a program times the bytes of a value, hence the time to some ten milliseconds.
	maxLinearWork = 10_000_000
	// maxSteps bounds the backtracking matcher, to some ten milliseconds and 30 MiB of stack.
	maxSteps = 100_000
)

// ErrUndecided says that a match cannot be decided within the limits, or needs a feature that this package lacks.
var ErrUndecided = errors.New("the regular expression cannot be decided within the limits")

// Pattern is a compiled expression. It may be used by several goroutines.
type Pattern struct {
	plans []plan
	// root is matched with backtracking; nil where plans decide.
	root node
	size int
	// isInvalid: Java refuses the expression, which then never matches.
	isInvalid   bool
	isUndecided bool
}

type plan struct {
	whole              *regexp.Regexp
	required, excluded []*regexp.Regexp
}

// Compile compiles an expression. It never fails: an invalid expression matches nothing.
func Compile(text string) *Pattern {
	if utf8.RuneCountInString(text) > MaxPattern {
		return &Pattern{isUndecided: true}
	}
	root, err := parse(text)
	if errors.Is(err, errInvalid) {
		return &Pattern{isInvalid: true}
	}
	if err != nil {
		return &Pattern{isUndecided: true}
	}
	size := sizeOf(root)
	if plans, err := linearPlans(root); err == nil {
		return &Pattern{plans: plans, size: size}
	}
	return &Pattern{root: root, size: size}
}

// FullMatch reports whether the expression matches the whole value. The error is ErrUndecided.
func (p *Pattern) FullMatch(value string) (bool, error) {
	switch {
	case p.isInvalid:
		return false, nil
	case p.isUndecided || len(value) > MaxValue && utf8.RuneCountInString(value) > MaxValue:
		return false, ErrUndecided
	case p.root != nil:
		return backtrack(p.root, []rune(value))
	case p.size*len(value) > maxLinearWork:
		return false, ErrUndecided
	}
	for _, plan := range p.plans {
		if plan.matches(value) {
			return true, nil
		}
	}
	return false, nil
}

func (p plan) matches(value string) bool {
	if !p.whole.MatchString(value) {
		return false
	}
	for _, required := range p.required {
		if !required.MatchString(value) {
			return false
		}
	}
	for _, excluded := range p.excluded {
		if excluded.MatchString(value) {
			return false
		}
	}
	return true
}
