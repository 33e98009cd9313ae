# Included by the Makefile: the container image, and builds for arm64.

ARCHITECTURE = $(shell dpkg --print-architecture)
IMAGE       ?= secretfs:$(VERSION)

.PHONY: image
image: needs-image ## build a container image without an engine, build/secretfs-VERSION-ARCHITECTURE.oci.tar
	$(MAKE) $(PARALLEL) $(O)/secretfs
	@rm -rf build/image
	deploy/image/root.py build/image $(O)/secretfs $(O)/secretfs-keeper
	SOURCE_DATE_EPOCH=$(shell git log -1 --format=%ct 2>/dev/null || stat -c %Y VERSION) \
	    deploy/image/archive.py build/image build/secretfs-$(VERSION)-$(ARCHITECTURE).oci.tar $(IMAGE) \
	    org.opencontainers.image.revision=$(shell git rev-parse HEAD 2>/dev/null)
