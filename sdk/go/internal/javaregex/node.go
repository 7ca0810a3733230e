package javaregex

// node is a node of an expression's tree, with all flags, escapes and quotes resolved.
type node interface{}

type anchor uint8

// The assertions between two characters; the last three follow Java's line terminators.
const (
	begin anchor = iota
	end
	word
	notWord
	finalLineEnd // $ and \Z: the end, or before a final line end
	lineBegin
	lineEnd
)

// anchored is an assertion; isUnix: only LF ends a line.
type anchored struct {
	anchor anchor
	isUnix bool
}

// chars is one character of a set.
type chars struct{ set set }

// lineBreak is \R: a line end, CR LF as one or as two.
type lineBreak struct{}

// backreference is the text that a group matched; group 0 is a missing one, which never matches.
type backreference struct {
	group     int
	folds     bool
	isUnicode bool
}

type sequence struct{ items []node }

// choice is alternatives, tried in order.
type choice struct{ branches []node }

type kind uint8

const (
	greedy kind = iota
	lazy
	possessive
)

// unlimited is the most of a repetition without limit.
const unlimited = -1

type repeat struct {
	item        node
	least, most int
	kind        kind
}

// group is a group; number is 0 for one that does not capture.
type group struct {
	item     node
	number   int
	isAtomic bool
}

// look is a look-ahead or look-behind; length bounds the latter.
type look struct {
	item       node
	isAhead    bool
	isNegative bool
	length     int
}

func sizeOf(n node) int {
	switch n := n.(type) {
	case sequence:
		return sizeOfAll(n.items)
	case choice:
		return sizeOfAll(n.branches)
	case group:
		return saturated(1 + sizeOf(n.item))
	case look:
		return saturated(1 + sizeOf(n.item))
	case repeat:
		return saturated(1 + sizeOf(n.item)*min(max(n.least, n.most, 1), 1<<20))
	}
	return 1
}

func sizeOfAll(nodes []node) int {
	size := 1
	for _, n := range nodes {
		size = saturated(size + sizeOf(n))
	}
	return size
}

func saturated(size int) int { return min(size, 1<<30) }
