package javaregex

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

// TestAnswersOfJava compares with the answers of java.util.regex. An undecided match is allowed only for expressions that
// need what this package lacks, or that are too large.
func TestAnswersOfJava(t *testing.T) {
	data, err := os.ReadFile("../../../../tests/vectors/java_regex.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases [][]json.RawMessage
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	undecided := 0
	for _, c := range cases {
		var pattern string
		var matched, unmatched []string
		if err := json.Unmarshal(c[0], &pattern); err != nil {
			t.Fatal(err)
		}
		isInvalid := len(c) == 2
		if isInvalid {
			if compiled := Compile(pattern); !compiled.isInvalid && !compiled.isUndecided {
				t.Errorf("%q is accepted; Java refuses it", pattern)
			}
			continue
		}
		if json.Unmarshal(c[1], &matched) != nil || json.Unmarshal(c[2], &unmatched) != nil {
			t.Fatalf("the case of %q", pattern)
		}
		compiled := Compile(pattern)
		if compiled.isInvalid {
			t.Errorf("%q is refused; Java accepts it", pattern)
			continue
		}
		for want, texts := range map[bool][]string{true: matched, false: unmatched} {
			for _, text := range texts {
				found, err := compiled.FullMatch(text)
				if errors.Is(err, ErrUndecided) {
					undecided++
					if !strings.Contains(pattern, `\X`) && !strings.Contains(pattern, `\b{g}`) && !strings.Contains(pattern, `\N{`) &&
						!strings.Contains(pattern, "javaMirrored") && len(pattern) < 500 {
						t.Errorf("%q is undecided for %q", pattern, text)
					}
					break
				}
				if found != want {
					t.Errorf("%q matches %q: %v, in Java %v", pattern, text, found, want)
				}
			}
		}
	}
	t.Logf("%d expressions, %d undecided", len(cases), undecided)
}

func TestTheTimeOfAMatchIsBounded(t *testing.T) {
	for _, pattern := range []string{"(a+)+b", `(?=x)(a|aa)+$`, `(a*)*\1b`, "(a{0,1000}){0,1000}b", "((a?)+?)++b", `(?<=(a|aa){0,4000})b`} {
		start := time.Now()
		_, _ = Compile(pattern).FullMatch(strings.Repeat("a", MaxValue))
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("%q takes %v", pattern, took)
		}
	}
	for _, undecided := range []*Pattern{Compile(strings.Repeat("a", MaxPattern+1)), Compile(strings.Repeat("(", 200) + strings.Repeat(")", 200))} {
		if _, err := undecided.FullMatch("a"); !errors.Is(err, ErrUndecided) {
			t.Errorf("%v, want ErrUndecided", err)
		}
	}
	if _, err := Compile("a*").FullMatch(strings.Repeat("a", MaxValue+1)); !errors.Is(err, ErrUndecided) {
		t.Errorf("%v, want ErrUndecided", err)
	}
}
