package flagent

import (
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestProxies is tc-proxy: the proxy of a transport is used, with its credentials.
func TestProxies(t *testing.T) {
	withoutLeaks(t)
	proxy := newScriptedServer(t, serving(10, aFlag(1, "a")))
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: proxy.listener.Addr().String(), User: url.UserPassword("me", "secret")})
	client := connect(t, "http://flags.invalid/stream", WithHTTPTransport(transport))
	store := newStore(t, client)
	startClient(t, client)
	ready(t, store)
	checkEqual(t, proxy.peer(0).header.Get("Proxy-Authorization"), "Basic bWU6c2VjcmV0")
	if transport := http.DefaultTransport.(*http.Transport); transport.Proxy == nil {
		t.Fatal("the default transport reads no HTTP_PROXY")
	}
}

// tunnel answers CONNECT and forwards to a server.
func tunnel(target *scriptedServer) script {
	return func(p *peer) {
		server, err := net.Dial("tcp", target.listener.Addr().String())
		check(err)
		defer server.Close()
		p.write("HTTP/1.1 200 Connection established\r\n\r\n")
		go func() {
			// Either end may close first.
			_, _ = io.Copy(p.Conn, server)
			p.Close()
		}()
		_, _ = io.Copy(server, p.reader)
	}
}

// TestTunnel is tc-proxy: an insecure WebSocket goes through a proxy by CONNECT.
func TestTunnel(t *testing.T) {
	withoutLeaks(t)
	server := newScriptedServer(t, serving(10, aFlag(1, "a")))
	proxy := newScriptedServer(t, func(p *peer) {
		p.request()
		tunnel(server)(p)
	})
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: proxy.listener.Addr().String(), User: url.UserPassword("me", "secret")})
	client := connect(t, "ws://flags.invalid/ws", WithHTTPTransport(transport), WithAPIKey("k"))
	store := newStore(t, client)
	startClient(t, client)
	ready(t, store)
	checkEqual(t, client.Transport(), WebSocket)
	checkEqual(t, proxy.peer(0).method, "CONNECT")
	checkEqual(t, proxy.peer(0).host, "flags.invalid:80")
	checkEqual(t, proxy.peer(0).header.Get("Proxy-Authorization"), "Basic bWU6c2VjcmV0")
	checkEqual(t, proxy.peer(0).header.Get("X-API-Key"), "")
	checkEqual(t, server.peer(0).header.Get("X-API-Key"), "k")
	checkEqual(t, server.peer(0).header.Get("Proxy-Authorization"), "")
}

// TestRefusedTunnel is tc-proxy: a proxy that opens no tunnel is named, and the event stream, which needs none, is used.
func TestRefusedTunnel(t *testing.T) {
	withoutLeaks(t)
	proxy := newScriptedServer(t,
		func(p *peer) {
			p.request()
			p.answer("405 Method Not Allowed", "")
		},
		serving(10, aFlag(1, "a")))
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: proxy.listener.Addr().String()})
	client := connect(t, "http://flags.invalid", WithHTTPTransport(transport))
	errs := make(chan error, 10)
	client.OnError(func(err error) { errs <- err })
	store := newStore(t, client)
	startClient(t, client)
	ready(t, store)
	checkEqual(t, client.Transport(), SSE)
	if err := <-errs; !strings.Contains(err.Error(), "405 Method Not Allowed") {
		t.Fatal(err)
	}
}

// TestSilentProxy is tc-proxy: a proxy that does not answer CONNECT is left for the next transport.
func TestSilentProxy(t *testing.T) {
	withoutLeaks(t)
	proxy := newScriptedServer(t, func(p *peer) {
		p.request()
		p.gone()
	}, serving(10, aFlag(1, "a")))
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: proxy.listener.Addr().String()})
	client := connect(t, "http://flags.invalid", WithHTTPTransport(transport), WithConnectTimeout(2*time.Second))
	store := newStore(t, client)
	startClient(t, client)
	ready(t, store)
	checkEqual(t, client.Transport(), SSE)
}

// TestClockJumps is tc-clock-jumps: waiting and silence use the monotonic clock; the wall clock decides only the age of
// saved flags (pe-d18 to pe-d22).
func TestClockJumps(t *testing.T) {
	c := systemClock{time.Now()}
	if !strings.Contains(c.start.String(), "m=") {
		t.Fatal("the clock has no monotonic reading")
	}
	before := c.now()
	if after := c.now(); before < 0 || after < before {
		t.Fatalf("%v comes after %v", after, before)
	}
}
