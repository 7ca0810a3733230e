package javaregex

// class parses […], with unions and intersections; the cursor is at its bracket.
func (c *cursor) class() (found set) {
	isNegated := false
	c.deeper(func() {
		c.at++
		isNegated = c.special() == '^' && c.chars[c.at-1] == '['
		if isNegated {
			c.at++
		}
		found = c.classItems()
		c.at++
	})
	if isNegated {
		return noneOf(found)
	}
	return found
}

// classItems parses unions and intersections up to the closing bracket, which stays; a first ] is a literal.
func (c *cursor) classItems() set {
	var sofar, latest, singles set
	hasSofar, hasLatest, hasSingles := false, false, false
	add := func(s set) {
		latest, hasLatest = s, true
		if hasSofar {
			s = anyOf(sofar, s)
		}
		sofar, hasSofar = s, true
	}
	for {
		r := c.special()
		if r == '[' {
			add(c.class())
			continue
		}
		if r == '&' && c.followsAmpersand() {
			right, hasRight := c.intersected()
			if hasSingles {
				if !hasSofar {
					latest, hasLatest = singles, true
					sofar, hasSofar = singles, true
				} else {
					sofar = anyOf(sofar, singles)
				}
				singles, hasSingles = nil, false
			}
			// With nothing to the right, Java intersects with the previous item; if that is a single character, the compiled
			// expression throws at its first use, which is equivalent to invalid.
			if !hasRight {
				right, hasRight = latest, hasLatest
			}
			if !hasRight {
				panic(errInvalid)
			}
			latest, hasLatest = right, true
			if hasSofar {
				right = bothOf(sofar, right)
			}
			sofar, hasSofar = right, true
			continue
		}
		if c.isOver() {
			panic(errInvalid)
		}
		if r == ']' && (hasSofar || hasSingles) {
			return anyOf(singles, sofar)
		}
		item, isSingle := c.classRange()
		if isSingle {
			singles, hasSingles = anyOf(singles, item), true
			hasLatest = false
		} else {
			add(item)
		}
	}
}

// followsAmpersand consumes && at the cursor, if it is there.
func (c *cursor) followsAmpersand() bool {
	start := c.at
	c.at++
	if c.special() == '&' {
		c.at++
		return true
	}
	c.at = start
	return false
}

// intersected parses the right side of &&, up to the next one or the end; ok is false if it is empty.
func (c *cursor) intersected() (right set, ok bool) {
	for !c.isOver() && c.special() != ']' && c.special() != '&' {
		var part set
		if c.special() == '[' {
			part = c.class()
		} else {
			c.deeper(func() { part = c.classItems() })
		}
		if right = anyOf(right, part); !ok {
			ok = true
		}
	}
	return right, ok
}

// classRange parses a character, a range or a predefined class, and says whether it is a single character below 256: Java
// collects those separately and adds them to the rest late, which matters if intersections follow.
func (c *cursor) classRange() (set, bool) {
	s, first, isSet := c.classCode(false)
	if isSet {
		return s, false
	}
	if c.special() == '-' {
		if next := c.chars[c.at+1]; !c.isQuoted[c.at+1] && (next == '[' || next == ']') {
			return c.single(first), first < 256
		}
		c.at++
		if c.isOver() {
			panic(errInvalid)
		}
		_, last, isSet := c.classCode(true)
		if isSet || last < first {
			panic(errInvalid)
		}
		return c.folded(set{{first, last}}), false
	}
	return c.single(first), first < 256
}

// classCode parses a character of a class, or an escape for a set.
func (c *cursor) classCode(inRange bool) (s set, code rune, isSet bool) {
	if c.special() != '\\' {
		return nil, c.take(), false
	}
	r := c.chars[c.at+1]
	switch {
	case (r == 'p' || r == 'P') && !inRange:
		return c.property(), 0, true
	case r == 'v' && (inRange || c.chars[c.at+2] == '-'):
		c.at += 2
		return nil, 0x0B, false
	case isClassEscape(r):
		c.at += 2
		return classSet(r, c.has('U')), 0, true
	}
	return nil, c.code(), false
}
