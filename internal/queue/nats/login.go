// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package natsjs

import (
	"encoding/base64"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
)

// login is a user's key, and the JWT that says who it is where an account's server asks for that. Without a key it is username and password, or a token.
type login struct {
	key nkeys.KeyPair
	jwt string
}

// loginOf reads creds before nkey, and that before the rest.
func loginOf(o *queue.ConnectOptions) (l login, failure *queue.Failure) {
	var err error
	switch {
	case o.Creds != "":
		creds := []byte(o.Creds)
		defer clear(creds)
		if l.jwt, err = nkeys.ParseDecoratedJWT(creds); err == nil {
			l.key, err = nkeys.ParseDecoratedUserNKey(creds)
		}
		// Without its frame the library takes all of the file for the JWT, which is sent: it might hold the seed.
		if err != nil || !isJWT(l.jwt) {
			l.jwt = ""
			return l, malformed("a credentials file in the key creds", "as nsc generate creds writes it")
		}
	case o.NKey != "":
		seed := []byte(o.NKey)
		defer clear(seed)
		if prefix, _, err := nkeys.DecodeSeed(seed); err != nil || prefix != nkeys.PrefixByteUser {
			return l, malformed("a user's seed in the key nkey", "which begins with SU")
		}
		if l.key, err = nkeys.FromSeed(seed); err != nil {
			return l, malformed("a user's seed in the key nkey", "which begins with SU")
		}
	}
	return l, nil
}

// isJWT reports whether text has the form of a JWT: three parts of base64 between dots.
func isJWT(text string) bool {
	parts := strings.Split(text, ".")
	return len(parts) == 3 && !slices.ContainsFunc(parts, func(part string) bool {
		_, err := base64.RawURLEncoding.DecodeString(part)
		return part == "" || err != nil
	})
}

func malformed(what, as string) *queue.Failure {
	return queue.Fail(capacityv1alpha1.ReasonSecretInvalid, "Put one there, "+as, "in need of %s of its Secret", what)
}

// into puts it into the library's options.
func (l *login) into(options *nats.Options, o *queue.ConnectOptions) {
	switch {
	case l.key == nil:
		options.User, options.Password, options.Token = o.Username, o.Password, o.Token
		return
	case l.jwt != "":
		options.UserJWT = func() (string, error) { return l.jwt, nil }
	default:
		options.Nkey, _ = l.key.PublicKey() // of a seed that was decoded before
	}
	options.SignatureCB = func(nonce []byte) ([]byte, error) { return l.key.Sign(nonce) }
}

// forget wipes the seed. The library keeps its options, but asks for no signature after it has connected.
func (l *login) forget() {
	if l.key != nil {
		l.key.Wipe()
	}
	l.jwt = ""
}
