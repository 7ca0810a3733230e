package flagent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

func flagKeys(k known) []string {
	keys := []string{}
	for _, flag := range k.flags {
		keys = append(keys, text(flag, "key"))
	}
	return keys
}

func TestVectorsOfPersistence(t *testing.T) {
	type document struct {
		ID, Text, Key string
		Now           time.Time
		MaxAgeMs      int64
		Ignored       *string
		EventID       *string
		FlagKeys      []string
	}
	var vectors struct {
		Keys []struct {
			ID, URL, NormalURL, SelectionText, Key string
			Selection                              struct {
				Flags, Tags []string
				IDs         []int64
			}
			Credential *string
		}
		Documents, Bootstraps []document
		Saves                 []struct {
			ID, Key, EventID string
			Now              time.Time
			Flags            []json.RawMessage
			Document         map[string]any
		}
		Choices []struct {
			ID        string
			Cache     *string
			Bootstrap *struct{ EventID *string }
			Source    *Source
		}
		Stores []struct {
			ID        string
			Selection *struct{ Flags []string }
			Start     *struct {
				Source Source
				ID     *string
				Flags  json.RawMessage
			}
			Steps []struct {
				storeStep
				Source *Source
			}
			Flags  map[string]json.RawMessage
			Digest string
			Cursor *string
		}
	}
	loadVectors(t, "persistence.json", &vectors)
	for _, c := range vectors.Keys {
		t.Run(c.ID, func(t *testing.T) {
			s := Selectors{Flags: c.Selection.Flags, Tags: c.Selection.Tags, FlagIDs: c.Selection.IDs}.selection()
			checkEqual(t, normalAddress(c.URL), c.NormalURL)
			checkEqual(t, selectionText(s), c.SelectionText)
			checkEqual(t, cacheKey(c.URL, s, c.Credential), c.Key)
		})
	}
	checkFound := func(t *testing.T, c document, found known, reason string) {
		t.Helper()
		if (c.Ignored == nil) != (reason == "") || c.Ignored != nil && *c.Ignored != reason {
			t.Fatalf("the reason is %q", reason)
		}
		if reason == "" {
			id := ""
			if c.EventID != nil {
				id = *c.EventID
			}
			checkEqual(t, found.id, id)
			checkEqual(t, fmt.Sprint(flagKeys(found)), fmt.Sprint(c.FlagKeys))
		}
	}
	for _, c := range vectors.Documents {
		t.Run(c.ID, func(t *testing.T) {
			found, reason := readSaved([]byte(c.Text), c.Key, c.Now, time.Duration(c.MaxAgeMs)*time.Millisecond)
			checkFound(t, c, found, reason)
		})
	}
	for _, c := range vectors.Bootstraps {
		t.Run(c.ID, func(t *testing.T) {
			found, reason := readBootstrap([]byte(c.Text))
			checkFound(t, c, found, reason)
		})
	}
	for _, c := range vectors.Saves {
		t.Run(c.ID, func(t *testing.T) {
			var flags []*Flag
			var sum uint32
			for _, flag := range c.Flags {
				flags = append(flags, decodeFlag(parsed(t, flag), ""))
				sum += checksum(canonicalFlag(parsed(t, flag)))
			}
			var found map[string]any
			document := savedDocument(c.Key, c.EventID, formatDigest(len(flags), sum), c.Now, flags)
			if err := json.Unmarshal(document, &found); err != nil {
				t.Fatal(err)
			}
			checkEqual(t, isAsWritten(document), true)
			delete(found, "checksum")
			if !reflect.DeepEqual(found, c.Document) {
				t.Fatalf("%v, want %v", found, c.Document)
			}
		})
	}
	for _, c := range vectors.Choices {
		t.Run(c.ID, func(t *testing.T) {
			var cache, bootstrap *known
			if c.Cache != nil {
				cache = &known{source: FromCache, id: *c.Cache}
			}
			if c.Bootstrap != nil {
				bootstrap = &known{source: FromBootstrap}
				if c.Bootstrap.EventID != nil {
					bootstrap.id = *c.Bootstrap.EventID
				}
			}
			best := chosen(cache, bootstrap)
			checkEqual(t, best != nil, c.Source != nil)
			if best != nil {
				checkEqual(t, best.source, *c.Source)
			}
		})
	}
	for _, c := range vectors.Stores {
		t.Run(c.ID, func(t *testing.T) {
			client := connect(t, "http://localhost")
			selected := everything
			if c.Selection != nil {
				selected = Selectors{Flags: c.Selection.Flags}.selection()
			}
			driver := newStoreDriver(client, selected)
			if c.Start != nil {
				k := known{source: c.Start.Source, flags: parsed(t, c.Start.Flags).Items()}
				if c.Start.ID != nil {
					k.id = *c.Start.ID
				}
				driver.begin(k)
			}
			for i, step := range c.Steps {
				play(t, i, driver, step.storeStep)
				want := Source("")
				if step.Source != nil {
					want = *step.Source
				}
				checkEqual(t, driver.view.Load().source, want)
			}
			checkEqual(t, driver.view.Load().digest, c.Digest)
			checkEqual(t, driver.view.Load().count, len(c.Flags))
		})
	}
}

// savedWith runs a client until its store is ready, and closes it, which saves the flags.
func savedWith(t *testing.T, p Persistence, position int, flags ...object) string {
	t.Helper()
	server := newScriptedServer(t, serving(position, flags...), serving(position, flags...))
	client := connect(t, server.url(SSE))
	store := newStore(t, client, WithPersistence(p, 0))
	startClient(t, client)
	ready(t, store)
	checkEqual(t, store.Source(), FromServer)
	client.Close()
	return server.url(SSE)
}

// moved is a persistence under another key: the address of a scripted server differs each time.
type memory struct {
	mu    sync.Mutex
	saved []byte
	saves int
	err   error
	// rekey: the document is given the key it is asked for, without the checksum of its text.
	rekey bool
}

func (m *memory) Load(_ context.Context, key string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.rekey && m.saved != nil {
		var document map[string]any
		if err := json.Unmarshal(m.saved, &document); err != nil {
			return nil, err
		}
		document["key"] = key
		delete(document, "checksum")
		return json.Marshal(document)
	}
	return m.saved, m.err
}

func (m *memory) Save(_ context.Context, _ string, document []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.saves++
	if m.err == nil {
		m.saved = document
	}
	return m.err
}

func (m *memory) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.saves
}

// TestResumingFromACache is tc-cache-resume: readable and stale at once, only missed events are sent, then ready.
func TestResumingFromACache(t *testing.T) {
	both(t, func(t *testing.T, transport Transport) {
		cache := &memory{rekey: true}
		savedWith(t, cache, 10, aFlag(1, "a"), aFlag(2, "b"))
		server := newScriptedServer(t, func(p *peer) {
			p.open()
			p.greet(11)
			p.send(anEvent(FlagUpdated, "11-0@k", aFlag(1, "a").with(object{"enabled": true})))
			p.gone()
		})
		client := connect(t, server.url(transport))
		store := newStore(t, client, WithPersistence(cache, 0))
		checkEqual(t, fmt.Sprint(store.Status(), " ", store.Source(), " ", store.Len(), " ", store.Position()), "STALE cache 2 10")
		var changes list[string]
		store.OnChange(func(c Change) { changes.add(string(c.Kind) + " " + c.Key) })
		startClient(t, client)
		ready(t, store)
		checkEqual(t, server.peer(0).lastEventID(), "10@k")
		checkEqual(t, server.peer(0).wantsSnapshot(), false)
		eventually(t, "the change is reported", func() bool { return changes.len() == 1 })
		checkEqual(t, fmt.Sprint(store.Enabled("a"), " ", store.Source(), " ", changes.all()), "true server [updated a]")
	})
}

// TestOtherKeysOfCaches is tc-cache-other-key, and TestDamagedCaches tc-cache-damaged: reported, and not used.
func TestOtherKeysOfCaches(t *testing.T) {
	withoutLeaks(t)
	directory := t.TempDir()
	address := savedWith(t, FilePersistence(directory), 10, aFlag(1, "a"))
	for want, options := range map[int][]Option{1: nil, 0: {WithAPIKey("another user")}} {
		client := connect(t, address, options...)
		store := newStore(t, client, WithPersistence(FilePersistence(directory), 0))
		checkEqual(t, store.Len(), want)
	}
}

func TestDamagedCaches(t *testing.T) {
	withoutLeaks(t)
	directory := t.TempDir()
	address := savedWith(t, FilePersistence(directory), 10, aFlag(1, "a"))
	files, _ := filepath.Glob(filepath.Join(directory, "*"))
	checkEqual(t, len(files), 1)
	good, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for reason, damaged := range map[string]string{
		notJSON: string(good[:len(good)/2]), wrongTypes: "[]", wrongFormat: strings.Replace(string(good), `"format":1`, `"format":2`, 1),
		wrongDigest: strings.Replace(string(good), `"enabled":false`, `"enabled":true`, 1),
		otherKey:    strings.Replace(string(good), `"key":"`, `"key":"0`, 1),
	} {
		if err := os.WriteFile(files[0], []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		server := newScriptedServer(t, serving(10))
		client := connect(t, address)
		var reported list[error]
		client.OnError(reported.add)
		store := newStore(t, client, WithPersistence(FilePersistence(directory), 0))
		checkEqual(t, fmt.Sprint(store.Len(), " ", store.Status(), " ", store.Source()), "0 INITIALIZING ")
		startClient(t, client)
		eventually(t, "it is reported", func() bool { return reported.len() > 0 })
		var ignored *SnapshotIgnoredError
		if err := reported.all()[0]; !errors.As(err, &ignored) || !strings.Contains(err.Error(), reason) {
			t.Fatal(err)
		}
		client.Close()
		server.listener.Close()
	}
}

// TestCachesDamagedAnywhere is tc-cache-damaged: a document with any character changed, or cut off anywhere, is not
// believed, or is the same.
func TestCachesDamagedAnywhere(t *testing.T) {
	var flags []*Flag
	var sum uint32
	for _, raw := range []string{`{"id":1,"key":"a","notes":"Grüße, {}"}`, `{"id":2,"key":"b"}`} {
		flags = append(flags, decodeFlag(parsed(t, []byte(raw)), ""))
		sum += checksum(canonicalFlag(parsed(t, []byte(raw))))
	}
	now := time.Now()
	good := savedDocument("k", "10@k", formatDigest(2, sum), now, flags)
	for at := range good {
		changed := bytes.Clone(good)
		if changed[at] = '1'; good[at] == '1' {
			changed[at] = '2'
		}
		for _, damaged := range [][]byte{changed, good[:at]} {
			found, reason := readSaved(damaged, "k", now, time.Hour)
			// The name of the member checksum may be damaged: then the digest decides.
			if reason == "" && (found.id != "10@k" || fmt.Sprint(flagKeys(found)) != "[a b]") {
				t.Fatalf("believed: %s", damaged)
			}
		}
	}
	if _, reason := readSaved(good, "k", now, time.Hour); reason != "" {
		t.Fatal(reason)
	}
}

// TestCacheFiles is tc-cache-file: one file, for its owner alone; left-over temporary files are removed.
func TestCacheFiles(t *testing.T) {
	directory := filepath.Join(t.TempDir(), "new")
	p := FilePersistence(directory)
	key := cacheKey("http://a", everything, nil)
	if document, err := p.Load(soon(t), key); document != nil || err != nil {
		t.Fatal(document, err)
	}
	if err := p.Save(soon(t), key, []byte("1")); err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]os.FileMode{directory: 0o700, filepath.Join(directory, "flagent-"+key[:32]+".json"): 0o600} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != mode {
			t.Fatal(info, err)
		}
	}
	old := filepath.Join(directory, "flagent-x.json.1-2.tmp")
	if err := os.WriteFile(old, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-2 * time.Hour)
	if err := os.Chtimes(old, long, long); err != nil {
		t.Fatal(err)
	}
	if err := p.Save(soon(t), key, []byte("22")); err != nil {
		t.Fatal(err)
	}
	document, err := p.Load(soon(t), key)
	files, _ := os.ReadDir(directory)
	if string(document) != "22" || err != nil || len(files) != 1 {
		t.Fatal(string(document), err, files)
	}
}

// TestThePaceOfSaving is tc-cache-pace: the last state wins, a moved id alone waits, and Close saves.
func TestThePaceOfSaving(t *testing.T) {
	withoutLeaks(t)
	server := newScriptedServer(t, func(p *peer) {
		p.open()
		p.greet(10)
		p.snapshot(10, aFlag(1, "a"))
		for n := range 50 {
			p.send(anEvent(FlagUpdated, fmt.Sprintf("%d-0@k", 11+n), aFlag(1, "a").with(object{"n": n})))
		}
		p.heartbeat(100)
		p.gone()
	})
	cache := &memory{}
	client := connect(t, server.url(WebSocket), func(o *options) error {
		o.savePace = savePace{300 * time.Millisecond, time.Hour}
		return nil
	})
	store := newStore(t, client, WithPersistence(cache, 0))
	startClient(t, client)
	eventually(t, "all arrive", func() bool { return store.Position() == 100 })
	eventually(t, "the last state is saved", func() bool {
		cache.mu.Lock()
		defer cache.mu.Unlock()
		return strings.Contains(string(cache.saved), `"n":49`)
	})
	if saves := cache.count(); saves > 3 {
		t.Fatalf("saved %d times", saves)
	}
	client.Close()
	checkEqual(t, strings.Contains(string(cache.saved), `"id":"100@k"`), true)
}

// TestPersistenceThatFails is tc-persistence-raises and tc-cache-unwritable: reported once per cause, and the store is not
// affected.
func TestPersistenceThatFails(t *testing.T) {
	withoutLeaks(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	panics := persistenceFunc(func() error { panic("mine") })
	for name, p := range map[string]Persistence{"memory": &memory{err: errors.New("no space left")}, "unwritable": FilePersistence(filepath.Join(file, "x")), "panics": panics} {
		server := newScriptedServer(t, streaming(3, 0))
		client := connect(t, server.url(SSE), func(o *options) error {
			o.savePace = savePace{time.Millisecond, time.Millisecond}
			return nil
		})
		var reported list[error]
		client.OnError(reported.add)
		store := newStore(t, client, WithPersistence(p, 0))
		startClient(t, client)
		ready(t, store)
		eventually(t, name+" is reported", func() bool { return reported.len() >= 2 && store.Position() == 13 })
		client.Close()
		checkEqual(t, reported.len(), 2) // of loading, and of saving
	}
}

type persistenceFunc func() error

func (f persistenceFunc) Load(context.Context, string) ([]byte, error) { return nil, f() }

func (f persistenceFunc) Save(context.Context, string, []byte) error { return f() }

// TestTwoStoresOfACache is tc-cache-two-stores: the client resumes from the lowest id; otherwise snapshots are requested.
func TestTwoStoresOfACache(t *testing.T) {
	document := func(id string) []byte {
		return []byte(fmt.Sprintf(`{"type":"snapshot","id":%q,"flags":[{"id":1,"key":"a","enabled":false}]}`, id))
	}
	for _, c := range []struct{ a, b, resumes string }{{"12@k", "10@k", "10@k"}, {"12@k", "10@z", ""}, {"12@k", "", ""}} {
		both(t, func(t *testing.T, transport Transport) {
			server := newScriptedServer(t, func(p *peer) {
				p.open()
				p.greet(12)
				if p.wantsSnapshot() {
					p.snapshot(12, aFlag(1, "a"))
				}
				p.gone()
			})
			client := connect(t, server.url(transport))
			a := newStore(t, client, WithBootstrap(document(c.a)))
			b := newStore(t, client, WithBootstrap([]byte(strings.Replace(string(document(c.b)), `"id":"",`, "", 1))))
			startClient(t, client)
			ready(t, a)
			checkEqual(t, server.peer(0).lastEventID(), c.resumes)
			if c.resumes == "" {
				ready(t, b)
			}
		})
	}
}

// TestBootstraps is tc-bootstrap: readable at once, a snapshot is requested where there is no id, a damaged one is reported.
func TestBootstraps(t *testing.T) {
	both(t, func(t *testing.T, transport Transport) {
		server := newScriptedServer(t, serving(10, aFlag(1, "a").with(object{"enabled": true})))
		client := connect(t, server.url(transport))
		var reported list[error]
		client.OnError(reported.add)
		store := newStore(t, client, WithBootstrap([]byte(`[{"id":1,"key":"a","enabled":false},{"id":2,"key":"b"}]`)))
		damaged := newStore(t, client, WithBootstrap([]byte("<html>")))
		checkEqual(t, fmt.Sprint(store.Status(), " ", store.Source(), " ", store.Len(), " ", damaged.Len()), "STALE bootstrap 2 0")
		if err := store.Ready(soon(t)); !errors.Is(err, ErrNotReady) {
			t.Fatal(err)
		}
		startClient(t, client)
		ready(t, store)
		checkEqual(t, fmt.Sprint(store.Enabled("a"), " ", store.Source(), " ", store.Len()), "true server 1")
		eventually(t, "the damaged one is reported", func() bool { return reported.len() == 1 })
	})
}

// TestHugeBootstraps is tc-bootstrap-huge: a million flags are taken, and keep less than 2 KB each. The race detector's
// shadow memory would be many gigabytes, so with it they are fewer.
func TestHugeBootstraps(t *testing.T) {
	count := 1_000_000
	if hasRaceDetector {
		count = 100_000
	}
	var document strings.Builder
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for n := range count {
		fmt.Fprintf(&document, `%c{"id":%d,"key":"f%d"}`, "[,"[min(n, 1)], n+1, n)
	}
	store := newStore(t, connect(t, "http://localhost"), WithBootstrap([]byte(document.String()+"]")))
	flag, err := store.Get("f77777")
	if err != nil || store.Len() != count || flag.ID != 77778 {
		t.Fatal(flag, err, store.Len())
	}
	document.Reset()
	runtime.GC()
	runtime.ReadMemStats(&after)
	if held := int(after.HeapAlloc-before.HeapAlloc) / count; !hasRaceDetector && held > 2048 {
		t.Fatalf("a flag keeps %d bytes", held)
	}
	runtime.KeepAlive(store)
}

// TestOffline is tc-offline: no connection until Start; stores are stale, readable and saved.
func TestOffline(t *testing.T) {
	both(t, func(t *testing.T, transport Transport) {
		server := newScriptedServer(t, serving(10, aFlag(1, "a")))
		client := connect(t, server.url(transport))
		cache := &memory{}
		store := newStore(t, client, WithPersistence(cache, 0))
		startClient(t, client)
		ready(t, store)
		client.Offline()
		client.Offline()
		eventually(t, "it is stale", func() bool { return store.Status() == Stale && !client.IsConnected() })
		checkEqual(t, store.Len(), 1)
		eventually(t, "it is saved", func() bool { return cache.count() > 0 })
		other := newStore(t, client)
		if err := other.Ready(soon(t)); !errors.Is(err, ErrOffline) {
			t.Fatal(err)
		}
		if _, err := client.Evaluate(soon(t), Query{FlagKey: "a"}); !errors.Is(err, ErrOffline) {
			t.Fatal(err)
		}
		other.Close()
		startClient(t, client)
		eventually(t, "it is ready again", func() bool { return store.Status() == Ready })
		checkEqual(t, server.peer(1).lastEventID(), "10@k")
	})
}
