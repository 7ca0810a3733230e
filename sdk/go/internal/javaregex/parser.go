package javaregex

import (
	"math"
	"strconv"
	"strings"
)

// parse returns the tree of an expression. It accepts exactly what Java 21 accepts, including its quirks: a dangling ] or
// } is a literal, a leading {2} repeats nothing, [^…] negates the whole class with its unions and intersections, a back
// reference to a missing group is valid and never matches. The error is errInvalid, errUnsupported or errTooComplex.
func parse(pattern string) (root node, err error) {
	defer func() {
		if value := recover(); value != nil {
			failure, ok := value.(error)
			if !ok || failure != errInvalid && failure != errUnsupported && failure != errTooComplex {
				panic(value)
			}
			err = failure
		}
	}()
	p := parser{cursor: newCursor(pattern), names: map[string]int{}}
	root = p.expression()
	if !p.isOver() {
		return nil, errInvalid // an unmatched closing parenthesis
	}
	return root, nil
}

type parser struct {
	cursor
	groups int
	names  map[string]int
}

func (p *parser) expression() node {
	branches := []node{p.sequence()}
	for p.special() == '|' {
		p.at++
		branches = append(branches, p.sequence())
	}
	if len(branches) == 1 {
		return branches[0]
	}
	return choice{branches}
}

func (p *parser) sequence() node {
	var items []node
	for {
		r := p.special()
		if r == '|' || r == ')' || p.isOver() {
			break
		}
		switch r {
		case '?', '*', '+':
			panic(errInvalid)
		case '(':
			if g := p.group(); g != nil {
				items = append(items, p.repeated(g))
			}
		default:
			items = append(items, p.repeated(p.atom(r)))
		}
	}
	if len(items) == 1 {
		return items[0]
	}
	return sequence{items}
}

func (p *parser) atom(r rune) node {
	switch r {
	case '[':
		return chars{p.class()}
	case '\\':
		return p.escape()
	case '^':
		p.at++
		if p.has('m') {
			return anchored{lineBegin, p.has('d')}
		}
		return anchored{begin, false}
	case '$':
		p.at++
		if p.has('m') {
			return anchored{lineEnd, p.has('d')}
		}
		return anchored{finalLineEnd, p.has('d')}
	case '.':
		p.at++
		switch {
		case p.has('s'):
			return chars{anyRune}
		case p.has('d'):
			return chars{noneOf(set{{10, 10}})}
		}
		return chars{noneOf(lineEnds)}
	case '{':
		return sequence{} // a repetition of nothing
	}
	return chars{p.single(p.take())}
}

func (p *parser) repeated(item node) node {
	r := repeat{item: item, most: unlimited}
	switch p.special() {
	case '?':
		r.most = 1
	case '*':
	case '+':
		r.least = 1
	case '{':
		r.least, r.most = p.bounds()
	default:
		return item
	}
	p.at++
	switch p.special() {
	case '?':
		r.kind = lazy
	case '+':
		r.kind = possessive
	default:
		return r
	}
	p.at++
	return r
}

// bounds parses {n}, {n,} or {n,m} up to its closing brace.
func (p *parser) bounds() (least, most int) {
	p.at++
	if !isDigit(p.chars[p.at]) {
		panic(errInvalid)
	}
	least = p.count()
	most = least
	if p.special() == ',' {
		p.at++
		if p.special() == '}' {
			return least, unlimited
		}
		if !isDigit(p.peek()) {
			panic(errInvalid)
		}
		if most = p.count(); most < least {
			panic(errInvalid)
		}
	}
	if p.special() != '}' {
		panic(errInvalid)
	}
	return least, most
}

func (p *parser) count() int {
	var digits strings.Builder
	for isDigit(p.peek()) {
		digits.WriteRune(p.take())
	}
	count, err := strconv.ParseInt(digits.String(), 10, 64)
	if err != nil || count > math.MaxInt32 {
		panic(errInvalid)
	}
	return int(count)
}

// group reads a group from its parenthesis on; nil for a group that only sets flags.
func (p *parser) group() (found node) {
	before := p.flags
	p.at++
	isSetting := false
	p.deeper(func() {
		if p.special() != '?' {
			p.groups++
			number := p.groups
			found = group{item: p.expression(), number: number}
			return
		}
		p.at++
		found = p.opened()
		isSetting = found == nil
	})
	if isSetting {
		return nil
	}
	if p.special() != ')' {
		panic(errInvalid)
	}
	// The flags in force at the parenthesis hold again, before a blank after it is looked at.
	p.flags = before
	p.at++
	return found
}

func (p *parser) opened() node {
	r := p.chars[p.at]
	p.at++
	switch r {
	case ':':
		return group{item: p.expression()}
	case '=', '!':
		return look{item: p.expression(), isAhead: true, isNegative: r == '!'}
	case '>':
		return group{item: p.expression(), isAtomic: true}
	case '<':
		r = p.take()
		if r == '=' || r == '!' {
			item := p.expression()
			length, ok := maximumLength(item)
			if !ok {
				panic(errInvalid) // a look-behind without an obvious maximum length
			}
			if length < 0 {
				item = chars{noRune} // with a negative length Java finds nothing
			}
			return look{item: item, isNegative: r == '!', length: int(max(length, 0))}
		}
		p.at--
		name := p.name()
		if _, ok := p.names[name]; ok {
			panic(errInvalid)
		}
		p.groups++
		number := p.groups
		p.names[name] = number
		return group{item: p.expression(), number: number}
	}
	p.at--
	return p.flagGroup()
}

// flagGroup parses (?i), which sets flags up to the end of the enclosing group, or (?i:…).
func (p *parser) flagGroup() node {
	on := true
	for {
		r := p.peek()
		if r == '-' && on {
			on = false
		} else if r != over && strings.ContainsRune("imsduxcU", r) {
			if r == 'U' {
				p.set('u', on)
			}
			p.set(byte(r), on)
		} else {
			break
		}
		p.at++
	}
	switch p.take() {
	case ')':
		return nil
	case ':':
		return group{item: p.expression()}
	}
	panic(errInvalid)
}

func (p *parser) name() string {
	var name strings.Builder
	for isLetter(p.chars[p.at]) || name.Len() > 0 && isDigit(p.chars[p.at]) {
		name.WriteRune(p.take())
	}
	if name.Len() == 0 || p.take() != '>' {
		panic(errInvalid)
	}
	return name.String()
}

// escape parses an escape outside of a class.
func (p *parser) escape() node {
	r := p.chars[p.at+1]
	if r == 'p' || r == 'P' {
		return chars{p.property()}
	}
	if isClassEscape(r) {
		p.at += 2
		return chars{classSet(r, p.has('U'))}
	}
	if r >= '1' && r <= '9' {
		return p.reference()
	}
	after := p.at + 2
	switch r {
	case 'A', 'G':
		// \G is the end of the previous match, which is the beginning of the text.
		p.at = after
		return anchored{begin, false}
	case 'B':
		p.at = after
		return anchored{notWord, false}
	case 'z':
		p.at = after
		return anchored{end, false}
	case 'Z':
		p.at = after
		return anchored{finalLineEnd, p.has('d')}
	case 'b':
		p.at = after
		if p.chars[p.at] == '{' && p.chars[p.at+1] == 'g' && p.chars[p.at+2] == '}' {
			panic(errUnsupported)
		}
		return anchored{word, false}
	case 'R':
		p.at = after
		return lineBreak{}
	case 'X':
		panic(errUnsupported)
	case 'k':
		p.at = after
		if p.take() != '<' {
			panic(errInvalid)
		}
		number, ok := p.names[p.name()]
		if !ok {
			panic(errInvalid)
		}
		return backreference{number, p.has('i'), p.has('u')}
	}
	return chars{p.single(p.code())}
}

// reference parses a numbered back reference; further digits belong to it while so many groups exist.
func (p *parser) reference() node {
	p.at++
	number := int(p.take() - '0')
	for isDigit(p.peek()) && number*10+int(p.peek()-'0') <= p.groups {
		number = number*10 + int(p.take()-'0')
	}
	if number > p.groups {
		number = 0
	}
	return backreference{number, p.has('i'), p.has('u')}
}
