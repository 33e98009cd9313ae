#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""sbom.py VERSION PROGRAM [ROOT]: print the SPDX 2.3 document of a secretfs program: its own package,
and Debian's packages: of the libraries that it names, or with ROOT, the root directory of an image,
all that the image has files of.

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


def records_of(names):
    """What dpkg has of packages, as in /var/lib/dpkg/status."""
    return output_of("dpkg", "-s", *names).strip().split("\n\n") if names else []


def records_in(root):
    """The records that root.py has put into an image."""
    return [path.read_text() for path in sorted((root / "var/lib/dpkg/status.d").iterdir())]


def debian_package(record):
    fields = dict(re.findall(r"^([A-Z][\w-]*): (.*)$", record, re.MULTILINE))
    package, version = fields["Package"], fields["Version"]
    source = fields.get("Source", package).split()[0]
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
                "referenceLocator": f"pkg:deb/debian/{package}@{version}?arch={fields['Architecture']}",
            }
        ],
    }


def main():
    if len(sys.argv) not in (3, 4):
        raise SystemExit(__doc__)
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
    if len(sys.argv) == 4:
        # not all packages are libraries: the certificates are of one, too
        records, relation = records_in(pathlib.Path(sys.argv[3])), "DEPENDS_ON"
    else:
        names = sorted({package_of(path) for path in needed_by(program)})
        records, relation = records_of(names), "DYNAMIC_LINK"
    packages = [debian_package(record) for record in records]
    document = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"secretfs-{version}",
        "documentNamespace": f"https://secretfs.invalid/spdx/secretfs-{version}-{digest}",
        "creationInfo": {
            "created": made.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "creators": ["Tool: secretfs deploy/release/sbom.py"],
        },
        "packages": [own, *packages],
        "relationships": [
            {
                "spdxElementId": "SPDXRef-DOCUMENT",
                "relationshipType": "DESCRIBES",
                "relatedSpdxElement": "SPDXRef-secretfs",
            },
            *(
                {
                    "spdxElementId": "SPDXRef-secretfs",
                    "relationshipType": relation,
                    "relatedSpdxElement": package["SPDXID"],
                }
                for package in packages
            ),
        ],
    }
    json.dump(document, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
