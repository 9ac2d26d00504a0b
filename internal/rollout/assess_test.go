// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout_test

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/queuescaler/queuescaler/internal/rollout"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// deployment with template a, 4 replicas, all there.
func deployment(edit ...func(*appsv1.Deployment)) *appsv1.Deployment {
	n := int32(4)
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "d", UID: "d-uid", Generation: 1, Annotations: map[string]string{revisionKey: "1"}},
		Spec:       appsv1.DeploymentSpec{Replicas: &n, Template: template("a")},
		Status:     appsv1.DeploymentStatus{ObservedGeneration: 1, Replicas: 4, UpdatedReplicas: 4, ReadyReplicas: 4, AvailableReplicas: 4},
	}
	for _, e := range edit {
		e(d)
	}
	return d
}

// replicaSet of that Deployment with all its pods available.
func replicaSet(tag, revision string, size int32, edit ...func(*appsv1.ReplicaSet)) *appsv1.ReplicaSet {
	yes := true
	rs := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name: "d-" + tag, UID: types.UID("uid-" + tag), Generation: 1, Labels: map[string]string{"pod-template-hash": tag},
			Annotations:     map[string]string{revisionKey: revision, desiredKey: strconv.Itoa(int(size))},
			OwnerReferences: []metav1.OwnerReference{{Kind: "Deployment", Name: "d", UID: "d-uid", Controller: &yes}},
		},
		Spec:   appsv1.ReplicaSetSpec{Replicas: &size, Template: template(tag)},
		Status: appsv1.ReplicaSetStatus{ObservedGeneration: 1, Replicas: size, ReadyReplicas: size, AvailableReplicas: size},
	}
	rs.Spec.Template.Labels["pod-template-hash"] = tag
	for _, e := range edit {
		e(rs)
	}
	return rs
}

func replicas(n int32) func(*appsv1.Deployment) {
	return func(d *appsv1.Deployment) { d.Spec.Replicas = &n }
}
func templated(tag string) func(*appsv1.Deployment) {
	return func(d *appsv1.Deployment) { d.Spec.Template = template(tag) }
}
func paused(d *appsv1.Deployment) { d.Spec.Paused = true }
func podless(d *appsv1.Deployment) {
	d.Status.Replicas, d.Status.UpdatedReplicas, d.Status.AvailableReplicas = 0, 0, 0
}
func revision(n string) func(*appsv1.Deployment) {
	return func(d *appsv1.Deployment) { d.Annotations[revisionKey] = n }
}
func failing(reason, message string) func(*appsv1.Deployment) {
	return func(d *appsv1.Deployment) {
		d.Status.Conditions = append(d.Status.Conditions, appsv1.DeploymentCondition{
			Type: appsv1.DeploymentProgressing, Status: corev1.ConditionFalse, Reason: reason, Message: message})
	}
}
func available(n int32) func(*appsv1.ReplicaSet) {
	return func(rs *appsv1.ReplicaSet) { rs.Status.AvailableReplicas, rs.Status.ReadyReplicas = n, n }
}
func told(n string) func(*appsv1.ReplicaSet) {
	return func(rs *appsv1.ReplicaSet) { rs.Annotations[desiredKey] = n }
}

// settled is what is remembered after template a was complete with 4 replicas.
var settled = rollout.Memory{UID: "d-uid", SettledHash: "a", SettledTemplateDigest: digest("a"), SettledReplicas: 4,
	State: rollout.Stable, Since: noon.Add(-time.Hour)}

func digest(tag string) string {
	t := template(tag)
	return rollout.Digest(&t)
}

func rollingFor6Min(m rollout.Memory) rollout.Memory {
	m.State, m.Since, m.HeldSince, m.Unsettled = rollout.Rolling, noon.Add(-6*time.Minute), noon.Add(-6*time.Minute), true
	return m
}

type rowCase struct {
	name    string
	d       *appsv1.Deployment
	rss     []*appsv1.ReplicaSet
	memory  rollout.Memory
	row     int
	state   rollout.State
	may     string
	message string
}

// rowCases has one case or more for every row, in the order of the procedure.
func rowCases() []rowCase {
	timedOut := failing("ProgressDeadlineExceeded", `ReplicaSet "d-b" has timed out progressing.`)
	again := func(rs *appsv1.ReplicaSet) {
		rs.Annotations["deployment.kubernetes.io/revision-history"] = "1"
	}
	none := []*appsv1.ReplicaSet(nil)
	return []rowCase{
		{"gone", nil, none, settled, 1, "", "nothing", "the Deployment does not exist"},
		{"being deleted", deployment(func(d *appsv1.Deployment) { d.DeletionTimestamp = &metav1.Time{Time: noon} }), none, settled,
			1, "", "nothing", "the Deployment is being deleted"},
		{"created with 0", deployment(replicas(0), podless), none, rollout.Memory{}, 2, rollout.Stable, "up,lend,restore", "scaled to 0"},
		{"edited while paused", deployment(templated("b"), paused), []*appsv1.ReplicaSet{replicaSet("a", "1", 4)}, settled,
			3, rollout.PausedPending, "up,lend,first,restore", "template edited while paused, for 0 s; it rolls out on resume; 4 of 4 available"},
		{"edited while paused mid-rollout", deployment(templated("c"), paused), []*appsv1.ReplicaSet{replicaSet("a", "1", 3), replicaSet("b", "2", 1)}, settled,
			3, rollout.PausedPending, "lend", "template edited while paused, for 0 s; it rolls out on resume; 4 of 4 available"},
		{"created", deployment(podless), none, rollout.Memory{}, 4, rollout.Settling, "nothing", "new revision settling for 0 s, 0 of 4 updated, 0 available"},
		{"ReplicaSet deleted by hand", deployment(), none, settled, 5, rollout.Stable, "lend,restore", "new revision stable, 0 of 4 available"},
		{"ReplicaSet deleted by hand while paused", deployment(paused), none, settled, 5, rollout.Stable, "lend,restore", "new revision stable, 0 of 4 available"},
		{"ReplicaSet refused", deployment(templated("b"), failing("ReplicaSetCreateError", "quota")), []*appsv1.ReplicaSet{replicaSet("a", "1", 4)}, settled,
			6, rollout.Stuck, "lend", "new revision stuck for 0 s, 0 of 4 updated, 4 available; no further new pod became ready within the deadline"},
		{"new template", deployment(templated("b")), []*appsv1.ReplicaSet{replicaSet("a", "1", 4)}, settled,
			7, rollout.Rolling, "lend,restore", "new revision rolling out for 0 s, 0 of 4 updated, 4 available"},
		{"edited back to an earlier template while paused", deployment(paused), []*appsv1.ReplicaSet{replicaSet("a", "1", 0), replicaSet("b", "2", 4)},
			rollout.Memory{}, 8, rollout.PausedPending, "up,lend,first,restore", "template edited while paused, for 0 s; it rolls out on resume; 4 of 4 available"},
		{"edited back while paused mid-rollout", deployment(paused), []*appsv1.ReplicaSet{replicaSet("a", "1", 0), replicaSet("b", "2", 3), replicaSet("c", "3", 1)},
			rollout.Memory{}, 8, rollout.PausedPending, "lend", "template edited while paused, for 0 s; it rolls out on resume; 4 of 4 available"},
		{"paused mid-rollout", deployment(templated("b"), paused), []*appsv1.ReplicaSet{replicaSet("a", "1", 3), replicaSet("b", "2", 2, available(1))}, settled,
			9, rollout.PausedMidRollout, "lend", "revision 2 paused mid-rollout for 0 s, 2 of 4 updated, 4 available"},
		{"our copy is behind", deployment(), []*appsv1.ReplicaSet{replicaSet("a", "1", 3, told("4")), replicaSet("b", "2", 1)}, settled,
			10, rollout.Rolling, "nothing", "a rollout began that is newer than our copy of the Deployment, 4 available"},
		{"our copy is behind a rollback", deployment(templated("b"), revision("2")), []*appsv1.ReplicaSet{replicaSet("a", "3", 1, again), replicaSet("b", "2", 4)}, settled,
			10, rollout.RollingBack, "nothing", "a rollout began that is newer than our copy of the Deployment, 5 available"},
		{"stuck", deployment(templated("b"), revision("2"), timedOut), []*appsv1.ReplicaSet{replicaSet("a", "1", 3), replicaSet("b", "2", 2, available(0))}, rollingFor6Min(settled),
			11, rollout.Stuck, "lend", "revision 2 stuck for 0 s, 2 of 4 updated, 3 available; no further new pod became ready within the deadline"},
		{"rolling back", deployment(revision("3")), []*appsv1.ReplicaSet{replicaSet("a", "3", 2, again), replicaSet("b", "2", 3)}, rollingFor6Min(settled),
			12, rollout.RollingBack, "lend", "rolling back to an earlier template as revision 3 for 0 s, 2 of 4 updated, 5 available"},
		{"rolling", deployment(templated("b"), revision("2")), []*appsv1.ReplicaSet{replicaSet("a", "1", 2), replicaSet("b", "2", 3, available(1))}, rollingFor6Min(settled),
			13, rollout.Rolling, "lend,restore", "revision 2 rolling out for 6 min, 3 of 4 updated, 3 available"},
		{"changed at 0, last pods", deployment(templated("b"), revision("2"), replicas(0)), []*appsv1.ReplicaSet{replicaSet("b", "2", 0)}, settled,
			14, rollout.Settling, "up,lend,restore", "revision 2 settling for 0 s, 0 of 0 updated, 0 available"},
		{"changed at 0", deployment(templated("b"), revision("2"), replicas(0), podless), []*appsv1.ReplicaSet{replicaSet("b", "2", 0)}, settled,
			14, rollout.Stable, "up,lend,restore", "scaled to 0"},
		{"complete", deployment(), []*appsv1.ReplicaSet{replicaSet("a", "1", 4)}, rollout.Memory{},
			15, rollout.Stable, "up,down,lend,restore", "revision 1 stable, 4 of 4 available"},
		{"shrunk by a rollout we do not know of", deployment(), []*appsv1.ReplicaSet{replicaSet("a", "1", 3, told("4"))}, settled,
			16, rollout.Rolling, "nothing", "a rollout began that is newer than our copy of the Deployment, 3 available"},
		{"scaled", deployment(replicas(7)), []*appsv1.ReplicaSet{replicaSet("a", "1", 7, available(5))}, settled,
			17, rollout.Scaling, "up,lend,restore", "revision 1 scaling to 7 for 0 s, 7 pods, 5 available"},
		{"pods lost", deployment(), []*appsv1.ReplicaSet{replicaSet("a", "1", 4, available(3))}, settled,
			18, rollout.Stable, "up,lend,first,restore", "revision 1 stable, 3 of 4 available"},
		{"stuck without old pods", deployment(templated("b"), revision("2"), timedOut), []*appsv1.ReplicaSet{replicaSet("b", "2", 4, available(0))}, rollingFor6Min(settled),
			19, rollout.Stuck, "lend", "revision 2 stuck for 0 s, 4 of 4 updated, 0 available; no further new pod became ready within the deadline"},
		{"recreated, no pod yet", deployment(templated("b"), revision("2"), podless), []*appsv1.ReplicaSet{replicaSet("a", "1", 0), replicaSet("b", "2", 0, told("4"))}, rollingFor6Min(settled),
			20, rollout.Rolling, "lend,restore", "revision 2 rolling out for 6 min, 0 of 4 updated, 0 available"},
		{"recreated from an earlier revision, no pod yet", deployment(revision("3"), podless), []*appsv1.ReplicaSet{replicaSet("a", "3", 0, again, told("4"))}, rollingFor6Min(settled),
			20, rollout.RollingBack, "lend", "rolling back to an earlier template as revision 3 for 0 s, 0 of 4 updated, 0 available"},
		{"rolled back, a pod of it is being ended after a moment at 3", deployment(revision("3")), []*appsv1.ReplicaSet{replicaSet("a", "3", 4, again, func(rs *appsv1.ReplicaSet) { rs.Generation = 2 })}, rollingFor6Min(settled),
			21, rollout.Settling, "lend,restore", "revision 3 settling for 0 s, 4 of 4 updated, 4 available"},
		{"first pods", deployment(), []*appsv1.ReplicaSet{replicaSet("a", "1", 4, available(1))}, rollout.Memory{},
			21, rollout.Settling, "lend,restore", "revision 1 settling for 0 s, 4 of 4 updated, 1 available"},
	}
}

func TestRows(t *testing.T) {
	for _, test := range rowCases() {
		t.Run(test.name, func(t *testing.T) {
			a, m := rollout.Assess(noon, test.d, test.rss, test.memory)
			if a.Row != test.row || a.State != test.state || may(a.Permissions) != test.may || a.Message != test.message {
				t.Errorf("row %d %s, may %s: %s\nwant row %d %s, may %s: %s",
					a.Row, a.State, may(a.Permissions), a.Message, test.row, test.state, test.may, test.message)
			}
			if a.Missing != (test.row == 1) || a.Degraded != (test.row == 5 || test.row == 18) {
				t.Errorf("missing %v, degraded %v", a.Missing, a.Degraded)
			}
			if a.Missing && m != test.memory {
				t.Errorf("a Deployment that is gone changed the memory: %s", cmp.Diff(test.memory, m))
			}
			if !a.Missing && (a.HeldSince.IsZero() == a.InProgress() || a.Since != m.Since) {
				t.Errorf("in progress %v, held since %v, since %v", a.InProgress(), a.HeldSince, a.Since)
			}
		})
	}
}

// Kubernetes forgets that a rollout is stuck once it is scaled. We do not, until a further new pod
// is ready, and then we do not take the old verdict for a new one.
func TestStuckIsSticky(t *testing.T) {
	verdict := func(at time.Time) func(*appsv1.Deployment) {
		return func(d *appsv1.Deployment) {
			failing("ProgressDeadlineExceeded", `ReplicaSet "d-b" has timed out progressing.`)(d)
			d.Status.Conditions[0].LastTransitionTime = metav1.NewTime(at)
		}
	}
	rss := func(ready int32) []*appsv1.ReplicaSet {
		return []*appsv1.ReplicaSet{replicaSet("a", "1", 3), replicaSet("b", "2", 2, available(ready))}
	}
	m, state := rollingFor6Min(settled), rollout.State("")
	step := func(what string, want rollout.State, d *appsv1.Deployment, rss []*appsv1.ReplicaSet) {
		t.Helper()
		var a rollout.Assessment
		if a, m = rollout.Assess(noon, d, rss, m); a.State != want {
			t.Fatalf("%s: %s (row %d), want %s after %s", what, a.State, a.Row, want, state)
		}
		state = want
	}
	b := []func(*appsv1.Deployment){templated("b"), revision("2")}
	step("timed out", rollout.Stuck, deployment(append(b, verdict(noon))...), rss(0))
	step("scaled, so that the verdict is withdrawn", rollout.Stuck, deployment(append(b, replicas(8))...), rss(0))
	step("paused", rollout.PausedMidRollout, deployment(append(b, paused)...), rss(0))
	step("resumed", rollout.Stuck, deployment(b...), rss(0))
	step("a pod is ready, the old verdict still shows", rollout.Rolling, deployment(append(b, verdict(noon))...), rss(1))
	step("timed out again", rollout.Stuck, deployment(append(b, verdict(noon.Add(time.Minute)))...), rss(1))
	step("fixed forward", rollout.Rolling, deployment(templated("c"), revision("2"), verdict(noon.Add(time.Minute))), rss(1))
	step("and back: the template changed meanwhile", rollout.Rolling, deployment(b...), rss(1))
	m.SettledHash, m.Unsettled = "b", false
	step("pods of the settled revision that do not start are no stuck rollout", rollout.Scaling,
		deployment(append(b, replicas(2), verdict(noon.Add(2*time.Minute)))...), []*appsv1.ReplicaSet{replicaSet("b", "2", 2, available(1))})
}

func TestMemoryOfAnotherDeploymentIsForgotten(t *testing.T) {
	other := settled
	other.UID = "of one that was deleted"
	a, m := rollout.Assess(noon, deployment(), []*appsv1.ReplicaSet{replicaSet("a", "1", 4, available(3))}, other)
	if a.State != rollout.Settling || m.UID != "d-uid" || m.SettledHash != "" {
		t.Errorf("%s, memory %+v", a.State, m)
	}
}

// Two states in progress are one hold; Since follows the state.
func TestTimes(t *testing.T) {
	rolling := deployment(templated("b"), revision("2"))
	_, m := rollout.Assess(noon, rolling, []*appsv1.ReplicaSet{replicaSet("a", "1", 2), replicaSet("b", "2", 3)}, settled)
	later := noon.Add(90 * time.Minute)
	var a rollout.Assessment
	a, m = rollout.Assess(later, rolling, []*appsv1.ReplicaSet{replicaSet("a", "1", 0), replicaSet("b", "2", 4, available(2))}, m)
	if a.State != rollout.Settling || !a.Since.Equal(later) || !a.HeldSince.Equal(noon) {
		t.Errorf("%s since %v, held since %v", a.State, a.Since, a.HeldSince)
	}
	a, m = rollout.Assess(later, deployment(templated("b"), revision("2")), []*appsv1.ReplicaSet{replicaSet("b", "2", 4)}, m)
	if a.State != rollout.Stable || !m.HeldSince.IsZero() || a.SettledHash != "b" {
		t.Errorf("%s, held since %v, settled %s", a.State, m.HeldSince, a.SettledHash)
	}
}

func TestNewReplicaSet(t *testing.T) {
	at := func(second int) func(*appsv1.ReplicaSet) {
		return func(rs *appsv1.ReplicaSet) {
			rs.CreationTimestamp = metav1.NewTime(noon.Add(time.Duration(second) * time.Second))
		}
	}
	named := func(name string) func(*appsv1.ReplicaSet) { return func(rs *appsv1.ReplicaSet) { rs.Name = name } }
	foreign := replicaSet("a", "1", 1, named("foreign"), at(0), func(rs *appsv1.ReplicaSet) { rs.OwnerReferences[0].UID = "other" })
	young, old, twin := replicaSet("a", "3", 1, named("young"), at(3)), replicaSet("a", "2", 1, named("x"), at(2)), replicaSet("a", "2", 1, named("y"), at(2))
	rss := []*appsv1.ReplicaSet{nil, foreign, young, twin, old, replicaSet("b", "1", 1, at(1))}
	if got := rollout.NewReplicaSet(deployment(), rss); got != old {
		t.Errorf("got %v, want the oldest of the owned ones with the template, by name among equals", got)
	}
	if got := rollout.NewReplicaSet(deployment(templated("c")), rss); got != nil {
		t.Errorf("got %v for a template that none has", got)
	}
	if got := rollout.NewReplicaSet(nil, rss); got != nil {
		t.Errorf("got %v for no Deployment", got)
	}
}

func TestDigest(t *testing.T) {
	plain, hashed, other := template("a"), template("a"), template("b")
	hashed.Labels["pod-template-hash"] = "h"
	hashed.Spec.Containers[0].Env = []corev1.EnvVar{} // as good as none
	const want = "fc57f9126ef0c3cf240452fb27d631c6"
	if got := rollout.Digest(&plain); got != want {
		t.Errorf("%s, want %s: a digest is kept in status and must stay the same from version to version", got, want)
	}
	if got := rollout.Digest(&hashed); got != want {
		t.Errorf("%s with a pod-template-hash and an empty list", got)
	}
	if got := rollout.Digest(&other); got == want || got == "" {
		t.Errorf("%s for another template", got)
	}
	if hashed.Labels["pod-template-hash"] != "h" {
		t.Error("the template was changed")
	}
}

// Whatever the objects and the memory are, Assess answers, always the same, in any order of the
// ReplicaSets, after its memory was stored and read, and without changing what it was given.
func TestAnythingIsAnswered(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := rapid.Custom(anyDeployment).Draw(t, "deployment")
		rss := rapid.SliceOfN(rapid.Custom(anyReplicaSet), 0, 5).Draw(t, "ReplicaSets")
		m := rapid.Custom(anyMemory).Draw(t, "memory")
		now := noon.Add(time.Duration(rapid.Int64().Draw(t, "now")))
		before, _ := json.Marshal([]any{d, rss})

		a1, m1 := rollout.Assess(now, d, rss, m)
		if a1.Row < 1 || a1.Row > 21 || a1.Message == "" || a1.Reason == "" || (a1.State == "") != a1.Missing {
			t.Fatalf("no answer: %+v", a1)
		}
		if a1.InProgress() && a1.ScaleDown {
			t.Fatalf("scale-down during a rollout: %+v", a1)
		}
		if after, _ := json.Marshal([]any{d, rss}); string(after) != string(before) {
			t.Fatal("the objects were changed")
		}
		stored, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		var read rollout.Memory
		if err := json.Unmarshal(stored, &read); err != nil {
			t.Fatal(err)
		}
		shuffled := slices.Clone(rss)
		rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "order"), 0)).Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		a2, m2 := rollout.Assess(now, d, shuffled, read)
		if diff := cmp.Diff([]any{a1, m1}, []any{a2, m2}); diff != "" {
			t.Fatal(diff)
		}
	})
}

var (
	anyTag    = rapid.SampledFrom([]string{"a", "b", "c"})
	anyNumber = rapid.OneOf(rapid.Int32Range(0, 4), rapid.Int32())
	anyText   = rapid.SampledFrom([]string{"", "1", "2", "3", "4", "-1", "99999999999999999999", "x"})
)

func anyDeployment(t *rapid.T) *appsv1.Deployment {
	if rapid.IntRange(0, 20).Draw(t, "nil") == 0 {
		return nil
	}
	d := deployment(templated(anyTag.Draw(t, "tag")), func(d *appsv1.Deployment) {
		d.Spec.Paused = rapid.Bool().Draw(t, "paused")
		d.Spec.Replicas = rapid.Ptr(anyNumber, true).Draw(t, "replicas")
		d.Annotations = rapid.MapOf(rapid.Just(revisionKey), anyText).Draw(t, "annotations")
		d.Generation = int64(anyNumber.Draw(t, "generation"))
		d.UID = types.UID(rapid.SampledFrom([]string{"d-uid", "", "other"}).Draw(t, "uid"))
		for _, n := range []*int32{&d.Status.Replicas, &d.Status.UpdatedReplicas, &d.Status.AvailableReplicas} {
			*n = anyNumber.Draw(t, "status")
		}
	})
	if rapid.Bool().Draw(t, "no template") {
		d.Spec.Template = corev1.PodTemplateSpec{}
	}
	d.Status.Conditions = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) appsv1.DeploymentCondition {
		return appsv1.DeploymentCondition{
			Type:    rapid.SampledFrom([]appsv1.DeploymentConditionType{"Progressing", "Available", ""}).Draw(t, "type"),
			Status:  rapid.SampledFrom([]corev1.ConditionStatus{"True", "False", "Unknown", ""}).Draw(t, "status"),
			Reason:  rapid.SampledFrom([]string{"NewReplicaSetAvailable", "ProgressDeadlineExceeded", "ReplicaSetCreateError", ""}).Draw(t, "reason"),
			Message: rapid.SampledFrom([]string{`ReplicaSet "d-a"`, `ReplicaSet "d-b"`, `""`, ""}).Draw(t, "message"),
		}
	}), 0, 2).Draw(t, "conditions")
	return d
}

func anyReplicaSet(t *rapid.T) *appsv1.ReplicaSet {
	if rapid.IntRange(0, 20).Draw(t, "nil") == 0 {
		return nil
	}
	return replicaSet(anyTag.Draw(t, "tag"), anyText.Draw(t, "revision"), anyNumber.Draw(t, "size"), func(rs *appsv1.ReplicaSet) {
		rs.Name = rapid.SampledFrom([]string{rs.Name, ""}).Draw(t, "name") + rapid.StringMatching("[a-z]{8}").Draw(t, "suffix")
		rs.Labels = rapid.MapOf(rapid.Just("pod-template-hash"), rapid.OneOf(anyTag, anyText)).Draw(t, "labels")
		if rapid.Bool().Draw(t, "no size") {
			rs.Spec.Replicas = nil
		}
		if rapid.Bool().Draw(t, "no annotations") {
			rs.Annotations = nil
		} else {
			rs.Annotations[desiredKey] = anyText.Draw(t, "desired")
			rs.Annotations[historyKey] = anyText.Draw(t, "history")
		}
		if rapid.IntRange(0, 5).Draw(t, "not owned") == 0 {
			rs.OwnerReferences = nil
		}
		for _, n := range []*int32{&rs.Status.Replicas, &rs.Status.ReadyReplicas, &rs.Status.AvailableReplicas} {
			*n = anyNumber.Draw(t, "status")
		}
	})
}

func anyMemory(t *rapid.T) rollout.Memory {
	if rapid.Bool().Draw(t, "none") {
		return rollout.Memory{}
	}
	return rollout.Memory{
		UID:                   types.UID(rapid.SampledFrom([]string{"d-uid", "", "other"}).Draw(t, "uid")),
		SettledHash:           rapid.OneOf(anyTag, anyText).Draw(t, "settled"),
		SettledTemplateDigest: rapid.SampledFrom([]string{digest("a"), digest("b"), ""}).Draw(t, "digest"),
		SettledReplicas:       anyNumber.Draw(t, "settled replicas"),
		Unsettled:             rapid.Bool().Draw(t, "unsettled"),
		StuckHash:             rapid.OneOf(anyTag, anyText).Draw(t, "stuck"),
		StuckReadyReplicas:    anyNumber.Draw(t, "stuck ready"),
		State:                 rapid.SampledFrom([]rollout.State{rollout.Stable, rollout.Rolling, rollout.Scaling, "", "x"}).Draw(t, "state"),
		HeldSince:             rapid.SampledFrom([]time.Time{{}, noon}).Draw(t, "held since"),
	}
}
