# secretfs: `make help` says what there is.
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

# commands are shown by what they make; V=1 shows them whole
Q := $(if $(V),,@)
say = $(if $(V),@:,@printf '  %-4s %s\n' $(1) $(2))

# ---- what has to be installed, by Debian package name

BUILD_PACKAGES := make gcc libc6-dev pkg-config libfuse3-dev fuse3 libcurl4-openssl-dev libcjson-dev \
                  libsystemd-dev libssl-dev libyaml-dev libnghttp2-dev libprotobuf-c-dev \
                  protobuf-c-compiler libmicrohttpd-dev
TEST_PACKAGES  := libcmocka-dev ca-certificates curl strace python3 python3-pytest python3-yaml openssl \
                  nghttp2-proxy iproute2 procps kubernetes-client python3-h2 python3-grpcio \
                  python3-prometheus-client
NODE_PACKAGES  := containerd runc busybox-static containernetworking-plugins
LINT_PACKAGES  := clang clang-format clang-tidy cppcheck mandoc
DEMO_PACKAGES  := python3 openssl kubernetes-client

# ---- how to compile

LIBRARIES := fuse3 libcurl libcjson libsystemd libcrypto libssl yaml-0.1 \
             libnghttp2 libprotobuf-c libmicrohttpd
WARNINGS  := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wwrite-strings \
             -Wpointer-arith -Wcast-qual -Wundef -Wvla -Wformat=2 -Wconversion -Wimplicit-fallthrough \
             -Wnull-dereference -Wredundant-decls -Wno-unused-parameter
ifeq ($(findstring clang,$(CC)),)
WARNINGS  += -Wlogical-op -Wduplicated-cond -Wduplicated-branches
endif
ifneq ($(CI)$(WERROR),)
WARNINGS  += -Werror
endif

HARDENING       := -D_FORTIFY_SOURCE=2 -fstack-protector-strong
CFLAGS_release  := -O2 -g $(HARDENING)
CFLAGS_debug    := -O0 -g3
CFLAGS_asan     := -O1 -g3 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
CFLAGS_tsan     := -O1 -g3 -fsanitize=thread -fno-omit-frame-pointer
CFLAGS_fuzz     := -O1 -g3 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
CFLAGS_coverage := -O0 -g3 --coverage
# gcc sees NULL where the sanitizers' own checks branch
ifneq ($(filter asan tsan coverage,$(BUILD)),)
WARNINGS        := $(filter-out -Wnull-dereference,$(WARNINGS))
endif

CPPFLAGS := -I. -I$(O)/include -D_GNU_SOURCE -DFUSE_USE_VERSION=314 \
            $(shell pkg-config --cflags $(LIBRARIES) 2>/dev/null)
ALL_CFLAGS := -std=gnu17 $(WARNINGS) $(CFLAGS_$(BUILD)) -fPIE $(CFLAGS)
LDLIBS   := $(shell pkg-config --libs $(LIBRARIES) 2>/dev/null) -lpthread
ALL_LDFLAGS := -pie -Wl,-z,relro,-z,now -Wl,--as-needed $(filter -fsanitize=% --coverage,$(CFLAGS_$(BUILD))) $(LDFLAGS)

# ---- what to compile

ROOMS   := base encoding cache fetcher fetcher/http fetcher/auth fetcher/api fetcher/manifests volume fuse grpc csi \
           serve monitor node cmd cmd/shared cmd/mount cmd/exec cmd/status cmd/doctor
SOURCES := $(sort $(wildcard $(ROOMS:%=%/*.c)))
# main() and the heap that stands in for malloc belong to the program, not to its tests
PROGRAM_ONLY := cmd/main.c base/heap.c
# what protoc-c makes of a .proto lies beside version.h, and is not held to our warnings
MESSAGES := $(patsubst %.proto,$(O)/include/%.pb-c,$(sort $(wildcard $(ROOMS:%=%/*.proto))))
GENERATED := $(O)/include/version.h $(MESSAGES:%=%.h)
LIB_OBJECTS  := $(patsubst %.c,$(O)/%.o,$(filter-out $(PROGRAM_ONLY),$(SOURCES))) $(MESSAGES:%=%.o)
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

$(O)/secretfs: $(PROGRAM_OBJECTS) $(O)/libsecretfs.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS)
	@ln -sf secretfs $(O)/kubectl-secretfs

$(O)/libsecretfs.a: $(LIB_OBJECTS)
	@rm -f $@
	$(call say,AR,$@)
	$(Q)$(AR) rcs $@ $^

$(O)/include/version.h: VERSION
	@mkdir -p $(@D)
	@echo '#define SECRETFS_VERSION "$(VERSION)"' >$@

$(MESSAGES:%=%.c) $(MESSAGES:%=%.h) &: $(wildcard $(ROOMS:%=%/*.proto))
	@mkdir -p $(O)/include
	$(call say,GEN,$(MESSAGES))
	$(Q)protoc-c --c_out=$(O)/include $^

$(O)/include/%.pb-c.o: $(O)/include/%.pb-c.c $(O)/flags
	$(call say,CC,$@)
	$(Q)$(CC) $(CPPFLAGS) $(ALL_CFLAGS) -w -MMD -MP -c -o $@ $<

$(O)/%.o: %.c $(GENERATED) $(O)/flags
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# a change of flags is a change of every object
$(O)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(CC) $(CPPFLAGS) $(ALL_CFLAGS)' | cmp -s - $@ || echo '$(CC) $(CPPFLAGS) $(ALL_CFLAGS)' >$@

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

.PHONY: unit integration packages-build packages-test packages-e2e packages-lint packages-demo
packages-build:
	@tests/packages.sh $(BUILD_PACKAGES)
packages-test: packages-build
	@tests/packages.sh $(TEST_PACKAGES)
packages-lint: packages-build
	@tests/packages.sh $(LINT_PACKAGES) $(TEST_PACKAGES)
packages-demo: packages-build
	@tests/packages.sh $(DEMO_PACKAGES)

.PHONY: unit-programs
unit-programs: $(UNIT_TESTS)

# most of their time they wait
UNIT_JOBS ?= $(shell echo $$((2 * $$(nproc))))
unit: $(UNIT_TESTS) ## unit tests, in one build
	@$(PYTHON) tests/unit/run.py --jobs $(UNIT_JOBS) $(UNIT_TESTS)

# how many updates the hunters of torn reads see; a sanitizer's are slower and no less telling
TEST_UPDATES ?= $(if $(filter asan tsan,$(BUILD)),500,10000)
integration: $(O)/secretfs $(O)/tests/csi-harness ## tests of the program with mounts, sockets and commands, as root, in one build
	SECRETFS=$(CURDIR)/$(O)/secretfs CSI_HARNESS=$(CURDIR)/$(O)/tests/csi-harness \
	SECRETFS_TEST_UPDATES=$(TEST_UPDATES) \
	    $(PYTHON) -m pytest -q -rsfE -p no:cacheprovider \
	    tests/integration --ignore=tests/integration/systemd

# what is installed shows only in a new make
.PHONY: test
test: packages-test ## all tests but e2e, in debug and again under ASan and UBSan
	$(MAKE) unit integration BUILD=debug
	$(MAKE) unit integration BUILD=asan

.PHONY: test-tsan
test-tsan: packages-test ## unit and mount tests under TSan
	TSAN_OPTIONS=suppressions=$(CURDIR)/tests/tsan.supp $(MAKE) unit integration BUILD=tsan

# releases of Debian that build without a warning and pass the unit tests
DISTROS ?= bookworm trixie sid
.PHONY: distro-check
distro-check: ## build and unit tests on other Debian releases (DISTROS), in chroots, as root
	tools/distro-check.sh $(DISTROS)

# a node's programs are only worth installing where there is a kubelet to go with them
KUBELET := $(wildcard $(or $(KUBE_ASSETS),$(KUBEBUILDER_ASSETS))/kubelet)
packages-e2e: packages-test
	@$(if $(KUBELET),tests/packages.sh $(NODE_PACKAGES))

E2E := SECRETFS=$(CURDIR)/$(O)/secretfs $(PYTHON) -m pytest -q -rsfE -p no:cacheprovider
.PHONY: e2e e2e-api e2e-node
e2e: packages-e2e ## tests against a real API server (KUBEBUILDER_ASSETS), on a real node (KUBE_ASSETS), under systemd
	$(MAKE) $(O)/secretfs
	$(MAKE) e2e-api
	$(MAKE) e2e-node
	$(MAKE) systemd-test

e2e-api:
	$(E2E) tests/e2e --ignore=tests/e2e/node

e2e-node:
	$(E2E) tests/e2e/node

.PHONY: demo
demo: packages-demo ## see a running program pick up a changed secret, from an API and from manifests
	$(MAKE) all
	$(PYTHON) examples/demo/demo.py

-include bench/bench.mk

.PHONY: bench
bench: packages-test ## measure, and write the numbers to build/bench.json
	$(MAKE) all
	$(MAKE) -C . bench-programs
	$(PYTHON) bench/bench.py --secretfs $(CURDIR)/$(O)/secretfs --json build/bench.json

FUZZ_SECONDS ?= 30
.PHONY: fuzz
fuzz: packages-lint ## run each fuzz target for FUZZ_SECONDS (30)
	$(MAKE) fuzz-targets BUILD=fuzz
	@set -e; for t in $(notdir $(FUZZ_TARGETS)); do \
	    mkdir -p build/fuzz/corpus/$$t; \
	    echo "== $$t"; \
	    build/fuzz/fuzz/$$t -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 \
	        build/fuzz/corpus/$$t tests/fuzz/corpus/$${t#fuzz_} 2>&1 | tail -12; \
	done

.PHONY: fuzz-targets
fuzz-targets: $(FUZZ_TARGETS)

$(O)/fuzz/%: $(O)/tests/fuzz/%.o $(O)/libsecretfs.a
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(LDLIBS)

# ---- keeping it clean

BANNED := strtok|sprintf|vsprintf|strcpy|strcat|strncpy|gets|atoi|atol|gmtime|localtime|ctime|asctime|rand|srand|alloca|system|popen|tmpnam|mktemp

.PHONY: lint format
lint: packages-lint ## format, clang-tidy, cppcheck, banned functions, layering, citations, man page
	$(MAKE) lint-now

.PHONY: lint-now lint-format lint-tidy lint-cppcheck lint-banned lint-layers lint-symbols lint-citations lint-words lint-warnings lint-man lint-python
lint-now: lint-format lint-banned lint-layers lint-citations lint-man lint-python lint-warnings lint-cppcheck lint-tidy
	@echo "lint: clean"

lint-format:
	@clang-format --dry-run --Werror $(C_FILES)

lint-banned:
	@! grep -nE '(^|[^[:alnum:]_])($(BANNED))\(' $(C_FILES) || { echo "these functions are banned" >&2; exit 1; }

lint-layers:
	$(PYTHON) tests/lint/layers.py

lint-symbols: $(LIB_OBJECTS) $(PROGRAM_OBJECTS)
	@$(PYTHON) tests/lint/symbols.py $(O) $(SOURCES)

lint-citations:
	$(PYTHON) tests/lint/citations.py

lint-words:
	$(PYTHON) tests/lint/words.py

lint-man:
	mandoc -T lint -W warning docs/man/*.[1-8]

lint-python:
	$(PYTHON) -m compileall -q tests bench

# both compilers, all warnings as errors; the objects of the first one are then at hand for their symbols
lint-warnings:
	$(MAKE) lint-symbols BUILD=release WERROR=1
	$(MAKE) lint-clang CC=clang WERROR=1 BUILD=debug

.PHONY: lint-clang
lint-clang: $(GENERATED)
	@set -e; for f in $(SOURCES); do clang $(CPPFLAGS) $(ALL_CFLAGS) -fsyntax-only $$f; done

# cppcheck knows neither the cleanup attribute, nor TAKE()'s __typeof__, nor glibc's NULL
CPPCHECK_OFF := memleak internalAstError unknownEvaluationOrder varFuncNullUB missingIncludeSystem ctuuninitvar
# it reads no headers of the system, of which the generated ones ask the version
CPPCHECK_PROTOBUF := -DPROTOBUF_C_VERSION_NUMBER=1004001
lint-cppcheck: $(GENERATED)
	cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr --error-exitcode=1 \
	    $(CPPCHECK_OFF:%=--suppress=%) -I. -I$(O)/include -D_GNU_SOURCE $(CPPCHECK_PROTOBUF) $(ROOMS)

TIDY_FLAGS := $(CPPFLAGS) -std=gnu17 -Wno-unknown-warning-option
lint-tidy: $(GENERATED)
	@printf '%s\n' $(SOURCES) | xargs -P $$(nproc) -n 4 tests/lint/tidy.sh '$(TIDY_FLAGS)'

format: ## apply .clang-format
	clang-format -i $(C_FILES)

# ---- installing

-include systemd/install.mk

.PHONY: clean
clean: ## remove what was built
	rm -rf build
