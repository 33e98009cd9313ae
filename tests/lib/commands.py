"""A command of the administrator, for the node daemon."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def named_command(area: Path, program: Path, text: str, **words: Any) -> str:
    """Writes the program, and a configuration that names a command after it.

    words: of the command in the configuration.
    Returns the option by which the daemon reads it.
    """
    program.write_text(text)
    program.chmod(0o755)
    command = {"name": program.name, "command": [str(program)], **words}
    config = area / "node.yaml"
    config.write_text(json.dumps({"commands": [command]}))
    return f"--config={config}"
