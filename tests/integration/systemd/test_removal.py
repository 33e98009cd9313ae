"""Taking the package away, which comes last: pytest takes the files in the order of their names."""

from __future__ import annotations

from lib.machine import Machine, all_files, put_secret


def test_removal_is_clean(installed: Machine, files_before: set[str]):
    """What runs is stopped, what is enabled is not missed, and nothing stays behind."""
    put_secret(installed, "last", "dummy-1")
    installed.write(
        "/etc/secretfs/last.env",
        "SECRETFS_OBJECT=secret/last\nSECRETFS_TARGET=/run/last\n"
        "SECRETFS_OPTIONS=--manifests=/manifests\n",
    )
    installed.run("systemctl", "enable", "--now", "secretfs@last.service")
    assert installed.read("/run/last/password") == "dummy-1"
    installed.run("systemctl", "enable", "--now", "secretfs-keeper.service")

    installed.run("dpkg", "-r", "secretfs")
    assert installed.mounts_at("/run/last") == []
    assert not installed.path("/etc/systemd/system/multi-user.target.wants/secretfs-keeper.service").is_symlink()
    assert installed.run("pgrep", "secretfs", check=False).stdout == ""
    assert installed.property("secretfs@last.service", "LoadState") == "not-found"
    assert installed.failed_units() == ""
    # configuration stays until it is purged, and files of the administrator even then
    assert installed.path("/etc/secretfs/node.yaml").exists()
    installed.run("dpkg", "-P", "secretfs")
    assert not installed.path("/etc/secretfs/node.yaml").exists()
    assert installed.path("/etc/secretfs/last.env").exists()
    installed.run("rm", "-r", "/etc/secretfs", "/manifests")
    made_by_tests = {"/mnt/db", "/var/www-data", "/var/www-data/mnt", "/usr/local/bin/get-token"}
    assert all_files(installed) - files_before - made_by_tests == set()
