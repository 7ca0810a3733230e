// Package flagenthttp carries the position of the flags from service to service, in the W3C header "baggage".
//
// A service that changed a flag, or decided by one, tells the next service how new its flags must be:
//
//	handler := flagenthttp.Middleware(store, 500*time.Millisecond)(mux)          // what a request brings
//	client := http.Client{Transport: flagenthttp.Transport(nil, store)}          // to the next service
//
// Specification: https://www.w3.org/TR/baggage/
package flagenthttp

import (
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/flagent-cdc/flagent-go/internal/eventid"
)

// Member is the name of the member of the header.
const Member = "flagent-position"

const (
	maxHeader  = 8192
	maxMembers = 64
	maxValue   = 256
)

// ReadPosition is the event id or position in a header "baggage", "" when there is none that can be read. Of several, it is
// the highest of the log of the first one.
func ReadPosition(header string) string {
	found := ""
	for member := range strings.SplitSeq(header, ",") {
		if value, ok := valueOf(member); ok && (found == "" || isHigher(value, found)) {
			found = value
		}
	}
	return found
}

// WritePosition is the header with our member, whose value is the given one, or what the header has where that is higher in
// the same log. Other members stay. A header that would become too long stays as it is, and so does one without a value.
func WritePosition(header, value string) string {
	if value == "" {
		return header
	}
	if present := ReadPosition(header); present != "" && isHigher(present, value) {
		value = present
	}
	var members []string
	for member := range strings.SplitSeq(header, ",") {
		member = strings.Trim(member, " \t")
		name, _, _ := strings.Cut(member, "=")
		if member != "" && strings.Trim(name, " \t") != Member {
			members = append(members, member)
		}
	}
	written := strings.Join(append(members, Member+"="+escape(value)), ",")
	if len(members) >= maxMembers || len(written) > maxHeader {
		return header
	}
	return written
}

func valueOf(member string) (string, bool) {
	member, _, _ = strings.Cut(member, ";")
	name, value, ok := strings.Cut(member, "=")
	if !ok || strings.Trim(name, " \t") != Member {
		return "", false
	}
	value, err := url.PathUnescape(strings.Trim(value, " \t"))
	if err != nil || !utf8.ValidString(value) || utf8.RuneCountInString(value) > maxValue {
		return "", false
	}
	_, isID := eventid.Parse(value)
	return value, isID || isPosition(value)
}

func isPosition(text string) bool {
	return text != "" && len(text) <= 19 && strings.Trim(text, "0123456789") == ""
}

func isHigher(value, than string) bool {
	if isPosition(value) && isPosition(than) {
		value, than = strings.TrimLeft(value, "0"), strings.TrimLeft(than, "0")
		return len(value) > len(than) || len(value) == len(than) && value > than
	}
	order, ok := eventid.Compare(value, than)
	return ok && order > 0
}

// escape escapes what is no baggage-octet, and the percent sign.
func escape(value string) string {
	const digits = "0123456789ABCDEF"
	var escaped strings.Builder
	for i := range len(value) {
		c := value[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`%",;\`, c) >= 0 {
			escaped.Write([]byte{'%', digits[c>>4], digits[c&0xf]})
		} else {
			escaped.WriteByte(c)
		}
	}
	return escaped.String()
}
