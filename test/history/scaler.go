// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"cmp"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/utils/ptr"

	"github.com/queuescaler/queuescaler/api/v1alpha1"
)

// scaler is a QueueScaler, as the writes so far left it.
type scaler struct {
	*v1alpha1.QueueScaler
	// seen is when it was written last, gone when it was deleted; zero if it was not.
	seen, gone time.Time
	// specs are the present one and those of the last minutes.
	specs []spec
	// soak is the shortest soak time that it ever asked for: a revision that soaked once may be lent for ever.
	soak time.Duration
	// released are the revisions whose hold a person ended.
	released map[string]bool
}

// spec is one from a time on.
type spec struct {
	v1alpha1.QueueScalerSpec
	since time.Time
}

func (j *judge) queueScaler(w Write) error {
	if w.Verb == "deletecollection" {
		for _, s := range j.scalers {
			if s.Namespace == w.Namespace && len(s.Finalizers) == 0 {
				s.gone = w.Time
			}
		}
		return nil
	}
	var qs v1alpha1.QueueScaler
	found, err := decode(w, &qs)
	if err != nil {
		return err
	}
	if known := j.scalers[key(w)]; w.Verb == "delete" && !found && known != nil {
		known.gone = w.Time
	}
	if !found || qs.Name == "" {
		return nil
	}
	name := qs.Namespace + "/" + qs.Name
	s := j.scalers[name]
	if s == nil {
		s = &scaler{soak: soakTime(&qs.Spec), released: map[string]bool{}}
		j.scalers[name] = s
	}
	s.note(w.Time, &qs)
	return nil
}

func (s *scaler) note(now time.Time, qs *v1alpha1.QueueScaler) {
	if len(s.specs) == 0 || !equality.Semantic.DeepEqual(s.Spec, qs.Spec) {
		s.specs = append(s.specs, spec{qs.Spec, now})
	}
	for len(s.specs) > 1 && s.specs[1].since.Before(now.Add(-remembered)) {
		s.specs = s.specs[1:]
	}
	s.QueueScaler, s.seen, s.gone = qs, now, time.Time{}
	if qs.DeletionTimestamp != nil && len(qs.Finalizers) == 0 {
		s.gone = now
	}
	s.soak = min(s.soak, soakTime(&qs.Spec))
	s.released[qs.Annotations[v1alpha1.AnnotationReleaseHold]] = true
}

// remembered is how long what changed is kept for an operator whose caches are behind.
const remembered = 10 * time.Minute

// permits reports whether a spec that was in force since a time permits something.
func (s *scaler) permits(since time.Time, what func(*v1alpha1.QueueScalerSpec) bool) bool {
	for i := range s.specs {
		inForce := i+1 == len(s.specs) || s.specs[i+1].since.After(since)
		if inForce && what(&s.specs[i].QueueScalerSpec) {
			return true
		}
	}
	return false
}

// scalerOf is the QueueScaler that acts for a target; nil if there was none since a time. Of several it is the oldest.
func (j *judge) scalerOf(namespace, target string, since time.Time) *scaler {
	var all []*scaler
	for _, s := range j.scalers {
		if s.Namespace == namespace && s.Spec.ScaleTargetRef.Name == target && !s.goneBefore(since) {
			all = append(all, s)
		}
	}
	if len(all) == 0 {
		return nil
	}
	return slices.MinFunc(all, func(a, b *scaler) int {
		if a.yields() != b.yields() {
			return map[bool]int{true: 1, false: -1}[a.yields()]
		}
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.UID, b.UID))
	})
}

// yields: it leaves the target to another one.
func (s *scaler) yields() bool {
	return s.DeletionTimestamp != nil || !s.gone.IsZero() || s.Spec.Mode == v1alpha1.ModeDryRun
}

func (s *scaler) goneBefore(t time.Time) bool { return !s.gone.IsZero() && s.gone.Before(t) }

func soakTime(spec *v1alpha1.QueueScalerSpec) time.Duration {
	if spec.Rollout == nil {
		return 600 * time.Second
	}
	return time.Duration(ptr.Deref(spec.Rollout.SoakSeconds, 600)) * time.Second
}

func scaleDownWindow(spec *v1alpha1.QueueScalerSpec) time.Duration {
	if b := spec.Behavior; b != nil && b.ScaleDown != nil && b.ScaleDown.StabilizationWindowSeconds != nil {
		return time.Duration(*b.ScaleDown.StabilizationWindowSeconds) * time.Second
	}
	return 300 * time.Second
}

func holdTimeout(spec *v1alpha1.QueueScalerSpec) time.Duration {
	if spec.Rollout == nil || spec.Rollout.HoldTimeoutSeconds == 0 {
		return 600 * time.Second
	}
	return time.Duration(spec.Rollout.HoldTimeoutSeconds) * time.Second
}
