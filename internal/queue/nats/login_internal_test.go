// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package natsjs

import (
	"bytes"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
)

// Whatever a Secret holds, it is a login that signs or a failure that repeats nothing of it; and once forgotten it signs no more.
func FuzzLogin(f *testing.F) {
	user, err := nkeys.CreateUser()
	if err != nil {
		f.Fatal(err)
	}
	seed, _ := user.Seed()
	decorated := func(jwt, seed string) string {
		return "-----BEGIN NATS USER JWT-----\n" + jwt + "\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n" + seed + "\n------END USER NKEY SEED------\n"
	}
	f.Add(decorated("a.b.c", string(seed)), "")
	f.Add(decorated("", string(seed)), "")
	f.Add(decorated("a.b.c", ""), "")
	f.Add("-----BEGIN NATS USER JWT-----", "")
	f.Add(string(seed), "")
	f.Add("hello\n"+string(seed), "")
	f.Add("", string(seed))
	f.Add("", "SU")
	f.Add("", string(bytes.ToLower(seed)))
	f.Fuzz(func(t *testing.T, creds, seed string) {
		l, failure := loginOf(&queue.ConnectOptions{Creds: creds, NKey: seed})
		if failure != nil {
			if failure.Reason != capacityv1alpha1.ReasonSecretInvalid {
				t.Errorf("%+v", failure)
			}
			return
		}
		var options nats.Options
		l.into(&options, &queue.ConnectOptions{})
		if given := creds != "" || seed != ""; given != (options.SignatureCB != nil) || given != (l.key != nil) {
			t.Fatalf("%q and %q: login %+v", creds, seed, l)
		}
		if l.key == nil {
			return
		}
		// The JWT is sent, the seed never is.
		if own, err := l.key.Seed(); err != nil || strings.Contains(l.jwt, string(own)) {
			t.Errorf("the seed would be sent (%v)", err)
		}
		if _, err := options.SignatureCB([]byte("nonce")); err != nil {
			t.Error(err)
		}
		l.forget()
		if signature, err := options.SignatureCB([]byte("nonce")); err == nil && l.key.Verify([]byte("nonce"), signature) == nil {
			t.Error("signs after it was forgotten")
		}
	})
}
