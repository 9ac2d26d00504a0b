// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Package migrate makes a QueueScaler of a KEDA ScaledObject. What has no equivalent is said in a comment; where leaving it out
// would change what the workload gets, nothing is made, and the reasons are said.
package migrate

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/utils/ptr"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
)

// Refusal is why a ScaledObject is not migrated: all reasons that were found.
type Refusal struct {
	// Object is namespace/name, or name.
	Object  string
	Reasons []string
}

// Error lists the reasons.
func (r *Refusal) Error() string {
	return fmt.Sprintf("ScaledObject %s is not migrated, because it would get something else than now:\n  - %s", r.Object, strings.Join(r.Reasons, "\n  - "))
}

// Result is one QueueScaler, and what a person has to know about it.
type Result struct {
	QueueScaler *capacityv1alpha1.QueueScaler
	// Todo is what has to be put in or done by hand, Notes what differs or was left out. Each begins with the field it is about.
	Todo, Notes []string
}

// Manifests makes a QueueScaler of each ScaledObject in a stream of YAML or JSON documents, which should also have the
// TriggerAuthentications that they name. Other documents are passed over. A ScaledObject that is refused is an error of
// type *Refusal, joined with others; the results of the rest are returned all the same.
func Manifests(in io.Reader) ([]Result, error) {
	objects, auths, err := read(in)
	if err != nil {
		return nil, err
	}
	if len(objects) == 0 {
		return nil, errors.New("there is no ScaledObject of keda.sh/v1alpha1 in it")
	}
	var results []Result
	var refused []error
	for i := range objects {
		m := migration{object: &objects[i], auths: auths}
		result, refusal := m.run()
		if refusal != nil {
			refused = append(refused, refusal)
			continue
		}
		results = append(results, result)
	}
	return results, errors.Join(refused...)
}

// read picks the KEDA objects out of a stream of documents.
func read(in io.Reader) (objects []scaledObject, auths []triggerAuthentication, err error) {
	documents := yaml.NewYAMLOrJSONDecoder(in, 4096)
	for {
		var d document
		if err := documents.Decode(&d); err != nil {
			if errors.Is(err, io.EOF) {
				return objects, auths, nil
			}
			return nil, nil, fmt.Errorf("not YAML: %w", err)
		}
		all := []document{d}
		if list := (struct {
			Kind  string     `json:"kind"`
			Items []document `json:"items"`
		}{}); json.Unmarshal(d, &list) == nil && strings.HasSuffix(list.Kind, "List") {
			all = list.Items // of kubectl get
		}
		for _, d := range all {
			if err := d.pick(&objects, &auths); err != nil {
				return nil, nil, err
			}
		}
	}
}

// document is an object as it stands, in JSON.
type document []byte

// UnmarshalJSON keeps the text.
func (d *document) UnmarshalJSON(text []byte) error {
	*d = append((*d)[:0], text...)
	return nil
}

// kind of KEDA that the object is of; empty for all others.
func (d document) kind() string {
	var kind metav1.TypeMeta
	if err := json.Unmarshal(d, &kind); err != nil || !strings.HasPrefix(kind.APIVersion, "keda.sh/") {
		return ""
	}
	return kind.Kind
}

// pick appends the object to those of its kind.
func (d document) pick(objects *[]scaledObject, auths *[]triggerAuthentication) error {
	switch kind := d.kind(); kind {
	case "ScaledObject":
		var o scaledObject
		if err := json.Unmarshal(d, &o); err != nil {
			return fmt.Errorf("ScaledObject: %w", err)
		}
		*objects = append(*objects, o)
	case "TriggerAuthentication", "ClusterTriggerAuthentication":
		var a triggerAuthentication
		if err := json.Unmarshal(d, &a); err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
		*auths = append(*auths, a)
	case "ScaledJob":
		return errors.New("a ScaledJob makes Jobs; QueueScaler scales Deployments")
	}
	return nil
}

// migration of one ScaledObject.
type migration struct {
	object *scaledObject
	auths  []triggerAuthentication

	qs      *capacityv1alpha1.QueueScaler
	todo    []string
	notes   []string
	reasons []string
}

func (m *migration) do(format string, args ...any) {
	m.todo = append(m.todo, fmt.Sprintf(format, args...))
}
func (m *migration) note(format string, args ...any) {
	m.notes = append(m.notes, fmt.Sprintf(format, args...))
}
func (m *migration) refuse(format string, args ...any) {
	m.reasons = append(m.reasons, fmt.Sprintf(format, args...))
}

func (m *migration) run() (Result, *Refusal) {
	o := m.object
	m.qs = &capacityv1alpha1.QueueScaler{
		TypeMeta:   metav1.TypeMeta{APIVersion: capacityv1alpha1.GroupVersion.String(), Kind: "QueueScaler"},
		ObjectMeta: metav1.ObjectMeta{Name: o.Metadata.Name, Namespace: o.Metadata.Namespace},
	}
	m.target()
	m.bounds()
	m.behavior()
	m.fallback()
	m.mode()
	m.triggers()
	if len(m.reasons) > 0 {
		return Result{}, &Refusal{Object: cmp.Or(strings.Trim(o.Metadata.Namespace+"/"+o.Metadata.Name, "/"), "without a name"), Reasons: m.reasons}
	}
	return Result{QueueScaler: m.qs, Todo: m.todo, Notes: m.notes}, nil
}

func (m *migration) target() {
	ref := m.object.Spec.ScaleTargetRef
	if kind := cmp.Or(ref.Kind, "Deployment"); !strings.EqualFold(kind, "Deployment") {
		m.refuse("spec.scaleTargetRef: it scales a %s; QueueScaler scales Deployments", kind)
	}
	if ref.Name == "" {
		m.refuse("spec.scaleTargetRef.name is empty: name the Deployment")
	}
	m.qs.Spec.ScaleTargetRef.Name = ref.Name
}

const (
	// KEDA's defaults.
	kedaMax, kedaPolling, kedaCooldown = 100, 30, 300
)

func (m *migration) bounds() {
	spec := &m.object.Spec
	least, most := ptr.Deref(spec.MinReplicaCount, 0), ptr.Deref(spec.MaxReplicaCount, kedaMax)
	if idle := spec.IdleReplicaCount; idle != nil && *idle < least {
		m.note("spec.idleReplicaCount: %d replicas when there is nothing to do, and at least %d else, are two minimums; QueueScaler has one, and %d stay", *idle, least, least)
	}
	if most < 1 {
		m.refuse("spec.maxReplicaCount is %d: a QueueScaler has at least 1; to switch a target off, scale it to 0", most)
	}
	if least > most {
		m.refuse("spec.minReplicaCount %d is above spec.maxReplicaCount %d", least, most)
	}
	m.qs.Spec.MinReplicas, m.qs.Spec.MaxReplicas = &least, most
	if spec.MaxReplicaCount == nil {
		m.note("spec.maxReplicaCount: not given, so KEDA's default of %d stands", kedaMax)
	}
	if poll := spec.PollingInterval; poll != nil {
		m.note("spec.pollingInterval: %d s; QueueScaler reads each queue once a second, of Prometheus and SQS every 15 s (queues[].pollSeconds), over one connection for all of a server", *poll)
	}
	if cooldown := ptr.Deref(spec.CooldownPeriod, kedaCooldown); least == 0 && cooldown != kedaCooldown {
		m.scaleDown().StabilizationWindowSeconds = ptr.To(min(cooldown, 3600))
		m.note("spec.cooldownPeriod: %d s; with QueueScaler it is the window of every scale-down, not of the last replica alone", cooldown)
	} else if spec.CooldownPeriod != nil && least > 0 {
		m.note("spec.cooldownPeriod: it means nothing with a minimum of %d, in KEDA neither", least)
	}
	if spec.InitialCooldownPeriod != nil {
		m.note("spec.initialCooldownPeriod: a target is never scaled down within the first window after it was seen first")
	}
}

// scaleDown is behavior.scaleDown, made where it is absent.
func (m *migration) scaleDown() *capacityv1alpha1.ScalingRules {
	if m.qs.Spec.Behavior == nil {
		m.qs.Spec.Behavior = &capacityv1alpha1.Behavior{}
	}
	if m.qs.Spec.Behavior.ScaleDown == nil {
		m.qs.Spec.Behavior.ScaleDown = &capacityv1alpha1.ScalingRules{}
	}
	return m.qs.Spec.Behavior.ScaleDown
}

func (m *migration) behavior() {
	advanced := m.object.Spec.Advanced
	if advanced == nil {
		return
	}
	if s := advanced.ScalingModifiers; s != nil && s.Formula != "" {
		m.refuse("spec.advanced.scalingModifiers: the formula %q makes one number of several triggers; QueueScaler adds the work of its queues up", s.Formula)
	}
	if advanced.RestoreToOriginalReplicaCount {
		m.note("spec.advanced.restoreToOriginalReplicaCount: when a QueueScaler is deleted, the number of replicas stays as it is")
	}
	config := advanced.HorizontalPodAutoscalerConfig
	if config == nil || config.Behavior == nil {
		return
	}
	if m.qs.Spec.Behavior == nil {
		m.qs.Spec.Behavior = &capacityv1alpha1.Behavior{}
	}
	if up := config.Behavior.ScaleUp; up != nil {
		m.qs.Spec.Behavior.ScaleUp = m.rules("scaleUp", up)
	}
	if down := config.Behavior.ScaleDown; down != nil {
		window := m.scaleDown().StabilizationWindowSeconds
		m.qs.Spec.Behavior.ScaleDown = m.rules("scaleDown", down)
		if window != nil {
			rules := m.scaleDown()
			rules.StabilizationWindowSeconds = ptr.To(max(*window, ptr.Deref(rules.StabilizationWindowSeconds, 0)))
		}
	}
}

func (m *migration) rules(name string, from *hpaRules) *capacityv1alpha1.ScalingRules {
	rules := &capacityv1alpha1.ScalingRules{
		StabilizationWindowSeconds: from.StabilizationWindowSeconds, Tolerance: from.Tolerance,
		SelectPolicy: capacityv1alpha1.ScalingPolicySelect(from.SelectPolicy),
	}
	for _, p := range from.Policies {
		if p.Value < 1 || p.PeriodSeconds < 1 {
			m.note("spec.advanced.horizontalPodAutoscalerConfig.behavior.%s: a policy of %d %s in %d s makes no sense, and is left out", name, p.Value, p.Type, p.PeriodSeconds)
			continue
		}
		rules.Policies = append(rules.Policies, capacityv1alpha1.ScalingPolicy{Type: capacityv1alpha1.ScalingPolicyType(p.Type), Value: p.Value, PeriodSeconds: p.PeriodSeconds})
	}
	return rules
}

func (m *migration) fallback() {
	f := m.object.Spec.Fallback
	if f == nil {
		return
	}
	if f.Behavior != "" && f.Behavior != "static" {
		m.note("spec.fallback.behavior: %s; QueueScaler's fallback is a floor, and nothing is scaled down while a queue cannot be read", f.Behavior)
	} else {
		m.note("spec.fallback: in KEDA %d is the number while a trigger fails; here it is a floor, and more replicas stay as they are", f.Replicas)
	}
	floor := min(f.Replicas, m.qs.Spec.MaxReplicas)
	if floor < 1 {
		return
	}
	after := f.FailureThreshold * ptr.Deref(m.object.Spec.PollingInterval, kedaPolling)
	m.qs.Spec.Fallback = capacityv1alpha1.Fallback{AfterSeconds: min(max(after, 15), 86400), MinReplicas: floor}
}

// mode is DryRun, so that both can be compared before one takes over.
func (m *migration) mode() {
	m.qs.Spec.Mode = capacityv1alpha1.ModeDryRun
	annotations := m.object.Metadata.Annotations
	if n, paused := annotations["autoscaling.keda.sh/paused-replicas"]; paused {
		m.note("annotation autoscaling.keda.sh/paused-replicas: it is paused at %s replicas; Suspended leaves the number as it is", n)
		m.qs.Spec.Mode = capacityv1alpha1.ModeSuspended
	}
	if annotations["autoscaling.keda.sh/paused"] == "true" {
		m.note("annotation autoscaling.keda.sh/paused: mode is Suspended")
		m.qs.Spec.Mode = capacityv1alpha1.ModeSuspended
	}
}

// triggers makes a queue of each, with weights where their targets differ.
func (m *migration) triggers() {
	var targets []int64
	for i := range m.object.Spec.Triggers {
		t := &trigger{source: &m.object.Spec.Triggers[i], m: m, path: fmt.Sprintf("spec.triggers[%d]", i), used: map[string]bool{}}
		q, target, ok := t.queue()
		if !ok {
			continue
		}
		m.qs.Spec.Queues = append(m.qs.Spec.Queues, q)
		targets = append(targets, target)
	}
	if len(m.object.Spec.Triggers) == 0 {
		m.refuse("spec.triggers is empty")
	}
	m.names()
	m.objective(targets)
}

// names makes the names of the queues unique.
func (m *migration) names() {
	seen := map[string]bool{}
	for i := range m.qs.Spec.Queues {
		q := &m.qs.Spec.Queues[i]
		for n := 2; seen[q.Name]; n++ {
			if candidate := fmt.Sprintf("%s-%d", q.Name, n); !seen[candidate] {
				q.Name = candidate
			}
		}
		seen[q.Name] = true
	}
}

// The API's bounds of a queue's weight, and of objective.backlog.perReplica.
const mostWeight, mostPerReplica = 1000, 1_000_000_000

// objective is the messages for each replica. Queues with other targets get a weight, so that the same backlog asks for the same.
func (m *migration) objective(targets []int64) {
	if len(targets) == 0 {
		return
	}
	// What one replica may have at most is the API's bound, and what the smallest target makes of the largest weight.
	common, most := int64(1), min(mostPerReplica, mostWeight*slices.Min(targets))
	for _, t := range targets {
		if step := t / divisor(common, t); common <= most/step {
			common *= step
			continue
		}
		m.refuse("spec.triggers: their targets, %v, have no common measure with weights up to %d and at most %d messages for each replica; round them", targets, mostWeight, mostPerReplica)
		return
	}
	if len(targets) > 1 {
		m.note("spec.triggers: KEDA takes the trigger that asks for most; QueueScaler adds the work of all queues up, since the same pods do it. It asks for more replicas when several have a backlog at once")
	}
	for i, t := range targets {
		if weight := common / t; len(targets) > 1 && weight > 1 {
			m.qs.Spec.Queues[i].Weight = int32(weight)
		}
	}
	m.qs.Spec.Objective.Backlog.PerReplica = common
}

func divisor(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
