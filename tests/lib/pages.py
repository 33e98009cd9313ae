"""Pages of documentation and their links."""

from __future__ import annotations

import re
from pathlib import Path


def anchors_of(page: Path) -> set[str]:
    """Those that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in headings}


def dangling_links(page: Path) -> list[str]:
    """Its links to files that are not there, or to headings that their pages do not have."""
    found = []
    for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^):]+))?\)", page.read_text()):
        other = page.parent / target if target else page
        if not other.exists() or (anchor and anchor not in anchors_of(other)):
            found.append(f"{target}#{anchor}")
    return found
