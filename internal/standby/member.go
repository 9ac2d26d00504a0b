// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package standby

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// groupInstanceID is Kafka's group.instance.id in the name of a variable or an argument, without what separates its words.
const groupInstanceID = "groupinstanceid"

// dropGroupInstance takes a fixed group.instance.id out of environments and arguments: of two members of a Kafka group with the same one,
// the later fences the earlier off, so a lent slot would throw a pod of the target out. One that is made of the pod's own fields stays.
func dropGroupInstance(spec *corev1.PodSpec) {
	for _, c := range allContainers(spec) {
		c.Env = slices.DeleteFunc(c.Env, func(e corev1.EnvVar) bool { return namesGroupInstance(e.Name) && fixed(e) })
		c.Command, c.Args = withoutGroupInstance(c.Command), withoutGroupInstance(c.Args)
	}
}

// withoutGroupInstance leaves out arguments such as --group.instance.id=a and -Dspring.kafka.consumer.properties.group.instance.id=a.
func withoutGroupInstance(args []string) []string {
	return slices.DeleteFunc(args, func(arg string) bool {
		name, value, assigned := strings.Cut(arg, "=")
		return assigned && namesGroupInstance(name) && !refers(value)
	})
}

// namesGroupInstance is true for GROUP_INSTANCE_ID, group.instance.id and the like, with any prefix that a framework puts before it.
func namesGroupInstance(name string) bool {
	letters := strings.NewReplacer("_", "", ".", "", "-", "").Replace(strings.ToLower(name))
	return strings.HasSuffix(letters, groupInstanceID) && !strings.ContainsAny(name, " \t\n")
}

// fixed: every pod of the template has the same value.
func fixed(e corev1.EnvVar) bool {
	if e.ValueFrom != nil {
		return e.ValueFrom.FieldRef == nil
	}
	return !refers(e.Value)
}

// refers is true for a value that is made of other variables, such as worker-$(POD_NAME): those are taken to be the pod's own.
func refers(value string) bool { return strings.Contains(value, "$(") }
