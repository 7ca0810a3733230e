package jsontext

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// AppendCanonical appends the canonical text of a value: members sorted by code point, no blanks, escapes as
// JSON.stringify writes them. Members of the value itself whose names are in without are left out.
func AppendCanonical(to []byte, v Value, without ...string) []byte {
	switch v.Kind {
	case String:
		return AppendString(to, v.text)
	case Number:
		return append(to, canonicalNumber(v.text)...)
	case Array:
		to = append(to, '[')
		for i, item := range v.items {
			if i > 0 {
				to = append(to, ',')
			}
			to = AppendCanonical(to, item)
		}
		return append(to, ']')
	case Object:
		return appendObject(to, v, without)
	default:
		return append(to, v.raw...)
	}
}

func appendObject(to []byte, v Value, without []string) []byte {
	// The bytes of UTF-8 sort as code points do. A stable sort keeps the last of equal names last.
	order := make([]int, 0, len(v.names))
	for i, name := range v.names {
		if !slices.Contains(without, name) {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return strings.Compare(v.names[a], v.names[b]) })
	to = append(to, '{')
	isFirst := true
	for n, i := range order {
		if n+1 < len(order) && v.names[order[n+1]] == v.names[i] {
			continue
		}
		if !isFirst {
			to = append(to, ',')
		}
		isFirst = false
		to = AppendString(to, v.names[i])
		to = append(to, ':')
		to = AppendCanonical(to, v.items[i])
	}
	return append(to, '}')
}

// canonicalNumber is the shortest text of a number that is not whole; the server's flags hold whole numbers alone.
func canonicalNumber(text string) string {
	if !strings.ContainsAny(text, ".eE") {
		return text
	}
	number, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return text
	}
	return strconv.FormatFloat(number, 'g', -1, 64)
}

const hexDigits = "0123456789abcdef"

// AppendString appends a string as JSON.stringify writes it: only what must be escaped is.
func AppendString(to []byte, text string) []byte {
	to = append(to, '"')
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == '"' || c == '\\':
			to = append(to, '\\', c)
			i++
		case c < ' ':
			to = appendControl(to, c)
			i++
		case c < utf8.RuneSelf:
			to = append(to, c)
			i++
		default:
			r, size := utf8.DecodeRuneInString(text[i:])
			if r == utf8.RuneError && size == 1 {
				to, size = appendSurrogate(to, text[i:])
			} else {
				to = append(to, text[i:i+size]...)
			}
			i += size
		}
	}
	return append(to, '"')
}

func appendControl(to []byte, c byte) []byte {
	switch c {
	case '\b':
		return append(to, '\\', 'b')
	case '\f':
		return append(to, '\\', 'f')
	case '\n':
		return append(to, '\\', 'n')
	case '\r':
		return append(to, '\\', 'r')
	case '\t':
		return append(to, '\\', 't')
	}
	return append(to, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
}

// appendSurrogate writes half a surrogate pair, which Parse keeps as three bytes; other bytes become U+FFFD.
func appendSurrogate(to []byte, text string) ([]byte, int) {
	if len(text) >= 3 && text[0] == 0xed && text[1] >= 0xa0 && text[1] <= 0xbf && text[2] >= 0x80 && text[2] <= 0xbf {
		r := 0xd000 | uint16(text[1]&0x3f)<<6 | uint16(text[2]&0x3f)
		return append(to, '\\', 'u', hexDigits[r>>12], hexDigits[r>>8&0xf], hexDigits[r>>4&0xf], hexDigits[r&0xf]), 3
	}
	return append(to, "\ufffd"...), 1
}
