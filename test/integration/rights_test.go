//go:build integration

// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/test/operator"
)

// right is one thing that a role permits.
type right struct {
	verb, group, resource string // resource with its subresource
}

func (r right) String() string {
	return strings.TrimSuffix(r.verb+" "+r.resource+"."+r.group, ".")
}

// everywhere: its objects belong to no namespace, so that no RoleBinding can give it. (A namespace belongs to itself.)
func (r right) everywhere() bool {
	return slices.Contains([]string{"queueservers", "tokenreviews", "subjectaccessreviews"}, r.resource)
}

// seenByAdmission: no request is for it; the admission plugin OwnerReferencesPermissionEnforcement asks whether it is there.
func (r right) seenByAdmission() bool { return strings.HasSuffix(r.resource, "/finalizers") }

// used is the right that the request needs.
func (e auditEvent) used() right {
	r := right{e.Verb, e.ObjectRef.APIGroup, e.ObjectRef.Resource}
	if e.ObjectRef.Subresource != "" {
		r.resource += "/" + e.ObjectRef.Subresource
	}
	return r
}

// granted are all rights of the operator's ServiceAccount.
func granted(ctx context.Context, c client.Client) (map[right]bool, error) {
	var clusterBindings rbacv1.ClusterRoleBindingList
	var bindings rbacv1.RoleBindingList
	if err := errors.Join(c.List(ctx, &clusterBindings), c.List(ctx, &bindings, client.InNamespace(operator.Namespace))); err != nil {
		return nil, err
	}
	ours := func(subjects []rbacv1.Subject) bool {
		return slices.ContainsFunc(subjects, func(s rbacv1.Subject) bool {
			return s.Kind == "ServiceAccount" && s.Namespace == operator.Namespace && s.Name == operator.ServiceAccount
		})
	}
	out := map[right]bool{}
	var errs []error
	for _, b := range clusterBindings.Items {
		if ours(b.Subjects) {
			var role rbacv1.ClusterRole
			errs = append(errs, c.Get(ctx, client.ObjectKey{Name: b.RoleRef.Name}, &role))
			expand(role.Rules, out)
		}
	}
	for _, b := range bindings.Items {
		if ours(b.Subjects) {
			var role rbacv1.Role
			errs = append(errs, c.Get(ctx, client.ObjectKey{Namespace: b.Namespace, Name: b.RoleRef.Name}, &role))
			expand(role.Rules, out)
		}
	}
	return out, errors.Join(errs...)
}

func expand(rules []rbacv1.PolicyRule, into map[right]bool) {
	for _, rule := range rules {
		for _, group := range rule.APIGroups {
			for _, what := range rule.Resources {
				for _, verb := range rule.Verbs {
					into[right{verb, group, what}] = true
				}
			}
		}
	}
}

// usesAllItsRights fails where the operator is granted what the whole suite never made it use.
func usesAllItsRights() error {
	if flag.Lookup("test.run").Value.String() != "" {
		return nil // a part of the suite tells nothing
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	idle, err := granted(ctx, shared.client)
	if err != nil {
		return err
	}
	events, err := shared.audit.since(0)
	if err != nil {
		return err
	}
	for _, e := range events {
		if e.ours() {
			delete(idle, e.used())
		}
	}
	maps.DeleteFunc(idle, func(r right, _ bool) bool { return r.seenByAdmission() }) // TestEachRightIsNeeded has it
	if len(idle) > 0 {
		return fmt.Errorf("the operator never used these rights, which its roles grant: %v", sorted(idle))
	}
	return nil
}

func sorted(rights map[right]bool) []right {
	return slices.SortedFunc(maps.Keys(rights), func(a, b right) int { return cmp.Compare(a.String(), b.String()) })
}

// alone runs a test without the operator that all tests share: it acts in every namespace. Tests that run side by side begin
// when this one is over.
func alone(t *testing.T) {
	t.Helper()
	if err := shared.operator.Stop(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := startOperator(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestNamespacedInstall has config/namespaced do its work in its namespace, and nothing outside of it.
func TestNamespacedInstall(t *testing.T) {
	alone(t)
	w := newWorld(t)
	w.applyNamespaced()
	account := "queuescaler-" + w.namespace
	var rollback rbacv1.RoleBinding
	w.read("queuescaler-rollback-"+w.namespace, &rollback)
	if s := rollback.Subjects[0]; s.Name != account || s.Namespace != w.namespace || rollback.RoleRef.Name != rollback.Name {
		t.Errorf("the right to roll back is given to %+v by %+v", s, rollback.RoleRef)
	}
	var own appsv1.Deployment
	w.read(account, &own)
	manager := own.Spec.Template.Spec.Containers[0]
	if !slices.Contains(manager.Args, "--watch-namespaces=$(NAMESPACE)") || own.Spec.Template.Spec.ServiceAccountName != account {
		t.Errorf("the operator would run as %s with %v", own.Spec.Template.Spec.ServiceAccountName, manager.Args)
	}
	log := shared.audit.tail(t)
	op := w.operator(operator.Options{Namespace: w.namespace, ServiceAccount: account})
	s := life{world: w}
	w.await("the end", func() (bool, string) { return s.next(), s.String() })
	op.Kill()
	for _, e := range w.asked(log, account) {
		if e.forbidden() || e.ObjectRef.Namespace != w.namespace && e.ObjectRef.Resource != "" && !e.used().everywhere() {
			t.Errorf("asked for what it may not, or elsewhere: %s", e)
		}
	}
}

// applyNamespaced applies config/namespaced as its own comment says, and takes the Deployment down to 0.
func (w *world) applyNamespaced() {
	w.Helper()
	dir := w.TempDir()
	config, err := filepath.Abs(filepath.Join(root, "config", "namespaced"))
	if err != nil {
		w.Fatal(err)
	}
	if config, err = filepath.Rel(dir, config); err != nil {
		w.Fatal(err)
	}
	kustomization := fmt.Sprintf("namespace: %[1]s\nnameSuffix: -%[1]s\nresources: [%[2]s, %[2]s/rollback]\n", w.namespace, config)
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(kustomization), 0o600); err != nil {
		w.Fatal(err)
	}
	w.kubectl("apply", "-k", dir)
	w.kubectl("scale", "deployment/queuescaler-"+w.namespace, "--replicas=0")
}

// TestEachRightIsNeeded takes each right in turn from an operator that has one namespace, and sees in a story that it asks for just
// that right, in vain. Every test fails in which the operator asks for something in vain: see onlyWhatItsRolePermits.
func TestEachRightIsNeeded(t *testing.T) {
	alone(t)
	all, err := granted(t.Context(), shared.client)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("Without", func(t *testing.T) {
		for _, taken := range sorted(all) {
			if slices.Contains(leftOut, taken) {
				continue
			}
			t.Run(strings.ReplaceAll(taken.String(), "/", "."), func(t *testing.T) {
				t.Parallel()
				needs(t, all, taken)
			})
		}
	})
}

// leftOut are the rights that the story has no use for, and other tests have.
var leftOut = []right{
	{"create", "authentication.k8s.io", "tokenreviews"}, {"create", "authorization.k8s.io", "subjectaccessreviews"}, // TestMetricsAreForThoseWhoMay
	{"get", "", "serviceaccounts"},            // of a rollback
	{"delete", "apps", "controllerrevisions"}, // of a revision that is forgotten
}

// patchEvents is asked for where an event repeats.
var patchEvents = right{"patch", "events.k8s.io", "events"}

// listing has informers list what they watch: newer API servers stream it to them instead, older ones can't.
var listing = []string{"KUBE_FEATURE_WatchListClient=false"}

func needs(t *testing.T, all map[right]bool, taken right) {
	w := newWorld(t)
	if taken == patchEvents {
		w.grant(all, taken, right{"update", "apps", "deployments/scale"}) // which is refused again and again
	} else {
		w.grant(all, taken)
	}
	log := shared.audit.tail(t)
	o := operator.Options{Namespace: w.namespace}
	if taken.verb == "list" {
		o.Env = listing
	}
	op := w.operator(o)
	s := life{world: w}
	w.await("a request that needs what was taken", func() (bool, string) {
		if op.Ended() {
			t.Fatal("the operator ended by itself")
		}
		for _, e := range w.asked(log, operator.ServiceAccount) {
			if e.used() == taken && e.forbidden() || taken.seenByAdmission() && e.refusedByAdmission() {
				return true, ""
			}
		}
		if s.next() {
			t.Fatalf("the story came to its end without %s", taken)
		}
		return false, s.String()
	})
}

// refusedByAdmission: an owner reference that blocks its owner's deletion needs the right to set the owner's finalizers.
func (e auditEvent) refusedByAdmission() bool {
	return e.ObjectRef.Resource == "replicasets" && e.Verb == "create" && e.ResponseStatus.Code == http.StatusForbidden
}

// grant makes the operator's ServiceAccount in the namespace, with all these rights there but those taken.
func (w *world) grant(all map[right]bool, taken ...right) {
	w.Helper()
	var here, everywhere []rbacv1.PolicyRule
	for _, r := range sorted(all) {
		rule := rbacv1.PolicyRule{APIGroups: []string{r.group}, Resources: []string{r.resource}, Verbs: []string{r.verb}}
		switch {
		case slices.Contains(taken, r):
		case r.everywhere():
			everywhere = append(everywhere, rule)
		default:
			here = append(here, rule)
		}
	}
	subjects := []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: w.namespace, Name: operator.ServiceAccount}}
	w.create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: operator.ServiceAccount}})
	w.create(&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "here"}, Rules: here})
	w.create(&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "here"}, Subjects: subjects,
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "here"}})
	w.createForCluster(&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}, Rules: everywhere})
	w.createForCluster(&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}, Subjects: subjects,
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: w.namespace}})
}

func (w *world) read(name string, o client.Object) {
	w.Helper()
	if err := w.client.Get(w.Context(), client.ObjectKey{Namespace: w.namespace, Name: name}, o); err != nil {
		w.Fatal(err)
	}
}

// createForCluster creates what belongs to no namespace, and deletes it with the test.
func (w *world) createForCluster(o client.Object) {
	w.Helper()
	if err := w.client.Create(w.Context(), o); err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = w.client.Delete(context.Background(), o) }) // the cluster ends with the suite
}

// operator runs one that acts in the test's namespace only, until the test ends. It may never get ready.
func (w *world) operator(o operator.Options) *operator.Operator {
	w.Helper()
	log, err := newLogFile(filepath.Join(w.TempDir(), "operator.log"))
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		if w.Failed() {
			w.Logf("the last lines of this test's operator:\n%s", log.tail(40, ""))
		}
		_ = log.file.Close()
	})
	o.Binary, o.Config, o.Dir, o.Log = shared.binary, shared.cluster.RESTConfig(), w.TempDir(), io.MultiWriter(shared.log, log)
	o.Args = append(o.Args, "--leader-elect", "--watch-namespaces="+w.namespace)
	op, err := operator.Launch(w.Context(), o)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(op.Kill)
	return op
}

// asked is what a ServiceAccount of the namespace asked for since the log was read last.
func (w *world) asked(log *auditTail, account string) []auditEvent {
	w.Helper()
	events, err := log.next()
	if err != nil {
		w.Fatal(err)
	}
	user := "system:serviceaccount:" + w.namespace + ":" + account
	return slices.DeleteFunc(events, func(e auditEvent) bool { return e.User.Username != user })
}

// life leads a QueueScaler through its life: a step is taken once the one before it has had its effect.
type life struct {
	*world
	step int
}

func (s *life) String() string { return fmt.Sprintf("waiting after step %d", s.step) }

// next takes the next step if it is due, and reports whether the story is at its end.
func (s *life) next() bool {
	s.Helper()
	steps := []struct {
		due func(qs *capacityv1alpha1.QueueScaler) bool
		do  func()
	}{
		{func(*capacityv1alpha1.QueueScaler) bool { return true }, s.begin},
		{func(qs *capacityv1alpha1.QueueScaler) bool { return warm(qs) == 1 }, func() { s.push(100) }},
		{func(qs *capacityv1alpha1.QueueScaler) bool { return lent(qs) == 1 && *s.target().Spec.Replicas == 10 }, s.drain},
		{func(qs *capacityv1alpha1.QueueScaler) bool {
			return lent(qs) == 0 && warm(qs) == 1 && *s.target().Spec.Replicas == 2
		}, func() { s.roll(badImage) }},
		{func(qs *capacityv1alpha1.QueueScaler) bool { return complete(s.target()) && warm(qs) == 1 }, func() { s.push(100) }},
		{func(qs *capacityv1alpha1.QueueScaler) bool { return lent(qs) == 1 && *s.target().Spec.Replicas == 10 }, func() { s.delete(s.qs()) }},
	}
	if s.step == len(steps) {
		err := s.client.Get(s.Context(), client.ObjectKey{Namespace: s.namespace, Name: app}, &capacityv1alpha1.QueueScaler{})
		return apierrors.IsNotFound(err)
	}
	qs := &capacityv1alpha1.QueueScaler{}
	if s.step > 0 {
		qs = s.qs()
	}
	if steps[s.step].due(qs) {
		steps[s.step].do()
		s.step++
	}
	return false
}

func warm(qs *capacityv1alpha1.QueueScaler) int32 {
	return ptr.Deref(ptr.Deref(qs.Status.Standby, capacityv1alpha1.StandbyStatus{}).Warm, -1)
}

func lent(qs *capacityv1alpha1.QueueScaler) int32 {
	return ptr.Deref(ptr.Deref(qs.Status.Standby, capacityv1alpha1.StandbyStatus{}).Lent, -1)
}

// begin makes a Deployment whose pods refer to all that the operator looks at, and its QueueScaler, which may shrink at once.
func (s *life) begin() {
	s.Helper()
	s.create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings"}, Data: map[string]string{"size": "large"}})
	s.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "keys"}, StringData: map[string]string{"key": "of-the-app"}})
	s.create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "worker"}})
	s.claim("data")
	s.create(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: app}, Spec: corev1.ServiceSpec{
		Selector: map[string]string{"app": app}, Ports: []corev1.ServicePort{{Port: 80}}}})
	s.create(deployment(2, func(d *appsv1.Deployment) {
		spec := &d.Spec.Template.Spec
		spec.ServiceAccountName = "worker"
		spec.Volumes = claimed("data")
		spec.Containers[0].EnvFrom = []corev1.EnvFromSource{
			{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}}},
			{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "keys"}}},
		}
	}))
	s.create(s.scaler(pool(1, capacityv1alpha1.GateService), shrinksAtOnce))
}

// claimed are the volumes of a pod that uses a claim.
func claimed(name string) []corev1.Volume {
	return []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name}}}}
}

// claim makes a volume that many pods may use, and the claim that is bound to it.
func (w *world) claim(name string) {
	w.Helper()
	volume := w.namespace + "-" + name
	size := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Mi")}
	modes := []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}
	w.createForCluster(&corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: volume}, Spec: corev1.PersistentVolumeSpec{
		Capacity: size, AccessModes: modes, PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
		PersistentVolumeSource: corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/nowhere"}}}})
	w.create(&corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PersistentVolumeClaimSpec{
		AccessModes: modes, VolumeName: volume, StorageClassName: ptr.To(""), Resources: corev1.VolumeResourceRequirements{Requests: size}}})
}

// TestMetricsAreForThoseWhoMay scrapes the metrics as they ship: over TLS, for accounts with a role.
func TestMetricsAreForThoseWhoMay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	op, err := operator.Start(t.Context(), operator.Options{Binary: shared.binary, Config: shared.cluster.RESTConfig(), Dir: t.TempDir(), Log: shared.log, Env: listing,
		Args: []string{"--metrics-insecure=false", "--leader-elect", "--watch-namespaces=" + w.namespace}})
	if err != nil {
		t.Fatal(err)
	}
	defer op.Kill()
	for _, name := range []string{"scraper", "stranger"} {
		w.create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: w.namespace},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "queuescaler-metrics-reader"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: w.namespace, Name: "scraper"}},
	}
	if err := w.client.Create(t.Context(), binding); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.client.Delete(context.Background(), binding) }) // the cluster ends with the suite
	for _, c := range []struct {
		account string
		code    int
	}{{"", http.StatusUnauthorized}, {"stranger", http.StatusForbidden}, {"scraper", http.StatusOK}} {
		w.await(fmt.Sprintf("%d for %q", c.code, c.account), func() (bool, string) {
			code, body := w.scrape(op.MetricsURL, c.account)
			if code == http.StatusOK && !strings.Contains(body, "queuescaler_") {
				t.Errorf("no metric of ours:\n%s", body)
			}
			return code == c.code, fmt.Sprint(code)
		})
	}
}

// scrape reads metrics as a ServiceAccount of the namespace; without a name as nobody. The certificate is the operator's own.
func (w *world) scrape(address, account string) (code int, body string) {
	w.Helper()
	req, err := http.NewRequestWithContext(w.Context(), http.MethodGet, "https"+strings.TrimPrefix(address, "http"), nil)
	if err != nil {
		w.Fatal(err)
	}
	if account != "" {
		token := &authenticationv1.TokenRequest{}
		of := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: account}}
		if err := w.client.SubResource("token").Create(w.Context(), of, token); err != nil {
			w.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token.Status.Token)
	}
	scraper := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	resp, err := scraper.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(text)
}
