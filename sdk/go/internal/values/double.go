// Package values reads and writes numbers and texts as the Flagent server and the other SDKs do.
package values

import (
	"math"
	"strconv"
	"strings"
)

// ParseDouble reads a number as Java's Double.parseDouble does; ok is false where that throws.
func ParseDouble(text string) (value float64, ok bool) {
	text = trim(text)
	digits := text
	if text != "" && (text[0] == '+' || text[0] == '-') {
		digits = text[1:]
	}
	switch {
	case digits == "NaN":
		return math.NaN(), true
	case digits == "Infinity":
		return math.Inf(1 - 2*strings.Count(text[:1], "-")), true
	case len(digits) > 2 && digits[0] == '0' && digits[1]|0x20 == 'x':
		if !isNumber(digits[2:], isHexDigit, 'p', true) {
			return 0, false
		}
	case !isNumber(digits, isDigit, 'e', false):
		return 0, false
	}
	if last := text[len(text)-1] | 0x20; last == 'd' || last == 'f' {
		text = text[:len(text)-1]
	}
	// Only the range can be wrong, and then the value is infinite or zero, as in Java.
	value, err := strconv.ParseFloat(text, 64)
	if err != nil && !isRange(err) {
		return 0, false
	}
	return value, true
}

func isRange(err error) bool {
	number, ok := err.(*strconv.NumError)
	return ok && number.Err == strconv.ErrRange
}

// trim removes what String.trim removes: blanks and control characters of ASCII.
func trim(text string) string {
	for text != "" && text[0] <= ' ' {
		text = text[1:]
	}
	for text != "" && text[len(text)-1] <= ' ' {
		text = text[:len(text)-1]
	}
	return text
}

// isNumber reports whether a text is digits with at most one point, an exponent, and perhaps Java's suffix.
func isNumber(text string, is func(byte) bool, exponent byte, needsExponent bool) bool {
	at, count := 0, 0
	for hasPoint := false; at < len(text) && (is(text[at]) || text[at] == '.' && !hasPoint); at++ {
		if text[at] == '.' {
			hasPoint = true
		} else {
			count++
		}
	}
	if count == 0 {
		return false
	}
	if at < len(text) && text[at]|0x20 == exponent {
		at++
		if at < len(text) && (text[at] == '+' || text[at] == '-') {
			at++
		}
		start := at
		for at < len(text) && isDigit(text[at]) {
			at++
		}
		if at == start {
			return false
		}
	} else if needsExponent {
		return false
	}
	if at < len(text) && (text[at]|0x20 == 'd' || text[at]|0x20 == 'f') {
		at++
	}
	return at == len(text)
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isHexDigit(c byte) bool { return isDigit(c) || c|0x20 >= 'a' && c|0x20 <= 'f' }
