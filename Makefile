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

# ---- what has to be installed, by Debian package name

BUILD_PACKAGES := make gcc libc6-dev pkg-config libfuse3-dev fuse3 libcurl4-openssl-dev libcjson-dev \
                  libsystemd-dev libssl-dev libyaml-dev
TEST_PACKAGES  := libcmocka-dev python3 python3-pytest python3-yaml openssl nghttp2-proxy \
                  iproute2 procps kubernetes-client
LINT_PACKAGES  := clang clang-format clang-tidy cppcheck mandoc
DEMO_PACKAGES  := python3 openssl kubernetes-client

# ---- how to compile

LIBRARIES := fuse3 libcurl libcjson libsystemd libcrypto libssl yaml-0.1
WARNINGS  := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wwrite-strings \
             -Wpointer-arith -Wcast-qual -Wundef -Wvla -Wformat=2 -Wconversion -Wimplicit-fallthrough \
             -Wnull-dereference -Wredundant-decls
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

ROOMS   := base cache fetcher volume fuse daemon
SOURCES := $(sort $(wildcard $(ROOMS:%=%/*.c)))
# main() and the heap that stands in for malloc belong to the program, not to its tests
PROGRAM_ONLY := daemon/main.c base/heap.c
LIB_OBJECTS  := $(patsubst %.c,$(O)/%.o,$(filter-out $(PROGRAM_ONLY),$(SOURCES)))
PROGRAM_OBJECTS := $(PROGRAM_ONLY:%.c=$(O)/%.o)
UNIT_TESTS := $(patsubst tests/unit/%.c,$(O)/tests/%,$(sort $(wildcard tests/unit/test_*.c)))
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
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS)
	@ln -sf secretfs $(O)/kubectl-secretfs
	@ln -sf secretfs $(O)/mount.fuse.secretfs

$(O)/libsecretfs.a: $(LIB_OBJECTS)
	@rm -f $@
	$(AR) rcs $@ $^

$(O)/include/version.h: VERSION
	@mkdir -p $(@D)
	@echo '#define SECRETFS_VERSION "$(VERSION)"' >$@

$(O)/%.o: %.c $(O)/include/version.h $(O)/flags
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# a change of flags is a change of every object
$(O)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(CC) $(CPPFLAGS) $(ALL_CFLAGS)' | cmp -s - $@ || echo '$(CC) $(CPPFLAGS) $(ALL_CFLAGS)' >$@

-include $(shell find $(O) -name '*.d' 2>/dev/null)

# ---- tests

$(O)/tests/%: $(O)/tests/unit/%.o $(O)/libsecretfs.a
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS) -lcmocka

.PHONY: unit
unit: $(UNIT_TESTS) ## unit tests of one build
	@set -e; for t in $(UNIT_TESTS); do echo "== $$t"; $$t; done
