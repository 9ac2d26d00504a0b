// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

import { lstatSync, readFileSync } from 'node:fs';

/**
 * Calls change with the role of this pod now, and again whenever it changes: 'standby', 'active' or 'draining'.
 * No file means active. A file that says none of the three changes nothing; at the start it means standby.
 * Reading a small file five times a second costs nothing that can be measured, and needs no watch that can get lost.
 */
export function followRole(change, path = '/etc/queuescaler/role') {
  let role, seen = false;
  const look = () => {
    let now;
    try {
      now = readFileSync(path, 'utf8').trim();
      seen = true;
    } catch (err) {
      // While the kubelet replaces the content, the file can't be opened for a moment, but its link is there.
      seen ||= err.code !== 'ENOENT' || lstatSync(path, { throwIfNoEntry: false }) !== undefined;
      if (!seen) now = 'active';
    }
    if (!['standby', 'active', 'draining'].includes(now)) now = role ?? 'standby';
    if (now === role) return;
    role = now;
    change(role);
  };
  look();
  return setInterval(look, 200);
}
