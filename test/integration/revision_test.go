//go:build integration

// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/test/operator"
)

// The story of most tests here: 4 pods of a good revision prove themselves under a short backlog, a bad one is deployed, and the
// peak comes. 4 pods of the good one can do the peak's messages, of the bad one they cannot.
const (
	goodImage, badImage, fixImage = "example/worker:1", "example/worker:2", "example/worker:3"
	// What one pod of each image completes, messages/s.
	goodRate, badRate, fixRate = 10.0, 4.0, 6.0
	fleet                      = 4
	calm, peak                 = 8.0, 28.0
	plan                       = "https://wiki.example/app/rollback"
	// sameRate is how far a rate may be from what the workers did.
	sameRate = 0.15
)

// service is a namespace with a stream, its workers and its sender.
type service struct {
	*world
	workers *workers
	sender  *sender
}

func newService(t *testing.T) *service {
	t.Helper()
	w := newWorld(t)
	s := &service{world: w, workers: w.startWorkers(map[string]float64{goodImage: goodRate, badImage: badRate, fixImage: fixRate}), sender: w.startSender()}
	s.sender.steady(calm)
	s.create(mayRollBack(s.namespace))
	return s
}

// mayRollBack binds the role of config/rollback in a namespace.
func mayRollBack(namespace string) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "queuescaler-rollback"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "queuescaler-rollback"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: operator.Namespace, Name: operator.ServiceAccount}},
	}
}

// watched makes a QueueScaler that reads the stream. Only its slots add capacity, so that the tests know who serves.
func (s *service) watched(change ...func(*capacityv1alpha1.QueueScalerSpec)) *capacityv1alpha1.QueueScaler {
	base := func(spec *capacityv1alpha1.QueueScalerSpec) {
		spec.MinReplicas, spec.MaxReplicas = ptr.To(int32(fleet)), fleet+2
		spec.Queues[0].Redis = capacityv1alpha1.RedisSource{Server: capacityv1alpha1.Server{URL: shared.redis.URL()}, Stream: capacityv1alpha1.RedisStream{Key: s.key, Group: group}}
		spec.Objective = capacityv1alpha1.Objective{Drain: capacityv1alpha1.DrainObjective{Seconds: 60, MessagesPerSecondPerReplica: "10"}}
		spec.Rollout.RollbackPlan = plan
		spec.Behavior = &capacityv1alpha1.Behavior{ScaleUp: &capacityv1alpha1.ScalingRules{SelectPolicy: capacityv1alpha1.SelectDisabled}}
	}
	return s.scaler(append([]func(*capacityv1alpha1.QueueScalerSpec){base}, change...)...)
}

func rollsBack(spec *capacityv1alpha1.QueueScalerSpec) {
	spec.Rollout.OnRegression = capacityv1alpha1.OnRegressionRollBack
}

// proven starts the service and has its first revision prove itself: a backlog that it works off in time.
func (s *service) proven(d *appsv1.Deployment, qs *capacityv1alpha1.QueueScaler) {
	s.Helper()
	s.settled(d, qs)
	// What waits while nothing has to wait is the source's own latency, and is learnt first.
	s.await("a calm throughput", func() (bool, string) {
		b := s.qs().Status.Backlog
		x, err := strconv.ParseFloat(b.ThroughputPerSecond, 64)
		return err == nil && x > calm/2 && *b.Messages < 5, fmt.Sprintf("%+v", b)
	})
	s.sender.steady(peak)
	s.awaitRevision(1, "known-good and measured", func(r *capacityv1alpha1.RevisionStatus) bool {
		seen := ptr.Deref(r.Evidence, capacityv1alpha1.RevisionEvidence{}).ServiceRatesSeen
		if seen < 6 && s.waiting() == 0 {
			s.sender.send(s.Context(), 300)
		}
		return r.Standing == capacityv1alpha1.StandingKnownGood && seen >= 6
	})
	s.wantRate(1, goodImage)
}

// waiting is the number of messages that nobody has taken.
func (s *service) waiting() int64 {
	s.Helper()
	groups, err := s.redis.XInfoGroups(s.Context(), s.key).Result()
	if err != nil {
		s.Fatal(err)
	}
	return groups[0].Lag
}

// deploy rolls an image out, at the peak, and waits until that is complete.
func (s *service) deploy(image string, change ...func(*appsv1.Deployment)) {
	s.Helper()
	s.roll(image, change...)
	s.await("the rollout's end", func() (bool, string) {
		d := s.target()
		return complete(d) && d.Spec.Template.Spec.Containers[0].Image == image, fmt.Sprintf("%+v", d.Status)
	})
}

func (s *service) revision(number int64) *capacityv1alpha1.RevisionStatus {
	s.Helper()
	all := s.qs().Status.Revisions
	i := slices.IndexFunc(all, func(r capacityv1alpha1.RevisionStatus) bool { return r.Revision == number && r.Change == "" })
	if i < 0 {
		return nil
	}
	return &all[i]
}

func (s *service) awaitRevision(number int64, what string, is func(*capacityv1alpha1.RevisionStatus) bool) {
	s.Helper()
	s.await(fmt.Sprintf("revision %d %s", number, what), func() (bool, string) {
		r := s.revision(number)
		if r == nil {
			return false, "not in the ledger"
		}
		return is(r), fmt.Sprintf("%+v, evidence %+v", *r, r.Evidence)
	})
}

func (s *service) wantRate(number int64, image string) {
	s.Helper()
	s.isRate(fmt.Sprintf("revision %d in the ledger", number), s.revision(number).ServicePerReplica, image)
}

// isRate checks a service rate that is told somewhere.
func (s *service) isRate(where, text, image string) {
	s.Helper()
	got, err := strconv.ParseFloat(text, 64)
	least, most := s.workers.bounds(image)
	if err != nil || got < (1-sameRate)*least || got > (1+sameRate)*most {
		s.Errorf("%s: %s messages/s per replica, in truth %.3g to %.3g", where, text, least, most)
	}
}

// evidence is what an advice says of two revisions.
var evidence = regexp.MustCompile(`revision (\d+)( with the change "[^"]*")? completes (\S+) msg/s per replica, revision (\d+) did (\S+) \(−(\d+) %, (\d+) of (\d+) blocks\)`)

// wantEvidence checks the numbers in a text for people.
func (s *service) wantEvidence(where, text string, from int64, image string, to int64) {
	s.Helper()
	m := evidence.FindStringSubmatch(text)
	if m == nil {
		s.Errorf("%s has no evidence:\n%s", where, text)
		return
	}
	number := func(i int) float64 {
		v, err := strconv.ParseFloat(m[i], 64)
		if err != nil {
			s.Errorf("%s: %v", where, err)
		}
		return v
	}
	if number(1) != float64(from) || number(4) != float64(to) {
		s.Errorf("%s compares revisions %s and %s, want %d and %d", where, m[1], m[4], from, to)
	}
	s.isRate(where, m[3], image)
	if image != goodImage { // a marked change has no image of its own, and what there was before it is over
		s.isRate(where, m[5], goodImage)
	}
	if less := 100 * (1 - number(3)/number(5)); math.Abs(less-number(6)) > 1 {
		s.Errorf("%s: %s is not %s %% less than %s", where, m[3], m[6], m[5])
	}
	if number(7) < 4 || number(7) > number(8) {
		s.Errorf("%s tells of %s of %s blocks", where, m[7], m[8])
	}
}

// advised waits for the advice, and returns what it says.
func (s *service) advised(from int64, image string, to int64, words ...string) string {
	s.Helper()
	s.awaitCondition(capacityv1alpha1.ConditionThroughputRegressed, metav1.ConditionTrue, capacityv1alpha1.ReasonServiceRateRegressed, fmt.Sprintf("revision %d ", from))
	s.awaitCondition(capacityv1alpha1.ConditionRollbackAdvised, metav1.ConditionTrue, capacityv1alpha1.ReasonServiceRateRegressed, words...)
	qs := s.qs()
	for _, kind := range []string{capacityv1alpha1.ConditionThroughputRegressed, capacityv1alpha1.ConditionRollbackAdvised} {
		s.wantEvidence(kind, meta.FindStatusCondition(qs.Status.Conditions, kind).Message, from, image, to)
	}
	want := &capacityv1alpha1.Diagnosis{Cause: capacityv1alpha1.CauseThroughputRegressed, Advice: fmt.Sprintf("RollBack:%d", to)}
	if d := qs.Status.Diagnosis; d == nil || d.Cause != want.Cause || d.Advice != want.Advice {
		s.Errorf("the diagnosis is %+v, want %+v", d, want)
	}
	if qs.Status.Summary != capacityv1alpha1.SummaryRegressed {
		s.Errorf("STATUS is %s", qs.Status.Summary)
	}
	return qs.Status.Diagnosis.Message
}

// command is the one in an advice, as a person would copy it.
func (s *service) command(advice, begins string) string {
	s.Helper()
	_, rest, found := strings.Cut(advice, begins)
	if !found {
		s.Fatalf("the advice has no %q: %s", begins, advice)
	}
	line, _, _ := strings.Cut(rest, ". ")
	return strings.TrimSuffix(begins+line, ".")
}

// follow runs a command of an advice as it is printed.
func (s *service) follow(command string) {
	s.Helper()
	if out, err := shared.cluster.Shell(s.Context(), command); err != nil {
		s.Fatalf("%v\n%s", err, out)
	}
}

// cured waits until the target runs the first revision again, under a new number, and nothing is held against that.
func (s *service) cured(number int64) {
	s.Helper()
	s.await("the rollback's end", func() (bool, string) {
		d := s.target()
		return complete(d) && d.Spec.Template.Spec.Containers[0].Image == goodImage, fmt.Sprintf("%+v", d.Status)
	})
	s.awaitCondition(capacityv1alpha1.ConditionThroughputRegressed, metav1.ConditionFalse, capacityv1alpha1.ReasonNoRegression, fmt.Sprintf("revision %d is the known-good revision", number))
	s.awaitCondition(capacityv1alpha1.ConditionRollbackAdvised, metav1.ConditionFalse, capacityv1alpha1.ReasonNoRollbackAdvised)
	s.await("the objective is met", func() (bool, string) {
		qs := s.qs()
		return is(qs, capacityv1alpha1.ConditionObjectiveMet, metav1.ConditionTrue), fmt.Sprintf("%+v", qs.Status.Backlog)
	})
	if qs := s.qs(); qs.Status.Summary == capacityv1alpha1.SummaryRegressed {
		s.Errorf("STATUS is still %s", qs.Status.Summary)
	}
	if r := s.revision(number); r == nil || r.Standing != capacityv1alpha1.StandingKnownGood {
		s.Errorf("the ledger has revision %d as %+v", number, r)
	}
}

// patches are the operator's successful writes of the Deployment itself since mark, but for its replicas.
func (s *service) patches(mark int64) []string {
	return operatorWrites(s, s.namespace, mark, func(e auditEvent) bool {
		return e.ObjectRef.Resource == "deployments" && e.ObjectRef.Subresource != "scale" && e.ResponseStatus.Code < 300
	})
}

func TestRegressionIsFoundAndAdvised(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.proven(deployment(fleet), s.watched(pool(2, capacityv1alpha1.GateFile)))
	mark := shared.audit.mark(t)
	s.deploy(badImage)
	s.await("the pool on the new revision, which soaked at once", func() (bool, string) {
		p := s.qs().Status.Standby
		return p.Revision == 2, fmt.Sprintf("%+v", p)
	})
	advice := s.advised(2, badImage, 1, "Rollback plan: "+plan)
	s.awaitEvent(corev1.EventTypeWarning, capacityv1alpha1.ReasonServiceRateRegressed, "RollbackAdvised: revision 2 completes", "Rollback plan: "+plan)

	command := s.command(advice, "kubectl rollout undo ")
	if want := "kubectl rollout undo deployment/app --to-revision=1 -n " + s.namespace; command != want {
		t.Errorf("the command is %q, want %q", command, want)
	}
	row := s.kubectl("get", "qs", "-o", "wide")
	for _, word := range []string{"Regressed", "RollBack:1", command} {
		if !strings.Contains(row, word) {
			t.Errorf("kubectl get qs -o wide lacks %q:\n%s", word, row)
		}
	}
	s.wantEvidence("kubectl get qs -o wide", row, 2, badImage, 1)
	described := s.kubectl("describe", "qs", app)
	for _, word := range []string{"ThroughputRegressed", "RollbackAdvised", "RollBack:1", command, "Rollback plan: " + plan, "Standing:", "KnownGood"} {
		if !strings.Contains(described, word) {
			t.Errorf("kubectl describe lacks %q:\n%s", word, described)
		}
	}
	s.wantEvidence("kubectl describe", described, 2, badImage, 1)

	s.awaitLent(2)
	s.await("the pool on the known-good revision, and lent", func() (bool, string) {
		p := s.qs().Status.Standby
		return p.Revision == 1 && ptr.Deref(p.Lent, 0) == 2, fmt.Sprintf("%+v", p)
	})
	s.lentRunTheGoodRevision()
	if writes := s.patches(mark); len(writes) > 0 {
		t.Errorf("an advice writes nothing, but there was:\n%s", strings.Join(writes, "\n"))
	}
	s.follow(command)
	s.cured(3)
}

func (s *service) lentRunTheGoodRevision() {
	s.Helper()
	var pods corev1.PodList
	if err := s.client.List(s.Context(), &pods, client.InNamespace(s.namespace), client.MatchingLabels{capacityv1alpha1.LabelRole: capacityv1alpha1.RoleActive}); err != nil {
		s.Fatal(err)
	}
	for i := range pods.Items {
		if image := pods.Items[i].Spec.Containers[0].Image; image != goodImage {
			s.Errorf("a slot of %s is lent", image)
		}
	}
}

func TestRollsBackOnce(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "worker"}})
	refers := func(d *appsv1.Deployment) { d.Spec.Template.Spec.ServiceAccountName = "worker" }
	s.proven(deployment(fleet, refers), s.watched(rollsBack, func(spec *capacityv1alpha1.QueueScalerSpec) { spec.Rollout.RollbackPlan = "" }))
	mark, versions := shared.audit.mark(t), s.watchTarget()
	s.deploy(badImage)
	s.awaitEvent(corev1.EventTypeNormal, capacityv1alpha1.ReasonNoRollbackPlan, "spec.rollout.rollbackPlan")
	s.awaitEvent(corev1.EventTypeWarning, capacityv1alpha1.ReasonRolledBack, "Rolled back to revision 1", "No rollback plan is written down")
	s.cured(3)
	if r := s.revision(2); r == nil || r.RolledBackAt == nil || r.Verdict != capacityv1alpha1.VerdictRegressed {
		t.Errorf("the ledger has revision 2 as %+v", r)
	}
	if writes := s.patches(mark); len(writes) != 1 {
		t.Errorf("one write of the Deployment is due, there were %d:\n%s", len(writes), strings.Join(writes, "\n"))
	}
	changedTheTemplateAlone(t, versions())

	s.deploy(badImage)
	s.awaitCondition(capacityv1alpha1.ConditionRollbackAdvised, metav1.ConditionTrue, capacityv1alpha1.ReasonServiceRateRegressed,
		"Not rolled back automatically: revision 4 was to be rolled back at ", " already, and either that could not be done or somebody deployed it again")
	s.awaitEvent(corev1.EventTypeWarning, capacityv1alpha1.ReasonRollbackRefused, "somebody deployed it again")
	s.awaitLooked()
	if writes := s.patches(mark); len(writes) != 1 {
		t.Errorf("it was rolled back again:\n%s", strings.Join(writes, "\n"))
	}
	if image := s.target().Spec.Template.Spec.Containers[0].Image; image != badImage {
		t.Errorf("the target runs %s, somebody deployed %s again", image, badImage)
	}
}

// changedTheTemplateAlone judges the one change of the template by the version before it.
func changedTheTemplateAlone(t *testing.T, versions []*appsv1.Deployment) {
	t.Helper()
	image := func(d *appsv1.Deployment) string { return d.Spec.Template.Spec.Containers[0].Image }
	back := 0
	for i := 1; i < len(versions); i++ {
		before, after := versions[i-1].DeepCopy(), versions[i].DeepCopy()
		if image(before) != badImage || image(after) != goodImage {
			continue
		}
		back++
		first := versions[slices.IndexFunc(versions, func(d *appsv1.Deployment) bool { return image(d) == badImage })-1]
		if diff := cmp.Diff(first.Spec, after.Spec); diff != "" {
			t.Errorf("the spec is not what it was before the bad revision:\n%s", diff)
		}
		for _, d := range []*appsv1.Deployment{before, after} {
			d.Spec.Template = corev1.PodTemplateSpec{}
			d.Generation, d.ResourceVersion, d.ManagedFields = 0, "", nil
		}
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("more than the template was changed:\n%s", diff)
		}
	}
	if back != 1 {
		t.Errorf("the template went back %d times, want once", back)
	}
}

func TestRollbackIsRefusedWhereAToolOwnsTheTarget(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		owner string
		mark  func(*appsv1.Deployment)
	}{
		{"Argo CD", func(d *appsv1.Deployment) {
			d.Annotations = map[string]string{"argocd.argoproj.io/tracking-id": "app:apps/Deployment:x/app"}
		}},
		{"Flux", func(d *appsv1.Deployment) { d.Labels = map[string]string{"kustomize.toolkit.fluxcd.io/name": "apps"} }},
		{"Helm", func(d *appsv1.Deployment) { d.Labels = map[string]string{"app.kubernetes.io/managed-by": "Helm"} }},
	} {
		t.Run(strings.ReplaceAll(c.owner, " ", ""), func(t *testing.T) {
			t.Parallel()
			s := newService(t)
			s.proven(deployment(fleet, c.mark), s.watched(rollsBack))
			mark := shared.audit.mark(t)
			s.deploy(badImage)
			advice := s.advised(2, badImage, 1, "Not rolled back automatically: "+c.owner+" owns the object", "Roll back: revert in Git", "Rollback plan: "+plan)
			s.awaitEvent(corev1.EventTypeWarning, capacityv1alpha1.ReasonRollbackRefused, c.owner+" owns the object and would undo it: revert in Git")
			s.awaitLooked()
			if writes := s.patches(mark); len(writes) > 0 {
				t.Errorf("it was rolled back:\n%s", strings.Join(writes, "\n"))
			}
			named, _, _ := strings.Cut(s.command(advice, "kubectl annotate deployment "), ")")
			s.follow(named)
			s.awaitEvent(corev1.EventTypeWarning, capacityv1alpha1.ReasonRolledBack, "Rolled back to revision 1")
			s.cured(3)
		})
	}
}

// refused waits until the rollback of the bad revision is refused for what is in the way, and sees that it was not done since mark.
func (s *service) refused(mark int64, what, why string) {
	s.Helper()
	s.advised(2, badImage, 1, "Not rolled back automatically: "+what+why)
	s.awaitEvent(corev1.EventTypeWarning, capacityv1alpha1.ReasonRollbackRefused, what)
	s.awaitLooked()
	if writes := s.patches(mark); len(writes) > 0 {
		s.Errorf("it was rolled back, %s%s:\n%s", what, why, strings.Join(writes, "\n"))
	}
}

func TestRollbackIsRefusedWhereAConfigMapIsGone(t *testing.T) {
	t.Parallel()
	s := newService(t)
	config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "cache-settings"}, Data: map[string]string{"size": "large"}}
	s.create(config)
	refers := func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: config.Name}}}}
	}
	s.proven(deployment(fleet, refers), s.watched(rollsBack))
	mark := shared.audit.mark(t)
	s.deploy(badImage, func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].EnvFrom = nil })
	s.delete(config)
	s.refused(mark, "ConfigMap cache-settings", ", which the known-good revision refers to, is gone")
	config.ResourceVersion = ""
	s.create(config)
	s.cured(3)
}

func TestRollbackIsRefusedWhereAServiceWouldHaveNoPods(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.proven(deployment(fleet), s.watched(rollsBack))
	mark := shared.audit.mark(t)
	s.deploy(badImage, func(d *appsv1.Deployment) { d.Spec.Template.Labels[capacityv1alpha1.LabelServing] = "true" })
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "front"}}
	service.Spec = corev1.ServiceSpec{Selector: s.target().Spec.Template.Labels, Ports: []corev1.ServicePort{{Port: 80}}}
	s.create(service)
	s.refused(mark, "Service front", " selects on labels that the known-good revision lacks")
	s.delete(service)
	s.cured(3)
}

func TestRollbackIsNotPermitted(t *testing.T) {
	t.Parallel()
	s := newService(t)
	shared.mu.Lock()
	shared.denied[s.namespace] = right{"patch", "apps", "deployments"}
	shared.mu.Unlock()
	s.delete(mayRollBack(s.namespace))
	s.proven(deployment(fleet), s.watched(rollsBack))
	s.deploy(badImage)
	s.advised(2, badImage, 1, "Not rolled back automatically: the operator may not patch this Deployment", "kubectl apply -k config/rollback", operator.User)
	s.awaitEvent(corev1.EventTypeWarning, capacityv1alpha1.ReasonRollbackRefused, "kubectl apply -k config/rollback")
	s.create(mayRollBack(s.namespace))
	s.awaitEvent(corev1.EventTypeWarning, capacityv1alpha1.ReasonRolledBack, "Rolled back to revision 1")
	s.cured(3)
}

// Of templates of soaked revisions, ten are kept: those that slots may be made of, and the newest.
func TestATemplateThatNobodyNeedsIsLetGo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	kept := func(image string) bool {
		var list appsv1.ControllerRevisionList
		if err := w.client.List(t.Context(), &list, client.InNamespace(w.namespace)); err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(list.Items, func(cr appsv1.ControllerRevision) bool { return strings.Contains(string(cr.Data.Raw), `"`+image+`"`) })
	}
	w.settled(deployment(2), w.scaler(pool(1, capacityv1alpha1.GateFile)))
	last := ""
	for i := 2; i <= 11; i++ {
		last = fmt.Sprintf("example/worker:%d", i)
		w.roll(last)
		w.await(last+" kept", func() (bool, string) { return kept(last), fmt.Sprintf("%+v", w.qs().Status.Rollout) })
	}
	w.await(badImage+" let go", func() (bool, string) { return !kept(badImage), fmt.Sprintf("%+v", w.qs().Status.Rollout) })
	if !kept(goodImage) || !kept(last) {
		t.Errorf("the known-good revision's is kept: %v, the present one's: %v", kept(goodImage), kept(last))
	}
}

func TestAdviceOutlivesTheDeploymentsHistory(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.proven(deployment(fleet), s.watched())
	s.deploy(badImage)
	s.await("the old ReplicaSet is deleted", func() (bool, string) {
		var sets appsv1.ReplicaSetList
		if err := s.client.List(t.Context(), &sets, client.InNamespace(s.namespace)); err != nil {
			return false, err.Error()
		}
		for i := range sets.Items {
			if rs := &sets.Items[i]; rs.Spec.Template.Spec.Containers[0].Image == goodImage {
				s.delete(rs)
				return true, ""
			}
		}
		return false, "it is not there"
	})
	advice := s.advised(2, badImage, 1, "the Deployment's history has lost the revision", "Rollback plan: "+plan)
	s.follow(s.command(advice, "kubectl patch "))
	s.cured(3)
}

func TestFixForwardIsComparedWithTheKnownGoodRevision(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.proven(deployment(fleet), s.watched())
	s.deploy(badImage)
	s.advised(2, badImage, 1, "--to-revision=1 ")
	s.deploy(fixImage)
	advice := s.advised(3, fixImage, 1, "--to-revision=1 ")
	s.follow(s.command(advice, "kubectl rollout undo "))
	s.cured(4)
}

func TestMarkedChangeIsFoundAndNeverRolledBack(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.proven(deployment(fleet), s.watched(rollsBack))
	mark := shared.audit.mark(t)
	s.kubectl("annotate", "deployment", app, capacityv1alpha1.AnnotationChange+"=flag fast-path on")
	s.workers.change(goodImage, badRate)
	advice := s.advised(1, goodImage, 1, `with the change "flag fast-path on"`, `Revert the marked change "flag fast-path on"`,
		"Not rolled back automatically: the change has no template of its own", "Rollback plan: "+plan)
	if strings.Contains(advice, "rollout undo") {
		t.Errorf("no template brings it back, but the advice is %s", advice)
	}
	s.awaitLooked()
	if writes := s.patches(mark); len(writes) > 0 {
		t.Errorf("it was rolled back:\n%s", strings.Join(writes, "\n"))
	}
	s.kubectl("annotate", "deployment", app, capacityv1alpha1.AnnotationChange+"-")
	s.workers.change(goodImage, goodRate)
	s.cured(1)
}

// What is known of a revision is in status: an operator that is killed in the middle of the watch, and again when it has found
// the regression, comes to the same verdict, takes no look twice, and rolls back once. It runs before the parallel tests.
func TestKilledWhileARevisionIsOnWatch(t *testing.T) {
	s := newService(t)
	s.proven(deployment(fleet), s.watched(rollsBack))
	mark, versions := shared.audit.mark(t), s.watchTarget()
	s.deploy(badImage)
	s.awaitRevision(2, "was measured, and not yet looked at", func(r *capacityv1alpha1.RevisionStatus) bool {
		return r.Evidence != nil && r.Evidence.ServiceRatesSeen >= 2
	})
	s.restartOperator()
	if r := s.revision(2); r.Verdict != capacityv1alpha1.VerdictInsufficientData || r.Evidence.Looks.ServiceRate != 0 {
		t.Fatalf("it was too late to interrupt the watch: %+v", r)
	}
	s.awaitRevision(2, "is to be rolled back", func(r *capacityv1alpha1.RevisionStatus) bool { return r.RolledBackAt != nil })
	s.restartOperator()
	s.cured(3)
	r := s.revision(2)
	if r.Verdict != capacityv1alpha1.VerdictRegressed || r.Basis != capacityv1alpha1.BasisServiceRate {
		t.Errorf("the verdict is %s by %s", r.Verdict, r.Basis)
	}
	s.wantRate(2, badImage)
	if e := r.Evidence; e.Looks.ServiceRate != int32(math.Log2(float64(e.ServiceRatesSeen)/4))+1 {
		t.Errorf("%d looks over %d blocks; they are due at 4, 8, 16 ...", e.Looks.ServiceRate, e.ServiceRatesSeen)
	}
	s.awaitLooked()
	if writes := s.patches(mark); len(writes) != 1 {
		t.Errorf("one rollback is due, there were %d:\n%s", len(writes), strings.Join(writes, "\n"))
	}
	changedTheTemplateAlone(t, versions())
}

func (s *service) restartOperator() {
	s.Helper()
	shared.operator.Kill()
	if err := startOperator(); err != nil {
		s.Fatal(err)
	}
}

// The incident, shortened: a bad revision ships at a quiet time and looks well; at the next peak more arrives than all replicas
// that are allowed can do; what is added is not enough; the rollback cures it, and no message is lost.
func TestIncident(t *testing.T) {
	t.Parallel()
	s := newService(t)
	scales := func(spec *capacityv1alpha1.QueueScalerSpec) {
		spec.MaxReplicas, spec.Behavior = fleet+3, nil
		spec.Rollout.SoakSeconds = ptr.To(int32(20))
	}
	s.proven(deployment(fleet), s.watched(rollsBack, scales, pool(2, capacityv1alpha1.GateFile)))
	s.sender.steady(calm)
	s.await("a quiet time", func() (bool, string) { n := s.waiting(); return n < 5, fmt.Sprint(n) })
	// The bad revision is found before it has soaked, however long that takes here: so no slot of it is ever lent. There is room for
	// three replicas more than there are, however many a slow machine had asked for until here.
	most := *s.target().Spec.Replicas + 3
	s.changeQS(func(qs *capacityv1alpha1.QueueScaler) {
		qs.Spec.Rollout.SoakSeconds, qs.Spec.MaxReplicas = ptr.To(int32(600)), most
	})
	mark := shared.audit.mark(t)
	s.deploy(badImage)
	s.awaitRevision(2, "in the ledger, with nothing against it", func(r *capacityv1alpha1.RevisionStatus) bool {
		return r.Verdict == capacityv1alpha1.VerdictInsufficientData && r.HighestArrivalPerSecond != ""
	})
	peakAt := time.Now()
	s.sender.steady(1.25 * badRate * float64(most))
	s.awaitLent(2)
	s.lentRunTheGoodRevision()
	s.awaitEvent(corev1.EventTypeWarning, capacityv1alpha1.ReasonRolledBack, "Rolled back to revision 1", "Rollback plan: "+plan)
	t.Logf("rolled back %.0f s after the peak came", time.Since(peakAt).Seconds())
	s.cured(3)
	s.sender.steady(0)
	s.await("all messages are done", func() (bool, string) {
		groups, err := s.redis.XInfoGroups(t.Context(), s.key).Result()
		if err != nil {
			return false, err.Error()
		}
		return groups[0].Lag == 0 && groups[0].Pending == 0, fmt.Sprintf("%+v", groups)
	})
	if writes := s.patches(mark); len(writes) != 1 {
		t.Errorf("one rollback is due, there were %d:\n%s", len(writes), strings.Join(writes, "\n"))
	}
}
