// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"fmt"
	"strings"

	"sigs.k8s.io/kwok/pkg/apis/internalversion"
)

// Prefix of the annotations with which a pod says what becomes of it; README.md describes each.
const annotationPrefix = "localcluster.queuescaler.io/"

// Times of the simulated container runtime, in seconds.
const (
	crashAfter   = 1 // a container of a crash-loop runs this long
	crashBackOff = 5 // and is started again after this
)

// stage is one thing that can become of a pod or node. Of one kind's stages at most one may apply at any time: kwok would
// pick one at random.
type stage struct {
	name  string
	when  string // jq: a boolean about the object
	after string // jq: seconds from now, below zero for at once; "" means 0
	event *internalversion.StageEvent
	patch string // template of the new status, in YAML; "" for none
	end   bool   // the object is deleted
}

const unknownBehavior = "annotation " + annotationPrefix + "behavior must be one of never-ready, crash-loop, image-pull-error"

// definitions are the words that when and after are made of. Where a pod has several containers, they share one fate.
const definitions = `
def annotation($k): .metadata.annotations["` + annotationPrefix + `" + $k] // "";
def behavior: annotation("behavior");
def condition($t): [.status.conditions[]? | select(.type == $t) | .status][0] // "";
def terminating: .metadata.deletionTimestamp != null;
def finalized: (.metadata.finalizers // []) | length == 0;
def finished: .status.phase == "Succeeded" or .status.phase == "Failed";
def live: (terminating or finished) | not;
def started: .status.startTime != null;
def container: .status.containerStatuses[0];
def waiting: [.status.containerStatuses[]?, .status.initContainerStatuses[]? | .state.waiting.reason | values];
def running: live and .status.phase == "Running" and container.state.running != null;
def unpullable: waiting | index("ImagePullBackOff") != null;
def restarts: annotation("restarts") | tonumber? // 0;
def restartDue: running and behavior == "" and condition("ContainersReady") == "True" and container.restartCount < restarts;
def healthy: behavior == "";
def known: behavior | IN("", "never-ready", "crash-loop", "image-pull-error");
def gatesPassed: ([.spec.readinessGates[]?.conditionType] - [.status.conditions[]? | select(.status == "True") | .type]) == [];
def held: annotation("init-waits-for") as $w | if $w == "" then false
  else ($w | split("=")) as [$k, $v] | .metadata.labels[$k] as $l | $l != null and $l != $v end;
def seconds($default): if . == "" then $default
  else [scan("([0-9.]+)(ms|s|m|h)") | (.[0] | tonumber) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[.[1]]] | add // $default end;
def since($t): now - ($t | fromdate);
`

func podStages(readySeconds float64) []*internalversion.Stage {
	return convert("Pod", []stage{
		{
			name:  "start",
			when:  `live and known and behavior != "image-pull-error" and ((started | not) or unpullable)`,
			patch: startTemplate,
		},
		{
			name:  "image-pull-error",
			when:  `live and (started | not) and behavior == "image-pull-error"`,
			event: &internalversion.StageEvent{Type: "Warning", Reason: "Failed", Message: "Failed to pull image: not found"},
			patch: waitingTemplate("ImagePullBackOff", "Back-off pulling image: not found"),
		},
		{
			name:  "unknown-behavior",
			when:  `live and (started | not) and (known | not)`,
			event: &internalversion.StageEvent{Type: "Warning", Reason: "Failed", Message: unknownBehavior},
			patch: waitingTemplate("CreateContainerConfigError", unknownBehavior),
		},
		{
			name:  "init-done",
			when:  `live and started and .status.phase == "Pending" and condition("Initialized") == "False" and (unpullable | not) and (held | not)`,
			patch: initDoneTemplate,
		},
		{
			name:  "ready",
			when:  `running and healthy and condition("ContainersReady") != "True"`,
			after: fmt.Sprintf(`(annotation("ready-after") | seconds(%g)) - since(container.state.running.startedAt)`, readySeconds),
			patch: readyTemplate,
		},
		{
			// A pod is Ready when its containers and all its gates are; a lost node's pods are not, until it is back.
			name:  "gates",
			when:  `running and healthy and (restartDue | not) and condition("ContainersReady") == "True" and (condition("Ready") == "True") != gatesPassed`,
			patch: gatesTemplate,
		},
		{
			name:  "unready",
			when:  `running and behavior == "never-ready" and condition("ContainersReady") == "True"`,
			patch: unreadyTemplate,
		},
		{
			name:  "crash",
			when:  `running and behavior == "crash-loop"`,
			after: fmt.Sprintf(`%d - since(container.state.running.startedAt)`, crashAfter),
			event: &internalversion.StageEvent{Type: "Warning", Reason: "BackOff", Message: "Back-off restarting failed container"},
			patch: crashTemplate,
		},
		{
			name:  "restart-crashed",
			when:  `live and (waiting | index("CrashLoopBackOff") != null)`,
			after: fmt.Sprintf(`%d - since(container.lastState.terminated.finishedAt)`, crashBackOff),
			patch: restartTemplate,
		},
		{
			name:  "restart",
			when:  `restartDue`,
			after: `1 - since(container.state.running.startedAt)`,
			patch: restartTemplate,
		},
		{
			name:  "end",
			when:  `terminating and finalized`,
			after: terminateAfter,
			end:   true,
		},
		{
			// A pod that somebody's finalizer keeps is seen as ended.
			name:  "end-finalized",
			when:  `terminating and (finalized | not) and (finished | not)`,
			after: terminateAfter,
			patch: endedTemplate,
			end:   true,
		},
	})
}

// The deletion timestamp is the end of the grace period: a pod never outlives it.
const terminateAfter = `(.metadata.deletionGracePeriodSeconds // 0) as $grace
  | ([annotation("terminate-after") | seconds(0), $grace] | min) - $grace - since(.metadata.deletionTimestamp)`

func nodeStages() []*internalversion.Stage {
	return convert("Node", []stage{{
		name:  "ready",
		when:  `condition("Ready") != "True"`,
		patch: nodeReadyTemplate,
	}})
}

// convert makes kwok's form of the stages.
func convert(kind string, stages []stage) []*internalversion.Stage {
	var all []*internalversion.Stage
	for _, s := range stages {
		out := &internalversion.Stage{}
		out.Name = strings.ToLower(kind) + "-" + s.name
		out.Spec.ResourceRef = internalversion.StageResourceRef{APIGroup: "v1", Kind: kind}
		out.Spec.Selector = &internalversion.StageSelector{MatchExpressions: []internalversion.MatchExpression{{
			JQ: &internalversion.SelectorJQ{
				Key: definitions + s.when, Operator: internalversion.SelectorOpIn, Values: []string{"true"},
			},
		}}}
		if s.after != "" {
			// A time that is counted from what the object shows, not from its last change: kwok asks again at every change.
			out.Spec.Delay = &internalversion.StageDelay{DurationFrom: &internalversion.ExpressionFrom{
				JQ: &internalversion.ExpressionJQ{
					Expression: definitions + `"\((` + s.after + `) * 1000 | floor)ms"`,
				},
			}}
		}
		if s.event != nil {
			out.Spec.Steps = append(out.Spec.Steps, internalversion.StageStep{Event: s.event})
		}
		if s.patch != "" {
			out.Spec.Steps = append(out.Spec.Steps, internalversion.StageStep{Patch: &internalversion.StagePatch{
				Subresource: "status", Root: "status", Template: s.patch,
			}})
		}
		if s.end {
			out.Spec.Steps = append(out.Spec.Steps, internalversion.StageStep{Delete: true})
		}
		all = append(all, out)
	}
	return all
}
