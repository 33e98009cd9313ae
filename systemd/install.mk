# Included by the Makefile: what goes where on a host, and the Debian package.

SYSCONFDIR ?= /etc
UNITDIR    ?= $(PREFIX)/lib/systemd/system
MANDIR     ?= $(PREFIX)/share/man
DOCDIR     ?= $(PREFIX)/share/doc/secretfs
BASHDIR    ?= $(PREFIX)/share/bash-completion/completions
ZSHDIR     ?= $(PREFIX)/share/zsh/site-functions
FISHDIR    ?= $(PREFIX)/share/fish/vendor_completions.d
# mount(8) looks for its helpers there and nowhere else
HELPERDIR  ?= /usr/sbin
# that of the package; a release has one for each Debian
DEB_VERSION ?= $(VERSION)

UNITS := secretfs.service secretfs@.service secretfs-keeper.service
# the pages of the tree where they are beside each other, so that their links are good on a host; the
# manifests are also what remedies of `secretfs doctor` name
DOCS  := README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md LICENSE \
         $(sort $(wildcard docs/*.md docs/*.svg docs/plots/*.svg docs/internals/*.md examples/adopt/* examples/pods/*) \
         $(shell find deploy -type f -not -path '*/__pycache__/*' -not -path 'deploy/deb/*' \
             -not -path 'deploy/image/*' -not -path 'deploy/release/*'))
MANS  := $(sort $(wildcard docs/man/*.[1-8]))

.PHONY: install uninstall deb
install: $(O)/secretfs ## install under DESTDIR: PREFIX (/usr/local), /usr/sbin/mount.fuse.secretfs, /etc/secretfs
	install -D -m 0755 $(O)/secretfs $(DESTDIR)$(PREFIX)/bin/secretfs
	install -m 0755 $(O)/secretfs-keeper $(DESTDIR)$(PREFIX)/bin/secretfs-keeper
	ln -sf secretfs $(DESTDIR)$(PREFIX)/bin/kubectl-secretfs
	install -d $(DESTDIR)$(HELPERDIR) $(DESTDIR)$(UNITDIR)
	ln -sfr $(DESTDIR)$(PREFIX)/bin/secretfs $(DESTDIR)$(HELPERDIR)/mount.fuse.secretfs
	$(Q)set -e; for unit in $(UNITS); do \
	    sed 's|@bindir@|$(PREFIX)/bin|g' systemd/$$unit.in >$(O)/$$unit; \
	    install -m 0644 $(O)/$$unit $(DESTDIR)$(UNITDIR)/$$unit; \
	done
	$(Q)set -e; for man in $(MANS); do \
	    install -D -m 0644 $$man $(DESTDIR)$(MANDIR)/man$${man##*.}/$${man##*/}; \
	done
	ln -sf secretfs.1 $(DESTDIR)$(MANDIR)/man1/kubectl-secretfs.1
	install -D -m 0644 systemd/volume.yaml $(DESTDIR)$(DOCDIR)/examples/volume.yaml
	install -D -m 0644 systemd/mount.env $(DESTDIR)$(DOCDIR)/examples/mount.env
	install -D -m 0644 systemd/commands.conf $(DESTDIR)$(DOCDIR)/examples/commands.conf
	install -D -m 0644 completions/secretfs.bash $(DESTDIR)$(BASHDIR)/secretfs
	install -D -m 0644 completions/_secretfs $(DESTDIR)$(ZSHDIR)/_secretfs
	install -D -m 0644 completions/secretfs.fish $(DESTDIR)$(FISHDIR)/secretfs.fish
	install -m 0755 completions/kubectl_complete-secretfs $(DESTDIR)$(PREFIX)/bin/kubectl_complete-secretfs
	$(Q)set -e; for file in $(DOCS); do \
	    install -D -m 0644 $$file $(DESTDIR)$(DOCDIR)/$$file; \
	done
	ln -sfrT $(DESTDIR)$(MANDIR) $(DESTDIR)$(DOCDIR)/docs/man
	install -d -m 0755 $(DESTDIR)$(SYSCONFDIR)/secretfs/volumes.d
	@# a changed file stays
	test -e $(DESTDIR)$(SYSCONFDIR)/secretfs/node.yaml || \
	    install -m 0644 systemd/node.yaml $(DESTDIR)$(SYSCONFDIR)/secretfs/node.yaml

uninstall: ## take away what install put there, but no configuration
	rm -f $(DESTDIR)$(PREFIX)/bin/secretfs $(DESTDIR)$(PREFIX)/bin/secretfs-keeper
	rm -f $(DESTDIR)$(PREFIX)/bin/kubectl-secretfs $(DESTDIR)$(PREFIX)/bin/kubectl_complete-secretfs
	rm -f $(DESTDIR)$(BASHDIR)/secretfs $(DESTDIR)$(ZSHDIR)/_secretfs $(DESTDIR)$(FISHDIR)/secretfs.fish
	rm -f $(DESTDIR)$(HELPERDIR)/mount.fuse.secretfs
	rm -f $(UNITS:%=$(DESTDIR)$(UNITDIR)/%)
	$(Q)for man in $(MANS); do rm -f $(DESTDIR)$(MANDIR)/man$${man##*.}/$${man##*/}; done
	rm -f $(DESTDIR)$(MANDIR)/man1/kubectl-secretfs.1
	rm -rf $(DESTDIR)$(DOCDIR)

deb: needs-deb ## build a Debian package in build/
	$(MAKE) $(PARALLEL) $(O)/secretfs
	deploy/deb/build.sh '$(DEB_VERSION)' '$(MAKE)'

# ---- tests of all this

.PHONY: systemd-test
systemd-test: needs-systemd deb ## tests of the package and the units, in a container with systemd
	$(PYTHON) -m pytest -q -rsfE -p no:cacheprovider tests/integration/systemd
