package javaregex

import (
	"slices"
	"sort"
	"sync"
	"unicode"
)

const lastRune = unicode.MaxRune

// pair is a first and a last code point.
type pair struct{ first, last rune }

// set is a set of code points: sorted pairs that are not adjacent.
type set []pair

var (
	anyRune = set{{0, lastRune}}
	noRune  = set{}
)

func ranges(pairs ...pair) set {
	sorted := slices.Clone(pairs)
	slices.SortFunc(sorted, func(a, b pair) int {
		if a.first != b.first {
			return int(a.first - b.first)
		}
		return int(a.last - b.last)
	})
	merged := make(set, 0, len(sorted))
	for _, p := range sorted {
		if n := len(merged); n > 0 && p.first <= merged[n-1].last+1 {
			merged[n-1].last = max(merged[n-1].last, p.last)
		} else {
			merged = append(merged, p)
		}
	}
	return merged
}

func anyOf(sets ...set) set {
	var pairs []pair
	for _, s := range sets {
		pairs = append(pairs, s...)
	}
	return ranges(pairs...)
}

func noneOf(s set) set {
	gaps := make(set, 0, len(s)+1)
	start := rune(0)
	for _, p := range s {
		if p.first > start {
			gaps = append(gaps, pair{start, p.first - 1})
		}
		start = p.last + 1
	}
	if start <= lastRune {
		gaps = append(gaps, pair{start, lastRune})
	}
	return gaps
}

func bothOf(a, b set) set { return noneOf(anyOf(noneOf(a), noneOf(b))) }

func (s set) has(r rune) bool {
	i := sort.Search(len(s), func(i int) bool { return s[i].last >= r })
	return i < len(s) && s[i].first <= r
}

// ofTable is a set of the unicode package.
func ofTable(tables ...*unicode.RangeTable) set {
	var pairs []pair
	for _, table := range tables {
		for _, r := range table.R16 {
			pairs = appendStrided(pairs, rune(r.Lo), rune(r.Hi), rune(r.Stride))
		}
		for _, r := range table.R32 {
			pairs = appendStrided(pairs, rune(r.Lo), rune(r.Hi), rune(r.Stride))
		}
	}
	return ranges(pairs...)
}

func appendStrided(pairs []pair, low, high, stride rune) []pair {
	if stride == 1 {
		return append(pairs, pair{low, high})
	}
	for r := low; r <= high; r += stride {
		pairs = append(pairs, pair{r, r})
	}
	return pairs
}

// foldASCII adds the other case of every ASCII letter, as (?i) alone does in Java.
func foldASCII(s set) set {
	pairs := slices.Clone(s)
	for _, p := range s {
		for _, letters := range [][2]rune{{'A', 'a'}, {'a', 'A'}} {
			low, high := max(p.first, letters[0]), min(p.last, letters[0]+25)
			if low <= high {
				pairs = append(pairs, pair{low - letters[0] + letters[1], high - letters[0] + letters[1]})
			}
		}
	}
	return ranges(pairs...)
}

// cased maps a code point to those whose simple upper case it is, and whose lower case of the upper case it is.
type cased struct{ byUpper, byLower map[rune][]rune }

var casedRunes = sync.OnceValue(func() cased {
	c := cased{map[rune][]rune{}, map[rune][]rune{}}
	for _, area := range [][2]rune{
		{0x41, 0x24EA}, {0x2C00, 0x2D2E}, {0xA640, 0xABBF}, {0xFB00, 0xFF5B}, {0x10400, 0x10D00},
		{0x118A0, 0x118E0}, {0x16E40, 0x16E80}, {0x1E900, 0x1E944},
	} {
		for r := area[0]; r < area[1]; r++ {
			upper := unicode.ToUpper(r)
			lower := unicode.ToLower(upper)
			if upper != r || lower != r {
				c.byUpper[upper] = append(c.byUpper[upper], r)
				c.byLower[lower] = append(c.byLower[lower], r)
			}
		}
	}
	return c
})

// foldUnicode adds every character that equals one of the set under (?iu): by simple upper case, then lower case of that.
func foldUnicode(s set) set {
	if len(s) == 1 && s[0].first == s[0].last {
		r := s[0].first
		upper := unicode.ToUpper(r)
		lower := unicode.ToLower(upper)
		if unicode.ToUpper(lower) == lower {
			return s // Java does not fold characters without upper case, such as ß
		}
		pairs := []pair{s[0], {lower, lower}}
		for _, other := range casedRunes().byLower[lower] {
			pairs = append(pairs, pair{other, other})
		}
		return ranges(pairs...)
	}
	pairs := slices.Clone(s)
	for _, by := range []map[rune][]rune{casedRunes().byUpper, casedRunes().byLower} {
		for mapped, others := range by {
			if s.has(mapped) {
				for _, other := range others {
					pairs = append(pairs, pair{other, other})
				}
			}
		}
	}
	return ranges(pairs...)
}
