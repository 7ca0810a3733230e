package flagent

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"github.com/flagent-cdc/flagent-go/internal/jsontext"
	"github.com/flagent-cdc/flagent-go/internal/policy"
)

// goodbyeLimit bounds the wait for the peer's close frame.
const goodbyeLimit = time.Second

// webSocketLink is one WebSocket connection. Its fields need the client's lock.
type webSocketLink struct {
	address string
	// outbox are messages that wait for being sent; filled wakes the sender.
	outbox [][]byte
	filled chan struct{}
	count  int
	// subscribed is what the server was asked for on this connection.
	subscribed       *selection
	snapshotRequests map[string]*storeDriver
	primaryRequests  map[string]bool
	catchUpRequest   string
	// socket is the connection below the WebSocket, to cut it.
	socket atomic.Pointer[net.Conn]
}

func newWebSocketLink(address string) *webSocketLink {
	return &webSocketLink{
		address: address, filled: make(chan struct{}, 1), subscribed: &selection{},
		snapshotRequests: map[string]*storeDriver{}, primaryRequests: map[string]bool{},
	}
}

func (l *webSocketLink) run(conn *connection) error {
	socket, err := l.dial(conn.ctx, conn.client)
	if err != nil {
		return err
	}
	defer socket.CloseNow()
	socket.SetReadLimit(conn.client.options.maxMessageBytes)
	c := conn.client
	c.mu.Lock()
	conn.goodbye = func() { closePolitely(socket, func() { l.cut(conn) }) }
	l.subscribeFirst(conn)
	conn.opened()
	c.requests.connected()
	c.mu.Unlock()
	conn.side.Add(1)
	go func() {
		defer conn.side.Done()
		l.send(conn, socket)
	}()
	for {
		kind, data, err := readMessage(conn.ctx, socket, func() {
			c.mu.Lock()
			conn.heard()
			c.mu.Unlock()
		})
		if err != nil {
			return l.readError(err)
		}
		if err := l.process(conn, kind, data); err != nil {
			return err
		}
	}
}

// cut breaks the connection: the library would wait five seconds for a peer that does not answer a goodbye.
func (l *webSocketLink) cut(conn *connection) {
	conn.cancel(ErrClosed)
	if socket := l.socket.Load(); socket != nil {
		// The connection is given up, whatever its end says.
		_ = (*socket).Close()
	}
}

// readMessage reads one message. heard is called whenever bytes arrive: a large message takes its time.
func readMessage(ctx context.Context, socket *websocket.Conn, heard func()) (websocket.MessageType, []byte, error) {
	kind, reader, err := socket.Reader(ctx)
	if err != nil {
		return kind, nil, err
	}
	data := make([]byte, 0, 1024)
	for {
		if len(data) == cap(data) {
			data = append(data, 0)[:len(data)]
		}
		n, err := reader.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		heard()
		if errors.Is(err, io.EOF) {
			return kind, data, nil
		}
		if err != nil {
			return kind, nil, err
		}
	}
}

// probe opens a connection beside the present one, waits for the answer to a ping, and closes it.
func (l *webSocketLink) probe(ctx context.Context, c *Client) error {
	socket, err := l.dial(ctx, c)
	if err != nil {
		return err
	}
	defer socket.CloseNow()
	limited, cancel := context.WithTimeout(ctx, c.options.connectTimeout)
	defer cancel()
	if err := socket.Write(limited, websocket.MessageText, newCommand("ping").text("requestId", "probe").bytes()); err != nil {
		return l.readError(err)
	}
	if _, _, err := socket.Read(limited); err != nil {
		return l.readError(err)
	}
	return nil
}

// closePolitely sends a close frame and waits for the peer's, a second at most. cut breaks the connection.
func closePolitely(socket *websocket.Conn, cut func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The error says that the peer did not answer, which changes nothing.
		_ = socket.Close(websocket.StatusNormalClosure, "")
	}()
	timer := time.NewTimer(goodbyeLimit)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		// The reader ends with its context, and with it the wait of Close.
		cut()
	}
}

func (l *webSocketLink) dial(ctx context.Context, c *Client) (*websocket.Conn, error) {
	address := l.address
	key, err := c.key(ctx)
	if err != nil {
		return nil, err
	}
	for hop, isRenewed := 0, false; ; {
		limited, cancel := context.WithTimeout(ctx, c.options.connectTimeout)
		var isConnected atomic.Bool
		got := func(conn net.Conn) {
			isConnected.Store(true)
			l.socket.Store(&conn)
		}
		limited = tracedTo(limited, got)
		client := *c.http
		if client.Transport, err = tunnelled(limited, c.options.httpTransport, address, got); err != nil {
			cancel()
			return nil, connectError(err, false, c.options.connectTimeout)
		}
		socket, answer, err := websocket.Dial(limited, address, &websocket.DialOptions{
			HTTPClient:      &client,
			HTTPHeader:      keyHeader(key),
			CompressionMode: websocket.CompressionNoContextTakeover,
		})
		cancel()
		if err == nil {
			return socket, nil
		}
		if answer == nil {
			return nil, connectError(err, isConnected.Load(), c.options.connectTimeout)
		}
		switch outcome := policy.Status(answer.StatusCode); {
		case answer.StatusCode == http.StatusSwitchingProtocols:
			return nil, &ConnectionLostError{Reason: "the WebSocket handshake failed: " + causeText(err), Cause: err, kind: failed}
		case outcome == policy.Redirect:
			hop++
			target, sendKey, ok := policy.ResolveRedirect(address, answer.Header.Get("Location"), hop)
			if !ok {
				return nil, badRedirect(answer.StatusCode)
			}
			if address = target; !sendKey {
				key = ""
			}
		case answer.StatusCode == http.StatusUnauthorized && c.options.isKeyFunction && !isRenewed:
			isRenewed = true
			if key, err = c.key(ctx); err != nil {
				return nil, err
			}
		case outcome == policy.Stream:
			return nil, &ConnectionLostError{Reason: "the server does not open a WebSocket at this URL; check its path", Status: 200, kind: failed}
		default:
			body, _ := io.ReadAll(io.LimitReader(answer.Body, maxProblemBytes))
			return nil, responseError(answer.StatusCode, answer.Header, body)
		}
	}
}

// readError says why a connection ended.
func (l *webSocketLink) readError(err error) error {
	var closed websocket.CloseError
	if errors.As(err, &closed) {
		code := int(closed.Code)
		text := "closed with code " + strconv.Itoa(code)
		if closed.Reason != "" {
			text += ": " + closed.Reason
		}
		if policy.CloseCode(code) == policy.Fatal {
			return &ConnectionRefusedError{Reason: text, CloseCode: code}
		}
		return &ConnectionLostError{Reason: text, CloseCode: code, Cause: err}
	}
	if errors.Is(err, websocket.ErrMessageTooBig) {
		return &ConnectionLostError{Reason: "a message is larger than the limit of WithMaxMessageBytes", Cause: err}
	}
	return &ConnectionLostError{Reason: "the connection broke: " + causeText(err), Cause: err}
}

func (l *webSocketLink) send(conn *connection, socket *websocket.Conn) {
	for {
		conn.client.mu.Lock()
		outbox := l.outbox
		l.outbox = nil
		conn.client.mu.Unlock()
		for _, data := range outbox {
			if socket.Write(conn.ctx, websocket.MessageText, data) != nil {
				return // the reader reports the end of the connection
			}
		}
		select {
		case <-l.filled:
		case <-conn.ctx.Done():
			return
		}
	}
}

// post queues a message for sending; it returns its requestId.
func (l *webSocketLink) post(c *command) string {
	l.count++
	id := "r" + strconv.Itoa(l.count)
	l.outbox = append(l.outbox, c.text("requestId", id).bytes())
	signal(l.filled)
	return id
}

func (l *webSocketLink) process(conn *connection, kind websocket.MessageType, data []byte) error {
	c := conn.client
	value, err := jsontext.Parse(data)
	var failure *MalformedMessageError
	switch {
	case kind != websocket.MessageText:
		failure = malformed("a WebSocket frame is binary; JSON text is expected")
	case err != nil:
		failure = malformed("a WebSocket frame is %v", err)
	case value.Kind != jsontext.Object:
		failure = malformed("a WebSocket frame is not a JSON object")
	}
	if failure != nil {
		c.mu.Lock()
		conn.reportMalformed(failure)
		c.mu.Unlock()
		return nil
	}
	m := newMessage(value)
	c.mu.Lock()
	isCaughtUp := m.kind == "pong" && l.catchUpRequest != "" && text(value, "requestId") == l.catchUpRequest
	isComplete := !isCaughtUp && l.completeRequest(conn, m)
	if isComplete {
		conn.alive(c.clock.now())
	}
	c.mu.Unlock()
	switch {
	case isCaughtUp:
		m.kind = "caught_up"
		return conn.accept(m)
	case isComplete:
		return nil
	}
	return conn.accept(m)
}

// completeRequest passes a response to the request that waits for it. It reports whether the message is complete with
// that. It needs the lock.
func (l *webSocketLink) completeRequest(conn *connection, m message) bool {
	id := text(m.value, "requestId")
	switch m.kind {
	case "evaluation_result", "pong":
		conn.client.requests.resolve(id, response{value: m.value})
	case "error":
		l.requestFailed(conn, id, &RequestError{Code: text(m.value, "code"), Message: text(m.value, "message")})
	case "unsubscribed":
	case "subscribed":
		return conn.isGreeted
	default:
		return false
	}
	return true
}

func (l *webSocketLink) requestFailed(conn *connection, id string, err *RequestError) {
	c := conn.client
	if c.requests.resolve(id, response{err: err}) {
		return
	}
	if c.table != nil && l.primaryRequests[id] {
		c.table.refused(conn, err.Code, err.Message)
		return
	}
	c.logger.Warn("The server rejected a request", "action", "request_failed", "code", err.Code, "reason", err.Message)
	c.dispatcher.report(err)
	if store := l.snapshotRequester(id); store != nil {
		store.snapshotFailed()
	}
	if l.primaryRequests[id] {
		conn.drop("the server rejected the subscription: " + err.Code + ": " + err.Message)
	}
}

func (l *webSocketLink) subscribeFirst(conn *connection) {
	// Decided only now: subscriptions and stores may have been added while connecting.
	request := conn.newRequest()
	if request.selection.isEmpty() {
		return
	}
	l.subscribed = request.selection
	clear(l.primaryRequests)
	commands := subscribeCommands(request.selection, request.start())
	if table := conn.client.table; table != nil {
		commands = []*command{table.query.command(request.start())}
	}
	for _, command := range commands {
		l.primaryRequests[l.post(command)] = true
	}
	l.catchUpRequest = ""
	if request.lastEventID != "" {
		// The server answers in order, and a ping only after the replay: the pong marks the end of the replay.
		l.catchUpRequest = l.post(newCommand("ping"))
	}
}

func (l *webSocketLink) applySelection(conn *connection) {
	if l.subscribed.isEmpty() {
		l.subscribeFirst(conn)
		return
	}
	wanted := conn.client.wanted()
	if !wanted.hasNarrowingOf(l.subscribed) && !wanted.isEmpty() {
		conn.replace()
		return
	}
	added, removed := wanted.minus(l.subscribed), l.subscribed.minus(wanted)
	if !added.isEmpty() {
		for _, command := range subscribeCommands(added, start{}) {
			l.post(command)
		}
	}
	if wanted.isEmpty() {
		l.post(newCommand("unsubscribe"))
	} else if !removed.isEmpty() {
		for _, part := range removed.parts() {
			l.post(newCommand("unsubscribe").selecting(part))
		}
	}
	l.subscribed = wanted
}

func (l *webSocketLink) requestSnapshot(_ *connection, store *storeDriver) {
	commands := subscribeCommands(store.core.selection, start{snapshot: true})
	l.snapshotRequests[l.post(commands[0])] = store
	// Where everything is selected anyway, it must stay so.
	if !l.subscribed.everything {
		for _, command := range commands[1:] {
			l.post(command)
		}
	}
}

func (l *webSocketLink) snapshotRequester(requestID string) *storeDriver {
	store := l.snapshotRequests[requestID]
	delete(l.snapshotRequests, requestID)
	return store
}
