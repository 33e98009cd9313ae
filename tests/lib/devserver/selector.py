"""Field and label selectors of list and watch requests."""

from __future__ import annotations

import re
from typing import Callable

from . import status
from .objects import CERTIFICATE_REQUESTS, PODS, SECRETS, TRUST_BUNDLES, Kind, Object

Test = Callable[[Object], bool]

_LABEL_TERM = re.compile(
    r"\s*(?:(?P<absent>!)\s*)?(?P<key>[-./_a-zA-Z0-9]+)\s*"
    r"(?:(?P<op>==|=|!=)\s*(?P<value>[-._a-zA-Z0-9]*)"
    r"|(?P<set>in|notin)\s*\((?P<values>[^)]*)\))?\s*(?:,|$)"
)


class Selector:
    """Which objects a request means. `name` is set when a field selector fixes metadata.name."""

    def __init__(self, kind: Kind, fields: str = "", labels: str = "") -> None:
        self._tests: list[Test] = []
        self.name = ""
        for term in filter(None, fields.split(",")):
            self._add_field(kind, term)
        self._add_labels(labels)

    def matches(self, obj: Object) -> bool:
        return all(test(obj) for test in self._tests)

    def _add_field(self, kind: Kind, term: str) -> None:
        match = re.fullmatch(r"([^=!]+)(==|=|!=)(.*)", term)
        if match is None:
            raise status.bad_request(f"invalid selector: '{term}'; can't understand '{term}'")
        field, operator, value = match.groups()
        read = _field_reader(kind, field)
        wanted = operator != "!="
        self._tests.append(lambda obj: (read(obj) == value) == wanted)
        if field == "metadata.name" and wanted:
            self.name = value

    def _add_labels(self, labels: str) -> None:
        at = 0
        while at < len(labels):
            match = _LABEL_TERM.match(labels, at)
            if match is None:
                raise status.bad_request(f"unable to parse requirement: {labels[at:]}")
            self._tests.append(_label_test(match))
            at = match.end()


def _field_reader(kind: Kind, field: str) -> Callable[[Object], str]:
    if field in ("metadata.name", "metadata.namespace"):
        key = field.removeprefix("metadata.")
        return lambda obj: obj["metadata"].get(key, "")
    if kind is SECRETS and field == "type":
        return lambda obj: obj.get("type", "")
    if kind in (PODS, CERTIFICATE_REQUESTS) and field == "spec.nodeName":
        return lambda obj: obj.get("spec", {}).get("nodeName", "")
    if kind is TRUST_BUNDLES and field == "spec.signerName":
        return lambda obj: obj["spec"].get("signerName", "")
    if kind.resource == "events":
        return lambda obj: ""
    raise status.bad_request(f"field label not supported: {field}")


def _label_test(match: re.Match[str]) -> Test:
    key = match["key"]

    def label(obj: Object) -> str | None:
        return (obj["metadata"].get("labels") or {}).get(key)

    if match["absent"]:
        return lambda obj: label(obj) is None
    if match["set"]:
        values = {value.strip() for value in match["values"].split(",")}
        wanted = match["set"] == "in"
        return lambda obj: (label(obj) in values) == wanted
    if match["op"]:
        value, equal = match["value"], match["op"] != "!="
        return lambda obj: (label(obj) == value) == equal
    return lambda obj: label(obj) is not None
