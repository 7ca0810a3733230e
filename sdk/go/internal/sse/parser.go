// Package sse parses server-sent events without I/O: bytes in, items out.
//
// It follows the HTML Living Standard, section "Server-sent events", with two additions: comments are returned, because
// keep-alives are comments, and a block with an id and no data is returned, because it moves the resume id.
package sse

import (
	"bytes"
	"fmt"
	"strings"
)

// Kind is the kind of an item.
type Kind uint8

// The kinds of items.
const (
	// Event is a dispatched event: Name, Data, and LastEventID at that moment.
	Event Kind = iota
	// Comment is the text of a comment after its colon, one leading space removed, in Data.
	Comment
	// Retry is the reconnection time that the server requests, in RetryMs.
	Retry
	// ID is the end of a block with an id and no data: the resume id moved, no event is dispatched.
	ID
)

// Item is what a stream delivers. Data is valid until the next call of Feed.
type Item struct {
	Kind        Kind
	Name        string
	Data        []byte
	LastEventID string
	RetryMs     int64
}

// Parser parses the bytes of one stream; each connection needs a new one. An unfinished block at the end of the stream
// is discarded.
type Parser struct {
	maxBlock int
	started  int
	skipLF   bool
	line     []byte
	block    int
	name     string
	data     []byte
	hasData  bool
	hasID    bool
	lastID   string
}

// NewParser returns a parser that refuses a block of more than maxBlock bytes.
func NewParser(maxBlock int) *Parser { return &Parser{maxBlock: maxBlock} }

// LastEventID is the id of the stream.
func (p *Parser) LastEventID() string { return p.lastID }

var mark = []byte("\xef\xbb\xbf")

// Feed parses the next bytes, split anywhere, and calls emit for each item that they complete, in order; it stops when
// emit returns an error, and returns that. A block that is too large is an error too. After an error the parser is
// unusable.
func (p *Parser) Feed(chunk []byte, emit func(Item) error) error {
	for p.started < len(mark) && len(chunk) > 0 {
		if chunk[0] != mark[p.started] {
			// The bytes of a mark that was not complete belong to the first line.
			p.line = append(p.line, mark[:p.started]...)
			p.started = len(mark)
			break
		}
		p.started++
		chunk = chunk[1:]
	}
	if len(chunk) > 0 && p.skipLF {
		// The CR of a CRLF ended the line at the end of the previous chunk.
		p.skipLF = false
		if chunk[0] == '\n' {
			chunk = chunk[1:]
		}
	}
	for len(chunk) > 0 {
		end := bytes.IndexAny(chunk, "\r\n")
		if end < 0 {
			p.line = append(p.line, chunk...)
			return p.grow(len(chunk))
		}
		if err := p.grow(end); err != nil {
			return err
		}
		line := chunk[:end]
		if len(p.line) > 0 {
			p.line = append(p.line, line...)
			line = p.line
		}
		isReturn := chunk[end] == '\r'
		chunk = chunk[end+1:]
		if isReturn {
			if len(chunk) == 0 {
				p.skipLF = true
			} else if chunk[0] == '\n' {
				chunk = chunk[1:]
			}
		}
		err := p.take(line, emit)
		p.line = p.line[:0]
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *Parser) grow(size int) error {
	p.block += size
	if p.block > p.maxBlock {
		return fmt.Errorf("an event is larger than the limit of %d bytes", p.maxBlock)
	}
	return nil
}

func (p *Parser) take(line []byte, emit func(Item) error) error {
	if len(line) == 0 {
		return p.dispatch(emit)
	}
	name, value, hasColon := bytes.Cut(line, []byte(":"))
	value = bytes.TrimPrefix(value, []byte(" "))
	if hasColon && len(name) == 0 {
		// A comment is complete by itself: a stream of comments only must not count as one endless block.
		p.block -= len(line)
		return emit(Item{Kind: Comment, Data: bytes.ToValidUTF8(value, replacement), LastEventID: p.lastID})
	}
	switch string(name) {
	case "data":
		if p.hasData {
			p.data = append(p.data, '\n')
		}
		p.data = append(p.data, value...)
		p.hasData = true
	case "event":
		p.name = strings.ToValidUTF8(string(value), "\ufffd")
	case "id":
		if bytes.IndexByte(value, 0) < 0 {
			p.lastID = strings.ToValidUTF8(string(value), "\ufffd")
			p.hasID = true
		}
	case "retry":
		if ms, ok := digits(value); ok {
			return emit(Item{Kind: Retry, RetryMs: ms, LastEventID: p.lastID})
		}
	}
	return nil
}

var replacement = []byte("\ufffd")

func (p *Parser) dispatch(emit func(Item) error) error {
	name, hasData, hasID := p.name, p.hasData, p.hasID
	data := p.data
	p.name, p.hasData, p.hasID, p.data, p.block = "", false, false, p.data[:0], 0
	if hasData {
		if name == "" {
			name = "message"
		}
		return emit(Item{Kind: Event, Name: name, Data: bytes.ToValidUTF8(data, replacement), LastEventID: p.lastID})
	}
	if hasID {
		return emit(Item{Kind: ID, LastEventID: p.lastID})
	}
	return nil
}

// digits reads a number of ASCII digits; beyond twelve of them the rest does not matter.
func digits(value []byte) (int64, bool) {
	if len(value) == 0 {
		return 0, false
	}
	var number int64
	for i, c := range value {
		if c < '0' || c > '9' {
			return 0, false
		}
		if i < 12 {
			number = number*10 + int64(c-'0')
		}
	}
	return number, true
}
