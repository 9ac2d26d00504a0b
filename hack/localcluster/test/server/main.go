// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

// Command server is what the test's containers run. Without arguments it answers each request with the pod's name, and logs it;
// `server get URL` prints what a URL answers.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"time"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == "get" {
		get(os.Args[2])
		return
	}
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		log.Print("asked for ", r.URL.Path)
		fmt.Fprint(w, os.Getenv("HOSTNAME"))
	})
	log.Print("listening")
	log.Fatal(http.ListenAndServe(":8080", nil))
}

func get(url string) {
	roots := x509.NewCertPool()
	if ca, err := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"); err == nil {
		roots.AppendCertsFromPEM(ca)
	}
	client := http.Client{
		Timeout:   10 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}},
	}
	answer, err := client.Get(url)
	if err != nil {
		log.Fatal(err)
	}
	defer answer.Body.Close()
	if _, err := io.Copy(os.Stdout, answer.Body); err != nil {
		log.Fatal(err)
	}
}
