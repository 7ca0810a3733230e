package flagent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Persistence keeps the flags of stores between runs of a program. Load returns nothing, and no error, for a key that was
// not saved. The text is JSON. Errors are reported, and never disturb a store. Both methods may be called from several
// goroutines.
type Persistence interface {
	Load(ctx context.Context, key string) ([]byte, error)
	Save(ctx context.Context, key string, document []byte) error
}

// WithPersistence saves the flags of a store, at most once a second, and begins the next one with them: the flags are
// readable at once, Stale, and the stream resumes, so that only missed events are sent. Saved flags are not used after
// maxAge; 0 is 30 days.
func WithPersistence(persistence Persistence, maxAge time.Duration) StoreOption {
	return func(o *storeOptions) error {
		if maxAge < 0 {
			return fmt.Errorf("flagent: the maximum age of saved flags is %v; it must not be negative", maxAge)
		}
		if o.persistence, o.maxAge = persistence, maxAge; maxAge == 0 {
			o.maxAge = defaultMaxAge
		}
		return nil
	}
}

// WithBootstrap begins with flags that the application brings: what [Persistence] saved, an answer of GET /api/v1/snapshot,
// or of GET /api/v1/flags?preload=true. A document that cannot be used is ignored and reported.
func WithBootstrap(document []byte) StoreOption {
	return func(o *storeOptions) error {
		o.bootstrap = document
		return nil
	}
}

// WithCacheIdentity names the user of saved flags in place of the API key: for keys that change.
func WithCacheIdentity(identity string) Option {
	return func(o *options) error {
		o.cacheIdentity = &identity
		return nil
	}
}

// temporaryAge is when a temporary file is left over.
const temporaryAge = time.Hour

type filePersistence struct{ directory string }

// FilePersistence keeps flags in files of a directory, one for each server, selection and credential. The files can be read
// by their owner alone. Several processes may share a directory: each reads a whole document at every time.
func FilePersistence(directory string) Persistence { return filePersistence{directory} }

func (p filePersistence) path(key string) string {
	return filepath.Join(p.directory, "flagent-"+key[:32]+".json")
}

func (p filePersistence) Load(_ context.Context, key string) ([]byte, error) {
	file, err := os.Open(p.path(key))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	// One byte more than what is accepted, so that a larger document is recognised without reading it.
	document := make([]byte, 0, 64*1024)
	for {
		if len(document) == cap(document) {
			document = append(document, 0)[:len(document)]
		}
		n, err := file.Read(document[len(document):cap(document)])
		document = document[:len(document)+n]
		if errors.Is(err, io.EOF) || len(document) > maxSavedBytes {
			return document, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// Save writes a temporary file, and renames it, so that a reader never sees a part.
func (p filePersistence) Save(_ context.Context, key string, document []byte) (err error) {
	if err := os.MkdirAll(p.directory, 0o700); err != nil {
		return err
	}
	p.removeLeftOver()
	temporary := fmt.Sprintf("%s.%d-%08x.tmp", p.path(key), os.Getpid(), rand.Uint32())
	file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			// What is left is removed after an hour; the first error is the one to report.
			_ = os.Remove(temporary)
		}
	}()
	_, err = file.Write(document)
	if err == nil {
		err = file.Sync()
	}
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(temporary, p.path(key))
	}
	return err
}

// removeLeftOver removes what processes left that were killed while they wrote.
func (p filePersistence) removeLeftOver() {
	entries, err := os.ReadDir(p.directory)
	if err != nil {
		return // writing will say the same
	}
	for _, entry := range entries {
		if name := entry.Name(); !strings.HasPrefix(name, "flagent-") || !strings.HasSuffix(name, ".tmp") {
			continue
		}
		if info, err := entry.Info(); err == nil && time.Since(info.ModTime()) > temporaryAge {
			// Another process may have been faster.
			_ = os.Remove(filepath.Join(p.directory, entry.Name()))
		}
	}
}

// saver saves the flags of one store in a goroutine of its own: never on the path of a message.
type saver struct {
	client      *Client
	driver      *storeDriver
	persistence Persistence
	changed     chan struct{}
	flush       chan struct{}
	closed      chan struct{}
	closeOnce   sync.Once
	pace        savePace
	// lastFailure is the cause that was reported last, "" after a success.
	lastFailure string
}

// savePace is how often a store is saved: after a change, and after a moved id alone.
type savePace struct{ change, move time.Duration }

var defaultPace = savePace{time.Second, time.Minute}

func newSaver(c *Client, d *storeDriver, p Persistence) *saver {
	return &saver{client: c, driver: d, persistence: p, changed: make(chan struct{}, 1), flush: make(chan struct{}, 1), closed: make(chan struct{}), pace: c.options.savePace}
}

func (s *saver) close() { s.closeOnce.Do(func() { close(s.closed) }) }

// run saves what differs from the state at the beginning.
func (s *saver) run(saved *view) {
	last := time.Now().Add(-s.pace.move)
	for {
		isClosed, isUrgent := false, false
		select {
		case <-s.changed:
		case <-s.flush:
			isUrgent = true
		case <-s.closed:
			isClosed = true
		}
		for {
			now := s.driver.view.Load()
			if now.lastEventID == saved.lastEventID || !now.isConfirmed {
				break
			}
			pause := s.pace.move
			if now.content != saved.content {
				pause = s.pace.change
			}
			wait := time.Until(last.Add(pause))
			if isClosed || isUrgent || wait <= 0 {
				s.save(now)
				saved, last = now, time.Now()
				break
			}
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-s.changed: // perhaps a change, which is saved sooner
			case <-s.flush:
				isUrgent = true
			case <-s.closed:
				isClosed = true
			}
			timer.Stop()
		}
		if isClosed {
			return
		}
	}
}

func (s *saver) save(v *view) {
	key, ok := s.driver.cacheKey()
	if !ok {
		return // the client has not connected yet
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := guarded(func() error {
		return s.persistence.Save(ctx, key, savedDocument(key, v.lastEventID, v.digest, time.Now(), v.all()))
	})
	if err == nil {
		s.lastFailure = ""
		return
	}
	if cause := rootCause(err); cause != s.lastFailure {
		s.lastFailure = cause
		s.client.reportSnapshot("the flags cannot be saved: "+causeText(err), err)
	}
}

// rootCause is the text of the innermost error: of a file, without its name, which differs each time.
func rootCause(err error) string {
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(err) {
		err = next
	}
	return err.Error()
}

// guarded turns a panic of the application's code into an error.
func guarded(f func() error) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = fmt.Errorf("it panicked: %v", value)
		}
	}()
	return f()
}

func (c *Client) reportSnapshot(reason string, cause error) {
	c.logger.Warn("Saved flags: "+reason, "action", "saved_flags", "reason", reason)
	c.dispatcher.report(&SnapshotIgnoredError{Reason: reason, Cause: cause})
}
