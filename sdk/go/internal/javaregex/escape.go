package javaregex

import (
	"strconv"
	"strings"
)

func (c *cursor) single(code rune) set { return c.folded(set{{code, code}}) }

func (c *cursor) folded(s set) set {
	switch {
	case !c.has('i'):
		return s
	case c.has('u'):
		return foldUnicode(s)
	}
	return foldASCII(s)
}

func isClassEscape(r rune) bool { return r != over && strings.ContainsRune("dDhHsSvVwW", r) }

// property parses \pL or \p{…}, or with a capital P the complement.
func (c *cursor) property() set {
	isComplement := c.chars[c.at+1] == 'P'
	c.at += 2
	var name string
	if c.peek() != '{' {
		r := c.take()
		if r == over {
			panic(errInvalid)
		}
		name = string(r)
	} else {
		c.at++
		c.peek()
		name = c.until('}')
	}
	if name == "" {
		panic(errInvalid)
	}
	found := propertySet(name, c.has('i'), c.has('U'))
	if isComplement {
		return noneOf(found)
	}
	return found
}

// until takes the text before a character, and the character.
func (c *cursor) until(last rune) string {
	for at := c.at; c.chars[at] != over; at++ {
		if c.chars[at] == last {
			text := string(c.chars[c.at:at])
			c.at = at + 1
			return text
		}
	}
	panic(errInvalid)
}

// code parses an escape for one character; the cursor is at its backslash.
func (c *cursor) code() rune {
	r := c.chars[c.at+1]
	c.at += 2
	switch r {
	case '0':
		return c.octal()
	case 'x':
		return c.hexEscape()
	case 'u':
		return c.unicodeEscape()
	case 'N':
		if c.peek() != '{' {
			panic(errInvalid)
		}
		c.until('}')
		panic(errUnsupported)
	case 'c':
		if c.chars[c.at] == over {
			panic(errInvalid)
		}
		return c.take() ^ 64
	case 'a':
		return 7
	case 'e':
		return 27
	case 'f':
		return 12
	case 'n':
		return 10
	case 'r':
		return 13
	case 't':
		return 9
	}
	if r == over || isLetter(r) || isDigit(r) {
		panic(errInvalid)
	}
	return r
}

func (c *cursor) octal() rune {
	digits := ""
	for len(digits) < 3 && c.peek() >= '0' && c.peek() <= '7' {
		if len(digits) == 2 && digits[0] > '3' {
			break
		}
		digits += string(c.take())
	}
	return parseCode(digits, 8)
}

func parseCode(digits string, base int) rune {
	code, err := strconv.ParseInt(digits, base, 32)
	if err != nil || code > lastRune {
		panic(errInvalid)
	}
	return rune(code)
}

func (c *cursor) hexEscape() rune {
	if c.peek() != '{' {
		return c.hexDigits(2)
	}
	c.at++
	digits := ""
	for isHex(c.peek()) && len(digits) <= MaxPattern {
		digits += string(c.take())
	}
	if digits == "" || c.take() != '}' {
		panic(errInvalid)
	}
	return parseCode("0"+strings.TrimLeft(digits, "0"), 16)
}

func (c *cursor) hexDigits(count int) rune {
	digits := ""
	for range count {
		if isHex(c.peek()) {
			digits += string(c.take())
		}
	}
	if len(digits) != count {
		panic(errInvalid)
	}
	return parseCode(digits, 16)
}

// unicodeEscape parses \uhhhh; two of them that form a surrogate pair are one character.
func (c *cursor) unicodeEscape() rune {
	code := c.hexDigits(4)
	if code >= 0xD800 && code < 0xDC00 && c.chars[c.at] == '\\' && c.chars[c.at+1] == 'u' {
		after := c.at
		c.at += 2
		if low := c.hexDigits(4); low >= 0xDC00 && low < 0xE000 {
			return 0x10000 + (code-0xD800)<<10 + (low - 0xDC00)
		}
		c.at = after
	}
	return code
}
