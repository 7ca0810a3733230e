package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	flagent "github.com/flagent-cdc/flagent-go"
	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"
)

const deadline = 60 * time.Second

// serve starts the server of this checkout on an embedded PostgreSQL, or skips the test without FLAGENT_SERVER.
func serve(t *testing.T) (address, database string) {
	t.Helper()
	if os.Getenv("FLAGENT_SERVER") == "" {
		t.Skip("FLAGENT_SERVER is not set: no real server")
	}
	directory, err := os.MkdirTemp("", "flagent-go-")
	if err != nil {
		t.Fatal(err)
	}
	// PostgreSQL does not run as root: another user must be able to come in.
	if err := os.Chmod(directory, 0o755); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = listener.Addr().String()
	listener.Close()
	words := append(strings.Fields(os.Getenv("FLAGENT_SERVER")), "serve", "--port", address[strings.LastIndex(address, ":")+1:], "--data-dir", directory+"/postgres")
	log, err := os.Create(directory + "/log")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	command := exec.Command(words[0], words[1:]...)
	command.Stdout, command.Stderr = log, log
	command.Env = append(os.Environ(), "FLAGENT_WS_PING_INTERVAL=500ms", "FLAGENT_SSE_KEEP_ALIVE=500ms")
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-command.Process.Pid, syscall.SIGTERM)
		_ = command.Wait()
		_ = os.RemoveAll(directory)
	})
	connection := regexp.MustCompile(`connect +psql (postgresql://\S+)`)
	for end := time.Now().Add(2 * deadline); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		text, err := os.ReadFile(log.Name())
		if err != nil {
			t.Fatal(err)
		}
		if found := connection.FindSubmatch(text); found != nil {
			http.DefaultClient.CloseIdleConnections()
			return address, string(found[1])
		}
	}
	text, _ := os.ReadFile(log.Name())
	t.Fatalf("the server is not ready:\n%s", text)
	return "", ""
}

// shown is a flag as the query of the truth writes it.
func shown(f *flagent.Flag) string {
	tags, variants, segments := []any{}, []any{}, []any{}
	for _, tag := range slices.SortedFunc(slices.Values(f.Tags), func(a, b flagent.Tag) int { return int(a.ID - b.ID) }) {
		tags = append(tags, tag.Value)
	}
	for _, v := range slices.SortedFunc(slices.Values(f.Variants), func(a, b flagent.Variant) int { return int(a.ID - b.ID) }) {
		variants = append(variants, []any{v.ID, v.Key, v.Attachment})
	}
	for _, s := range f.Segments {
		constraints, distributions := []any{}, []any{}
		for _, c := range s.Constraints {
			constraints = append(constraints, []any{c.Property, c.Operator, c.Value})
		}
		for _, d := range slices.SortedFunc(slices.Values(s.Distributions), func(a, b flagent.Distribution) int {
			if a.VariantID != b.VariantID {
				return int(a.VariantID - b.VariantID)
			}
			return int(a.ID - b.ID)
		}) {
			distributions = append(distributions, []any{d.VariantID, d.Percent})
		}
		segments = append(segments, []any{s.ID, s.Rank, s.RolloutPercent, constraints, distributions})
	}
	text, err := json.Marshal([]any{f.ID, f.Enabled, f.Description, tags, variants, segments})
	if err != nil {
		panic(err)
	}
	return string(text)
}

func difference(store *flagent.Store, truth map[string]string) string {
	flags := store.All()
	if len(flags) != len(truth) {
		return fmt.Sprintf("%d flags, the database has %d", len(flags), len(truth))
	}
	for _, flag := range flags {
		var found, want any
		if json.Unmarshal([]byte(shown(flag)), &found) != nil || json.Unmarshal([]byte(truth[flag.Key]), &want) != nil || !reflect.DeepEqual(found, want) {
			return fmt.Sprintf("%s is %s, the database has %s", flag.Key, shown(flag), truth[flag.Key])
		}
	}
	return ""
}

// TestStoresEqualTheDatabase: random writers, behind a proxy that cuts connections and goes silent. Each store ends with
// what the database holds, whatever its transport, and the events of each flag come in the order of their ids.
func TestStoresEqualTheDatabase(t *testing.T) {
	address, database := serve(t)
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	ctx, cancel := context.WithTimeout(context.Background(), 3*deadline)
	defer cancel()
	p := newProxy(t, address)
	type follower struct {
		client *flagent.Client
		store  *flagent.Store
	}
	var followers []follower
	for _, transports := range [][]flagent.Transport{{flagent.WebSocket}, {flagent.SSE}, {flagent.Polling}, {flagent.WebSocket, flagent.SSE, flagent.Polling}} {
		client, err := flagent.NewClient("http://"+p.listener.Addr().String(), flagent.WithTransports(transports...),
			flagent.WithReconnect(flagent.ReconnectConfig{InitialDelay: 20 * time.Millisecond, MaxDelay: 200 * time.Millisecond}))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		store, err := flagent.NewStore(client)
		if err != nil {
			t.Fatal(err)
		}
		var last time.Time
		if _, err := client.SubscribeAll(ctx, func(e flagent.Event) {
			if e.Type != flagent.Resync && e.CommittedAt.Before(last) {
				t.Errorf("%v: an event of %v comes after one of %v", transports, e.CommittedAt, last)
			}
			if last = e.CommittedAt; e.Type == flagent.Resync {
				last = time.Time{}
			}
		}); err != nil {
			t.Fatal(err)
		}
		followers = append(followers, follower{client, store})
	}
	var writers sync.WaitGroup
	for seed := range uint64(3) {
		conn, err := pgx.Connect(ctx, database)
		if err != nil {
			t.Fatal(err)
		}
		writers.Add(1)
		go func() {
			defer writers.Done()
			defer conn.Close(context.Background())
			w := &writer{conn, rand.New(rand.NewPCG(seed, 1))}
			if err := w.write(ctx, 150); err != nil {
				t.Error(err)
			}
		}()
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		writers.Wait()
	}()
	for n, isWriting := 0, true; isWriting; n++ {
		select {
		case <-done:
			isWriting = false
		case <-time.After(300 * time.Millisecond):
			p.silence(n%8 == 5 || n%8 == 6)
			p.cut()
		}
	}
	p.silence(false)
	conn, err := pgx.Connect(ctx, database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	// The writers delete and archive flags, too, at random: perhaps all of them.
	if _, err := conn.Exec(ctx, "insert into flags (key, description, enabled, created_at) values ('last', 'after all cuts', true, now())"); err != nil {
		t.Fatal(err)
	}
	want, err := readTruth(ctx, conn)
	if err != nil {
		t.Fatal(err)
	}
	if len(want) == 0 || p.cuts < 3 {
		t.Fatalf("%d flags and %d cuts: the test shows nothing", len(want), p.cuts)
	}
	for i, f := range followers {
		for end := time.Now().Add(deadline); f.store.Status() != flagent.Ready || difference(f.store, want) != ""; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("store %d by %s, %v at %s: %s", i, f.client.Transport(), f.store.Status(), f.store.LastEventID(), difference(f.store, want))
			}
		}
	}
	t.Logf("%d flags after %d cuts", len(want), p.cuts)
}
