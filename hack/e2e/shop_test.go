//go:build e2e

// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/hack/e2e/brokers"
	"github.com/queuescaler/queuescaler/hack/e2e/image"
	"github.com/queuescaler/queuescaler/hack/e2e/ledger"
	"github.com/queuescaler/queuescaler/hack/e2e/queue"
	"github.com/queuescaler/queuescaler/test/history"
)

const (
	// within is how long a condition is awaited: ample for a machine that does other things too.
	within = 4 * time.Minute
	app    = "app"
	work   = "work" // the queue
	// drainsIn is the objective, and perSecond what one pod is said to complete.
	drainsIn  = 10
	perSecond = 10
	// grace is the pods' own time to end.
	grace = 20 * time.Second
)

// shop is one test's namespace, with a queue, its server and a ledger.
type shop struct {
	*testing.T
	namespace string
	broker    *brokers.Broker
	producer  queue.Producer
	book      *ledger.Ledger
	ledgerURL string
	next      uint32 // message to send
	slots     int32  // of the pool
	gate      v1alpha1.Gate
	patience  time.Duration
}

func newShop(t *testing.T, start brokers.Start, messages int) *shop {
	t.Helper()
	s := &shop{T: t, broker: start(t, shared.address), book: ledger.New(messages), patience: within}
	var err error
	if s.producer, err = queue.NewProducer(t.Context(), s.broker.URL, work); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.producer.Close)
	s.ledgerURL = serve(t, s.book)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		GenerateName: strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name())) + "-",
		Labels:       map[string]string{"pod-security.kubernetes.io/enforce": "restricted"},
	}}
	if err := shared.client.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	s.namespace = ns.Name
	t.Cleanup(func() {
		if t.Failed() {
			s.describe()
		}
		if err := shared.client.Delete(context.Background(), ns); err != nil {
			t.Error(err)
		}
	})
	return s
}

// serve serves a handler on the node's address, where pods reach it.
func serve(t *testing.T, handler http.Handler) string {
	t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(shared.address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	_ = server.Listener.Close()
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	return server.URL
}

// describe logs what is in the namespace, for whoever has to find out why a test failed.
func (s *shop) describe() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for _, args := range [][]string{
		{"get", "qs,deploy,rs,pods", "-o", "wide"}, {"describe", "qs"},
		{"get", "events", "--sort-by=.lastTimestamp", "-o", "custom-columns=T:.lastTimestamp,ON:.involvedObject.name,REASON:.reason,NOTE:.message"},
	} {
		out, err := kubectl(ctx, append([]string{"-n", s.namespace}, args...)...)
		s.Logf("kubectl %s (%v)\n%s", strings.Join(args[:2], " "), err, out)
	}
	s.Logf("ledger: %s", s.book.Summary())
}

func (s *shop) create(o client.Object) {
	s.Helper()
	o.SetNamespace(s.namespace)
	if err := shared.client.Create(s.Context(), o); err != nil {
		s.Fatalf("create %T %s: %v", o, o.GetName(), err)
	}
}

// consumer is a Deployment whose pods take from the queue; obeys says that they obey the role file.
func (s *shop) consumer(obeys bool, change ...func(*appsv1.Deployment)) *appsv1.Deployment {
	args := []string{"consume", "-url=" + s.broker.URL, "-queue=" + work}
	annotations := map[string]string{}
	if obeys {
		args, annotations[v1alpha1.AnnotationGate] = append(args, "-standby"), "file"
	}
	return s.deployment(args, annotations, change...)
}

// service is a Deployment whose pods answer requests, for 3 s longer than they get new ones.
func (s *shop) service(change ...func(*appsv1.Deployment)) *appsv1.Deployment {
	return s.deployment([]string{"serve", "-pre-stop=3s"}, nil, change...)
}

func (s *shop) deployment(args []string, annotations map[string]string, change ...func(*appsv1.Deployment)) *appsv1.Deployment {
	field := func(path string) *corev1.EnvVarSource {
		return &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}
	}
	labels := map[string]string{"app": app}
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: app},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To(int32(1)),
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: annotations},
				Spec: corev1.PodSpec{
					AutomountServiceAccountToken:  ptr.To(false),
					TerminationGracePeriodSeconds: ptr.To(int64(grace / time.Second)),
					SecurityContext: &corev1.PodSecurityContext{
						RunAsNonRoot: ptr.To(true), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
					},
					Containers: []corev1.Container{{
						Name: "worker", Image: image.WorkloadName, ImagePullPolicy: corev1.PullIfNotPresent,
						Args: append(args, "-ledger="+s.ledgerURL),
						Env:  []corev1.EnvVar{{Name: "POD_NAME", ValueFrom: field("metadata.name")}, {Name: "POD_UID", ValueFrom: field("metadata.uid")}},
						SecurityContext: &corev1.SecurityContext{
							AllowPrivilegeEscalation: ptr.To(false), ReadOnlyRootFilesystem: ptr.To(true),
							Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
						},
						ReadinessProbe: &corev1.Probe{PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{
							HTTPGet: &corev1.HTTPGetAction{Path: "/ready", Port: intstr.FromInt32(8080)}}},
					}},
				},
			},
		},
	}
	for _, f := range change {
		f(d)
	}
	return d
}

// args adds arguments of the workload.
func args(more ...string) func(*appsv1.Deployment) {
	return func(d *appsv1.Deployment) {
		c := &d.Spec.Template.Spec.Containers[0]
		c.Args = append(c.Args, more...)
	}
}

// scaler is a QueueScaler of 1 to 4 replicas with a pool of so many slots.
func (s *shop) scaler(slots int32, gate v1alpha1.Gate, change ...func(*v1alpha1.QueueScalerSpec)) *v1alpha1.QueueScaler {
	qs := &v1alpha1.QueueScaler{
		ObjectMeta: metav1.ObjectMeta{Name: app},
		Spec: v1alpha1.QueueScalerSpec{
			ScaleTargetRef: v1alpha1.ScaleTargetReference{Name: app},
			MinReplicas:    ptr.To(int32(1)), MaxReplicas: 4,
			Queues:    []v1alpha1.Queue{{Name: work, QueueSource: s.source()}},
			Objective: v1alpha1.Objective{Drain: v1alpha1.DrainObjective{Seconds: drainsIn, MessagesPerSecondPerReplica: strconv.Itoa(perSecond)}},
			Behavior:  &v1alpha1.Behavior{ScaleDown: &v1alpha1.ScalingRules{StabilizationWindowSeconds: ptr.To(int32(20))}},
			Rollout:   &v1alpha1.Rollout{SoakSeconds: ptr.To(int32(0))},
		},
	}
	if slots > 0 {
		qs.Spec.Standby = v1alpha1.Standby{Replicas: slots, Gate: gate}
	}
	for _, f := range change {
		f(&qs.Spec)
	}
	return qs
}

// source is the queue as a QueueScaler reads it, with the credentials of the Secret broker.
func (s *shop) source() v1alpha1.QueueSource {
	server := v1alpha1.Server{URL: s.broker.ScalerURL, Auth: v1alpha1.Auth{SecretRef: v1alpha1.SecretReference{Name: "broker"}}}
	switch {
	case strings.HasPrefix(s.broker.URL, "redis:"):
		return v1alpha1.QueueSource{Redis: v1alpha1.RedisSource{Server: server, Stream: v1alpha1.RedisStream{Key: work, Group: work}}}
	case strings.HasPrefix(s.broker.URL, "amqp:"):
		return v1alpha1.QueueSource{RabbitMQ: v1alpha1.RabbitMQSource{Server: server, Queue: work}}
	}
	return v1alpha1.QueueSource{NATSJetStream: v1alpha1.NATSJetStreamSource{Server: server, Stream: work, Consumer: work}}
}

// open makes the Secret, the Deployment and the QueueScaler, and waits until the first pod is available and the pool is full.
func (s *shop) open(d *appsv1.Deployment, qs *v1alpha1.QueueScaler) {
	s.Helper()
	s.prepare(d, qs)
	s.awaitCalm()
}

// prepare makes them, and waits for nothing.
func (s *shop) prepare(d *appsv1.Deployment, qs *v1alpha1.QueueScaler) {
	s.Helper()
	secret := map[string]string{"password": brokers.Password}
	if s.broker.Username != "" {
		secret["username"] = s.broker.Username
	}
	s.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "broker"}, StringData: secret})
	s.create(d)
	s.create(qs)
	s.slots, s.gate = qs.Spec.Standby.Replicas, qs.Spec.Standby.Gate
}

// awaitCalm waits until the queue is empty, as few replicas as possible are available, and the whole pool is warm.
func (s *shop) awaitCalm() {
	s.Helper()
	s.await("calm", func() (bool, string) {
		qs, d := s.qs(), s.target()
		pool := ptr.Deref(qs.Status.Standby, v1alpha1.StandbyStatus{})
		n, slots := *qs.Spec.MinReplicas, qs.Spec.Standby.Replicas
		calm := *d.Spec.Replicas == n && d.Status.Replicas == n && d.Status.AvailableReplicas == n && qs.Status.Backlog != nil && ptr.Deref(qs.Status.Backlog.Messages, -1) == 0 &&
			(slots == 0 || ptr.Deref(pool.Warm, -1) == slots && ptr.Deref(pool.Lent, -1) == 0)
		return calm, fmt.Sprintf("%d replicas, %+v, pool %d warm, %d lent: %s", *d.Spec.Replicas, qs.Status.Backlog, ptr.Deref(pool.Warm, -1), ptr.Deref(pool.Lent, -1), qs.Status.Summary)
	})
}

// send sends n messages, so many each second, or all at once.
func (s *shop) send(n, perSecond int) {
	s.Helper()
	if err := queue.Send(s.Context(), s.producer, s.book, s.next, n, perSecond); err != nil {
		s.Fatal(err)
	}
	s.next += uint32(n)
}

func (s *shop) await(what string, holds func() (bool, string)) {
	s.Helper()
	said := ""
	err := wait.PollUntilContextTimeout(s.Context(), 200*time.Millisecond, s.patience, true, func(context.Context) (ok bool, _ error) {
		ok, said = holds()
		return ok, nil
	})
	if err != nil {
		s.Fatalf("%s: not within %s: %s", what, s.patience, said)
	}
}

// awaitDone waits until all messages that were sent are completed.
func (s *shop) awaitDone() {
	s.Helper()
	s.await("all messages completed", func() (bool, string) {
		return s.book.Completed() >= int(s.next), fmt.Sprintf("%d of %d", s.book.Completed(), s.next)
	})
}

func (s *shop) qs() *v1alpha1.QueueScaler {
	s.Helper()
	var qs v1alpha1.QueueScaler
	s.get(&qs)
	return &qs
}

func (s *shop) target() *appsv1.Deployment {
	s.Helper()
	var d appsv1.Deployment
	s.get(&d)
	return &d
}

func (s *shop) get(o client.Object) {
	s.Helper()
	s.try(func(ctx context.Context) error {
		return shared.client.Get(ctx, client.ObjectKey{Namespace: s.namespace, Name: app}, o)
	})
}

// try asks the API server, again if it does not answer: it may be away in a test of faults.
func (s *shop) try(ask func(context.Context) error) {
	s.Helper()
	var last error
	err := wait.PollUntilContextTimeout(s.Context(), 200*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		last = ask(ctx)
		return last == nil, notFound(last)
	})
	if err != nil {
		s.Fatal(errors.Join(err, last))
	}
}

// notFound is an error that waiting does not mend.
func notFound(err error) error {
	if apierrors.IsNotFound(err) {
		return err
	}
	return nil
}

// pods are those of the namespace that match, by UID.
func (s *shop) pods(match func(*corev1.Pod) bool) map[string]*corev1.Pod {
	s.Helper()
	var list corev1.PodList
	s.try(func(ctx context.Context) error {
		return shared.client.List(ctx, &list, client.InNamespace(s.namespace))
	})
	out := map[string]*corev1.Pod{}
	for i := range list.Items {
		if p := &list.Items[i]; match(p) {
			out[string(p.UID)] = p
		}
	}
	return out
}

func isSlot(p *corev1.Pod) bool { return p.Labels[v1alpha1.LabelSlot] != "" }

// tookOnlyWhatItMay fails the test if a message was lost, or a slot took one while it was not lent.
func (s *shop) tookOnlyWhatItMay() {
	s.Helper()
	summary := s.book.Summary()
	s.Logf("%s", summary)
	if len(summary.Lost) > 0 || len(summary.Unsent) > 0 {
		s.Errorf("lost: %v; taken and never sent: %v", summary.Lost, summary.Unsent)
	}
	slots, err := history.Lent(auditLog().Writes(), s.namespace, nil)
	if err != nil {
		s.Fatal(err)
	}
	lent, times := map[string][]ledger.Interval{}, 0
	for uid, intervals := range slots {
		lent[uid], times = []ledger.Interval{}, times+len(intervals)
		for _, i := range intervals {
			lent[uid] = append(lent[uid], ledger.Interval{Start: i.From, End: i.To.Add(s.leaveWithin())})
		}
	}
	for _, take := range s.book.TakenWhileNotLent(lent) {
		s.Errorf("slot %s took message %d at %s while it was not lent: %v", take.Pod.Name, take.ID, take.Taken, lent[take.Pod.UID])
	}
	if s.slots > 0 && times == 0 {
		s.Error("the audit log has no slot that was lent")
	}
	s.Logf("%d slots, which were lent %d times", len(lent), times)
}

// leaveWithin is how long a slot may still take after its return: the role file, the endpoints and SIGTERM take a moment. One of gate Prepared
// may be returned just while its program is started. The first program of a container ignores a SIGTERM that comes before it handles it, and works
// on until its grace period is over.
func (s *shop) leaveWithin() time.Duration {
	const moment = 5 * time.Second
	if s.gate == v1alpha1.GatePrepared {
		return grace + moment
	}
	return moment
}
