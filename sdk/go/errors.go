package flagent

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/flagent-cdc/flagent-go/internal/policy"
)

// The errors that have no data.
var (
	// ErrClosed says that the client or the store is closed; make a new client to connect again.
	ErrClosed = errors.New("flagent: the client is closed; make a new client to connect again")
	// ErrFlagNotFound says that there is no such flag.
	ErrFlagNotFound = errors.New("flagent: there is no such flag")
	// ErrNotReady is in the error of a wait that ended before the store was ready.
	ErrNotReady = errors.New("flagent: the store is not ready")
	// ErrOffline says that the client was told not to connect.
	ErrOffline = errors.New("flagent: the client is offline")
)

// ConnectionLostError says that the connection could not be made, or ended; it is reported, and the client reconnects.
// A request that is open when its connection ends returns it.
type ConnectionLostError struct {
	Reason string
	// Status is the HTTP status and CloseCode the WebSocket close code, 0 where there was none.
	Status    int
	CloseCode int
	// RetryAfter is the wait that the server requested, valid when HasRetryAfter.
	RetryAfter    time.Duration
	HasRetryAfter bool
	// Cause is the error of the network, nil where there was none.
	Cause error
	// kind is what the end says about the transport, "" for a connection that was lost.
	kind input
}

func (e *ConnectionLostError) Error() string { return "flagent: " + e.Reason }

// Unwrap returns the cause.
func (e *ConnectionLostError) Unwrap() error { return e.Cause }

// ConnectionRefusedError says that the server rejects this client for good: a retry would not help. It ends the client.
type ConnectionRefusedError struct {
	Reason string
	// Status is the HTTP status and CloseCode the WebSocket close code, 0 where there was none.
	Status    int
	CloseCode int
}

func (e *ConnectionRefusedError) Error() string { return "flagent: " + e.Reason }

// ReconnectExhaustedError says that all reconnection attempts failed. It ends the client.
type ReconnectExhaustedError struct {
	Attempts int
	// Cause is the last error.
	Cause error
}

func (e *ReconnectExhaustedError) Error() string {
	return fmt.Sprintf("flagent: the client gave up after %d reconnection attempts (ReconnectConfig.MaxAttempts: "+
		"flagent.Unlimited retries without limit): %v", e.Attempts, e.Cause)
}

// Unwrap returns the last error.
func (e *ReconnectExhaustedError) Unwrap() error { return e.Cause }

// MalformedMessageError says that a message of the server could not be decoded and was skipped; it is reported.
type MalformedMessageError struct{ Reason string }

func (e *MalformedMessageError) Error() string { return "flagent: " + e.Reason }

func malformed(format string, args ...any) *MalformedMessageError {
	return &MalformedMessageError{Reason: fmt.Sprintf(format, args...)}
}

// HandlerPanicError says that a handler panicked; it is reported, and the stream goes on.
type HandlerPanicError struct {
	// Value is what the handler panicked with, Stack its stack.
	Value any
	Stack []byte
}

func (e *HandlerPanicError) Error() string {
	return fmt.Sprintf("flagent: a handler panicked: %v", e.Value)
}

// Unwrap returns the panic's value if it is an error.
func (e *HandlerPanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// RequestError is the error with which the server answered a request. Code is stable, Message is text for people.
type RequestError struct {
	Code    string
	Message string
	// Status is the HTTP status, 0 for an answer on the WebSocket.
	Status int
}

// isFinal reports whether the same request would be answered with the same error.
func (e *RequestError) isFinal() bool { return policy.Status(e.Status) == policy.Fatal }

func (e *RequestError) Error() string { return "flagent: " + e.Code + ": " + e.Message }

// AmbiguousFlagError says that several schemas have a flag of this key; see [Store.In].
type AmbiguousFlagError struct {
	Key     string
	Schemas []string
}

func (e *AmbiguousFlagError) Error() string {
	return fmt.Sprintf("flagent: flag %q exists in several schemas (%s); use In to choose one", e.Key, strings.Join(e.Schemas, ", "))
}

// SelectionError says that a subscription or store selects more than one connection can, or has a value that the server
// would refuse. Nothing was changed.
type SelectionError struct{ Reason string }

func (e *SelectionError) Error() string { return "flagent: " + e.Reason }

// SnapshotIgnoredError says why a saved snapshot was not used, or not saved. The store works as without it; reported.
type SnapshotIgnoredError struct {
	Reason string
	Cause  error
}

func (e *SnapshotIgnoredError) Error() string { return "flagent: " + e.Reason }

// Unwrap returns the cause.
func (e *SnapshotIgnoredError) Unwrap() error { return e.Cause }
