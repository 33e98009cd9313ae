"""A development Kubernetes API server for Secrets and ConfigMaps, scriptable by tests."""

from .h2proxy import H2Proxy
from .requestlog import Request, RequestLog, match
from .server import DevServer
from .watch import End, Watch

__all__ = ["DevServer", "End", "H2Proxy", "Request", "RequestLog", "Watch", "match"]
