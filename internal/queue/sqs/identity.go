// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package sqsq

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"

	capacityv1alpha1 "github.com/queuescaler/queuescaler/api/v1alpha1"
	"github.com/queuescaler/queuescaler/internal/queue"
)

// identity gives the temporary credentials of the role that the operator's pod has: STS exchanges the token of its service account for them.
type identity struct {
	provider  aws.CredentialsProvider
	tokenFile string
	// closed ends with the reader.
	closed context.Context
}

// podIdentity is that of the environment, as a webhook of EKS sets it: AWS_ROLE_ARN, AWS_WEB_IDENTITY_TOKEN_FILE, AWS_REGION and, for another STS than
// the region's, AWS_ENDPOINT_URL_STS. Metadata services are not asked.
func podIdentity(closed context.Context, o queue.ConnectOptions) (aws.CredentialsProvider, *queue.Failure) {
	role, tokenFile, region := os.Getenv("AWS_ROLE_ARN"), os.Getenv("AWS_WEB_IDENTITY_TOKEN_FILE"), os.Getenv("AWS_REGION")
	if role == "" || tokenFile == "" || region == "" {
		return nil, queue.Fail(capacityv1alpha1.ReasonAuthenticationFailed,
			"Name a Secret in auth.secretRef, or give the operator's service account a role (AWS_ROLE_ARN, AWS_WEB_IDENTITY_TOKEN_FILE and AWS_REGION in its pod)",
			"not asked, because the operator's pod has no cloud identity,")
	}
	options := sts.Options{Region: region, HTTPClient: exchange(o), Retryer: aws.NopRetryer{}, Logger: logging.Nop{}}
	if endpoint := os.Getenv("AWS_ENDPOINT_URL_STS"); endpoint != "" {
		options.BaseEndpoint = &endpoint
	}
	named := func(o *stscreds.WebIdentityRoleOptions) { o.RoleSessionName = "queuescaler" }
	provider := stscreds.NewWebIdentityRoleProvider(sts.New(options), role, stscreds.IdentityTokenFile(tokenFile), named)
	return aws.NewCredentialsCache(&identity{provider, tokenFile, closed}), nil
}

// exchange is the HTTP client for STS, whose address is the operator's own. It keeps no connection.
func exchange(o queue.ConnectOptions) *http.Client {
	return &http.Client{
		Timeout:       requestTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext:       func(ctx context.Context, _, address string) (net.Conn, error) { return o.DialAddress(ctx, address) },
			DisableKeepAlives: true, TLSHandshakeTimeout: queue.ConnectTimeout, MaxResponseHeaderBytes: replyBytes,
		},
	}
}

// Retrieve is aws.CredentialsProvider's. The cache above it calls with a context that does not end, so it ends with the reader.
func (i *identity) Retrieve(context.Context) (aws.Credentials, error) {
	ctx, cancel := context.WithTimeout(i.closed, requestTimeout)
	defer cancel()
	got, err := i.provider.Retrieve(ctx)
	if err == nil {
		return got, nil
	}
	var refusal smithy.APIError
	switch _, unreadable := os.Stat(i.tokenFile); {
	case unreadable != nil:
		return got, queue.Fail(capacityv1alpha1.ReasonAuthenticationFailed, "Check that the file AWS_WEB_IDENTITY_TOKEN_FILE is mounted into the operator's pod", "not asked, because the operator's pod cannot read its token,")
	case errors.As(err, &refusal):
		return got, queue.Fail(capacityv1alpha1.ReasonAuthenticationFailed, "Check that the role of the operator's service account trusts it (AWS_ROLE_ARN)", "not asked, because STS refused the operator's role,")
	}
	return got, queue.Fail(capacityv1alpha1.ReasonQueueUnavailable, "Check that the operator's pod reaches STS in its region", "not asked, because STS gave no credentials,")
}
