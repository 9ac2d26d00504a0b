# Copyright 2026 The QueueScaler Authors.
# SPDX-License-Identifier: Apache-2.0

"""A Celery worker that starts warm: celery -A app worker --concurrency 1"""

import os
import urllib.request

from celery import Celery

import gate

app = Celery('app', broker=os.environ['BROKER'])
app.conf.task_acks_late = True  # a task that was at hand when its pod died is done by another
app.conf.worker_prefetch_multiplier = 1  # what is prefetched has to be worked off in a drain
app.conf.task_ignore_result = True

host, port = os.environ.get('LISTEN', '0.0.0.0:8080').split(':')
gate.install(app, os.environ.get('ROLE_FILE', '/etc/queuescaler/role'), (host, int(port)))


@app.task
def call(url):
    """The work of one message: call the URL in it."""
    with urllib.request.urlopen(urllib.request.Request(url, method='POST')) as response:
        assert response.status == 200
