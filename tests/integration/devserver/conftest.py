"""Fixtures: a fresh server and a client of it for each test."""

from __future__ import annotations

import threading
from typing import Iterator

import pytest

from lib.devserver.server import DevServer
from lib.devserver.testclient import Client


@pytest.fixture
def server() -> Iterator[DevServer]:
    """A server that must be gone afterwards, threads included."""
    before = set(threading.enumerate())
    with DevServer() as running:
        yield running
    assert set(threading.enumerate()) == before


@pytest.fixture
def client(server: DevServer) -> Iterator[Client]:
    with Client(server) as connected:
        yield connected
