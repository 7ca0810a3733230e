package integration

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// proxy forwards to an address. While silent, no bytes pass and no connection breaks; cut resets all connections.
type proxy struct {
	listener net.Listener
	target   string
	running  sync.WaitGroup
	mu       sync.Mutex
	open     *sync.Cond
	isSilent bool
	isClosed bool
	pairs    map[net.Conn]net.Conn
	cuts     int
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: listener, target: target, pairs: map[net.Conn]net.Conn{}}
	p.open = sync.NewCond(&p.mu)
	p.running.Add(1)
	go p.serve()
	t.Cleanup(func() {
		listener.Close()
		p.mu.Lock()
		p.isClosed = true
		p.mu.Unlock()
		p.silence(false)
		p.cut()
		p.running.Wait()
	})
	return p
}

func (p *proxy) serve() {
	defer p.running.Done()
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.DialTimeout("tcp", p.target, 5*time.Second)
		if err != nil {
			near.Close()
			continue
		}
		p.mu.Lock()
		p.pairs[near] = far
		if p.isClosed {
			near.Close()
			far.Close()
		}
		p.mu.Unlock()
		p.running.Add(2)
		go p.pump(near, far)
		go p.pump(far, near)
	}
}

func (p *proxy) pump(from, to net.Conn) {
	defer p.running.Done()
	defer from.Close()
	defer to.Close()
	buffer := make([]byte, 32*1024)
	for {
		n, err := from.Read(buffer)
		p.mu.Lock()
		for p.isSilent {
			p.open.Wait()
		}
		p.mu.Unlock()
		if _, writeErr := to.Write(buffer[:n]); writeErr != nil || err != nil {
			if err != io.EOF {
				reset(to)
			}
			return
		}
	}
}

func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	conn.Close()
}

func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cuts++
	for near, far := range p.pairs {
		reset(near)
		reset(far)
		delete(p.pairs, near)
	}
}

func (p *proxy) silence(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.isSilent = on
	p.open.Broadcast()
}
