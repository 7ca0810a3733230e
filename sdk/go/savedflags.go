package flagent

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/flagent-cdc/flagent-go/internal/eventid"
	"github.com/flagent-cdc/flagent-go/internal/jsontext"
)

// Source says where the flags of a store come from.
type Source string

// The sources. A store without flags has none.
const (
	// FromCache: flags that were saved earlier, see [WithPersistence].
	FromCache Source = "cache"
	// FromBootstrap: flags that the application brought, see [WithBootstrap].
	FromBootstrap Source = "bootstrap"
	FromServer    Source = "server"
)

const (
	savedFormat    = 1
	defaultMaxAge  = 30 * 24 * time.Hour
	maxFuture      = 5 * time.Minute
	maxSavedBytes  = 256 << 20
	savedTimeStamp = "2006-01-02T15:04:05.000Z07:00"
)

// known are flags that a store begins with; id is "" where they cannot be resumed from.
type known struct {
	source Source
	id     string
	flags  []jsontext.Value
}

// The reasons for which saved flags are not used.
const (
	tooLarge    = "too_large"
	notJSON     = "not_json"
	wrongTypes  = "wrong_types"
	wrongFormat = "format"
	otherKey    = "other_key"
	tooOld      = "too_old"
	inTheFuture = "in_the_future"
	wrongDigest = "digest"
)

// readSaved reads a saved document; reason is "" when it can be used.
func readSaved(document []byte, key string, now time.Time, maxAge time.Duration) (found known, reason string) {
	value, reason := readDocument(document)
	if reason != "" {
		return known{}, reason
	}
	found, reason = readFormat(value)
	if reason != "" && reason != wrongDigest {
		return known{}, reason
	}
	own, hasKey := value.Get("key").Text()
	savedAt, err := time.Parse(time.RFC3339, text(value, "savedAt"))
	switch {
	case !hasKey || err != nil:
		return known{}, wrongTypes
	case own != key:
		return known{}, otherKey
	case now.Sub(savedAt) > maxAge:
		return known{}, tooOld
	case savedAt.Sub(now) > maxFuture:
		return known{}, inTheFuture
	}
	if reason == "" && value.Get("checksum").Kind != jsontext.Missing && !isAsWritten(document) {
		reason = wrongDigest
	}
	found.source = FromCache
	return found, reason
}

// savedStart is the beginning of a saved document, up to the digits of its checksum.
const savedStart = `{"format":1,"checksum":"`

// textChecksum is the checksum of a document, over the text after it: the digest covers the flags alone.
func textChecksum(rest []byte) string { return fmt.Sprintf("%08x", crc32.ChecksumIEEE(rest)) }

func isAsWritten(document []byte) bool {
	digits, ok := bytes.CutPrefix(document, []byte(savedStart))
	if !ok || len(digits) < 8 {
		return false
	}
	rest, ok := bytes.CutPrefix(digits[8:], []byte(`",`))
	return ok && string(digits[:8]) == textChecksum(rest)
}

func readDocument(document []byte) (jsontext.Value, string) {
	if len(document) > maxSavedBytes {
		return jsontext.Value{}, tooLarge
	}
	value, err := jsontext.Parse(document)
	if err != nil {
		return jsontext.Value{}, notJSON
	}
	return value, ""
}

// readFormat reads what a saved document has for every reader: format, id, digest and flags.
func readFormat(value jsontext.Value) (known, string) {
	if value.Kind != jsontext.Object {
		return known{}, wrongTypes
	}
	if format, ok := value.Get("format").Int(); !ok || format != savedFormat {
		return known{}, wrongFormat
	}
	id := text(value, "id")
	digest, hasDigest := value.Get("digest").Text()
	flags := value.Get("flags")
	if id == "" || !hasDigest || flags.Kind != jsontext.Array || !all(flags.Items(), isFlag) {
		return known{}, wrongTypes
	}
	var sum uint32
	for _, flag := range flags.Items() {
		sum += checksum(canonicalFlag(flag))
	}
	found := known{id: id, flags: flags.Items()}
	if formatDigest(len(found.flags), sum) != digest {
		return found, wrongDigest
	}
	return found, ""
}

// readBootstrap reads a saved document, whose key and age are not checked, an answer of GET /api/v1/snapshot, or a list of
// flags.
func readBootstrap(document []byte) (found known, reason string) {
	value, reason := readDocument(document)
	if reason != "" {
		return known{}, reason
	}
	flags := value
	switch {
	case value.Kind == jsontext.Object && value.Get("format").Kind != jsontext.Missing:
		if found, reason = readFormat(value); reason != "" {
			return known{}, reason
		}
		found.source = FromBootstrap
		return found, ""
	case value.Kind == jsontext.Object:
		flags = value.Get("flags")
		id := value.Get("id")
		kind := value.Get("type")
		if id.Kind != jsontext.Missing && id.Kind != jsontext.String || kind.Kind != jsontext.Missing && kind.TextOr("") != "snapshot" {
			return known{}, wrongTypes
		}
		found.id = id.TextOr("")
	}
	if flags.Kind != jsontext.Array || !all(flags.Items(), isFlag) {
		return known{}, wrongTypes
	}
	found.source, found.flags = FromBootstrap, flags.Items()
	return found, ""
}

// chosen is the one with the higher id of the same log; else the cache.
func chosen(cache, bootstrap *known) *known {
	if cache == nil {
		return bootstrap
	}
	if bootstrap != nil && bootstrap.id != "" {
		if order, ok := eventid.Compare(bootstrap.id, cache.id); ok && order > 0 {
			return bootstrap
		}
	}
	return cache
}

// savedDocument is the document of a store's flags.
func savedDocument(key, id, digest string, now time.Time, flags []*Flag) []byte {
	size := 300
	for _, flag := range flags {
		size += len(flag.Raw) + 1
	}
	document := append(make([]byte, 0, size), savedStart+`00000000",`...)
	start := len(document)
	document = append(jsontext.AppendString(append(document, `"key":`...), key), `,"savedAt":`...)
	document = append(jsontext.AppendString(document, now.UTC().Format(savedTimeStamp)), `,"id":`...)
	document = append(jsontext.AppendString(document, id), `,"position":`...)
	if parsed, ok := eventid.Parse(id); ok {
		document = append(strconv.AppendInt(append(document, '"'), parsed.Position, 10), '"')
	} else {
		document = append(document, "null"...)
	}
	document = append(jsontext.AppendString(append(document, `,"digest":`...), digest), `,"flags":[`...)
	for i, flag := range flags {
		if i > 0 {
			document = append(document, ',')
		}
		document = append(document, flag.Raw...)
	}
	document = append(document, "]}"...)
	copy(document[len(savedStart):], textChecksum(document[start:]))
	return document
}

// cacheKey is the key of saved flags: one user's flags are never shown to another. credential is nil without one.
func cacheKey(address string, s *selection, credential *string) string {
	user := "-"
	if credential != nil {
		sum := sha256.Sum256([]byte(*credential))
		user = hex.EncodeToString(sum[:])
	}
	sum := sha256.Sum256([]byte(normalAddress(address) + "\n" + selectionText(s) + "\n" + user))
	return hex.EncodeToString(sum[:])
}

// normalAddress is an address without what does not name the server.
func normalAddress(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		panic("flagent: the address was parsed before: " + err.Error())
	}
	scheme := strings.Replace(strings.ToLower(u.Scheme), "ws", "http", 1)
	host := strings.ToLower(u.Host)
	host = strings.TrimSuffix(host, map[string]string{"http": ":80", "https": ":443"}[scheme])
	return scheme + "://" + host + strings.TrimSuffix(u.EscapedPath(), "/")
}

func selectionText(s *selection) string {
	member := func(to []byte, name string, set texts) []byte {
		to = append(to, `,"`+name+`":[`...)
		for i, value := range sorted(set) {
			if i > 0 {
				to = append(to, ',')
			}
			to = jsontext.AppendString(to, value)
		}
		return append(to, ']')
	}
	text := member([]byte(fmt.Sprintf(`{"all":%v`, s.everything)), "flags", s.flags)
	ids := make([]string, 0, len(s.flagIDs))
	for _, id := range sorted(s.flagIDs) {
		ids = append(ids, strconv.FormatInt(id, 10))
	}
	text = append(text, `,"ids":[`+strings.Join(ids, ",")+`]`...)
	text = member(text, "schemas", s.schemas)
	text = member(text, "tags", s.tags)
	return string(append(member(text, "types", s.types), '}'))
}
