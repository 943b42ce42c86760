"""A small OpenID Connect provider: discovery, keys, authorization, tokens and userinfo, on a port of its own.

Everything that it asserts can be changed, so that tests can make it lie.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

CLIENT_ID, CLIENT_SECRET = "watchdog", "hush"


@dataclass
class OidcProvider:
    """`person` holds the claims of whoever signs in next; `sign` makes the ID token from them."""

    person: dict[str, Any] = field(default_factory=dict)
    userinfo: dict[str, Any] | None = None
    sign: Callable[[dict[str, Any]], str] | None = None
    issuer_said: str = ""
    requests: list[str] = field(default_factory=list)
    key: Any = field(default_factory=lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048))
    _codes: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __enter__(self) -> OidcProvider:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.issuer = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def authorize(self, url: str) -> str:
        """What happens at the provider after somebody signed in there: the address it sends the browser back to."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        code = secrets.token_urlsafe(16)
        self._codes[code] = asked
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    def claims(self, asked: dict[str, Any]) -> dict[str, Any]:
        now = int(time.time())
        standard = {"iss": self.issuer, "aud": asked["client_id"], "iat": now, "exp": now + 300}
        return {**standard, "nonce": asked.get("nonce"), **self.person}

    def signed(self, claims: dict[str, Any], **overrides: Any) -> str:
        options = {"key": self.key, "algorithm": "RS256", "headers": {"kid": "first"}, **overrides}
        return jwt.encode(claims, **options)

    def answer(self, method: str, path: str, sent: dict[str, str], token: str) -> Any:
        """The JSON of an endpoint, or a redirect as text."""
        if path.startswith("/authorize"):
            return self.authorize(path)
        if path == "/.well-known/openid-configuration":
            names = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "jwks"}
            found = {name: f"{self.issuer}/{page}" for name, page in names.items()}
            found["userinfo_endpoint"] = f"{self.issuer}/userinfo"
            methods = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
            return {"issuer": self.issuer_said or self.issuer, **found, **methods}
        if path == "/jwks":
            published = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
            return {"keys": [{**published, "kid": "first", "use": "sig"}]}
        if path == "/token":
            return self._token(sent)
        if path == "/userinfo" and token:
            return self.userinfo if self.userinfo is not None else {"sub": self.person.get("sub")}
        return None

    def _token(self, sent: dict[str, str]) -> Any:
        asked = self._codes.pop(sent.get("code", ""), None)
        if asked is None or (sent.get("client_id"), sent.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
            return None
        if not _fits(asked, sent.get("code_verifier", "")):
            return None
        id_token = (self.sign or self.signed)(self.claims(asked))
        return {"access_token": "once", "token_type": "Bearer", "id_token": id_token, "expires_in": 300}


def _fits(asked: dict[str, Any], verifier: str) -> bool:
    """PKCE: who redeems the code must be who asked for it."""
    digest = hashlib.sha256(verifier.encode()).digest()
    return bool(asked.get("code_challenge") == base64.urlsafe_b64encode(digest).decode().rstrip("="))


def _handler(provider: OidcProvider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer({})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            self._answer({name: values[0] for name, values in parse_qs(body).items()})

        def _answer(self, sent: dict[str, str]) -> None:
            provider.requests.append(f"{self.command} {self.path}")
            found = provider.answer(self.command, self.path, sent, self.headers.get("Authorization", ""))
            is_redirect = isinstance(found, str)
            body = b"" if is_redirect else json.dumps(found).encode()
            self.send_response(302 if is_redirect else 400 if found is None else 200)
            if is_redirect:
                self.send_header("Location", found)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Silent."""

    return Handler
