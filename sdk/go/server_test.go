package flagent_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	flagent "github.com/flagent-cdc/flagent-go"
	"go.uber.org/goleak"
)

const deadline = 2 * time.Minute

// withoutLeaks fails the test when it leaves a goroutine.
func withoutLeaks(t *testing.T) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
}

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	t.Cleanup(cancel)
	return ctx
}

// server is a flagent-cdc of this checkout.
type server struct {
	url     string
	command *exec.Cmd
	log     string
	ended   chan struct{}
}

var demo struct {
	once   sync.Once
	server *server
	err    error
}

// demoServer starts "flagent-cdc demo" once for all tests, or skips the test without FLAGENT_SERVER.
func demoServer(t testing.TB) *server {
	t.Helper()
	if os.Getenv("FLAGENT_SERVER") == "" {
		t.Skip("FLAGENT_SERVER is not set: no real server")
	}
	demo.once.Do(func() {
		directory, err := os.MkdirTemp("", "flagent-go-")
		if err != nil {
			demo.err = err
			return
		}
		// PostgreSQL does not run as root: another user must be able to come in.
		if demo.err = os.Chmod(directory, 0o755); demo.err != nil {
			return
		}
		demo.server, demo.err = startServer(directory, freePort(), "demo", "--interval", "200ms")
	})
	if demo.err != nil {
		t.Fatal(demo.err)
	}
	return demo.server
}

func freePort() int {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

func startServer(directory string, port int, arguments ...string) (*server, error) {
	words := strings.Fields(os.Getenv("FLAGENT_SERVER"))
	words = append(words, arguments...)
	words = append(words, "--port", fmt.Sprint(port), "--data-dir", directory+"/postgres")
	log, err := os.Create(directory + "/log")
	if err != nil {
		return nil, err
	}
	defer log.Close()
	s := &server{url: fmt.Sprintf("http://127.0.0.1:%d", port), command: exec.Command(words[0], words[1:]...), log: log.Name()}
	s.command.Stdout, s.command.Stderr = log, log
	s.command.Env = append(os.Environ(), "FLAGENT_WS_PING_INTERVAL=1s", "FLAGENT_SSE_KEEP_ALIVE=1s")
	// A group of its own, so that its PostgreSQL ends with it.
	s.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.command.Start(); err != nil {
		return nil, err
	}
	s.ended = make(chan struct{})
	go func() {
		defer close(s.ended)
		_ = s.command.Wait()
	}()
	for end := time.Now().Add(3 * deadline); time.Now().Before(end) && !s.isEnded(); time.Sleep(50 * time.Millisecond) {
		if answer, err := http.Get(s.url + "/readyz"); err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return s, nil
			}
		}
	}
	s.stop()
	text, _ := os.ReadFile(s.log)
	return nil, fmt.Errorf("the server is not ready:\n%s", text)
}

func (s *server) stop() {
	_ = syscall.Kill(-s.command.Process.Pid, syscall.SIGTERM)
	<-s.ended
}

func (s *server) isEnded() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

func TestMain(m *testing.M) {
	code := m.Run()
	http.DefaultClient.CloseIdleConnections()
	if demo.server != nil {
		demo.server.stop()
		_ = os.RemoveAll(demo.server.log[:len(demo.server.log)-len("/log")])
	}
	os.Exit(code)
}

var (
	streams = []flagent.Transport{flagent.WebSocket, flagent.SSE}
	all     = []flagent.Transport{flagent.WebSocket, flagent.SSE, flagent.Polling}
)

func onEach(t *testing.T, transports []flagent.Transport, test func(t *testing.T, transport flagent.Transport)) {
	for _, transport := range transports {
		t.Run(string(transport), func(t *testing.T) {
			withoutLeaks(t)
			test(t, transport)
		})
	}
}

func newClient(t testing.TB, url string, options ...flagent.Option) *flagent.Client {
	t.Helper()
	quick := flagent.WithReconnect(flagent.ReconnectConfig{MaxAttempts: flagent.Unlimited, InitialDelay: 20 * time.Millisecond, MaxDelay: 200 * time.Millisecond})
	client, err := flagent.NewClient(url, append([]flagent.Option{quick}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

func TestAStoreFollowsARealServer(t *testing.T) {
	s := demoServer(t)
	onEach(t, all, func(t *testing.T, transport flagent.Transport) {
		client := newClient(t, s.url, flagent.WithTransports(transport))
		store, err := flagent.NewStore(client)
		if err != nil {
			t.Fatal(err)
		}
		if err := store.Ready(within(t)); err != nil {
			t.Fatal(err)
		}
		if store.Len() < 20 || len(store.All()) != store.Len() {
			t.Fatalf("the store has %d flags, of which All returns %d", store.Len(), len(store.All()))
		}
		if _, err := store.Get("there is no such flag"); !errors.Is(err, flagent.ErrFlagNotFound) {
			t.Fatalf("%v, want ErrFlagNotFound", err)
		}
		if client.Transport() != transport {
			t.Fatalf("the transport is %s", client.Transport())
		}
		if err := store.WaitFor(within(t), store.Position()+3); err != nil {
			t.Fatal(err)
		}
	})
}

func TestEventsOfARealServerArriveInOrder(t *testing.T) {
	s := demoServer(t)
	onEach(t, streams, func(t *testing.T, transport flagent.Transport) {
		client := newClient(t, s.url, flagent.WithTransports(transport))
		seen := 0
		var last time.Time
		for event, err := range client.Events(within(t), flagent.Selectors{}) {
			if err != nil {
				t.Fatal(err)
			}
			if event.CommittedAt.Before(last) {
				t.Fatalf("%v comes after %v", event.CommittedAt, last)
			}
			last = event.CommittedAt
			if seen++; seen == 3 {
				break
			}
		}
		if seen != 3 {
			t.Fatalf("%d events", seen)
		}
	})
}

func TestARealServerEvaluatesAsTheStoreDoes(t *testing.T) {
	s := demoServer(t)
	onEach(t, all, func(t *testing.T, transport flagent.Transport) {
		client := newClient(t, s.url, flagent.WithTransports(transport))
		store, err := flagent.NewStore(client)
		if err != nil {
			t.Fatal(err)
		}
		if err := store.Ready(within(t)); err != nil {
			t.Fatal(err)
		}
		flag := store.All()[0]
		entity := flagent.Entity{ID: "user123", Context: flagent.Context{"country": "US", "age": 30, "none": nil}}
		answer, err := client.Evaluate(within(t), flagent.Query{FlagKey: flag.Key, Entity: entity})
		if err != nil || answer.FlagKey != flag.Key && answer.FlagKey != "" || answer.EntityID != "user123" {
			t.Fatalf("%+v (%v)", answer, err)
		}
		answers, err := client.EvaluateBatch(within(t), flagent.BatchQuery{FlagKeys: []string{flag.Key, "none"}, Entities: []flagent.Entity{entity, {ID: "u2"}}})
		if err != nil || len(answers) != 4 {
			t.Fatalf("%+v (%v)", answers, err)
		}
		var failure *flagent.RequestError
		if _, err := client.EvaluateBatch(within(t), flagent.BatchQuery{}); !errors.As(err, &failure) || failure.Code == "" {
			t.Fatalf("%v, want a RequestError", err)
		}
	})
}
