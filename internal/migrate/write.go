// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"fmt"
	"io"
	"strings"

	"sigs.k8s.io/yaml"
)

// Write prints manifests, with what a person has to know in comments before each.
func Write(out io.Writer, results []Result) error {
	for i, r := range results {
		text, err := r.manifest()
		if err != nil {
			return err
		}
		if i > 0 {
			text = "---\n" + text
		}
		if _, err := io.WriteString(out, text); err != nil {
			return err
		}
	}
	return nil
}

func (r Result) manifest() (string, error) {
	var b strings.Builder
	name, namespace := r.QueueScaler.Name, ""
	if r.QueueScaler.Namespace != "" {
		namespace = " -n " + r.QueueScaler.Namespace
	}
	fmt.Fprintf(&b, "# Made of the ScaledObject %s.\n#\n", name)
	r.list(&b, "To do before it is applied:", r.Todo)
	r.list(&b, "What differs:", r.Notes)
	fmt.Fprintf(&b, `# Then:
#   1. kubectl apply -f FILE. In mode %s it writes nothing but its own status.
#   2. kubectl get queuescaler %s%s: compare DESIRED with what KEDA does.
#   3. kubectl delete scaledobject %s%s. The HorizontalPodAutoscaler that KEDA made goes with it.
#   4. Set spec.mode to Active.
`, r.QueueScaler.Spec.Mode, name, namespace, name, namespace)
	object := map[string]any{
		"apiVersion": r.QueueScaler.APIVersion, "kind": r.QueueScaler.Kind, "spec": r.QueueScaler.Spec,
		"metadata": map[string]string{"name": name},
	}
	if r.QueueScaler.Namespace != "" {
		object["metadata"] = map[string]string{"name": name, "namespace": r.QueueScaler.Namespace}
	}
	manifest, err := yaml.Marshal(object)
	if err != nil {
		return "", err
	}
	b.Write(manifest)
	return b.String(), nil
}

// width of a line of comments.
const width = 110

func (r Result) list(b *strings.Builder, title string, lines []string) {
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(b, "# %s\n", title)
	for _, line := range lines {
		indent := "#   - "
		for _, part := range wrapped(line, width-len(indent)) {
			b.WriteString(indent + part + "\n")
			indent = "#     "
		}
	}
	b.WriteString("#\n")
}

// wrapped breaks a text into lines.
func wrapped(text string, width int) (lines []string) {
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimLeft(line+" "+word, " ")
	}
	return append(lines, line)
}
