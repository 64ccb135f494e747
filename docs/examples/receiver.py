"""Takes callbacks on port 9000 (or the one given) and prints them."""

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer


class Receiver(BaseHTTPRequestHandler):
    """Answers every task with a result."""

    def do_POST(self) -> None:
        """Print the task and answer 200 with JSON, which becomes the task's result."""
        task = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        print(f"attempt {task['attempt']} of {task['type']}: {json.dumps(task['payload'])}", flush=True)
        answer = json.dumps({"received": task["id"]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Print nothing else."""


if __name__ == "__main__":
    HTTPServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 9000), Receiver).serve_forever()
