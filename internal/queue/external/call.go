// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package external

import (
	"context"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
	"github.com/queuescaler/queuescaler/internal/queue/external/externalscaler"
)

// wrong is why a queue could not be read: everywhere is true for a failure of the server, maybe for one that is the server's where
// it answers nobody else either.
type wrong struct {
	failure           *queue.Failure
	everywhere, maybe bool
}

// ask makes one call, within ReplyTimeout.
func ask[In, Out any](ctx context.Context, l *link, method func(externalscaler.ExternalScalerClient, context.Context, *In, ...grpc.CallOption) (*Out, error), in *In) (*Out, *wrong) {
	ctx, cancel := context.WithTimeout(ctx, queue.ReplyTimeout)
	defer cancel()
	heard := l.heard.Load()
	out, err := method(l.client, l.withToken(ctx), in)
	if err == nil {
		return out, nil
	}
	bad := wrongOf(l, err)
	if bad.failure.Reason == capacityv1alpha1.ReasonQueueTimeout && ctx.Err() != nil && l.heard.Load() == heard {
		l.hangUp() // not a byte: the connection may be dead without anybody having been told
	}
	return nil, bad
}

// wrongOf says what the error of a call means. Its text is not used: it is the scaler's.
func wrongOf(l *link, err error) *wrong {
	told := status.Convert(err)
	code := told.Code()
	alone := func(reason, remedy, what string, args ...any) *wrong {
		return &wrong{failure: queue.Fail(reason, remedy, what, args...)}
	}
	switch {
	case code == codes.Unavailable && !l.isUp():
		return &wrong{failure: l.failure(), everywhere: true}
	case isLibrary(told):
		return alone(invalid, "Check that the url leads to an external scaler", "sending what is no reply, or far more than one has,")
	}
	switch code {
	case codes.NotFound:
		return alone(missing, "Check external.metadata and external.metricName", "not finding the queue")
	case codes.InvalidArgument, codes.FailedPrecondition, codes.OutOfRange:
		return alone(invalid, "Correct external.metadata; the scaler's log may say more", "refusing the metadata (%s)", code)
	case codes.Unimplemented:
		return alone(invalid, "Check that the url leads to an external scaler", "without the calls of an external scaler")
	case codes.PermissionDenied:
		return alone(capacityv1alpha1.ReasonPermissionDenied, "Permit it to the token of the Secret, or to the client certificate", "denying the queue")
	case codes.DeadlineExceeded:
		return alone(capacityv1alpha1.ReasonQueueTimeout, "Make the scaler faster, and check that it runs", "silent about the queue")
	case codes.ResourceExhausted:
		return alone(capacityv1alpha1.ReasonQueueUnavailable, "Raise pollSeconds, or the scaler's limit", "asking for fewer calls")
	case codes.Unauthenticated:
		bad := alone(capacityv1alpha1.ReasonAuthenticationFailed, "", "refusing the token")
		if l.token == "" {
			bad.failure.What = "asking for a token"
		}
		bad.maybe = true
		return bad
	}
	bad := alone(capacityv1alpha1.ReasonQueueUnavailable, "Look at the scaler's log", "answering with the error %s", code)
	bad.maybe = code == codes.Unavailable
	return bad
}

// isLibrary is true of errors that the library made of a reply. A scaler that imitates them gains nothing.
func isLibrary(told *status.Status) bool {
	return strings.HasPrefix(told.Message(), "grpc: ") && told.Code() != codes.Canceled
}
