// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package kubelet

import "strconv"

// Templates of pod and node status. kwok merges what they make into the status: conditions by their type, lists of container
// statuses as a whole, so that those are always given in full.

const now = `{{ $now := Now }}{{ $pod := . }}
`

func condition(kind, status, reason string) string {
	return `- type: ` + kind + `
  status: "` + status + `"
  reason: "` + reason + `"
  message: ""
  lastTransitionTime: {{ $now | Quote }}
`
}

// containers gives each container the lines of state; $was is its status so far.
func containers(state string) string {
	return `containerStatuses:
{{ range $i, $c := .spec.containers }}{{ $was := dict }}
{{ if $pod.status.containerStatuses }}{{ $was = index $pod.status.containerStatuses $i }}{{ end }}
- name: {{ $c.name | Quote }}
  image: {{ $c.image | Quote }}
  imageID: ""
` + state + `{{ end }}
`
}

const (
	sameCount = `  restartCount: {{ or $was.restartCount 0 }}
`
	sameLast = `  {{ with $was.lastState }}lastState: {{ toJson . }}{{ end }}
`
	runningNow = `  state:
    running:
      startedAt: {{ $now | Quote }}
`
	failedNow = `  lastState:
    terminated:
      exitCode: 1
      reason: Error
      startedAt: {{ $was.state.running.startedAt | Quote }}
      finishedAt: {{ $now | Quote }}
`
	completedNow = `  state:
    terminated:
      exitCode: 0
      reason: Completed
      startedAt: {{ $now | Quote }}
      finishedAt: {{ $now | Quote }}
`
)

func waitingFor(reason, message string) string {
	return `  state:
    waiting:
      reason: ` + reason + `
      message: ` + strconv.Quote(message) + `
`
}

func flags(ready, started bool) string {
	return `  ready: ` + strconv.FormatBool(ready) + `
  started: ` + strconv.FormatBool(started) + `
`
}

// accepted is what a kubelet reports when it takes a pod: the addresses and the time.
const accepted = `startTime: {{ or .status.startTime $now | Quote }}
{{ $host := NodeIPWith .spec.nodeName }}{{ $ip := .status.podIP }}
{{ if not $ip }}{{ if .spec.hostNetwork }}{{ $ip = $host }}{{ else }}{{ $ip = NewPodIP }}{{ end }}{{ end }}
hostIP: {{ $host | Quote }}
hostIPs:
- ip: {{ $host | Quote }}
podIP: {{ $ip | Quote }}
podIPs:
- ip: {{ $ip | Quote }}
`

// Init containers end at once, one after the other, but the last runs until the pod is released; those that are sidecars
// (restartPolicy Always) run on. $last is the index of the last one that is none, -1 without.
const (
	lastInit = `{{ $last := -1 }}{{ range $i, $c := .spec.initContainers }}{{ if ne (or $c.restartPolicy "") "Always" }}{{ $last = $i }}{{ end }}{{ end }}
`
	initHead = `{{ if .spec.initContainers }}
initContainerStatuses:
{{ range $i, $c := .spec.initContainers }}
- name: {{ $c.name | Quote }}
  image: {{ $c.image | Quote }}
  imageID: ""
  restartCount: 0
`
	initTail = `{{ end }}{{ end }}
`
)

var unreadyConditions = condition("Ready", "False", "ContainersNotReady") + condition("ContainersReady", "False", "ContainersNotReady")

// startTemplate starts the containers, or the init containers if there are any.
var startTemplate = now + lastInit + accepted + `
phase: {{ if ge $last 0 }}Pending{{ else }}Running{{ end }}
` + initHead + `{{ if eq (or $c.restartPolicy "") "Always" }}
` + flags(true, true) + runningNow + `{{ else if eq $i $last }}
` + flags(false, true) + runningNow + `{{ else }}
` + flags(true, false) + completedNow + `{{ end }}` + initTail + `
conditions:
` + condition("PodReadyToStartContainers", "True", "") + `{{ if ge $last 0 }}
` + condition("Initialized", "False", "ContainersNotInitialized") + `{{ else }}
` + condition("Initialized", "True", "") + `{{ end }}
` + unreadyConditions + `{{ if ge $last 0 }}
` + containers(flags(false, false)+sameCount+waitingFor("PodInitializing", "")) + `{{ else }}
` + containers(flags(false, true)+sameCount+runningNow) + `{{ end }}`

var initDoneTemplate = now + `
phase: Running
` + initHead + `{{ if eq (or $c.restartPolicy "") "Always" }}
` + flags(true, true) + runningNow + `{{ else }}
` + flags(true, false) + completedNow + `{{ end }}` + initTail + `
conditions:
` + condition("Initialized", "True", "") + containers(flags(false, true)+sameCount+runningNow)

// waitingTemplate leaves all containers waiting, for an image or for a configuration that makes sense.
func waitingTemplate(reason, message string) string {
	return now + accepted + `
phase: Pending
` + initHead + flags(false, false) + waitingFor(reason, message) + initTail + `
conditions:
` + condition("PodReadyToStartContainers", "True", "") + `{{ if .spec.initContainers }}
` + condition("Initialized", "False", "ContainersNotInitialized") + `{{ else }}
` + condition("Initialized", "True", "") + `{{ end }}
` + unreadyConditions +
		containers(flags(false, false)+sameCount+waitingFor(reason, message))
}

const sameState = `  state: {{ toJson $was.state }}
`

// podReady derives the condition Ready of containers that are ready.
var podReady = `{{ $ready := true }}{{ range $gate := .spec.readinessGates }}{{ $passed := false }}
{{ range $pod.status.conditions }}{{ if and (eq .type $gate.conditionType) (eq .status "True") }}{{ $passed = true }}{{ end }}{{ end }}
{{ if not $passed }}{{ $ready = false }}{{ end }}{{ end }}
{{ if $ready }}
` + condition("Ready", "True", "") + `{{ else }}
` + condition("Ready", "False", "ReadinessGatesNotReady") + `{{ end }}
`

var (
	readyTemplate = now + `
conditions:
` + condition("ContainersReady", "True", "") + podReady + containers(flags(true, true)+sameCount+sameLast+sameState)

	gatesTemplate = now + `
conditions:
` + podReady

	unreadyTemplate = now + `
conditions:
` + unreadyConditions + containers(flags(false, true)+sameCount+sameLast+sameState)

	crashTemplate = now + `
conditions:
` + unreadyConditions + containers(flags(false, false)+sameCount+failedNow+
		waitingFor("CrashLoopBackOff", "back-off restarting failed container"))

	restartTemplate = now + `
conditions:
` + unreadyConditions + containers(flags(false, true)+`
  restartCount: {{ add1 (int64 (print $was.restartCount)) }}
{{ if $was.state.running }}
`+failedNow+`{{ else }}
`+sameLast+`{{ end }}
`+runningNow)

	endedTemplate = now + `
phase: Succeeded
conditions:
` + condition("Ready", "False", "PodCompleted") + condition("ContainersReady", "False", "PodCompleted") +
		containers(flags(false, false)+sameCount+sameLast+completedNow)

	nodeReadyTemplate = now + `
conditions:
` + nodeCondition("Ready", "True", "KubeletReady") +
		nodeCondition("MemoryPressure", "False", "KubeletHasSufficientMemory") +
		nodeCondition("DiskPressure", "False", "KubeletHasNoDiskPressure") +
		nodeCondition("PIDPressure", "False", "KubeletHasSufficientPID")
)

func nodeCondition(kind, status, reason string) string {
	return condition(kind, status, reason) + `  lastHeartbeatTime: {{ $now | Quote }}
`
}
