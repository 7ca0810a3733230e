package values

import (
	"encoding/json"
	"math"
	"math/big"
	"os"
	"strconv"
	"strings"
	"testing"
)

func load(t *testing.T, path string, into any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}

func TestAnswersOfJavaToNumbers(t *testing.T) {
	var cases [][]*string
	load(t, "../../../../tests/vectors/java_double.json", &cases)
	for _, c := range cases {
		value, ok := ParseDouble(*c[0])
		if ok != (c[1] != nil) {
			t.Errorf("%q is a number: %v", *c[0], ok)
			continue
		}
		if !ok {
			continue
		}
		bits, err := strconv.ParseUint(*c[1], 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		if want := math.Float64frombits(bits); math.Float64bits(value) != bits && !(math.IsNaN(want) && math.IsNaN(value)) {
			t.Errorf("%q is %v, in Java %v", *c[0], value, want)
		}
	}
}

type value struct {
	ID, Integer, Special string
	Value                json.RawMessage
	Text                 *string
}

func (v value) given(t *testing.T) any {
	switch {
	case v.Integer != "":
		number, _ := new(big.Int).SetString(v.Integer, 10)
		return number
	case v.Special != "":
		number, err := strconv.ParseFloat(v.Special, 64)
		if err != nil {
			t.Fatal(err)
		}
		return number
	}
	var given any
	if err := json.Unmarshal(v.Value, &given); err != nil {
		t.Fatal(err)
	}
	return given
}

func TestVectorsOfValues(t *testing.T) {
	var vectors struct {
		AttachmentNumber []struct {
			ID, Text string
			Number   *float64
			Integer  *string
		}
		ContextValue []value
	}
	load(t, "../../../vectors/values.json", &vectors)
	for _, c := range vectors.AttachmentNumber {
		t.Run(c.ID, func(t *testing.T) {
			number, err := ReadNumber(c.Text)
			if (err == nil) != (c.Number != nil) || err == nil && number != *c.Number {
				t.Errorf("the number is %v (%v)", number, err)
			}
			integer, err := ReadInteger(c.Text)
			if (err == nil) != (c.Integer != nil) || err == nil && integer.String() != *c.Integer {
				t.Errorf("the integer is %v (%v)", integer, err)
			}
		})
	}
	for _, c := range vectors.ContextValue {
		t.Run(c.ID, func(t *testing.T) {
			given := c.given(t)
			if err := Check(given); (err == nil) != (c.Text != nil) {
				t.Fatalf("%v: %v", given, err)
			}
			if c.Text == nil {
				return
			}
			if text, ok := Text(given); !ok || text != *c.Text {
				t.Errorf("%q, want %q", text, *c.Text)
			}
		})
	}
}

func TestValuesOfGoTypes(t *testing.T) {
	type country string
	for want, given := range map[string]any{
		"US": country("US"), "7": uint8(7), "-3": int16(-3), "0.1": float32(0.1), "18446744073709551615": uint64(math.MaxUint64),
		"9007199254740993": json.Number("9007199254740993"), "3": json.Number("3.0"), "0": json.Number("-0"),
	} {
		if err := Check(given); err != nil {
			t.Errorf("%v: %v", given, err)
		}
		if text, _ := Text(given); text != want {
			t.Errorf("%v is %q, want %q", given, text, want)
		}
	}
	for _, bad := range []any{[]string{"a"}, map[string]any{}, struct{}{}, json.Number("x"), json.Number("1e999")} {
		if err := Check(bad); err == nil || !strings.Contains(err.Error(), "must") && !strings.Contains(err.Error(), "no finite") {
			t.Errorf("%v is accepted (%v)", bad, err)
		}
	}
}
