// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package standby

import (
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// groupInstanceID is Kafka's group.instance.id in the name of a variable or an argument, without what separates its words.
const groupInstanceID = "groupinstanceid"

// reference is $(NAME), which Kubernetes replaces in environments and arguments, or $$, by which a dollar sign escapes that.
var reference = regexp.MustCompile(`\$\$|\$\(([^)]*)\)`)

// dropGroupInstance takes a fixed group.instance.id out of environments and arguments: of two members of a Kafka group with the same one,
// the later fences the earlier off, so a lent slot would throw a pod of the target out. One that is made of the pod's own fields stays.
func dropGroupInstance(spec *corev1.PodSpec) {
	for _, c := range allContainers(spec) {
		own := ownVariables(c.Env)
		c.Command, c.Args = withoutGroupInstance(c.Command, own), withoutGroupInstance(c.Args, own)
		c.Env = slices.DeleteFunc(c.Env, func(e corev1.EnvVar) bool { return namesGroupInstance(e.Name) && !own[e.Name] })
	}
}

// withoutGroupInstance leaves out arguments such as --group.instance.id=a and -Dspring.kafka.consumer.properties.group.instance.id=a.
func withoutGroupInstance(args []string, own map[string]bool) []string {
	return slices.DeleteFunc(args, func(arg string) bool {
		name, value, assigned := strings.Cut(arg, "=")
		return assigned && namesGroupInstance(name) && !refers(value, own)
	})
}

// namesGroupInstance is true for GROUP_INSTANCE_ID, group.instance.id and the like, with any prefix that a framework puts before it.
func namesGroupInstance(name string) bool {
	letters := strings.NewReplacer("_", "", ".", "", "-", "").Replace(strings.ToLower(name))
	return strings.HasSuffix(letters, groupInstanceID) && !strings.ContainsAny(name, " \t\n")
}

// ownVariables are those that are made of the pod's own fields; all pods of the template have the same value of the others. A variable sees
// those before it only, and of several with one name the last one counts, as for the kubelet.
func ownVariables(env []corev1.EnvVar) map[string]bool {
	own := map[string]bool{}
	for _, e := range env {
		own[e.Name] = e.ValueFrom != nil && e.ValueFrom.FieldRef != nil || e.ValueFrom == nil && refers(e.Value, own)
	}
	return own
}

// refers is true for a value that is made of one of those variables, such as worker-$(POD_NAME).
func refers(value string, own map[string]bool) bool {
	return slices.ContainsFunc(reference.FindAllStringSubmatch(value, -1), func(found []string) bool { return own[found[1]] })
}
