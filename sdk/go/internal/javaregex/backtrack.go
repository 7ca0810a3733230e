package javaregex

import "unicode"

// matcher matches with backtracking, and counts its steps.
type matcher struct {
	text   []rune
	groups map[int]span
	steps  int
	isOver bool
}

type span struct{ from, to int }

// then is what must match after a node, from a place on.
type then func(at int) bool

// backtrack reports whether a tree matches the whole text.
func backtrack(root node, text []rune) (bool, error) {
	m := &matcher{text: text, groups: map[int]span{}}
	found := m.match(root, 0, func(at int) bool { return at == len(text) })
	if m.isOver {
		return false, ErrUndecided
	}
	return found, nil
}

func (m *matcher) match(n node, at int, next then) bool {
	if m.steps++; m.steps > maxSteps {
		m.isOver = true
	}
	if m.isOver {
		return false
	}
	switch n := n.(type) {
	case chars:
		return at < len(m.text) && n.set.has(m.text[at]) && next(at+1)
	case anchored:
		return m.holds(n, at) && next(at)
	case lineBreak:
		if at+1 < len(m.text) && m.text[at] == '\r' && m.text[at+1] == '\n' && next(at+2) {
			return true
		}
		return at < len(m.text) && verticalSpace.has(m.text[at]) && next(at+1)
	case sequence:
		return m.sequence(n.items, at, next)
	case choice:
		for _, branch := range n.branches {
			if m.match(branch, at, next) {
				return true
			}
		}
		return false
	case group:
		return m.group(n, at, next)
	case repeat:
		return m.repeat(n, at, next)
	case backreference:
		return m.reference(n, at, next)
	case look:
		return m.look(n, at, next)
	}
	panic("javaregex: a node of an unknown kind")
}

func (m *matcher) sequence(items []node, at int, next then) bool {
	if len(items) == 0 {
		return next(at)
	}
	return m.match(items[0], at, func(at int) bool { return m.sequence(items[1:], at, next) })
}

func (m *matcher) group(n group, at int, next then) bool {
	if n.isAtomic {
		to, ok := m.once(n.item, at)
		return ok && next(to)
	}
	if n.number == 0 {
		return m.match(n.item, at, next)
	}
	return m.match(n.item, at, func(to int) bool {
		old, was := m.groups[n.number]
		m.groups[n.number] = span{at, to}
		if next(to) {
			return true
		}
		if was {
			m.groups[n.number] = old
		} else {
			delete(m.groups, n.number)
		}
		return false
	})
}

// once matches a node in the first way that there is; groups keep what they matched.
func (m *matcher) once(n node, at int) (to int, ok bool) {
	ok = m.match(n, at, func(found int) bool {
		to = found
		return true
	})
	return to, ok
}

func (m *matcher) repeat(n repeat, at int, next then) bool {
	if c, ok := n.item.(chars); ok {
		return m.repeatChars(c, n, at, next)
	}
	if n.kind == possessive {
		count := 0
		for n.most == unlimited || count < n.most {
			to, ok := m.once(n.item, at)
			if !ok || (to == at && count >= n.least) {
				break
			}
			at = to
			count++
		}
		return count >= n.least && next(at)
	}
	return m.iterate(n, 0, at, -1, next)
}

// iterate matches one more iteration, or what follows. An iteration that matched nothing is the last one.
func (m *matcher) iterate(n repeat, count, at, before int, next then) bool {
	again := func() bool {
		if n.most != unlimited && count >= n.most || (count >= n.least && at == before) {
			return false
		}
		return m.match(n.item, at, func(to int) bool { return m.iterate(n, count+1, to, at, next) })
	}
	switch {
	case count < n.least:
		return again()
	case n.kind == lazy:
		return next(at) || again()
	}
	return again() || next(at)
}

func (m *matcher) repeatChars(c chars, n repeat, at int, next then) bool {
	limit := len(m.text) - at
	if n.most != unlimited {
		limit = min(limit, n.most)
	}
	if n.kind == lazy {
		for count := 0; ; count++ {
			if m.steps++; m.steps > maxSteps {
				m.isOver = true
				return false
			}
			if count >= n.least && next(at+count) {
				return true
			}
			if count >= limit || !c.set.has(m.text[at+count]) || m.isOver {
				return false
			}
		}
	}
	count := 0
	for count < limit && c.set.has(m.text[at+count]) {
		count++
	}
	m.steps += count
	if n.kind == possessive {
		return count >= n.least && next(at+count)
	}
	for ; count >= n.least && !m.isOver; count-- {
		if next(at + count) {
			return true
		}
	}
	return false
}

func (m *matcher) reference(n backreference, at int, next then) bool {
	s, ok := m.groups[n.group]
	if !ok || at+s.to-s.from > len(m.text) {
		return false
	}
	m.steps += s.to - s.from
	for i := range s.to - s.from {
		a, b := m.text[s.from+i], m.text[at+i]
		if a != b && !(n.folds && isFolded(a, b, n.isUnicode)) {
			return false
		}
	}
	return next(at + s.to - s.from)
}

func isFolded(a, b rune, isUnicode bool) bool {
	if isUnicode {
		return unicode.ToLower(unicode.ToUpper(a)) == unicode.ToLower(unicode.ToUpper(b))
	}
	return a|0x20 == b|0x20 && a|0x20 >= 'a' && a|0x20 <= 'z'
}

func (m *matcher) look(n look, at int, next then) bool {
	found := false
	if n.isAhead {
		_, found = m.once(n.item, at)
	} else {
		for from := at; from >= 0 && at-from <= n.length && !found && !m.isOver; from-- {
			found = m.match(n.item, from, func(to int) bool { return to == at })
		}
	}
	return found != n.isNegative && !m.isOver && next(at)
}

func (m *matcher) holds(n anchored, at int) bool {
	length := len(m.text)
	isEnd := func(at int) bool { return at < length && lineEnds.has(m.text[at]) }
	if n.isUnix {
		isEnd = func(at int) bool { return at < length && m.text[at] == '\n' }
	}
	// Between CR and LF no line ends or begins.
	isWithin := !n.isUnix && at > 0 && at < length && m.text[at-1] == '\r' && m.text[at] == '\n'
	isWord := func(at int) bool { return at >= 0 && at < length && wordSet.has(m.text[at]) }
	switch n.anchor {
	case begin:
		return at == 0
	case end:
		return at == length
	case word:
		return isWord(at-1) != isWord(at)
	case notWord:
		return isWord(at-1) == isWord(at)
	case finalLineEnd:
		return at == length || !isWithin && (isEnd(at) && at+1 == length ||
			!n.isUnix && at+2 == length && m.text[at] == '\r' && m.text[at+1] == '\n')
	case lineBegin:
		// In Java, as in Perl, no line begins at the very end.
		return at < length && (at == 0 || isEnd(at-1) && !isWithin)
	}
	return at == length || isEnd(at) && !isWithin
}
