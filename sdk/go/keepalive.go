package flagent

import (
	"strings"

	"github.com/flagent-cdc/flagent-go/internal/jsontext"
)

// parseKeepAlive returns the heartbeat in a comment of the event stream; ok is false when the comment is not a
// keep-alive. Missing and unreadable fields are left out: without "fresh", freshness is unknown.
func parseKeepAlive(comment string) (heartbeat message, ok bool) {
	words := strings.Fields(comment)
	if len(words) == 0 || words[0] != "keep-alive" {
		return message{}, false
	}
	object := []byte(`{"type":"heartbeat"`)
	for _, word := range words[1:] {
		name, value, found := strings.Cut(word, "=")
		if !found || value == "" {
			continue
		}
		isRaw := false
		switch name {
		case "fresh":
			isRaw = value == "true" || value == "false"
		case "ageMs":
			isRaw = strings.Trim(value, "0123456789") == "" && (value == "0" || value[0] != '0')
		case "position", "digest":
			object = jsontext.AppendString(append(object, `,"`+name+`":`...), value)
		}
		if isRaw {
			object = append(object, `,"`+name+`":`+value...)
		}
	}
	parsed, err := jsontext.Parse(append(object, '}'))
	if err != nil {
		// Every part of the object was checked or escaped above.
		panic("flagent: a keep-alive became invalid JSON: " + err.Error())
	}
	return newMessage(parsed), true
}
