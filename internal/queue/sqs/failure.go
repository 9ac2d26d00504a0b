// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package sqsq

import (
	"context"
	"errors"
	"net/http"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
)

// request is what was asked for: an action in IAM's words, on a queue.
type request struct{ action, queue, account string }

func about(source *capacityv1alpha1.AWSSQSSource, action string) *request {
	return &request{action, source.Queue, source.AccountID}
}

// reasons are the codes of errors, as the JSON protocol has them and the older one that it is compatible with.
var reasons = map[string]string{
	"AWS.SimpleQueueService.NonExistentQueue": capacityv1alpha1.ReasonQueueMissing,
	"QueueDoesNotExist":                       capacityv1alpha1.ReasonQueueMissing,

	"AccessDenied":          capacityv1alpha1.ReasonPermissionDenied,
	"AccessDeniedException": capacityv1alpha1.ReasonPermissionDenied,

	"InvalidClientTokenId":                capacityv1alpha1.ReasonAuthenticationFailed,
	"UnrecognizedClientException":         capacityv1alpha1.ReasonAuthenticationFailed,
	"InvalidAccessKeyId":                  capacityv1alpha1.ReasonAuthenticationFailed,
	"SignatureDoesNotMatch":               capacityv1alpha1.ReasonAuthenticationFailed,
	"InvalidSignatureException":           capacityv1alpha1.ReasonAuthenticationFailed,
	"IncompleteSignature":                 capacityv1alpha1.ReasonAuthenticationFailed,
	"IncompleteSignatureException":        capacityv1alpha1.ReasonAuthenticationFailed,
	"MissingAuthenticationToken":          capacityv1alpha1.ReasonAuthenticationFailed,
	"MissingAuthenticationTokenException": capacityv1alpha1.ReasonAuthenticationFailed,
	"ExpiredToken":                        capacityv1alpha1.ReasonAuthenticationFailed,
	"ExpiredTokenException":               capacityv1alpha1.ReasonAuthenticationFailed,
	"RequestExpired":                      capacityv1alpha1.ReasonAuthenticationFailed,
	"InvalidSecurity":                     capacityv1alpha1.ReasonAuthenticationFailed,

	"RequestThrottled":         capacityv1alpha1.ReasonQueueUnavailable,
	"Throttling":               capacityv1alpha1.ReasonQueueUnavailable,
	"ThrottlingException":      capacityv1alpha1.ReasonQueueUnavailable,
	"ThrottledException":       capacityv1alpha1.ReasonQueueUnavailable,
	"RequestLimitExceeded":     capacityv1alpha1.ReasonQueueUnavailable,
	"TooManyRequestsException": capacityv1alpha1.ReasonQueueUnavailable,
}

// failureOf is what an error of the client library means; nil for none. everywhere is true for a failure of the server. The texts of the
// server are not repeated, and neither are codes that are unknown.
func failureOf(err error, r *request) (failure *queue.Failure, everywhere bool) {
	code, status := answerOf(err)
	switch {
	case err == nil:
		return nil, false
	case errors.As(err, &failure):
		return failure, !failure.Alone()
	case r != nil && (code != "" || status > 299):
		return r.refused(code, status)
	case queue.IsNetwork(err):
		failure = queue.ConnectFailure(err)
		return failure, errors.Is(err, context.Canceled)
	}
	return invalid("with what makes no sense"), false
}

// refused is the failure for an error that the server answered with.
func (r *request) refused(code string, status int) (failure *queue.Failure, everywhere bool) {
	reason := reasons[code]
	switch {
	case reason == capacityv1alpha1.ReasonQueueMissing:
		return queue.Fail(reason, "Create the queue, or correct queue, region and accountID; for a queue of another account its own policy has to permit sqs:GetQueueUrl", "without queue %q%s", r.queue, r.owner()), false
	case reason == capacityv1alpha1.ReasonPermissionDenied:
		return queue.Fail(reason, "Permit "+r.action+" on the queue to the user or role", "denying %s on queue %q%s", r.action, r.queue, r.owner()), false
	case reason == capacityv1alpha1.ReasonAuthenticationFailed:
		return queue.Fail(reason, "Correct the credentials, the region, and the operator's clock", "refusing the credentials or the region"), true
	case reason == capacityv1alpha1.ReasonQueueUnavailable || status == http.StatusTooManyRequests:
		return queue.Fail(capacityv1alpha1.ReasonQueueUnavailable, "Raise pollSeconds of the queues on this server", "asking for fewer requests"), false
	case status >= 500:
		return queue.Fail(capacityv1alpha1.ReasonQueueUnavailable, "It is tried again by itself; look at the health of SQS in that region", "answering HTTP %d", status), false
	}
	return queue.Fail(capacityv1alpha1.ReasonQueueReplyInvalid, "Check that the url is an endpoint of SQS", "answering HTTP %d to %s", status, r.action), false
}

// owner names the account, where it is another's.
func (r *request) owner() string {
	if r.account == "" {
		return ""
	}
	return " of account " + r.account
}

// answerOf are the code and the status of the reply that an error is about; empty and 0 where there are none.
func answerOf(err error) (code string, status int) {
	var refusal smithy.APIError
	if errors.As(err, &refusal) {
		code = refusal.ErrorCode()
	}
	var reply *smithyhttp.ResponseError
	if errors.As(err, &reply) {
		status = reply.HTTPStatusCode()
	}
	return code, status
}

func invalid(what string) *queue.Failure {
	return queue.Fail(capacityv1alpha1.ReasonQueueReplyInvalid, "Check that the url is an endpoint of SQS", "answering %s", what)
}
