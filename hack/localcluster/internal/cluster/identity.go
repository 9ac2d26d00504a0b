// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"strings"
	"time"
)

// users are the identities of the cluster's own parts, each with a token. The control plane's names are those that the API
// server's bootstrap roles are bound to.
var users = []user{
	{"admin", "system:masters"},
	{"system:kube-controller-manager", ""},
	{"system:kube-scheduler", ""},
	{"localcluster-kubelet", "system:masters"},
	{"system:node:" + NodeName, "system:nodes"},
	{"system:kube-proxy", ""},
}

type user struct{ name, groups string }

// ServiceRange is where Services get their addresses from, and serviceIP where the kubernetes Service is: at the first of them.
const (
	ServiceRange = "10.96.0.0/16"
	serviceIP    = "10.96.0.1"
)

// writeIdentity makes certificates, keys and tokens that are missing, and writes the files that carry them.
func (d Dir) writeIdentity(s *state) error {
	if _, err := os.Stat(d.path("pki", "apiserver.key")); errors.Is(err, fs.ErrNotExist) {
		if err := d.makeKeys(time.Now()); err != nil {
			return fmt.Errorf("make certificates: %w", err)
		}
	}
	var tokens strings.Builder
	for _, user := range users {
		if s.Tokens[user.name] == "" {
			s.Tokens[user.name] = newToken()
		}
		fmt.Fprintf(&tokens, "%s,%s,%s,%q\n", s.Tokens[user.name], user.name, user.name, user.groups)
	}
	if err := writeFile(d.path("tokens.csv"), tokens.String()); err != nil {
		return err
	}
	for _, user := range users {
		path := d.path("pki", user.name+".kubeconfig")
		if user.name == "admin" {
			path = d.Kubeconfig()
		}
		if err := d.writeKubeconfig(path, user.name, *s); err != nil {
			return err
		}
	}
	return nil
}

func newToken() string {
	var raw [24]byte
	rand.Read(raw[:])
	return hex.EncodeToString(raw[:])
}

// makeKeys makes an authority, lets it sign two certificates of the API server, one to serve with and one to call kubelets with, and
// forgets the authority's key.
func (d Dir) makeKeys(now time.Time) error {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localcluster"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(10, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	clientKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	client := &x509.Certificate{
		SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: "kube-apiserver", Organization: []string{"system:masters"}},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	clientDER, err := x509.CreateCertificate(rand.Reader, client, ca, clientKey.Public(), caKey)
	if err != nil {
		return err
	}
	serving := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "kube-apiserver"},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.ParseIP(serviceIP), net.ParseIP(NodeAddress)},
	}
	servingDER, err := x509.CreateCertificate(rand.Reader, serving, ca, key.Public(), caKey)
	if err != nil {
		return err
	}
	serviceAccountKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	return errors.Join(
		writePEM(d.path("pki", "ca.crt"), "CERTIFICATE", caDER),
		writePEM(d.path("pki", "apiserver.crt"), "CERTIFICATE", servingDER),
		writePEM(d.path("pki", "kubelet-client.crt"), "CERTIFICATE", clientDER),
		writeKey(d.path("pki", "kubelet-client.key"), clientKey),
		writeKey(d.path("pki", "service-account.key"), serviceAccountKey),
		writeKey(d.path("pki", "apiserver.key"), key), // last: its presence says that all are there
	)
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(path, "EC PRIVATE KEY", der)
}

func writePEM(path, kind string, der []byte) error {
	return writeFile(path, string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})))
}

func (d Dir) writeKubeconfig(path, user string, s state) error {
	ca, err := os.ReadFile(d.path("pki", "ca.crt"))
	if err != nil {
		return err
	}
	return writeFile(path, fmt.Sprintf(`apiVersion: v1
kind: Config
clusters:
- name: localcluster
  cluster:
    server: https://%s
    certificate-authority-data: %s
users:
- name: %[3]s
  user:
    token: %[4]s
contexts:
- name: localcluster
  context:
    cluster: localcluster
    user: %[3]s
current-context: localcluster
`, localAddress(s.Ports.APIServer), base64.StdEncoding.EncodeToString(ca), user, s.Tokens[user]))
}
