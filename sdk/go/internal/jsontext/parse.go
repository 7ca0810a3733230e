package jsontext

import (
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxDepth is the deepest nesting that is read.
const MaxDepth = 10_000

// Parse reads one JSON value (RFC 8259) that fills the whole text. The value shares memory with data. Invalid UTF-8 in
// strings becomes U+FFFD.
func Parse(data []byte) (Value, error) {
	p := parser{data: data}
	p.blanks()
	value, err := p.value(0)
	if err != nil {
		return Value{}, err
	}
	p.blanks()
	if p.at != len(data) {
		return Value{}, p.failure("text after the value")
	}
	return value, nil
}

type parser struct {
	data []byte
	at   int
}

func (p *parser) failure(what string) error { return fmt.Errorf("not JSON: %s at byte %d", what, p.at) }

func (p *parser) blanks() {
	for p.at < len(p.data) {
		switch p.data[p.at] {
		case ' ', '\t', '\n', '\r':
			p.at++
		default:
			return
		}
	}
}

func (p *parser) value(depth int) (Value, error) {
	if depth > MaxDepth {
		return Value{}, p.failure("too deep a nesting")
	}
	if p.at >= len(p.data) {
		return Value{}, p.failure("unexpected end")
	}
	start := p.at
	var value Value
	var err error
	switch c := p.data[p.at]; {
	case c == '{':
		value, err = p.object(depth)
	case c == '[':
		value, err = p.array(depth)
	case c == '"':
		value.Kind = String
		value.text, err = p.text()
	case c == '-' || (c >= '0' && c <= '9'):
		value.Kind = Number
		value.text, err = p.number()
	case c == 't':
		value.Kind, err = True, p.word("true")
	case c == 'f':
		value.Kind, err = False, p.word("false")
	case c == 'n':
		value.Kind, err = Null, p.word("null")
	default:
		err = p.failure(fmt.Sprintf("unexpected %q", c))
	}
	if err != nil {
		return Value{}, err
	}
	value.raw = p.data[start:p.at:p.at]
	return value, nil
}

func (p *parser) word(word string) error {
	if len(p.data)-p.at < len(word) || string(p.data[p.at:p.at+len(word)]) != word {
		return p.failure("unknown word")
	}
	p.at += len(word)
	return nil
}

func (p *parser) object(depth int) (Value, error) {
	value := Value{Kind: Object}
	p.at++
	p.blanks()
	if p.next('}') {
		return value, nil
	}
	for {
		p.blanks()
		if p.at >= len(p.data) || p.data[p.at] != '"' {
			return value, p.failure("a member has no name")
		}
		name, err := p.text()
		if err != nil {
			return value, err
		}
		p.blanks()
		if !p.next(':') {
			return value, p.failure("a name has no colon")
		}
		p.blanks()
		item, err := p.value(depth + 1)
		if err != nil {
			return value, err
		}
		value.names = append(value.names, name)
		value.items = append(value.items, item)
		p.blanks()
		if p.next('}') {
			return value, nil
		}
		if !p.next(',') {
			return value, p.failure("an object is not closed")
		}
	}
}

func (p *parser) array(depth int) (Value, error) {
	value := Value{Kind: Array}
	p.at++
	p.blanks()
	if p.next(']') {
		return value, nil
	}
	for {
		p.blanks()
		item, err := p.value(depth + 1)
		if err != nil {
			return value, err
		}
		value.items = append(value.items, item)
		p.blanks()
		if p.next(']') {
			return value, nil
		}
		if !p.next(',') {
			return value, p.failure("an array is not closed")
		}
	}
}

func (p *parser) next(c byte) bool {
	if p.at < len(p.data) && p.data[p.at] == c {
		p.at++
		return true
	}
	return false
}

func (p *parser) digits() bool {
	start := p.at
	for p.at < len(p.data) && p.data[p.at] >= '0' && p.data[p.at] <= '9' {
		p.at++
	}
	return p.at > start
}

func (p *parser) number() (string, error) {
	start := p.at
	p.next('-')
	if !p.next('0') && !p.digits() {
		return "", p.failure("a number without digits")
	}
	if p.next('.') && !p.digits() {
		return "", p.failure("a fraction without digits")
	}
	if p.next('e') || p.next('E') {
		if !p.next('+') {
			p.next('-')
		}
		if !p.digits() {
			return "", p.failure("an exponent without digits")
		}
	}
	return string(p.data[start:p.at]), nil
}

func (p *parser) text() (string, error) {
	p.at++
	start := p.at
	for p.at < len(p.data) {
		switch c := p.data[p.at]; {
		case c == '"':
			text := string(p.data[start:p.at])
			p.at++
			return text, nil
		case c == '\\' || c >= utf8.RuneSelf:
			return p.longText(append([]byte(nil), p.data[start:p.at]...))
		case c < ' ':
			return "", p.failure("a control character in a string")
		default:
			p.at++
		}
	}
	return "", p.failure("a string is not closed")
}

// longText continues a string at its first escape or first character outside ASCII.
func (p *parser) longText(text []byte) (string, error) {
	for p.at < len(p.data) {
		switch c := p.data[p.at]; {
		case c == '"':
			p.at++
			return string(text), nil
		case c == '\\':
			var err error
			if text, err = p.escape(text); err != nil {
				return "", err
			}
		case c < ' ':
			return "", p.failure("a control character in a string")
		case c < utf8.RuneSelf:
			text = append(text, c)
			p.at++
		default:
			r, size := utf8.DecodeRune(p.data[p.at:])
			text = utf8.AppendRune(text, r)
			p.at += size
		}
	}
	return "", p.failure("a string is not closed")
}

var escapes = map[byte]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

func (p *parser) escape(text []byte) ([]byte, error) {
	p.at++
	if p.at >= len(p.data) {
		return text, p.failure("a string is not closed")
	}
	c := p.data[p.at]
	if plain, ok := escapes[c]; ok {
		p.at++
		return append(text, plain), nil
	}
	if c != 'u' {
		return text, p.failure("an unknown escape")
	}
	p.at++
	first, ok := p.hex()
	if !ok {
		return text, p.failure("an escape without four hexadecimal digits")
	}
	if !utf16.IsSurrogate(first) {
		return utf8.AppendRune(text, first), nil
	}
	if at := p.at; p.next('\\') && p.next('u') {
		if second, ok := p.hex(); ok {
			if r := utf16.DecodeRune(first, second); r != utf8.RuneError {
				return utf8.AppendRune(text, r), nil
			}
		}
		p.at = at
	} else {
		p.at = at
	}
	return append(text, 0xe0|byte(first>>12), 0x80|byte(first>>6&0x3f), 0x80|byte(first&0x3f)), nil
}

func (p *parser) hex() (rune, bool) {
	if len(p.data)-p.at < 4 {
		return 0, false
	}
	var r rune
	for _, c := range p.data[p.at : p.at+4] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case c >= 'A' && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return 0, false
		}
	}
	p.at += 4
	return r, true
}
