"""A handler that does what the record tells it to, so that a test can have every way in which a handler may fail.

The record is JSON: {"id": …, "do": […]}. The first attempt does the first thing in `do`, the second the second, and so on; after the
last one the id is answered. Which attempt it is, this counts itself, in a file that outlives a crash of the container.

"crash"           the process ends
"hang"            no answer for longer than any time-out
"slow:SECONDS"    the id is answered after that long
"share:HOST:PORT:SECONDS"
                  the id is answered after that long at the handler there, which lets one of all handlers in at a time
"STATUS"          this status
"STATUS:SECONDS"  this status, with Retry-After
"""

import json
import os
import signal
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NOTES = "/tmp/attempts"
LOCK = threading.Lock()
SHARED = threading.Lock()
in_process = 0


def attempt(record: str) -> int:
    """How often this was called for a record before, in all lives of this container."""
    with LOCK, open(NOTES, "a+", encoding="utf-8") as notes:
        notes.seek(0)
        before = sum(1 for line in notes if line == record + "\n")
        notes.write(record + "\n")
        notes.flush()
        os.fsync(notes.fileno())
        return before


def count(change: int) -> int:
    global in_process
    with LOCK:
        in_process += change
        return in_process


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.path == "/shared":
            with SHARED:
                time.sleep(float(body))
            return self.say(200, b"")
        at_once = count(1)
        try:
            answer = self.answer(json.loads(body), at_once)
        finally:
            # Whoever has the answer may ask for the next one at once.
            count(-1)
        self.say(*answer)

    def answer(self, order: dict, at_once: int) -> tuple[int, bytes, str]:
        record = self.headers["ce-id"]
        nth = attempt(record)
        print(f"{record} {nth + 1}", flush=True)
        things = order.get("do", [])
        thing, _, argument = (things[nth] if nth < len(things) else "200").partition(":")
        if thing == "crash":
            os._exit(1)
        if thing == "hang":
            time.sleep(3600)
        if thing == "slow":
            time.sleep(float(argument))
            thing = "200"
        if thing == "share":
            host, port, seconds = argument.split(":")
            urllib.request.urlopen(f"http://{host}:{port}/shared", data=seconds.encode(), timeout=60).read()
            thing = "200"
        said = {"id": order["id"], "attempt": nth + 1, "record": record, "pod": os.environ["POD_NAME"], "atOnce": at_once}
        text = json.dumps(said).encode() if thing == "200" else f"told to say {thing}".encode()
        return int(thing), text, argument if thing != "200" else ""

    def say(self, status: int, text: bytes, retry_after: str = ""):
        self.send_response(status)
        if retry_after:
            self.send_header("retry-after", retry_after)
        self.send_header("content-type", "application/json" if status == 200 else "text/plain")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
        self.wfile.flush()

    def log_request(self, code="-", size="-"):
        """What matters is printed above."""


class Server(ThreadingHTTPServer):
    request_queue_size = 256


# It does not wait for what it has begun: at SIGTERM it is gone. A worker that is stopped with it must have ended before.
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
Server(("", int(os.environ["PORT"])), Handler).serve_forever()
