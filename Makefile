# secretfs: `make help` lists the verbs.
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

BUILD ?= release
ifeq ($(filter $(BUILD),debug release asan tsan fuzz coverage),)
$(error BUILD=$(BUILD) is none of debug release asan tsan fuzz coverage)
endif
VERSION := $(shell cat VERSION)
O       := build/$(BUILD)
CC      := $(if $(filter fuzz,$(BUILD)),clang,$(if $(filter default,$(origin CC)),gcc,$(CC)))
PYTHON  ?= /usr/bin/python3
PREFIX  ?= /usr/local
DESTDIR ?=

# for a make within make, where the outer one was not given -j
PARALLEL = $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$(shell nproc))

# commands are shown by what they make; V=1 shows them whole
Q := $(if $(V),,@)
say = $(if $(V),@:,@printf '  %-4s %s\n' $(1) $(2))

# ---- what has to be installed

# as pkg-config names them, with the oldest version that will do, and their Debian packages
LIBRARIES := fuse3>=3.14:libfuse3-dev libcurl:libcurl4-openssl-dev libcjson:libcjson-dev \
             libsystemd:libsystemd-dev libcrypto:libssl-dev libssl:libssl-dev yaml-0.1:libyaml-dev \
             libnghttp2:libnghttp2-dev libprotobuf-c:libprotobuf-c-dev libmicrohttpd:libmicrohttpd-dev
UNIT_LIBRARIES := cmocka:libcmocka-dev

PACKAGES_build := make gcc libc6-dev pkg-config protobuf-c-compiler fuse3 \
                  $(foreach library,$(LIBRARIES),$(lastword $(subst :, ,$(library))))
PACKAGES_check := libcmocka-dev clang-format python3
PACKAGES_test  := libcmocka-dev binutils ca-certificates curl strace python3 python3-pytest python3-yaml openssl \
                  nghttp2-proxy iproute2 procps kubernetes-client python3-h2 python3-grpcio \
                  python3-prometheus-client
PACKAGES_lint  := clang clang-format clang-tidy cppcheck mandoc pyflakes3 python3
PACKAGES_fuzz  := clang libclang-rt-dev python3
PACKAGES_demo  := python3 openssl kubernetes-client
PACKAGES_deb   := dpkg-dev binutils python3
PACKAGES_image := binutils ca-certificates python3
PACKAGES_systemd := $(PACKAGES_test) $(PACKAGES_deb) debootstrap systemd-container lintian
PACKAGES_distro := debootstrap
PACKAGES_release := $(PACKAGES_distro) git python3
PACKAGES_kernel := $(PACKAGES_test) qemu-system-x86 busybox-static kmod xz-utils debian-archive-keyring
# nothing needs these; tests that do are skipped without them
PACKAGES_extra := zsh fish man-db prometheus
# for the test of the page for browsers, which is skipped without it; not in packages-all, since it is large,
# but CI installs it
PACKAGES_browser := chromium
# The Kubernetes that the end-to-end tests run on: KUBE=newest (the default) or KUBE=oldest takes the
# programs in the directory KUBE_ASSETS_newest or KUBE_ASSETS_oldest; else KUBE_ASSETS, KUBEBUILDER_ASSETS.
KUBE ?= newest
E2E_ASSETS := $(or $(KUBE_ASSETS_$(KUBE)),$(KUBE_ASSETS),$(KUBEBUILDER_ASSETS))
# a node's programs are only worth installing where there is a kubelet to go with them, and does not
# bring its own
PACKAGES_e2e := $(PACKAGES_systemd) $(if $(wildcard $(E2E_ASSETS)/kubelet),busybox-static nginx \
                $(if $(wildcard $(E2E_ASSETS)/containerd),,containerd runc containernetworking-plugins))
PACKAGE_SETS   := build check test lint fuzz demo deb image systemd e2e distro release kernel extra browser
PACKAGES_all   := $(foreach set,$(filter-out browser,$(PACKAGE_SETS)),$(PACKAGES_$(set)))

# packages-X installs what X needs, as root; needs-X fails and names what X needs and is missing.
# Every build checks the libraries that it needs, not the names of packages.
packages_first := $(filter packages-%,$(MAKECMDGOALS))
.PHONY: $(PACKAGE_SETS:%=packages-%) $(PACKAGE_SETS:%=needs-%) packages-all
packages-all: ## install the Debian packages that all verbs need; packages-test, packages-lint, ... those of one
$(PACKAGE_SETS:%=packages-%) packages-all: packages-%:
	@tests/packages.sh install $(sort $(PACKAGES_build) $(PACKAGES_$*))
$(PACKAGE_SETS:%=needs-%): needs-%: $(packages_first)
	@tests/packages.sh check packages-$* $(sort $(PACKAGES_$*))

# ---- how to compile

WARNINGS  := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wwrite-strings \
             -Wpointer-arith -Wcast-qual -Wundef -Wvla -Wformat=2 -Wconversion -Wimplicit-fallthrough \
             -Wnull-dereference -Wredundant-decls -Wno-unused-parameter
ifeq ($(findstring clang,$(CC)),)
WARNINGS  += -Wlogical-op -Wduplicated-cond -Wduplicated-branches
endif
ifneq ($(CI)$(WERROR),)
WARNINGS  += -Werror
endif

# 3 as of gcc 12; a frame larger than a page is touched page by page, so that it cannot jump a guard
HARDENING        = -D_FORTIFY_SOURCE=3 -fstack-protector-strong -fstack-clash-protection \
                   -ftrivial-auto-var-init=zero $(CF_PROTECTION)
# asked for once, when the first recipe needs it: a package verb before may have installed the compiler
CF_PROTECTION    = $(eval CF_PROTECTION := $$(if $$(findstring x86_64,$$(shell $$(CC) -dumpmachine)),-fcf-protection))$(CF_PROTECTION)
# no path of the build directory is in the program: two builds of one tree are equal
CFLAGS_release   = -O2 -g -ffile-prefix-map=$(CURDIR)=. $(HARDENING)
CFLAGS_debug    := -O0 -g3
CFLAGS_asan     := -O1 -g3 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
CFLAGS_tsan     := -O1 -g3 -fsanitize=thread -fno-omit-frame-pointer
CFLAGS_fuzz     := -O1 -g3 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
CFLAGS_coverage := -O0 -g3 --coverage
# gcc sees NULL where the sanitizers' own checks branch
ifneq ($(filter asan tsan coverage,$(BUILD)),)
WARNINGS        := $(filter-out -Wnull-dereference,$(WARNINGS))
endif

# asked for once, when the first recipe needs it: a package verb before may have installed them
pkg_config = $(shell pkg-config $(1) $(foreach library,$(LIBRARIES),$(firstword $(subst >, ,$(subst :, ,$(library))))) 2>/dev/null)
LIBRARY_CFLAGS = $(eval LIBRARY_CFLAGS := $$(call pkg_config,--cflags))$(LIBRARY_CFLAGS)
LIBRARY_LIBS   = $(eval LIBRARY_LIBS := $$(call pkg_config,--libs))$(LIBRARY_LIBS)

CPPFLAGS = -I. -I$(O)/include -D_GNU_SOURCE -DFUSE_USE_VERSION=314 $(LIBRARY_CFLAGS)
ALL_CFLAGS = -std=gnu17 $(WARNINGS) $(CFLAGS_$(BUILD)) -fPIE $(CFLAGS)
# glibc loads libgcc_s by itself for pthread_cancel(3), and aborts where it is missing: an image has what
# a program names, so the program names it
LDLIBS    = $(LIBRARY_LIBS) -lpthread -Wl,--push-state,--no-as-needed -lgcc_s -Wl,--pop-state
ALL_LDFLAGS = -pie -Wl,-z,relro,-z,now -Wl,--as-needed $(filter -fsanitize=% --coverage,$(CFLAGS_$(BUILD))) $(LDFLAGS)

# ---- what to compile

ROOMS   := base encoding cache fetcher fetcher/http fetcher/auth fetcher/api fetcher/manifests volume fuse consumers handover grpc csi \
           serve monitor node keeper cmd cmd/shared cmd/cluster cmd/adopt cmd/audit cmd/mount cmd/exec cmd/status cmd/doctor cmd/observe cmd/rollout
SOURCES := $(sort $(wildcard $(ROOMS:%=%/*.c)))
# main() and the heap that stands in for malloc belong to the program, not to its tests
PROGRAM_ONLY := cmd/main.c base/heap.c
KEEPER_ONLY  := keeper/main.c
# a program of its own, which links nothing but these and libc
KEEPER_SOURCES := $(sort $(wildcard keeper/*.c)) base/clock.c base/error.c base/standard_streams.c
# what protoc-c makes of a .proto lies beside version.h, and is not held to our warnings
MESSAGES := $(patsubst %.proto,$(O)/include/%.pb-c,$(sort $(wildcard $(ROOMS:%=%/*.proto))))
GENERATED := $(O)/include/version.h $(MESSAGES:%=%.h)
# the files of the node's page for browsers, as strings: page.js is ui_page_js
UI_HEADER := $(O)/include/ui_files.h
UI_FILES  := $(sort $(wildcard node/ui/*))
LIB_OBJECTS  := $(patsubst %.c,$(O)/%.o,$(filter-out $(PROGRAM_ONLY) $(KEEPER_ONLY),$(SOURCES))) $(MESSAGES:%=%.o)
PROGRAM_OBJECTS := $(PROGRAM_ONLY:%.c=$(O)/%.o)
UNIT_TESTS := $(patsubst %.c,$(O)/%,$(sort $(wildcard $(ROOMS:%=tests/unit/%/test_*.c))))
FUZZ_TARGETS := $(patsubst tests/fuzz/%.c,$(O)/fuzz/%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
C_FILES := $(shell git ls-files '*.c' '*.h' 2>/dev/null)

.PHONY: all help
all: build/secretfs ## build the program (BUILD=release by default), also as build/secretfs

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "  BUILD=debug|release|asan|tsan|fuzz|coverage chooses the kind of build, WERROR=1 makes warnings errors"

build/secretfs: $(O)/secretfs FORCE
	@ln -sf $(BUILD)/secretfs $@
FORCE:

$(O)/secretfs: $(PROGRAM_OBJECTS) $(O)/libsecretfs.a $(O)/link-flags
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $(filter-out %-flags,$^) $(LDLIBS)
	@ln -sf secretfs $(O)/kubectl-secretfs

# beside it, where `secretfs keeper` looks for it
$(O)/secretfs: | $(O)/secretfs-keeper
$(O)/secretfs-keeper: $(KEEPER_SOURCES:%.c=$(O)/%.o)
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^

$(O)/libsecretfs.a: $(LIB_OBJECTS)
	@rm -f $@
	$(call say,AR,$@)
	$(Q)$(AR) rcs $@ $^

$(O)/include/version.h: VERSION
	@mkdir -p $(@D)
	@echo '#define SECRETFS_VERSION "$(VERSION)"' >$@

$(UI_HEADER): $(UI_FILES)
	@mkdir -p $(@D)
	$(call say,GEN,$@)
	$(Q)for file in $^; do \
	    echo "static const char ui_$$(basename $$file | tr . _)[] ="; \
	    sed 's/[\\"]/\\&/g; s/^/"/; s/$$/\\n"/' $$file; \
	    echo ';'; \
	done >$@

$(MESSAGES:%=%.c) $(MESSAGES:%=%.h) &: $(wildcard $(ROOMS:%=%/*.proto)) | needs-libraries
	@mkdir -p $(O)/include
	$(call say,GEN,$(MESSAGES))
	$(Q)protoc-c --c_out=$(O)/include $^

$(O)/include/%.pb-c.o: $(O)/include/%.pb-c.c $(O)/flags
	$(call say,CC,$@)
	$(Q)$(CC) $(CPPFLAGS) $(ALL_CFLAGS) -w -MMD -MP -c -o $@ $<

$(O)/%.o: %.c $(GENERATED) $(O)/flags | $(UI_HEADER)
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

.PHONY: needs-libraries
needs-libraries: $(packages_first)
	@CC='$(CC)' tools/libraries.sh packages-build $(LIBRARIES:%='%')

# a change of flags is a change of every object
$(O)/flags: FORCE | needs-libraries
	@mkdir -p $(@D)
	@echo '$(CC) $(CPPFLAGS) $(ALL_CFLAGS)' | cmp -s - $@ || echo '$(CC) $(CPPFLAGS) $(ALL_CFLAGS)' >$@

$(O)/link-flags: FORCE | needs-libraries
	@mkdir -p $(@D)
	@echo '$(ALL_LDFLAGS) $(LDLIBS)' | cmp -s - $@ || echo '$(ALL_LDFLAGS) $(LDLIBS)' >$@

-include $(shell find $(O) -name '*.d' 2>/dev/null)

# ---- tests

$(O)/tests/unit/%: $(O)/tests/unit/%.o $(O)/libsecretfs.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS) -lcmocka

# a program that the tests of the CSI plug-in play the kubelet to
$(O)/tests/csi-harness: $(O)/tests/integration/csi/harness.o $(O)/libsecretfs.a
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS)

# make would remove them again as intermediate files
.SECONDARY: $(UNIT_TESTS:%=%.o) $(FUZZ_TARGETS:$(O)/fuzz/%=$(O)/tests/fuzz/%.o)

.PHONY: needs-cmocka unit integration test-programs
needs-cmocka: $(packages_first)
	@CC='$(CC)' tools/libraries.sh packages-test $(UNIT_LIBRARIES)
$(UNIT_TESTS:%=%.o): | needs-cmocka

.PHONY: unit-programs
unit-programs: $(UNIT_TESTS)

# UNIT_EMULATOR is what runs programs of another architecture, such as qemu-aarch64
# most of their time they wait
UNIT_JOBS ?= $(shell echo $$((2 * $$(nproc))))
unit: $(UNIT_TESTS) ## unit tests, in one build
	@$(PYTHON) tests/unit/run.py --jobs $(UNIT_JOBS) $(UNIT_EMULATOR:%=--emulator %) $(UNIT_TESTS)

# how many updates the hunters of torn reads see; a sanitizer's are slower and no less telling
TEST_UPDATES ?= $(if $(filter asan tsan,$(BUILD)),500,10000)
integration: $(filter unit,$(MAKECMDGOALS)) needs-test $(O)/secretfs $(O)/tests/csi-harness ## tests of the program with mounts, sockets and commands, as root, in one build
	SECRETFS=$(CURDIR)/$(O)/secretfs CSI_HARNESS=$(CURDIR)/$(O)/tests/csi-harness \
	SECRETFS_TEST_UPDATES=$(TEST_UPDATES) \
	    $(PYTHON) tests/integration/run.py

test-programs: $(UNIT_TESTS) $(O)/secretfs $(O)/tests/csi-harness

# one kind of build after the other, compiled with all processors, tested with nothing beside
define test_build
$(MAKE) $(PARALLEL) test-programs BUILD=$(1)
$(MAKE) unit BUILD=$(1)
$(MAKE) integration BUILD=$(1)
endef
.PHONY: test test-tsan
test: needs-test ## all tests but e2e, in debug and again under ASan and UBSan
	$(call test_build,debug)
	$(call test_build,asan)

test-tsan: export TSAN_OPTIONS = suppressions=$(CURDIR)/tests/tsan.supp
test-tsan: needs-test ## unit and integration tests under TSan
	$(call test_build,tsan)

# releases of Debian that build without a warning and pass the unit tests
DISTROS ?= bookworm trixie sid
.PHONY: distro-check
distro-check: needs-distro ## build, unit tests and what README says on Debian releases (DISTROS), in chroots, as root
	tools/distro-readme.sh $(DISTROS)
	tools/distro-check.sh $(DISTROS)

# releases of Debian that get a package
RELEASE_DISTROS ?= bookworm trixie
.PHONY: release
release: needs-release ## what a release consists of, in build/release-VERSION: sources, packages, images, chart, SBOMs; as root
	deploy/release/release.sh $(VERSION) $(RELEASE_DISTROS)

# a release of Debian, by the kernel that it has
KERNEL ?= bookworm
.PHONY: kernel-check
kernel-check: needs-kernel ## tests of mounts on the kernel of a Debian release (KERNEL), in a virtual machine, as root
	$(MAKE) $(PARALLEL) BUILD=debug build/debug/secretfs build/debug/secretfs-keeper
	tools/kernel-check.sh $(KERNEL) $(KERNEL_TESTS)

# processes that serve readers in loops are killed and replaced; make test does that a few times
STORM_KILLS    ?= 200
STORM_UPGRADES ?= 50
STORM_TESTS := $(addprefix tests/integration/,handover/test_storm.py handover/test_node_storm.py \
                 handover/test_keeper.py keeper/test_upgrade.py)
define storm_of
SECRETFS=$(CURDIR)/build/$(1)/secretfs SECRETFS_TEST_KILLS=$(STORM_KILLS) SECRETFS_TEST_UPGRADES=$(STORM_UPGRADES) \
    nice -n 5 $(PYTHON) -m pytest -q -rsfE -p no:cacheprovider -k 'storm or kills or upgrades_and' $(STORM_TESTS)
endef
.PHONY: storm storm-programs storm-run
storm: needs-test storm-programs storm-run ## readers in loops while the process is killed STORM_KILLS (200) times and upgraded STORM_UPGRADES (50) times, in debug and under ASan

storm-programs:
	$(MAKE) $(PARALLEL) BUILD=debug build/debug/secretfs
	$(MAKE) $(PARALLEL) BUILD=asan build/asan/secretfs

storm-run:
	$(call storm_of,debug)
	$(call storm_of,asan)

E2E := SECRETFS=$(CURDIR)/$(O)/secretfs KUBEBUILDER_ASSETS=$(E2E_ASSETS) KUBE_ASSETS=$(E2E_ASSETS) \
       unshare --mount --propagation private -- $(PYTHON) -m pytest -q -rsfE -p no:cacheprovider
# what differs between releases of Kubernetes, in a few minutes
E2E_QUICK := $(addprefix tests/e2e/,test_volumes.py test_permissions.py node/test_registration.py node/test_rights.py)
.PHONY: e2e e2e-api e2e-node e2e-quick
# The package has a make of its own, which must not compile the same files at the same time. The four
# parts wait most of their time, and depend on nothing of each other.
e2e: needs-e2e ## tests against a real API server, on a real node, under systemd, and the storm; KUBE=newest or oldest, see docs/testing.md
	$(MAKE) $(PARALLEL) $(O)/secretfs
	$(MAKE) storm-programs
	$(MAKE) deb
	$(MAKE) -j4 -Otarget e2e-api e2e-node systemd-test storm-run

e2e-api:
	$(E2E) tests/e2e --ignore=tests/e2e/node

e2e-node:
	$(E2E) tests/e2e/node

e2e-quick: needs-e2e ## the part of e2e that depends on the release of Kubernetes most
	$(MAKE) $(PARALLEL) $(O)/secretfs
	$(E2E) $(E2E_QUICK)

# Without them all of its tests would be skipped.
.PHONY: conformance needs-conformance
needs-conformance:
	@test -x "$(E2E_ASSETS)/e2e.test" || { \
	    echo "make conformance needs Kubernetes' programs with e2e.test in one directory: set KUBE_ASSETS_$(KUBE)=DIR" >&2; \
	    exit 1; \
	}
conformance: needs-conformance needs-e2e ## Kubernetes' own tests of such volumes, with secretfs in the kubelet's place, and csi-sanity
	$(MAKE) $(PARALLEL) $(O)/secretfs
	$(E2E) tests/e2e/node/test_conformance.py

.PHONY: demo
demo: packages-demo ## see a running program pick up a changed secret, from an API and from manifests; installs what it needs
	$(MAKE) $(PARALLEL) all
	$(PYTHON) examples/demo/demo.py

.PHONY: demo-recording
demo-recording: needs-demo ## run the demo, and record it in docs/demo.md and docs/demo.svg
	$(MAKE) $(PARALLEL) all
	$(PYTHON) tools/record-demo.py

-include bench/bench.mk

.PHONY: bench
bench: needs-test ## measure, and write the numbers to build/bench.json
	$(MAKE) $(PARALLEL) all bench-programs
	$(PYTHON) bench/bench.py --secretfs $(CURDIR)/$(O)/secretfs --json build/bench.json

PLOTS ?= build/plots
.PHONY: bench-plots
bench-plots: ## draw build/bench.json, which `make bench` writes, as SVG in PLOTS (build/plots)
	@test -e build/bench.json || { echo "bench-plots: build/bench.json is missing: run make bench"; exit 1; }
	@$(PYTHON) tools/plots.py build/bench.json $(PLOTS)

FUZZ_SECONDS ?= 30
FUZZ_JOBS    ?= $(shell nproc)
.PHONY: fuzz fuzz-corpus
fuzz: needs-fuzz ## run each fuzz target for FUZZ_SECONDS (30), and print executions and coverage
	$(MAKE) $(PARALLEL) fuzz-targets BUILD=fuzz
	@$(PYTHON) tools/fuzz.py --seconds $(FUZZ_SECONDS) --jobs $(FUZZ_JOBS) $(FUZZ_TARGETS:$(O)/%=build/fuzz/%)

fuzz-corpus: needs-fuzz ## run each fuzz target over its seeds, once
	$(MAKE) $(PARALLEL) fuzz-targets BUILD=fuzz
	@$(PYTHON) tools/fuzz.py --seconds 0 --jobs $(FUZZ_JOBS) $(FUZZ_TARGETS:$(O)/%=build/fuzz/%)

.PHONY: fuzz-targets
fuzz-targets: $(FUZZ_TARGETS)

$(O)/fuzz/%: $(O)/tests/fuzz/%.o $(O)/libsecretfs.a
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(LDLIBS)

# ---- keeping it clean

BANNED := strtok|sprintf|vsprintf|strcpy|strcat|strncpy|gets|atoi|atol|gmtime|localtime|ctime|asctime|rand|srand|alloca|system|popen|tmpnam|mktemp|assert_in_range

.PHONY: check lint lint-quick lint-format lint-banned lint-layers lint-symbols lint-words lint-citations lint-man lint-python \
        lint-warnings lint-cppcheck lint-tidy format
check: needs-check ## before each commit: format, layers, words, citations, units; no root, under a minute once it is built
	@$(MAKE) --no-print-directory lint-quick
	@$(MAKE) --no-print-directory $(PARALLEL) unit BUILD=debug
	@echo "check: good"

lint: needs-lint lint-quick lint-man lint-python lint-warnings lint-cppcheck lint-tidy ## format, layers, words, citations, man pages, warnings of two compilers, cppcheck, clang-tidy
	@echo "lint: clean"

lint-quick: lint-format lint-banned lint-layers lint-words lint-citations

lint-format:
	@clang-format --dry-run --Werror $(C_FILES)

lint-banned:
	@! grep -nE '(^|[^[:alnum:]_])($(BANNED))\(' $(C_FILES) || { echo "these functions are banned" >&2; exit 1; }

lint-layers:
	@$(PYTHON) tests/lint/layers.py

lint-symbols: $(LIB_OBJECTS) $(PROGRAM_OBJECTS) $(KEEPER_ONLY:%.c=$(O)/%.o)
	@$(PYTHON) tests/lint/symbols.py $(O) $(SOURCES)

lint-citations:
	@$(PYTHON) tests/lint/citations.py

lint-words:
	@$(PYTHON) tests/lint/words.py

lint-man:
	mandoc -T lint -W warning docs/man/*.[1-8]

lint-python:
	$(PYTHON) -m compileall -q bench deploy examples tests tools
	pyflakes3 bench deploy examples tests tools

# both compilers, all warnings as errors; the objects of the first one are then at hand for their symbols
lint-warnings:
	$(MAKE) $(PARALLEL) lint-symbols BUILD=release WERROR=1
	$(MAKE) lint-clang CC=clang WERROR=1 BUILD=debug

.PHONY: lint-clang
lint-clang: $(GENERATED) $(UI_HEADER)
	@printf '%s\n' $(SOURCES) | xargs -P $$(nproc) -n 1 clang $(CPPFLAGS) $(ALL_CFLAGS) -fsyntax-only

# cppcheck knows neither the cleanup attribute, nor TAKE()'s __typeof__, nor glibc's NULL
CPPCHECK_OFF := memleak internalAstError unknownEvaluationOrder varFuncNullUB missingIncludeSystem ctuuninitvar
# it reads no headers of the system, of which the generated ones ask the version
CPPCHECK_PROTOBUF := -DPROTOBUF_C_VERSION_NUMBER=1004001
lint-cppcheck: $(GENERATED) $(UI_HEADER)
	cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr --error-exitcode=1 \
	    $(CPPCHECK_OFF:%=--suppress=%) -I. -I$(O)/include -D_GNU_SOURCE $(CPPCHECK_PROTOBUF) $(ROOMS)

TIDY_FLAGS = $(CPPFLAGS) -std=gnu17 -Wno-unknown-warning-option
lint-tidy: $(GENERATED) $(UI_HEADER)
	@printf '%s\n' $(SOURCES) | xargs -P $$(nproc) -n 4 tests/lint/tidy.sh '$(TIDY_FLAGS)'

format: ## apply .clang-format
	clang-format -i $(C_FILES)

# ---- for those who work on it

.PHONY: compdb hooks
compdb: $(GENERATED) $(UI_HEADER) ## write compile_commands.json, from which editors learn how sources are compiled
	@$(PYTHON) tools/compdb.py --output compile_commands.json --objects $(O) \
	    --command '$(CC) $(CPPFLAGS) $(ALL_CFLAGS)' $(filter %.c,$(C_FILES))

hooks: ## install git's pre-commit hook: format of staged files, layers, words, citations
	@tools/pre-commit --install

# ---- installing

-include systemd/install.mk
-include deploy/image/image.mk

.PHONY: clean
clean: ## remove what was built
	rm -rf build
