package sse

import (
	"fmt"
	"testing"
	"unicode/utf8"
)

// FuzzSSE: however the bytes are split, the items are the same; the limit holds; nothing panics.
func FuzzSSE(f *testing.F) {
	f.Add([]byte("event: flag_updated\nid: 7-0@k\ndata: {\"a\":1}\n\n: keep-alive position=9\nid: 9@k\n\n"), uint8(3))
	f.Add([]byte("\xef\xbb\xbfdata: 1\r\ndata: 2\r\rretry: 12\n\n"), uint8(1))
	f.Add([]byte("data: \xff\xe2\x82\n\nid\n\n"), uint8(2))
	f.Fuzz(func(t *testing.T, input []byte, split uint8) {
		size := int(split)%8 + 1
		whole, wholeErr := items(t, input, max(1, len(input)))
		parts, partsErr := items(t, input, size)
		if fmt.Sprint(whole) != fmt.Sprint(parts) || (wholeErr == nil) != (partsErr == nil) {
			t.Fatalf("of %q in parts of %d: %v (%v), whole: %v (%v)", input, size, parts, partsErr, whole, wholeErr)
		}
	})
}

func items(t *testing.T, input []byte, size int) (all []string, err error) {
	parser := NewParser(1000)
	for len(input) > 0 && err == nil {
		n := min(size, len(input))
		err = parser.Feed(input[:n], func(item Item) error {
			if !utf8.Valid(item.Data) || !utf8.ValidString(item.Name+item.LastEventID) {
				t.Fatalf("%+v is not UTF-8", item)
			}
			all = append(all, fmt.Sprintf("%d %q %q %q %d", item.Kind, item.Name, item.Data, item.LastEventID, item.RetryMs))
			return nil
		})
		input = input[n:]
	}
	if err != nil {
		return nil, err // where the limit is noticed depends on the parts
	}
	return all, nil
}
