"""A web server on this machine that the real `huggingface_hub` client takes for the Hub.

It answers what the client asks to download (`/{repo}/resolve/{revision}/{file}`, with ETag, commit,
size and ranges) and to publish (`/api/repos/create`, branches, `preupload`, LFS batch and upload,
`commit`), and it can misbehave: cut a body short, crawl, or ask for a token. Anything under
`/plain/` is served as by an ordinary web server.

    with HubServer() as hub:
        hub.add("someone/pose", {"model.safetensors": data})
        subprocess.run(..., env={**os.environ, **hub.environment(tmp_path)})
"""

import base64
import hashlib
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit


class HubServer(ThreadingHTTPServer):
    """Start with `with`; `requests` is what came in: (method, path, headers), the headers' names in
    lower case.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repos: dict[str, dict[str, dict[str, bytes]]] = {}  # repository -> revision -> file -> content
        self.plain: dict[str, bytes] = {}
        self.lfs: dict[str, bytes] = {}  # uploaded, not yet committed
        self.tokens: dict[str, str] = {}  # private repository -> the token that opens it
        self.cut_after: list[int] = []  # each GET takes one off: it sends that many bytes and hangs up
        self.pause = 0.0  # seconds between pieces of a body
        self.requests: list[tuple[str, str, dict[str, str]]] = []

    def __enter__(self) -> "HubServer":
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is part of the tests."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def environment(self, home: Path, **more: str) -> dict[str, str]:
        """Variables that send the Hub's client here, with its cache under `home`."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "POSEZOO_HOME": str(home / "posezoo"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "NO_PROXY": "127.0.0.1",
            **more,
        }

    def add(self, repo: str, files: dict[str, bytes], revision: str = "main") -> None:
        self.repos.setdefault(repo, {})[revision] = dict(files)

    def bodies(self, name: str) -> list[dict[str, str]]:
        """Headers of every GET of a file of that name."""
        return [headers for method, path, headers in self.requests if method == "GET" and path.endswith(name)]


def commit_hash(files: dict[str, bytes]) -> str:
    return hashlib.sha1(b"".join(name.encode() + files[name] for name in sorted(files))).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        """Quiet."""

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def do_PUT(self) -> None:
        self.answer()

    def answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append((self.command, path, {key.lower(): value for key, value in self.headers.items()}))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        hub = self.server
        if path.startswith("/plain/"):
            content = hub.plain.get(path.removeprefix("/plain/"))
            return self.fail(404, "") if content is None else self.send_file(content, {})
        if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/(.+?)/([^/]+)", path):
            return self.resolve(*match.groups())
        if path == "/api/validate-yaml":
            return self.send_json({"errors": [], "warnings": []})
        if path == "/api/repos/create":
            wanted = json.loads(body)
            repo = f"{wanted['organization']}/{wanted['name']}"
            if repo in hub.repos:
                return self.send_json({"error": "exists", "url": f"{hub.url}/{repo}"}, 409)
            hub.add(repo, {})
            return self.send_json({"url": f"{hub.url}/{repo}", "name": repo})
        if match := re.fullmatch(r"/lfs/([0-9a-f]{64})", path):
            hub.lfs[match[1]] = body
            return self.send_json({})
        if match := re.fullmatch(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", path):
            objects = [
                {**item, "actions": {"upload": {"href": f"{hub.url}/lfs/{item['oid']}"}}}
                for item in json.loads(body)["objects"]
            ]
            return self.send_json({"transfer": "basic", "objects": objects})
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/(branch|preupload|commit|revision)/(.+)", path):
            return self.publish(*match.groups(), body)
        return self.fail(404, "")

    def resolve(self, repo: str, revision: str, name: str) -> None:
        token = self.server.tokens.get(repo)
        if token and self.headers.get("Authorization") != f"Bearer {token}":
            return self.fail(401, "RepoNotFound")
        revisions = self.server.repos.get(repo)
        if revisions is None:
            return self.fail(401, "RepoNotFound")
        files = revisions.get(revision) or next((f for f in revisions.values() if commit_hash(f) == revision), None)
        if files is None:
            return self.fail(404, "RevisionNotFound")
        extra = {"X-Repo-Commit": commit_hash(files)}
        if name not in files:
            return self.fail(404, "EntryNotFound", extra)
        content = files[name]
        extra["ETag"] = f'"{hashlib.sha256(content).hexdigest()}"'
        extra |= {"X-Linked-ETag": extra["ETag"], "X-Linked-Size": str(len(content))}
        return self.send_file(content, extra)

    def publish(self, repo: str, what: str, revision: str, body: bytes) -> None:
        hub = self.server
        if repo not in hub.repos:
            return self.fail(401, "RepoNotFound")
        if what == "branch":
            hub.repos[repo].setdefault(revision, dict(hub.repos[repo]["main"]))
            return self.send_json({})
        if revision not in hub.repos[repo]:
            return self.fail(404, "RevisionNotFound")
        files = hub.repos[repo][revision]
        if what == "preupload":  # like the Hub: weights by LFS, text in the commit
            modes = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            return self.send_json({"files": modes, "commitOid": commit_hash(files)})
        if what == "commit":
            for line in filter(None, body.splitlines()):
                entry = json.loads(line)
                if entry["key"] == "file":
                    files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
                elif entry["key"] == "lfsFile":
                    files[entry["value"]["path"]] = hub.lfs.pop(entry["value"]["oid"])
            oid = commit_hash(files)
            return self.send_json({"success": True, "commitOid": oid, "commitUrl": f"{hub.url}/{repo}/commit/{oid}"})
        return self.send_json({"id": repo, "sha": commit_hash(files), "siblings": [], "tags": [], "private": False})

    def send_file(self, content: bytes, extra: dict[str, str]) -> None:
        start = 0
        if match := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            start = int(match[1])
            extra = {**extra, "Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        self.send_response(206 if start else 200)
        for key, value in {"Content-Length": str(len(content) - start), "Accept-Ranges": "bytes", **extra}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        body = content[start:]
        if self.server.cut_after:
            body = body[: self.server.cut_after.pop(0)]
            self.close_connection = True
        for offset in range(0, len(body), 1 << 12):
            self.wfile.write(body[offset : offset + (1 << 12)])
            if self.server.pause:
                time.sleep(self.server.pause)

    def send_json(self, value: Any, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def fail(self, status: int, code: str, extra: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"X-Error-Code": code, "Content-Length": "0", **(extra or {})}.items():
            if value:
                self.send_header(key, value)
        self.end_headers()
