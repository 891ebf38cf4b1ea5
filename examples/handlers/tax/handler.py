"""Adds the tax to a cart. One request is one record: a CloudEvent, in binary mode.

200 with a body: the record's output. 422: the record can never be handled, and goes to the dead letter topic with this text.
"""

import json
import os
import signal
import sys
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

RATES = {"AT": "0.20", "CH": "0.081", "DE": "0.19", "FR": "0.20"}
CENT = Decimal("0.01")


class Unusable(Exception):
    """A cart that no further attempt makes better."""


def priced(body: bytes) -> dict:
    """The cart with `net`, `tax` and `total`."""
    try:
        cart = json.loads(body, parse_float=Decimal)
    except ValueError as why:
        raise Unusable(f"the cart is not JSON: {why}") from why
    if not isinstance(cart, dict):
        raise Unusable("the cart is not a JSON object")
    rate = RATES.get(str(cart.get("country")))
    if rate is None:
        raise Unusable(f"country: no tax rate is known, only for {', '.join(RATES)}")
    try:
        net = sum((Decimal(item["price"]) * Decimal(item["quantity"]) for item in cart["items"]), Decimal(0))
        tax = (net * Decimal(rate)).quantize(CENT, ROUND_HALF_UP)
    except (InvalidOperation, KeyError, TypeError, ValueError) as why:
        raise Unusable("items: each needs a price and a quantity, both numbers") from why
    return {**cart, "net": net, "tax": tax, "total": net + tax}


class Handler(BaseHTTPRequestHandler):
    # Connections are kept, so that a record does not wait for a new one.
    protocol_version = "HTTP/1.1"
    # The answer's head and body leave as one packet.
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        try:
            answer = json.dumps(priced(body), default=float).encode()
        except Unusable as why:
            self.reply(422, "text/plain; charset=utf-8", str(why).encode())
        else:
            self.reply(200, "application/json", answer, {"ce-type": "cart.priced"})

    def reply(self, status: int, content_type: str, body: bytes, headers: dict | None = None):
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_request(self, code="-", size="-"):
        """Answers are not logged one by one: the worker counts them."""


class Server(ThreadingHTTPServer):
    # As many connections as a worker opens at once.
    request_queue_size = 256


def main():
    # The worker ends first, so that nothing is in process any more when this signal comes.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    port = int(os.environ.get("PORT", "8080"))
    print(f"listening on {port}", flush=True)
    Server(("", port), Handler).serve_forever()


if __name__ == "__main__":
    main()
