// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package servers

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Certificates are a CA, and a certificate and key for 127.0.0.1 and localhost that it signed, as PEM and in files. They serve a server or a client.
type Certificates struct {
	CA, Cert, Key             []byte
	CAFile, CertFile, KeyFile string
}

// NewCertificates makes certificates that are valid until expires.
func NewCertificates(t testing.TB, expires time.Time) *Certificates {
	t.Helper()
	c, err := makeCertificates(expires)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, file := range map[string]struct {
		path *string
		data []byte
	}{"ca.crt": {&c.CAFile, c.CA}, "tls.crt": {&c.CertFile, c.Cert}, "tls.key": {&c.KeyFile, c.Key}} {
		*file.path = filepath.Join(dir, name)
		if err := os.WriteFile(*file.path, file.data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func makeCertificates(expires time.Time) (*Certificates, error) {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	begin := expires.Add(-24 * time.Hour)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "queuescaler test CA"},
		NotBefore: begin, NotAfter: expires.Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: begin, NotAfter: expires, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	block := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	return &Certificates{CA: block("CERTIFICATE", caDER), Cert: block("CERTIFICATE", der), Key: block("EC PRIVATE KEY", keyDER)}, nil
}

// server is the configuration of a server in this process.
func (c *Certificates) server(clients bool) (*tls.Config, error) {
	pair, err := tls.X509KeyPair(c.Cert, c.Key)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if clients {
		config.ClientCAs, config.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
		config.ClientCAs.AppendCertsFromPEM(c.CA)
	}
	return config, nil
}
