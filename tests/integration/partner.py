"""Another service, that calls of ours are made to."""

from __future__ import annotations

import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Partner(ThreadingHTTPServer):
    """Gives one answer after the other: a status, and seconds of `Retry-After`; the last stays."""

    daemon_threads = True

    def __init__(self, *answers):
        super().__init__(("127.0.0.1", 0), PartnerHandler)
        self.answers = list(answers)
        self.asked: list[float] = []


class PartnerHandler(BaseHTTPRequestHandler):
    def do_GET(self):
        partner = self.server
        assert isinstance(partner, Partner)
        partner.asked.append(time.monotonic())
        answers = partner.answers
        status, after = answers.pop(0) if len(answers) > 1 else answers[0]
        self.send_response(status)
        if after:
            self.send_header("Retry-After", str(after))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass
