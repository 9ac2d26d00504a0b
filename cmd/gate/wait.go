//go:build linux

// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	// recheckInterval bounds how long a change stays unseen if the notification of it is lost.
	recheckInterval = 5 * time.Second
	// pollInterval is used where there are no notifications: the directory is not there, or the node's inotify instances,
	// 128 for a user by default, are used up.
	pollInterval = 250 * time.Millisecond
)

// wait returns nil as soon as the file says active, and errTerminated when the process is told to end.
func wait(path string) error {
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
	// Before the first reading, so that no change falls in between.
	changed, interval := watch(filepath.Dir(path)), recheckInterval
	if changed == nil {
		interval = pollInterval
	}
	for said := ""; ; {
		role, err := readRole(path)
		if role == "active" {
			say("lent: the pod's own containers start now")
			return nil
		}
		if what := describe(path, role, err); what != said {
			say(what)
			said = what
		}
		select {
		case <-changed:
		case <-time.After(interval):
		case <-end:
			return errTerminated
		}
	}
}

func describe(path, role string, err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "waiting to be lent: " + path + " is not there"
	case err != nil:
		return "waiting to be lent: " + err.Error()
	}
	return "waiting to be lent: " + path + " says " + role
}

// readRole reads the one word in the file, of which a bounded number of bytes.
func readRole(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }()
	text, err := io.ReadAll(io.LimitReader(file, 64))
	return strings.TrimSpace(string(text)), err
}

// watch sends after something changed in the directory; nil where it cannot be watched. It is the directory and not the
// file, because the kubelet makes new files and renames a symbolic link to them.
func watch(dir string) <-chan struct{} {
	fd, err := syscall.InotifyInit1(syscall.IN_CLOEXEC | syscall.IN_NONBLOCK)
	if err != nil {
		return nil
	}
	events := os.NewFile(uintptr(fd), "inotify")
	if _, err := syscall.InotifyAddWatch(fd, dir, syscall.IN_CREATE|syscall.IN_MOVED_TO|syscall.IN_CLOSE_WRITE); err != nil {
		_ = events.Close()
		return nil
	}
	changed := make(chan struct{}, 1)
	go func() {
		buffer := make([]byte, 4096) // a read returns as many whole events as fit; which they are does not matter
		for {
			if _, err := events.Read(buffer); err != nil {
				return // reading the file every few seconds goes on
			}
			select {
			case changed <- struct{}{}:
			default: // it is known already that something changed
			}
		}
	}()
	return changed
}
