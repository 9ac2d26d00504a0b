# Copyright 2026 The QueueScaler Authors.
# SPDX-License-Identifier: Apache-2.0

"""Sends one task for each URL: BROKER=redis://... python3 send.py URL..."""

import sys

import app

for url in sys.argv[1:]:
    app.call.delay(url)
