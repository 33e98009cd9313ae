# Included by the Makefile: the container image, and builds for arm64.

IMAGE        ?= secretfs:$(VERSION)
ARCHITECTURE  = $(if $(findstring aarch64,$(shell $(CC) -dumpmachine)),arm64,amd64)
COMMIT        = $(shell git rev-parse HEAD 2>/dev/null)

.PHONY: image image-archive
image: needs-image image-archive ## build a container image without an engine, build/secretfs-VERSION-ARCHITECTURE.oci.tar, and its SPDX document

IMAGE_TIME    = $(or $(SOURCE_DATE_EPOCH),$(shell git log -1 --format=%ct 2>/dev/null || stat -c %Y VERSION))
IMAGE_ARCHIVE = build/secretfs-$(VERSION)-$(ARCHITECTURE).oci.tar

image-archive: $(O)/secretfs
	@rm -rf build/image
	$(Q)deploy/image/root.py build/image $(O)/secretfs $(O)/secretfs-keeper
	$(Q)SOURCE_DATE_EPOCH=$(IMAGE_TIME) deploy/image/archive.py build/image $(IMAGE_ARCHIVE) $(IMAGE) \
	    $(COMMIT:%=org.opencontainers.image.revision=%)
	$(Q)SOURCE_DATE_EPOCH=$(IMAGE_TIME) deploy/release/sbom.py $(VERSION) build/image/usr/bin/secretfs build/image \
	    >$(IMAGE_ARCHIVE:.oci.tar=.spdx.json)

# cross compiler, libraries of arm64, and what runs its programs here
PACKAGES_cross_arm64 := make gcc-aarch64-linux-gnu libc6-dev-arm64-cross pkg-config protobuf-c-compiler qemu-user \
                        $(PACKAGES_image) \
                        $(foreach library,$(LIBRARIES) $(UNIT_LIBRARIES),$(lastword $(subst :, ,$(library))):arm64)

.PHONY: cross-arm64 packages-cross-arm64
cross-arm64: needs-distro ## build for arm64, run unit tests under qemu-user, build the image; in a chroot, as root
	tools/distro-check.sh bookworm:arm64

# as root in a Debian that has arm64 as an architecture
packages-cross-arm64:
	@tests/packages.sh install $(PACKAGES_cross_arm64)
