package javaregex

import (
	"errors"
	"strings"
)

// maxDepth is the deepest nesting of groups and classes; Java's stack overflows at a few thousand.
const maxDepth = 100

var (
	errInvalid     = errors.New("the expression is invalid in Java")
	errUnsupported = errors.New("the expression needs a feature that this package lacks")
	errTooComplex  = errors.New("the expression is nested too deeply")
)

// over is the character behind the last one.
const over = rune(-1)

// cursor is a place in an expression, with the active flags. Characters between \Q and \E are marked as quoted and are
// always literals.
type cursor struct {
	chars    []rune
	isQuoted []bool
	at       int
	flags    string
	depth    int
}

func newCursor(pattern string) cursor {
	var c cursor
	text := []rune(pattern)
	quoted := false
	for at := 0; at < len(text); {
		isEscape := text[at] == '\\' && at+1 < len(text)
		switch {
		case quoted && isEscape && text[at+1] == 'E':
			quoted = false
			at += 2
		case !quoted && isEscape && text[at+1] == 'Q':
			quoted = true
			at += 2
		case !quoted && text[at] == '\\':
			size := min(2, len(text)-at)
			c.chars = append(c.chars, text[at:at+size]...)
			c.isQuoted = append(c.isQuoted, make([]bool, size)...)
			at += 2
		default:
			c.chars = append(c.chars, text[at])
			c.isQuoted = append(c.isQuoted, quoted)
			at++
		}
	}
	c.chars = append(c.chars, over, over, over)
	c.isQuoted = append(c.isQuoted, false, false, false)
	return c
}

func (c *cursor) has(flag byte) bool { return strings.IndexByte(c.flags, flag) >= 0 }

func (c *cursor) set(flag byte, on bool) {
	c.flags = strings.ReplaceAll(c.flags, string(flag), "")
	if on {
		c.flags += string(flag)
	}
}

// peek is the character at the cursor, which first skips blanks and comments under (?x).
func (c *cursor) peek() rune {
	if c.has('x') {
		c.skipComments()
	}
	return c.chars[c.at]
}

func (c *cursor) skipComments() {
	for !c.isQuoted[c.at] {
		switch r := c.chars[c.at]; {
		case r != over && strings.ContainsRune("\t\n\v\f\r ", r):
			c.at++
		case r == '#':
			for c.chars[c.at] != over && !(c.chars[c.at] == '\n' || !c.has('d') && lineEnds.has(c.chars[c.at])) {
				c.at++
			}
		default:
			return
		}
	}
}

// special is the character at the cursor if it may be special; over at the end and for a quoted one.
func (c *cursor) special() rune {
	r := c.peek()
	if c.isQuoted[c.at] {
		return over
	}
	return r
}

func (c *cursor) take() rune {
	r := c.peek()
	c.at++
	return r
}

func (c *cursor) isOver() bool { return c.peek() == over }

func (c *cursor) deeper(f func()) {
	c.depth++
	if c.depth > maxDepth {
		panic(errTooComplex)
	}
	f()
	c.depth--
}

func isDigit(r rune) bool { return r >= '0' && r <= '9' }

func isLetter(r rune) bool { return r|0x20 >= 'a' && r|0x20 <= 'z' }

func isHex(r rune) bool { return isDigit(r) || r|0x20 >= 'a' && r|0x20 <= 'f' }
