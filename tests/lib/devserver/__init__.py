"""A development Kubernetes API server for Secrets and ConfigMaps, scriptable by tests.

    with DevServer() as server:
        server.apply_secret("default", "db", {"password": b"dummy"})
        start_client(server.kubeconfig())
        server.wait_watches(1, name="db")
        server.fail(503, verb="list", times=2)
        server.send_error(410, name="db")
        server.wait_request(verb="list", code=200)

It is an honest list/watch API until a test makes it fail; server.py lists the faults. Not
served: server-side apply, paging (a list is always whole), and answers in protobuf. A client
certificate of an unknown CA fails in the TLS handshake, where a real server answers 401.
"""

from .h2proxy import H2Proxy
from .requestlog import Request, RequestLog, match
from .server import DevServer
from .watch import End, Watch

__all__ = ["DevServer", "End", "H2Proxy", "Request", "RequestLog", "Watch", "match"]
