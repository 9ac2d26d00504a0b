// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package natsjs

import (
	"bytes"
	"strconv"
)

const (
	// lineMost bounds a line of the protocol. INFO of a large cluster is the longest.
	lineMost = 256 << 10
	// payloadMost bounds one message.
	payloadMost = 1 << 20
)

// scanner follows the protocol from server to client, and finds what the client library would choke on: it allocates whatever size
// a message declares.
type scanner struct {
	line []byte
	// skip is what is left of a message and its line end.
	skip int
}

// scan is false where p breaks the protocol or declares too much.
func (s *scanner) scan(p []byte) bool {
	for len(p) > 0 {
		if s.skip > 0 {
			n := min(max(s.skip-2, 1), len(p))
			if s.skip == 2 && p[0] != '\r' || s.skip == 1 && p[0] != '\n' {
				return false
			}
			s.skip -= n
			p = p[n:]
			continue
		}
		end := bytes.IndexByte(p, '\n')
		if end < 0 {
			s.line = append(s.line, p...)
			return len(s.line) <= lineMost
		}
		line := p[:end+1]
		if len(s.line) > 0 {
			line = append(s.line, line...)
			s.line = nil
		}
		p = p[end+1:]
		if len(line) > lineMost {
			return false
		}
		size, ok := payload(line)
		if !ok {
			return false
		}
		if size >= 0 {
			s.skip = size + 2
		}
	}
	return true
}

// payload is the size of the message that follows a line, -1 for none; ok is false where the line is no protocol.
func payload(line []byte) (size int, ok bool) {
	text, ok := bytes.CutSuffix(line, []byte("\r\n"))
	if !ok || bytes.IndexByte(text, '\r') >= 0 {
		return 0, false
	}
	args := bytes.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == '\t' })
	if len(args) == 0 {
		return 0, false
	}
	switch string(bytes.ToUpper(args[0])) {
	case "INFO", "PING", "PONG", "+OK", "-ERR":
		return -1, true
	case "MSG":
		if len(args) != 4 && len(args) != 5 {
			return 0, false
		}
		return number(args[len(args)-1])
	case "HMSG":
		if len(args) != 5 && len(args) != 6 {
			return 0, false
		}
		header, ok := number(args[len(args)-2])
		total, ok2 := number(args[len(args)-1])
		return total, ok && ok2 && header <= total
	}
	return 0, false
}

func number(digits []byte) (int, bool) {
	n, err := strconv.ParseUint(string(digits), 10, 31)
	return int(n), err == nil && n <= payloadMost
}
