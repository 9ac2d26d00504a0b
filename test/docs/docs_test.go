// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Package docs checks what README.md and docs/ say against the code: links, names of reasons, metrics and flags, and the
// permissions of the examples. With the build tag integration, every manifest is checked by a real API server.
package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"github.com/queuescaler/queuescaler/internal/metrics"
	"github.com/queuescaler/queuescaler/internal/queue"
)

const root = "../.."

// pages are README.md and every page of docs, by path from the root.
func pages(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{"README.md": read(t, "README.md")}
	err := filepath.WalkDir(filepath.Join(root, "docs"), func(path string, _ os.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".md" {
			name, _ := filepath.Rel(root, path)
			found[name] = read(t, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// blocks are the fenced code blocks of a language.
func blocks(page, language string) []string {
	var found []string
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```").FindAllStringSubmatch(page, -1) {
		found = append(found, m[1])
	}
	return found
}

// marked is the code block after a comment such as <!-- test: name -->.
func marked(t *testing.T, page, name string) string {
	t.Helper()
	m := regexp.MustCompile("(?ms)^<!-- test: " + name + " -->\n```[a-z]+\n(.*?)^```").FindStringSubmatch(page)
	if m == nil {
		t.Fatalf("no code block after <!-- test: %s -->", name)
	}
	return m[1]
}

// matches are the first groups of all matches.
func matches(pattern, in string) []string {
	var found []string
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(in, -1) {
		found = append(found, m[1])
	}
	return found
}

func TestLinksLeadSomewhere(t *testing.T) {
	for name, page := range pages(t) {
		prose := regexp.MustCompile("(?ms)^```.*?^```").ReplaceAllString(page, "")
		for _, link := range matches(`\]\(([^)\s]+)\)`, prose) {
			if strings.Contains(link, "://") {
				continue
			}
			path, anchor, _ := strings.Cut(link, "#")
			target := filepath.Join(root, filepath.Dir(name), path)
			if path == "" {
				target = filepath.Join(root, name)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: link %s: %v", name, link, err)
				continue
			}
			if anchor != "" && !hasAnchor(t, target, anchor) {
				t.Errorf("%s: link %s: no such heading", name, link)
			}
		}
	}
}

var notInAnchors = regexp.MustCompile(`[^\p{L}\p{N} _-]+`)

// hasAnchor derives anchors from headings as GitHub does.
func hasAnchor(t *testing.T, path, anchor string) bool {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, heading := range matches(`(?m)^#+ (.*)$`, string(data)) {
		plain := notInAnchors.ReplaceAllString(strings.ToLower(heading), "")
		if strings.ReplaceAll(plain, " ", "-") == anchor {
			return true
		}
	}
	return false
}

func TestEveryReasonIsExplained(t *testing.T) {
	page := read(t, "docs/conditions.md")
	reasons := matches(`(?m)^\s*Reason\w+ = "(\w+)"`, read(t, "api/v1alpha1/conditions.go"))
	if len(reasons) < 50 {
		t.Fatalf("found %d reasons only: %v", len(reasons), reasons)
	}
	for _, reason := range reasons {
		if !regexp.MustCompile(`\b` + reason + `\b`).MatchString(page) {
			t.Errorf("docs/conditions.md does not mention the reason %s", reason)
		}
	}
}

func TestEveryWordOfStatusIsExplained(t *testing.T) {
	status := read(t, "api/v1alpha1/queuescaler_status.go")
	for _, words := range []struct{ pattern, page string }{
		{`Condition\w+ = "(\w+)"`, "docs/conditions.md"},
		{`\bCause\w+ Cause = "(\w+)"`, "docs/conditions.md"},
		{`\bAdvice\w+ = "(\w+)"`, "README.md"},
		{`\bSummary\w+ Summary = "(\w+)"`, "README.md"},
		{`\bRollout\w+ RolloutState = "(\w+)"`, "docs/rollouts.md"},
		{`\bServiceRate\w+ ServiceRateKnowledge = "(\w+)"`, "docs/concepts.md"},
	} {
		found := matches(words.pattern, status+read(t, "api/v1alpha1/conditions.go"))
		if len(found) < 3 {
			t.Errorf("%s: found %v only", words.pattern, found)
		}
		page := read(t, words.page)
		for _, word := range found {
			if !regexp.MustCompile(`(?m)^\| ` + word + `\b`).MatchString(page) {
				t.Errorf("%s has no row for %s", words.page, word)
			}
		}
	}
}

// collectors is a registry that only notes what is registered.
type collectors []prometheus.Collector

func (c *collectors) Register(one prometheus.Collector) error { *c = append(*c, one); return nil }
func (c *collectors) MustRegister(more ...prometheus.Collector) {
	*c = append(*c, more...)
}
func (c *collectors) Unregister(prometheus.Collector) bool { return false }

func TestMetricsAreThoseOfTheCode(t *testing.T) {
	var all collectors
	metrics.New(&all)
	metrics.RegisterServers(&all, func() []queue.ServerStats { return nil })
	exist := map[string]bool{}
	for _, c := range all {
		described := make(chan *prometheus.Desc, 10)
		c.Describe(described)
		close(described)
		for d := range described {
			for _, name := range matches(`fqName: "(\w+)"`, d.String()) {
				exist[name] = true
			}
		}
	}
	page := read(t, "docs/operations.md")
	for name := range exist {
		if !strings.Contains(page, "| `"+name+"`") && !strings.Contains(page, ", `"+name+"`") {
			t.Errorf("docs/operations.md does not list %s", name)
		}
	}
	for _, name := range matches(`\b(queuescaler_\w+)`, page) {
		if !exist[name] && !exist[strings.TrimSuffix(name, "_bucket")] {
			t.Errorf("docs/operations.md mentions %s, which does not exist", name)
		}
	}
}

func TestFlagsAreThoseOfTheCode(t *testing.T) {
	page := read(t, "docs/operations.md")
	flags := matches(`fs\.\w+Var\(&o\.\w+, "([a-z-]+)"`, read(t, "main.go"))
	if len(flags) < 5 {
		t.Fatalf("found %v only", flags)
	}
	for _, flag := range flags {
		if !strings.Contains(page, "`--"+flag+"`") {
			t.Errorf("docs/operations.md does not list --%s", flag)
		}
	}
}

func TestTheOperatorsRoleIsExplained(t *testing.T) {
	_, page, _ := strings.Cut(read(t, "docs/operations.md"), "\n## RBAC\n")
	page, _, _ = strings.Cut(page, "\n## ")
	var role rbacv1.ClusterRole
	if err := yaml.UnmarshalStrict([]byte(read(t, "config/rbac/role.yaml")), &role); err != nil {
		t.Fatal(err)
	}
	for _, rule := range role.Rules {
		for _, resource := range rule.Resources {
			if !strings.Contains(page, resource) {
				t.Errorf("docs/operations.md does not say why the operator needs %s", resource)
			}
		}
	}
}
