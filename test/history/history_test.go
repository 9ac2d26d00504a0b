// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// line is a line of the log, of a write that left a version.
func line(name string, version int) string {
	return fmt.Sprintf(`{"kind":"Event","stage":"ResponseComplete","verb":"patch","responseStatus":{"code":200},`+
		`"objectRef":{"resource":"pods","subresource":"status","namespace":"a","name":%q},`+
		`"requestObject":{"kind":"Event"},"responseObject":{"metadata":{"resourceVersion":"%d"}}}`, name, version)
}

func TestWrites(t *testing.T) {
	a, b, c := line("a", 1), line("b", 2), line("c", 3)
	for name, c := range map[string]struct {
		files []string // the newest is the last
		want  string   // the names of what is written
		torn  int
		err   string
	}{
		"in order":                   {[]string{a + "\n" + b + "\n"}, "a b", 0, ""},
		"set aside":                  {[]string{a + "\n", b + "\n", c + "\n"}, "a b c", 0, ""},
		"answered out of order":      {[]string{c + "\n" + a + "\n", b + "\n"}, "a b c", 0, ""},
		"the last line has no end":   {[]string{a + "\n" + b[:50]}, "a", 0, ""},
		"torn":                       {[]string{a[:50] + b + "\n" + c + "\n"}, "b c", 1, ""},
		"torn at an event within":    {[]string{a[:strings.LastIndex(a, `{"kind"`)+16] + b + "\n"}, "b", 1, ""},
		"torn at the first byte":     {[]string{a[:1] + b + "\n"}, "b", 1, ""},
		"torn before its end":        {[]string{a + b + "\n"}, "a b", 0, ""},
		"torn twice":                 {[]string{a[:50] + b[:90] + c + "\n"}, "c", 1, ""},
		"torn behind a whole one":    {[]string{a + b[:90] + c + "\n"}, "a c", 1, ""},
		"torn where it is set aside": {[]string{a + "\n" + b[:50], c + "\n"}, "a c", 1, ""},
		"no JSON":                    {[]string{"no JSON\n"}, "", 0, "no JSON"},
		"no JSON before an event":    {[]string{"no JSON" + a + "\n"}, "", 0, "no JSON"},
		"half an event":              {[]string{a + "\n" + b[:50] + "\n" + c + "\n"}, "", 0, "unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for i, content := range c.files {
				path := filepath.Join(dir, fmt.Sprintf("audit-2026-11-01T12-00-0%d.000.log", i))
				if i == len(c.files)-1 {
					path = filepath.Join(dir, "audit.log")
				}
				if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			l := &Log{Path: filepath.Join(dir, "audit.log")}
			for range 2 { // it can be read again
				var names []string
				for w, err := range l.Writes() {
					if err != nil {
						if c.err == "" || !strings.Contains(err.Error(), c.err) {
							t.Fatalf("error %v, want %q", err, c.err)
						}
						return
					}
					names = append(names, w.Name)
				}
				if got := strings.Join(names, " "); c.err != "" || got != c.want || l.Torn != c.torn {
					t.Errorf("read %q, %d torn; want %q, %d torn, error %q", got, l.Torn, c.want, c.torn, c.err)
				}
			}
		})
	}
}

func TestWritesAreAnsweredWrites(t *testing.T) {
	log := `{"stage":"ResponseComplete","verb":"update","responseStatus":{"code":409},"objectRef":{"resource":"pods"}}
{"stage":"ResponseComplete","verb":"get","responseStatus":{"code":200},"objectRef":{"resource":"pods"}}
{"stage":"ResponseStarted","verb":"patch","responseStatus":{"code":200},"objectRef":{"resource":"pods"}}
{"stage":"ResponseComplete","verb":"patch","responseStatus":{"code":200},"objectRef":{"resource":"pods","subresource":"status","namespace":"a","name":"b"}}
{"stage":"Panic","verb":"patch","objectRef":{"resource":"leases"}}
`
	var got []string
	for w, err := range read(log) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprint(w.Resource, " ", key(w), " ", w.Code))
	}
	if want := []string{"pods / 409", "pods/status a/b 200", "leases / 500"}; !slices.Equal(got, want) {
		t.Errorf("read %q, want %q", got, want)
	}
}

// A reader may stop early.
func TestWritesStop(t *testing.T) {
	for w, err := range read(strings.Repeat(line("a", 1)+"\n", 3)) {
		if err != nil {
			t.Fatal(err)
		}
		if w.Name == "a" {
			return
		}
	}
	t.Error("nothing was read")
}
