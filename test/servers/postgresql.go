// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package servers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// PostgreSQLAdmin is a superuser of every server, and its password.
const PostgreSQLAdmin = "admin"

// PostgreSQLOptions are how a PostgreSQL server is to be started.
type PostgreSQLOptions struct {
	// TLS makes the server accept TLS alone.
	TLS *Certificates
	// ClientCertificates makes it ask for a certificate of the client; it needs TLS.
	ClientCertificates bool
}

// PostgreSQL is a postgres process, with a database postgres.
type PostgreSQL struct {
	options PostgreSQLOptions
	port    int
	dir     string
	// account is who runs it: PostgreSQL refuses to be run by root. Nil means this process's own user.
	account *syscall.Credential

	process *process
}

// StartPostgreSQL starts a server for a test, and ends it with the test.
func StartPostgreSQL(t testing.TB, o PostgreSQLOptions) *PostgreSQL {
	t.Helper()
	p, err := NewPostgreSQL(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

// NewPostgreSQL prepares a server on a free port; Start starts it.
func NewPostgreSQL(o PostgreSQLOptions) (*PostgreSQL, error) {
	account, err := postgresAccount()
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "queuescaler-postgresql-")
	if err != nil {
		return nil, err
	}
	p := &PostgreSQL{port: port, dir: dir, account: account}
	if err := errors.Join(p.own(dir), p.initialize(context.Background()), p.Configure(o)); err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	return p, nil
}

// postgresAccount is the user of the system's package where this is root.
func postgresAccount() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, err
}

// Address is host:port.
func (p *PostgreSQL) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)) }

// URL is the url for a QueueScaler, database postgres.
func (p *PostgreSQL) URL() string { return "postgres://" + p.Address() + "/postgres" }

// AdminURL is the url of the superuser, for a client library.
func (p *PostgreSQL) AdminURL(database string) string {
	url := "postgres://" + PostgreSQLAdmin + ":" + PostgreSQLAdmin + "@" + p.Address() + "/" + database
	switch t := p.options.TLS; {
	case t == nil:
		return url + "?sslmode=disable"
	case p.options.ClientCertificates:
		return url + "?sslmode=require&sslcert=" + t.CertFile + "&sslkey=" + t.KeyFile
	}
	return url + "?sslmode=require"
}

// Exec runs statements as the superuser, in the database postgres.
func (p *PostgreSQL) Exec(t testing.TB, sql string) {
	t.Helper()
	p.ExecIn(t, "postgres", sql)
}

// ExecIn is Exec in another database.
func (p *PostgreSQL) ExecIn(t testing.TB, database, sql string) {
	t.Helper()
	ctx := context.Background()
	conn, err := pgconn.Connect(ctx, p.AdminURL(database))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, sql).ReadAll(); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func (p *PostgreSQL) data() string { return filepath.Join(p.dir, "data") }

// own hands a file to the account.
func (p *PostgreSQL) own(path string) error {
	if p.account == nil {
		return nil
	}
	return os.Chown(path, int(p.account.Uid), int(p.account.Gid))
}

// write makes a file of the account's own.
func (p *PostgreSQL) write(path string, data []byte) error {
	return errors.Join(os.WriteFile(path, data, 0o600), p.own(path))
}

// initialize makes the files of a new server.
func (p *PostgreSQL) initialize(ctx context.Context) error {
	password := filepath.Join(p.dir, "password")
	if err := p.write(password, []byte(PostgreSQLAdmin)); err != nil {
		return err
	}
	initdb, err := p.command(ctx, "initdb", "-D", p.data(), "-U", PostgreSQLAdmin, "--pwfile", password, "-A", "scram-sha-256", "-E", "UTF8", "--locale", "C", "--no-sync")
	if err != nil {
		return err
	}
	if output, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, output)
	}
	return nil
}

// Configure changes the options, from the next Start on.
func (p *PostgreSQL) Configure(o PostgreSQLOptions) error {
	p.options = o
	hba := "host all all 127.0.0.1/32 scram-sha-256\n"
	if t := p.options.TLS; t != nil {
		hba = "hostssl all all 127.0.0.1/32 scram-sha-256\n"
		if p.options.ClientCertificates {
			hba = "hostssl all all 127.0.0.1/32 scram-sha-256 clientcert=verify-ca\n"
		}
		for name, pem := range map[string][]byte{"ca.crt": t.CA, "tls.crt": t.Cert, "tls.key": t.Key} {
			if err := p.write(filepath.Join(p.dir, name), pem); err != nil {
				return err
			}
		}
	}
	return p.write(filepath.Join(p.data(), "pg_hba.conf"), []byte(hba))
}

// command is one of PostgreSQL's programs, from the PATH or where Debian has them.
func (p *PostgreSQL) command(ctx context.Context, name string, args ...string) (*exec.Cmd, error) {
	binary, err := exec.LookPath(name)
	if err != nil {
		found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
		if len(found) == 0 {
			return nil, errors.New("PostgreSQL is not installed; `make test` installs it, or do it by hand: apt-get install postgresql")
		}
		binary = found[len(found)-1]
	}
	command := exec.CommandContext(ctx, binary, args...)
	command.Dir = p.dir
	if p.account != nil {
		command.SysProcAttr = &syscall.SysProcAttr{Credential: p.account}
	}
	return command, nil
}

// Start starts the server on its port, and returns when it accepts connections. After Stop it starts it again, with its data.
func (p *PostgreSQL) Start() error {
	args := []string{"-D", p.data(), "-p", strconv.Itoa(p.port), "-k", p.dir, "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "shared_buffers=32MB"}
	if p.options.TLS != nil {
		for setting, file := range map[string]string{"ssl_ca_file": "ca.crt", "ssl_cert_file": "tls.crt", "ssl_key_file": "tls.key"} {
			args = append(args, "-c", setting+"="+filepath.Join(p.dir, file))
		}
		args = append(args, "-c", "ssl=on")
	}
	command, err := p.command(context.Background(), "postgres", args...)
	if err != nil {
		return err
	}
	if p.process, err = run(command); err != nil {
		return err
	}
	return p.process.until(p.ready, 20*time.Millisecond, startTimeout)
}

// ready is true once the server says that it accepts connections.
func (p *PostgreSQL) ready() bool {
	command, err := p.command(context.Background(), "pg_isready", "-q", "-h", "127.0.0.1", "-p", strconv.Itoa(p.port))
	return err == nil && command.Run() == nil
}

// Stop ends the server at once, as a crash would, and waits for its end. Its data stay.
func (p *PostgreSQL) Stop() {
	if p.process == nil {
		return
	}
	_ = p.process.Process.Signal(syscall.SIGQUIT)
	<-p.process.exited
}

// Close stops the server and removes its files.
func (p *PostgreSQL) Close() {
	p.Stop()
	_ = os.RemoveAll(p.dir)
}
