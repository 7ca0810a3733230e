package flagent

import (
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
