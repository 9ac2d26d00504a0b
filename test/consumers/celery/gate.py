# Copyright 2026 The QueueScaler Authors.
# SPDX-License-Identifier: Apache-2.0

"""Lets a Celery worker start warm: it consumes nothing while the role file says standby, and drains when it says so.

install(app) is all an application calls. Read in celery 5.2's celery/worker: queues are deselected before the worker
begins to consume, because cancelling them afterwards is too late (messages were prefetched by then); a timer of the
worker's own adds and cancels them, by call_soon, because consumers must not be touched from another thread.
"""

import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from celery import bootsteps
from celery.signals import celeryd_after_setup, worker_ready
from celery.worker import state

# On Redis, a read that waited in the server when its queue was cancelled goes on, for the transport's polling_interval of
# 1 s. A message that it brings is put back, if the worker lives to see it.
LAST_READ = 1.5


class Role:
    """The role file. No file means active; what can't be understood changes nothing, and means standby at the start."""

    def __init__(self, path):
        self.path, self.seen, self.role = path, False, None

    def read(self):
        text = None
        try:
            with open(self.path) as file:
                text = file.read(64).strip()
            self.seen = True
        except (OSError, UnicodeDecodeError):
            # While the kubelet replaces the content, the file can't be opened for a moment, but its link is there.
            self.seen = self.seen or os.path.lexists(self.path)
            if not self.seen:
                text = 'active'
        if text in ('standby', 'active', 'draining'):
            self.role = text
        return self.role or 'standby'


class Gate(bootsteps.StartStopStep):
    """A step of the worker's consumer. It is started again after each loss of the connection, with an empty timer."""

    requires = ('celery.worker.consumer.tasks:Tasks',)
    file = Role('/etc/queuescaler/role')
    queues = ()  # what this worker was told to consume
    role = None
    drained = False

    def start(self, consumer):
        self.consuming, self.settled = False, 0
        self.timer = consumer.timer.call_repeatedly(0.2, self.follow, (consumer,))

    def stop(self, consumer):
        self.timer.cancel()

    def follow(self, consumer):
        Gate.role = self.file.read()
        if Gate.role == 'active' and not self.consuming:
            self.consuming = True
            for queue in self.queues:
                consumer.call_soon(consumer.add_task_queue, queue)
        elif Gate.role == 'draining':
            if self.consuming:
                self.consuming = False
                self.settled = time.monotonic() + LAST_READ
                for queue in self.queues:
                    consumer.call_soon(consumer.cancel_task_queue, queue)
            # Reserved: received and not finished, running or not.
            elif time.monotonic() > self.settled and not state.reserved_requests:
                Gate.drained = True


class Probe(BaseHTTPRequestHandler):
    """Answers the readiness probe."""

    def do_GET(self):
        self.send_response(503 if Gate.drained else 200)
        self.end_headers()
        self.wfile.write(('drained\n' if Gate.drained else f'{Gate.role}\n').encode())

    def log_message(self, *_):
        pass


def install(app, path='/etc/queuescaler/role', listen=('', 8080)):
    """Puts the gate into the worker of app. The probe listens when the worker is ready."""

    @celeryd_after_setup.connect(weak=False)
    def deselect(instance, **_):
        Gate.queues = tuple(instance.app.amqp.queues.consume_from)
        instance.app.amqp.queues.deselect(Gate.queues)

    @worker_ready.connect(weak=False)
    def serve(**_):
        threading.Thread(target=ThreadingHTTPServer(listen, Probe).serve_forever, daemon=True).start()

    Gate.file = Role(path)
    Gate.role = Gate.file.read()
    app.steps['consumer'].add(Gate)
