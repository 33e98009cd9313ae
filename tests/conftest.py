"""What all tests of Python need: ordinary signals, a kubectl that can build the manifests, helm."""

import json
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from lib.chart import HelmMissing, build_helm

# A background job may have these ignored, which children would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)
# A time limit that ends the run lets fixtures take down mounts and servers.
signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.fixture(scope="session")
def kubectl() -> str:
    found = shutil.which("kubectl")
    if found is None:
        pytest.skip("there is no kubectl")
    command = [found, "version", "--client", "-o", "json"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    minor = int(re.sub(r"\D", "", json.loads(told)["clientVersion"]["minor"]))
    if minor < 21:
        pytest.skip(f"kubectl 1.{minor} knows a kustomize that is too old; 1.21 is needed")
    return found


@pytest.fixture(scope="session")
def helm_program() -> Path:
    try:
        return build_helm()
    except HelmMissing as missing:
        pytest.skip(str(missing))
