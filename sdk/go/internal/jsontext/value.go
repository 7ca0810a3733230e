// Package jsontext reads JSON without losing anything of it: numbers keep their digits, members their order, and half
// surrogate pairs survive. encoding/json would replace the latter, and then a flag's digest would differ from the
// server's.
package jsontext

import (
	"math"
	"strconv"
	"strings"
)

// Kind is the kind of a JSON value.
type Kind uint8

// The kinds. The zero value is Missing: a member that an object does not have.
const (
	Missing Kind = iota
	Null
	False
	True
	Number
	String
	Array
	Object
)

// Value is a JSON value. The zero value is a missing one; reading it gives zero values.
type Value struct {
	Kind Kind
	// text is a string's decoded text (half surrogate pairs in the three bytes that UTF-8 would give them), or a
	// number as it was written.
	text  string
	raw   []byte
	names []string
	items []Value
}

// Raw is the text of the value as it was written, without the blanks around it. It shares memory with what was parsed.
func (v Value) Raw() []byte { return v.raw }

// Get returns a member of an object. Of several with one name it is the last, as in JavaScript and Python.
func (v Value) Get(name string) Value {
	if v.Kind == Object {
		for i := len(v.names) - 1; i >= 0; i-- {
			if v.names[i] == name {
				return v.items[i]
			}
		}
	}
	return Value{}
}

// Items are the values of an array, in order; nil for other kinds.
func (v Value) Items() []Value {
	if v.Kind == Array {
		return v.items
	}
	return nil
}

// Members calls f for each member of an object, in order.
func (v Value) Members(f func(name string, value Value)) {
	if v.Kind == Object {
		for i, name := range v.names {
			f(name, v.items[i])
		}
	}
}

// Text is the text of a string, and whether the value is one.
func (v Value) Text() (string, bool) { return v.text, v.Kind == String }

// TextOr is the text of a string, or fallback.
func (v Value) TextOr(fallback string) string {
	if v.Kind == String {
		return v.text
	}
	return fallback
}

// NumberText is a number as it was written, and whether the value is one.
func (v Value) NumberText() (string, bool) { return v.text, v.Kind == Number }

// Int is a whole number written without fraction and exponent, and whether the value is one that an int64 holds.
func (v Value) Int() (int64, bool) {
	if v.Kind != Number {
		return 0, false
	}
	number, err := strconv.ParseInt(v.text, 10, 64)
	return number, err == nil
}

// Float is a number, and whether the value is one that is finite.
func (v Value) Float() (float64, bool) {
	if v.Kind != Number {
		return 0, false
	}
	number, err := strconv.ParseFloat(v.text, 64)
	return number, err == nil && !math.IsInf(number, 0)
}

// Bool is a boolean, and whether the value is one.
func (v Value) Bool() (value, ok bool) { return v.Kind == True, v.Kind == True || v.Kind == False }

// Clone returns a copy that shares no memory with what was parsed.
func (v Value) Clone() Value {
	clone, err := Parse(append([]byte(nil), v.raw...))
	if err != nil {
		// A value's raw text was parsed once; that it does not parse again is a bug of this package.
		panic("jsontext: the text of a value cannot be parsed: " + err.Error())
	}
	return clone
}

// Decimal reads a whole number that is written as a number or as digits in a string, as the wire writes positions.
func (v Value) Decimal() (int64, bool) {
	if v.Kind == String {
		if v.text == "" || strings.Trim(v.text, "0123456789") != "" {
			return 0, false
		}
		number, err := strconv.ParseInt(v.text, 10, 64)
		return number, err == nil
	}
	return v.Int()
}

// Member is a member of an object.
type Member struct {
	Name  string
	Value Value
}

// NewString returns a string.
func NewString(text string) Value {
	return Value{Kind: String, text: text, raw: AppendString(nil, text)}
}

// NewObject returns an object.
func NewObject(members ...Member) Value {
	object := Value{Kind: Object, raw: []byte{'{'}}
	for i, member := range members {
		if i > 0 {
			object.raw = append(object.raw, ',')
		}
		object.raw = append(AppendString(object.raw, member.Name), ':')
		object.raw = append(object.raw, member.Value.raw...)
		object.names = append(object.names, member.Name)
		object.items = append(object.items, member.Value)
	}
	object.raw = append(object.raw, '}')
	return object
}
