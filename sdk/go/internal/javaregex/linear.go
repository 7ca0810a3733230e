package javaregex

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"
)

// errNotLinear says that an expression needs backtracking.
var errNotLinear = errors.New("the expression needs backtracking")

// maxCount is the limit of a repetition of Go's regexp; Java's is 2^31.
const maxCount = 1000

const (
	lineBreakText   = `(?:\r\n|[\n-\r\x{85}\x{2028}\x{2029}])`
	finalEndText    = `(?:\r\n|[\n\r\x{85}\x{2028}\x{2029}])?\z`
	finalFeedText   = `\n?\z`
	impossibleClass = `[^\x{0}-\x{10FFFF}]`
)

// linearPlans translates an expression for Go's regexp; one of the plans must match. Only full matches are needed, so
// greedy and lazy are equivalent. Look-aheads at the beginning, the usual way to say "and" and "but not", become
// expressions of their own.
func linearPlans(root node) ([]plan, error) {
	branches := []node{root}
	if c, ok := root.(choice); ok {
		branches = c.branches
	}
	plans := make([]plan, 0, len(branches))
	for _, branch := range branches {
		p, err := linearPlan(branch)
		if err != nil {
			return nil, err
		}
		plans = append(plans, p)
	}
	return plans, nil
}

func linearPlan(n node) (p plan, err error) {
	items := []node{n}
	if s, ok := n.(sequence); ok {
		items = s.items
	}
	for len(items) > 0 {
		if first, ok := items[0].(look); ok {
			if !first.isAhead {
				return p, errNotLinear
			}
			compiled, err := compileLinear(first.item, true)
			if err != nil {
				return p, err
			}
			if first.isNegative {
				p.excluded = append(p.excluded, compiled)
			} else {
				p.required = append(p.required, compiled)
			}
		} else if first, ok := items[0].(anchored); !ok || first.anchor != begin {
			break
		}
		items = items[1:]
	}
	p.whole, err = compileLinear(sequence{items}, false)
	return p, err
}

func compileLinear(n node, isPrefix bool) (*regexp.Regexp, error) {
	w := linearWriter{isPrefix: isPrefix}
	w.write(n, true)
	if w.failed {
		return nil, errNotLinear
	}
	text := `\A(?:` + w.text.String() + `)`
	if !isPrefix {
		text += `\z`
	}
	// The text is well-formed, so that only its size can be refused.
	return regexp.Compile(text)
}

// linearWriter writes Go's syntax. isPrefix: the text may continue after the match; else the match must end with it.
type linearWriter struct {
	isPrefix bool
	text     strings.Builder
	failed   bool
}

// write translates a node; isLast: nothing after it consumes characters.
func (w *linearWriter) write(n node, isLast bool) {
	switch n := n.(type) {
	case chars:
		w.text.WriteString(classText(n.set))
	case lineBreak:
		w.text.WriteString(lineBreakText)
	case anchored:
		w.anchor(n, isLast)
	case sequence:
		w.sequence(n.items, isLast)
	case choice:
		for i, branch := range n.branches {
			w.text.WriteString([]string{"(?:", "|"}[min(i, 1)])
			w.write(branch, isLast)
		}
		w.text.WriteByte(')')
	case group:
		w.failed = w.failed || n.isAtomic
		w.text.WriteString("(?:")
		w.write(n.item, isLast)
		w.text.WriteByte(')')
	case repeat:
		w.repeat(n, nil, isLast)
	default:
		w.failed = true
	}
}

func (w *linearWriter) sequence(items []node, isLast bool) {
	for i, item := range items {
		rest := items[i+1:]
		last := isLast
		for _, other := range rest {
			_, isAnchor := other.(anchored)
			last = last && isAnchor
		}
		if r, ok := item.(repeat); ok {
			var follower node
			if len(rest) > 0 {
				follower = rest[0]
			}
			w.repeat(r, follower, last)
		} else {
			w.write(item, last)
		}
	}
}

func (w *linearWriter) anchor(n anchored, isLast bool) {
	switch {
	case n.anchor == begin:
		w.text.WriteString(`\A`)
	case n.anchor == end:
		w.text.WriteString(`\z`)
	case n.anchor == word:
		w.text.WriteString(`\b`)
	case n.anchor == notWord:
		w.text.WriteString(`\B`)
	case n.anchor == finalLineEnd && isLast && !w.isPrefix:
		// A full match leaves no line end before the end.
		w.text.WriteString(`\z`)
	case n.anchor == finalLineEnd && isLast && n.isUnix:
		w.text.WriteString(finalFeedText)
	case n.anchor == finalLineEnd && isLast:
		w.text.WriteString(finalEndText)
	default:
		w.failed = true
	}
}

func (w *linearWriter) repeat(n repeat, follower node, isLast bool) {
	if n.kind == possessive && !w.mayGiveBack(n, follower, isLast) || n.least > maxCount || n.most > maxCount {
		w.failed = true
		return
	}
	w.text.WriteString("(?:")
	w.write(n.item, isLast && n.most == 1)
	w.text.WriteByte(')')
	switch {
	case n.least == 0 && n.most == unlimited:
		w.text.WriteByte('*')
	case n.least == 1 && n.most == unlimited:
		w.text.WriteByte('+')
	case n.least == 0 && n.most == 1:
		w.text.WriteByte('?')
	case n.most == unlimited:
		fmt.Fprintf(&w.text, "{%d,}", n.least)
	default:
		fmt.Fprintf(&w.text, "{%d,%d}", n.least, n.most)
	}
}

// mayGiveBack reports whether a possessive repetition is equivalent to a greedy one, as backtracking could not help. That
// holds for single characters at the end of the text, and before a character that is not one of them.
func (w *linearWriter) mayGiveBack(n repeat, follower node, isLast bool) bool {
	item, ok := n.item.(chars)
	if !ok {
		return false
	}
	if after, isAnchor := follower.(anchored); isLast && !w.isPrefix &&
		(follower == nil || isAnchor && (after.anchor == end || after.anchor == finalLineEnd)) {
		return true
	}
	after, ok := follower.(chars)
	return ok && len(bothOf(item.set, after.set)) == 0
}

// classText is one character of a set in Go's syntax.
func classText(s set) string {
	if len(s) == 0 {
		return impossibleClass
	}
	if len(s) == 1 && s[0].first == s[0].last && s[0].first < unicode.MaxASCII &&
		(unicode.IsLetter(s[0].first) || unicode.IsDigit(s[0].first)) {
		return string(s[0].first)
	}
	var text strings.Builder
	text.WriteByte('[')
	for _, p := range s {
		fmt.Fprintf(&text, `\x{%X}-\x{%X}`, p.first, p.last)
	}
	text.WriteByte(']')
	return text.String()
}
