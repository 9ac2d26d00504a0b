// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package redisq

import (
	"bytes"
	"strconv"
)

const (
	// lineMost bounds a line, stringMost a string, arrayMost an array, depthMost arrays within arrays.
	lineMost   = 64 << 10
	stringMost = 1 << 20
	arrayMost  = 1 << 16
	depthMost  = 8
)

// scanner follows the protocol (RESP2) from server to client, and finds what the client library would choke on: it allocates whatever
// size a string or array declares, and recurses into arrays.
type scanner struct {
	line []byte
	// skip is what is left of a string and its line end; missing are the elements that each open array lacks.
	skip    int
	missing []int
}

// scan is false where p breaks the protocol or declares too much.
func (s *scanner) scan(p []byte) bool {
	for len(p) > 0 {
		if s.skip > 0 {
			n := min(s.skip, len(p))
			s.skip -= n
			p = p[n:]
			if s.skip == 0 {
				s.complete()
			}
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
		if !s.header(line) {
			return false
		}
	}
	return true
}

// header takes a line, which begins an element or is one.
func (s *scanner) header(line []byte) bool {
	text, ok := bytes.CutSuffix(line, []byte("\r\n"))
	if !ok || len(text) == 0 || len(text) > lineMost {
		return false
	}
	kind, rest := text[0], string(text[1:])
	switch kind {
	case '+', '-', ':':
		s.complete()
		return true
	case '$', '*':
		if rest == "-1" {
			s.complete()
			return true
		}
	default:
		return false
	}
	n, err := strconv.ParseUint(rest, 10, 31)
	switch {
	case err != nil:
		return false
	case kind == '$':
		s.skip = int(n) + 2
		return n <= stringMost
	case n == 0:
		s.complete()
		return true
	}
	s.missing = append(s.missing, int(n))
	return n <= arrayMost && len(s.missing) <= depthMost
}

// complete counts an element, and the arrays that end with it.
func (s *scanner) complete() {
	for last := len(s.missing) - 1; last >= 0; last-- {
		if s.missing[last]--; s.missing[last] > 0 {
			return
		}
		s.missing = s.missing[:last]
	}
}
