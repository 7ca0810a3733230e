package flagent

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/url"
)

// net/http sends a plain request through an HTTP proxy as a whole, an upgrade included, which most proxies refuse. Other
// WebSocket clients open a tunnel, as for a secure connection. So does this file.

// tunnelled is the transport for one handshake of a WebSocket at this address: the same one, unless its proxy needs a
// tunnel. The context bounds the tunnel's set-up; the one of net/http would not, as it also dials for later requests. got
// is called with the connection to the proxy.
func tunnelled(ctx context.Context, transport http.RoundTripper, address string, got func(net.Conn)) (http.RoundTripper, error) {
	t, ok := transport.(*http.Transport)
	if !ok || t.Proxy == nil {
		return transport, nil
	}
	target, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	if target.Scheme == "ws" {
		target.Scheme = "http"
	}
	if target.Scheme != "http" {
		return transport, nil
	}
	proxy, err := t.Proxy(&http.Request{Method: http.MethodGet, URL: target, Host: target.Host})
	if err != nil {
		return nil, err
	}
	if proxy == nil || proxy.Scheme != "http" && proxy.Scheme != "https" {
		return transport, nil
	}
	direct := t.Clone()
	direct.Proxy = nil
	direct.DisableKeepAlives = true
	direct.DialContext = func(_ context.Context, network, addr string) (net.Conn, error) {
		conn, err := dialProxy(ctx, t, proxy, network)
		if err != nil {
			return nil, err
		}
		got(conn)
		return conn, openTunnel(ctx, t, proxy, conn, addr)
	}
	return direct, nil
}

// openTunnel opens a tunnel to an address on a connection to a proxy, or closes the connection.
func openTunnel(ctx context.Context, t *http.Transport, proxy *url.URL, conn net.Conn, addr string) error {
	unwatch := context.AfterFunc(ctx, func() { conn.Close() })
	err := requestTunnel(ctx, t, proxy, conn, addr)
	if !unwatch() {
		return context.Cause(ctx)
	}
	if err != nil {
		conn.Close()
	}
	return err
}

func dialProxy(ctx context.Context, t *http.Transport, proxy *url.URL, network string) (net.Conn, error) {
	dial := t.DialContext
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	port := proxy.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[proxy.Scheme]
	}
	conn, err := dial(ctx, network, net.JoinHostPort(proxy.Hostname(), port))
	if err != nil || proxy.Scheme != "https" {
		return conn, err
	}
	config := &tls.Config{}
	if t.TLSClientConfig != nil {
		config = t.TLSClientConfig.Clone()
	}
	config.ServerName, config.NextProtos = proxy.Hostname(), nil
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return secure, nil
}

func requestTunnel(ctx context.Context, t *http.Transport, proxy *url.URL, conn net.Conn, addr string) error {
	header := t.ProxyConnectHeader.Clone()
	if t.GetProxyConnectHeader != nil {
		var err error
		if header, err = t.GetProxyConnectHeader(ctx, proxy, addr); err != nil {
			return err
		}
	}
	if header == nil {
		header = http.Header{}
	}
	if user := proxy.User; user != nil && header.Get("Proxy-Authorization") == "" {
		password, _ := user.Password()
		header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)))
	}
	request := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: addr}, Host: addr, Header: header}
	if err := request.Write(conn); err != nil {
		return err
	}
	// What is behind the answer would be lost with this reader; but the server says nothing before it is asked.
	answer, err := http.ReadResponse(bufio.NewReader(conn), request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("the proxy refuses the tunnel (CONNECT) of a WebSocket with status %s", answer.Status)
	}
	return nil
}
