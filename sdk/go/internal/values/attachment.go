package values

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// decimal is a number's significant digits and exponent, the same for every spelling; zero has no digits.
type decimal struct {
	isNegative bool
	digits     string
	exponent   *big.Int
}

// ReadNumber reads a number in JSON's grammar; it fails for another text, and where a double would lose digits.
func ReadNumber(text string) (float64, error) {
	d, err := parseDecimal(text)
	if err != nil {
		return 0, err
	}
	value, _ := strconv.ParseFloat(text, 64)
	if math.IsInf(value, 0) {
		return 0, fmt.Errorf("%.50q is too large", text)
	}
	shortest, err := parseDecimal(strconv.FormatFloat(value, 'e', -1, 64))
	if err != nil || shortest.digits != d.digits || shortest.exponent.Cmp(d.exponent) != 0 {
		return 0, fmt.Errorf("%.50q has more digits than a double can hold", text)
	}
	if value == 0 {
		return 0, nil
	}
	return value, nil
}

// ReadInteger reads a whole number in JSON's grammar, however it is spelled: 3.0 and 1e3 are whole numbers.
func ReadInteger(text string) (*big.Int, error) {
	d, err := parseDecimal(text)
	if err != nil {
		return nil, err
	}
	if d.digits == "" {
		return new(big.Int), nil
	}
	if d.exponent.Sign() < 0 {
		return nil, fmt.Errorf("%.50q is not a whole number", text)
	}
	if value, _ := strconv.ParseFloat(text, 64); math.IsInf(value, 0) {
		return nil, fmt.Errorf("%.50q is too large", text)
	}
	value, _ := new(big.Int).SetString(d.digits, 10)
	value.Mul(value, new(big.Int).Exp(big.NewInt(10), d.exponent, nil))
	if d.isNegative {
		value.Neg(value)
	}
	return value, nil
}

func parseDecimal(text string) (decimal, error) {
	failure := fmt.Errorf("%.50q is not a number; numbers are written as in JSON", text)
	rest, isNegative := strings.CutPrefix(text, "-")
	mantissa, exponent, hasExponent := cutAny(rest, "eE")
	whole, fraction, hasFraction := strings.Cut(mantissa, ".")
	if !areDigits(whole) || (len(whole) > 1 && whole[0] == '0') || hasFraction && !areDigits(fraction) {
		return decimal{}, failure
	}
	shift := new(big.Int)
	if hasExponent {
		digits := strings.TrimPrefix(exponent, "+")
		if !areDigits(strings.TrimPrefix(digits, "-")) || len(digits) < len(exponent) && digits[0] == '-' {
			return decimal{}, failure
		}
		shift.SetString(digits, 10)
	}
	digits := strings.TrimLeft(whole+fraction, "0")
	significant := strings.TrimRight(digits, "0")
	if significant == "" {
		return decimal{exponent: new(big.Int)}, nil
	}
	shift.Add(shift, big.NewInt(int64(len(digits)-len(significant)-len(fraction))))
	return decimal{isNegative, significant, shift}, nil
}

func cutAny(text, chars string) (before, after string, found bool) {
	if at := strings.IndexAny(text, chars); at >= 0 {
		return text[:at], text[at+1:], true
	}
	return text, "", false
}

func areDigits(text string) bool { return text != "" && strings.Trim(text, "0123456789") == "" }
