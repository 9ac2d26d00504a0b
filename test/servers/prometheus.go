// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package servers

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// PrometheusOptions are how a Prometheus server is to be started.
type PrometheusOptions struct {
	// Target is the host:port that it scrapes, every 200 ms.
	Target string
	// Username and Password are what clients have to give; empty means nothing.
	Username, Password string
	// TLS makes the server speak TLS alone.
	TLS *Certificates
}

// Prometheus is a prometheus process.
type Prometheus struct {
	options PrometheusOptions
	port    int
	dir     string

	process *process
}

// StartPrometheus starts a server for a test, and ends it with the test.
func StartPrometheus(t testing.TB, o PrometheusOptions) *Prometheus {
	t.Helper()
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	p := &Prometheus{options: o, port: port, dir: t.TempDir()}
	t.Cleanup(p.Stop)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

// Address is host:port.
func (p *Prometheus) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)) }

// URL is the url for a QueueScaler.
func (p *Prometheus) URL() string {
	if p.options.TLS != nil {
		return "https://" + p.Address()
	}
	return "http://" + p.Address()
}

// configure writes the files of settings, and returns their paths.
func (p *Prometheus) configure() (config, web string, err error) {
	config, web = filepath.Join(p.dir, "prometheus.yml"), filepath.Join(p.dir, "web.yml")
	text := "global: {scrape_interval: 200ms, scrape_timeout: 200ms}\n"
	if p.options.Target != "" {
		text += "scrape_configs: [{job_name: test, static_configs: [{targets: ['" + p.options.Target + "']}]}]\n"
	}
	settings := ""
	if t := p.options.TLS; t != nil {
		settings += "tls_server_config: {cert_file: " + t.CertFile + ", key_file: " + t.KeyFile + "}\n"
	}
	if p.options.Username != "" {
		hash, err := bcrypt.GenerateFromPassword([]byte(p.options.Password), bcrypt.MinCost)
		if err != nil {
			return "", "", err
		}
		settings += "basic_auth_users: {" + p.options.Username + ": '" + string(hash) + "'}\n"
	}
	return config, web, errors.Join(os.WriteFile(config, []byte(text), 0o600), os.WriteFile(web, []byte(settings), 0o600))
}

// Start starts the server on its port, and returns when it is ready. After Stop it starts it again, with its data.
func (p *Prometheus) Start() error {
	binary, err := exec.LookPath("prometheus")
	if err != nil {
		return errors.New("prometheus is not installed; `make test` installs it, or do it by hand: apt-get install prometheus")
	}
	config, web, err := p.configure()
	if err != nil {
		return err
	}
	p.process, err = run(exec.Command(binary, "--config.file="+config, "--web.config.file="+web, "--web.listen-address="+p.Address(),
		"--storage.tsdb.path="+filepath.Join(p.dir, "data"), "--log.level=error"))
	if err != nil {
		return err
	}
	return p.process.until(p.ready, 20*time.Millisecond, startTimeout)
}

// ready is true once the server says so, or whom it lets in.
func (p *Prometheus) ready() bool {
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	request, err := http.NewRequest(http.MethodGet, p.URL()+"/-/ready", http.NoBody)
	if err != nil {
		return false
	}
	request.SetBasicAuth(p.options.Username, p.options.Password)
	response, err := client.Do(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode != http.StatusServiceUnavailable
}

// Stop kills the server and waits for its end.
func (p *Prometheus) Stop() {
	if p.process == nil {
		return
	}
	_ = p.process.Process.Kill()
	<-p.process.exited
}
