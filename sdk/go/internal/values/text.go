package values

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"strconv"
	"strings"
)

// Whitespace is Kotlin's whitespace. It includes no-break spaces; it does not include U+0085.
const Whitespace = "\t\n\v\f\r\x1c\x1d\x1e\x1f \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a" +
	"\u2028\u2029\u202f\u205f\u3000"

// IsBlank reports whether a text is empty or only whitespace.
func IsBlank(text string) bool { return strings.Trim(text, Whitespace) == "" }

// Check reports why a value cannot be part of a context: strings, numbers that are finite, booleans and nil can.
func Check(value any) error {
	switch value := value.(type) {
	case nil, string, bool, int, int64, int32, int16, int8, uint, uint64, uint32, uint16, uint8, *big.Int:
		return nil
	case float64:
		return checkFinite(value)
	case float32:
		return checkFinite(float64(value))
	case json.Number:
		number, err := value.Float64()
		if err != nil {
			return fmt.Errorf("is %q, which is no finite number", string(value))
		}
		return checkFinite(number)
	}
	switch kind := reflect.ValueOf(value); kind.Kind() {
	case reflect.String, reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return nil
	case reflect.Float32, reflect.Float64:
		return checkFinite(kind.Float())
	}
	return fmt.Errorf("is a %T; it must be a string, a number, a boolean or nil", value)
}

func checkFinite(value float64) error {
	if math.IsInf(value, 0) || math.IsNaN(value) {
		return fmt.Errorf("is %v; a number must be finite", value)
	}
	return nil
}

// Text is a value that passed Check as text for constraints; ok is false for nil, which counts as missing. Numbers are
// written as JavaScript writes them, so that 3 and 3.0 are the same value.
func Text(value any) (text string, ok bool) {
	switch value := value.(type) {
	case nil:
		return "", false
	case string:
		return value, true
	case bool:
		return strconv.FormatBool(value), true
	case int:
		return strconv.Itoa(value), true
	case int64:
		return strconv.FormatInt(value, 10), true
	case float64:
		return NumberText(value, 64), true
	case float32:
		return NumberText(float64(value), 32), true
	case *big.Int:
		if value == nil {
			return "", false
		}
		return value.String(), true
	case json.Number:
		if digits := strings.TrimPrefix(string(value), "-"); digits != "0" && strings.Trim(digits, "0123456789") == "" {
			return string(value), true
		}
		number, _ := value.Float64()
		return NumberText(number, 64), true
	}
	kind := reflect.ValueOf(value)
	switch {
	case kind.Kind() == reflect.String:
		return kind.String(), true
	case kind.Kind() == reflect.Bool:
		return strconv.FormatBool(kind.Bool()), true
	case kind.CanInt():
		return strconv.FormatInt(kind.Int(), 10), true
	case kind.CanUint():
		return strconv.FormatUint(kind.Uint(), 10), true
	case kind.CanFloat():
		return NumberText(kind.Float(), kind.Type().Bits()), true
	}
	return "", false
}

// NumberText is a finite number as JavaScript writes it.
func NumberText(value float64, bits int) string {
	if value == 0 {
		return "0" // -0 too
	}
	if size := math.Abs(value); size >= 1e-6 && size < 1e21 {
		return strconv.FormatFloat(value, 'f', -1, bits)
	}
	text := strconv.FormatFloat(value, 'e', -1, bits)
	// Go writes at least two digits of the exponent.
	at := strings.IndexByte(text, 'e') + 2
	return text[:at] + strings.TrimLeft(text[at:], "0")
}
