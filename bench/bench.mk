# Included by the Makefile: the programs that bench.py measures with.

BENCH_PROGRAMS := $(patsubst bench/%.c,$(O)/bench/%,$(sort $(wildcard bench/*.c)))

.PHONY: bench-programs
bench-programs: $(BENCH_PROGRAMS)

$(BENCH_PROGRAMS): $(O)/bench/%: $(O)/bench/%.o $(O)/libsecretfs.a
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS)

# its memory has to behave as in the program
$(O)/bench/watches: $(O)/base/heap.o
