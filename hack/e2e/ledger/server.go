// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"encoding/json"
	"net/http"
)

// maxReport bounds the body of one report, in bytes. An attempt takes about 90.
const maxReport = 1 << 20

// report is what a client posts.
type report struct {
	Pod      Pod       `json:"pod"`
	Attempts []Attempt `json:"attempts"`
}

// ServeHTTP takes the reports of a [Client], which are posted to any path: several ledgers can be served by one server. It answers 204 once
// a report is in the ledger, and 400 with the reason to one that it refuses, which is not to be sent again.
func (l *Ledger) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		http.Error(w, "a report is sent by POST", http.StatusMethodNotAllowed)
		return
	}
	var sent report
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxReport)).Decode(&sent); err != nil {
		http.Error(w, "report: "+err.Error(), http.StatusBadRequest)
		return
	}
	if err := l.Record(sent.Pod, sent.Attempts...); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
