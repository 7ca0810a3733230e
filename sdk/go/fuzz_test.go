package flagent

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/flagent-cdc/flagent-go/internal/jsontext"
)

// FuzzMessage: no message of a server makes a store or a decoder panic, and the digest of a store is that of its flags.
func FuzzMessage(f *testing.F) {
	f.Add([]byte(`{"type":"snapshot","id":"1@k","position":"1","flags":[{"id":1,"key":"a","segments":[{"constraints":[{"operator":"EREG","value":"("}]}]}]}`),
		[]byte(`{"type":"flag_updated","id":"2-0@k","schema":"s","flagKey":"a","flag":{"id":1,"key":"b","tags":[{"value":"\ud800"}]}}`))
	f.Add([]byte(`{"type":"batch","events":[{"type":"flag_deleted","id":"3-0@k","flagKey":"a"}]}`), []byte(`{"type":"resync","id":"9@z","snapshot":{"flags":[]}}`))
	f.Add([]byte(`{"type":"heartbeat","position":5,"digest":"0:00000000","fresh":true,"heartbeatMs":1e400}`), []byte(`{"type":"row_updated","table":null,"changed":[1]}`))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		client, err := NewClient("http://localhost", WithManualStart())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		store := &Store{client: client, driver: newStoreDriver(client, everything)}
		for i, data := range [][]byte{[]byte(`{"type":"snapshot","id":"1@k","flags":[]}`), first, second} {
			value, err := jsontext.Parse(data)
			if err != nil {
				if json.Valid(data) {
					t.Fatalf("%q is JSON: %v", data, err)
				}
				continue
			}
			m := newMessage(value)
			_, _ = decodeEvent(m)
			store.driver.receive(m, time.Duration(i)*time.Second, i == 1)
		}
		var sum uint32
		for flag := range store.Flags() {
			sum += checksum(canonicalFlag(parsed(t, flag.Raw)))
			_, _ = store.Evaluate(flag.Key, Entity{ID: "e", Context: Context{"p": "x"}})
		}
		checkEqual(t, store.Digest(), formatDigest(store.Len(), sum))
	})
}
