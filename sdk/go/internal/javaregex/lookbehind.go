package javaregex

import "math"

// sums are the maximum length of a look-behind, which decides whether Java accepts it, in Java's 32-bit arithmetic: it
// accepts (?<=a*) and (?<=(?:abc)*), refuses (?<=(?:ab)*), and accepts (?<=a*b*), which never matches as its length has
// become negative.
type sums struct {
	most            int32
	isUnbounded     bool
	isIndeterminate bool
}

// maximumLength is the maximum length in Java, possibly negative; ok is false if Java refuses the look-behind.
func maximumLength(n node) (length int32, ok bool) {
	var s sums
	s.add([]node{n})
	return s.most, !s.isUnbounded
}

func (s *sums) add(items []node) {
	for i, item := range items {
		switch item := item.(type) {
		case chars:
			s.most++
		case lineBreak:
			s.most += 2
		case backreference:
			s.isUnbounded = true
		case sequence:
			s.add(joined(item.items, items[i+1:]))
			return
		case group:
			s.add(joined([]node{item.item}, items[i+1:]))
			return
		case choice:
			s.addChoice(item.branches, items[i+1:])
			return
		case repeat:
			if inner, ok := item.item.(group); ok && item.least == 0 && item.most == 1 && !inner.isAtomic && item.kind != possessive {
				s.addChoice([]node{inner, sequence{}}, items[i+1:])
				return
			}
			s.addRepeat(item)
		}
	}
}

func joined(a, b []node) []node { return append(append(make([]node, 0, len(a)+len(b)), a...), b...) }

// addChoice adds the longest branch, then what follows the choice, summed separately.
func (s *sums) addChoice(branches, rest []node) {
	longest := int32(-1)
	for _, branch := range branches {
		var inner sums
		inner.add([]node{branch})
		longest = max(longest, inner.most)
		s.isUnbounded = s.isUnbounded || inner.isUnbounded
	}
	var after sums
	after.add(rest)
	s.most += longest + after.most
	s.isUnbounded = s.isUnbounded || after.isUnbounded
	s.isIndeterminate = true
}

func (s *sums) addRepeat(n repeat) {
	if _, ok := n.item.(chars); ok && n.most == unlimited && n.kind == greedy {
		// The only repetition that Java does not check for overflow.
		s.most += math.MaxInt32
		s.isIndeterminate = true
		return
	}
	var inner sums
	inner.add([]node{n.item})
	if n.least == 0 && n.most == 1 {
		s.most += inner.most
		s.isUnbounded = s.isUnbounded || inner.isUnbounded
		s.isIndeterminate = true
		return
	}
	if g, ok := n.item.(group); ok && !g.isAtomic && n.kind != possessive && inner.isIndeterminate {
		s.isUnbounded, s.isIndeterminate = true, true
		return
	}
	before := s.most
	most := int32(math.MaxInt32)
	if n.most != unlimited {
		most = int32(n.most)
	}
	s.most = inner.most*most + before
	s.isUnbounded = s.isUnbounded || inner.isUnbounded || s.most < before
	s.isIndeterminate = s.isIndeterminate || inner.isIndeterminate || n.least != n.most
}
