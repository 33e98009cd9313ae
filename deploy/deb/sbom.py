#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""sbom.py VERSION PROGRAM: print the SPDX 2.3 document of a secretfs program: its own package, and
the Debian packages of the libraries that it loads.

SOURCE_DATE_EPOCH is the document's time.
"""

import datetime
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys


def output_of(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def needed_by(program):
    """The libraries that the program itself names, as paths of this system."""
    needed = set(re.findall(r"NEEDED\s+(\S+)", output_of("objdump", "-p", program)))
    found = dict(re.findall(r"(\S+) => (\S+)", output_of("ldd", program)))
    return [found[name] for name in sorted(needed) if name in found]


def package_of(library):
    """Debian's database has the path with or without the link from /lib to /usr/lib."""
    path = os.path.realpath(library)
    for candidate in (path, path.removeprefix("/usr"), library):
        done = subprocess.run(["dpkg", "-S", candidate], capture_output=True, text=True)
        if done.returncode == 0:
            return done.stdout.split(": ")[0]
    raise SystemExit(f"sbom.py: no Debian package has {library}")


def debian_package(name):
    fields = "${Package}\t${Version}\t${Architecture}\t${source:Package}"
    shown = output_of("dpkg-query", "-W", "-f", fields, name)
    package, version, architecture, source = shown.split("\t")
    return {
        "SPDXID": f"SPDXRef-{package}",
        "name": package,
        "versionInfo": version,
        "sourceInfo": f"Debian source package {source}",
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
        "externalRefs": [
            {
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": f"pkg:deb/debian/{package}@{version}?arch={architecture}",
            }
        ],
    }


def main():
    version, program = sys.argv[1], pathlib.Path(sys.argv[2])
    digest = hashlib.sha256(program.read_bytes()).hexdigest()
    made = datetime.datetime.fromtimestamp(
        int(os.environ.get("SOURCE_DATE_EPOCH", "0")), datetime.timezone.utc
    )
    own = {
        "SPDXID": "SPDXRef-secretfs",
        "name": "secretfs",
        "versionInfo": version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "licenseConcluded": "Apache-2.0",
        "licenseDeclared": "Apache-2.0",
        "copyrightText": "NOASSERTION",
        "checksums": [{"algorithm": "SHA256", "checksumValue": digest}],
    }
    libraries = [
        debian_package(name) for name in sorted({package_of(path) for path in needed_by(program)})
    ]
    document = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"secretfs-{version}",
        "documentNamespace": f"https://secretfs.invalid/spdx/secretfs-{version}-{digest}",
        "creationInfo": {
            "created": made.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "creators": ["Tool: secretfs deploy/deb/sbom.py"],
        },
        "packages": [own, *libraries],
        "relationships": [
            {
                "spdxElementId": "SPDXRef-DOCUMENT",
                "relationshipType": "DESCRIBES",
                "relatedSpdxElement": "SPDXRef-secretfs",
            },
            *(
                {
                    "spdxElementId": "SPDXRef-secretfs",
                    "relationshipType": "DYNAMIC_LINK",
                    "relatedSpdxElement": library["SPDXID"],
                }
                for library in libraries
            ),
        ],
    }
    json.dump(document, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
