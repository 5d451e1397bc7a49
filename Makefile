# libgcalloc: `make help` lists the targets.
#
# MODE=release (default) | debug | hostile selects the variety, each with a build directory of its own:
# debug has assertions; hostile is debug with tiny buffers everywhere and a dawdling
# collector.  `make check MODE=asan` and `MODE=tsan` run the floors that can run under them.

MODE ?= release
PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
MANDIR ?= $(PREFIX)/share/man
INSTALL ?= install
CC ?= cc
AR ?= ar
LD = ld
OBJCOPY ?= objcopy

VERSION = 0.1.0
SONAME = libgcalloc.so.1

ifeq ($(MODE),release)
BUILD = build
else
BUILD = build/$(MODE)
endif

OPTIMISE.release = -O2
OPTIMISE.debug = -O1 -DGCALLOC_DEBUG_CHECKS
OPTIMISE.hostile = -O1 -DGCALLOC_DEBUG_CHECKS -DGCALLOC_HOSTILE
OPTIMISE.clang = -O2

CFLAGS ?= -g
WARNINGS = -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes
CODEGEN = -std=gnu17 -fPIC -fvisibility=hidden -fno-semantic-interposition -ftls-model=initial-exec \
	-fno-stack-protector -fno-builtin-malloc -fno-builtin-calloc -fno-builtin-realloc \
	-fno-builtin-free -fno-strict-aliasing -fno-plt
ALL_CFLAGS = $(CODEGEN) $(OPTIMISE.$(MODE)) $(WARNINGS) $(CFLAGS) $(CPPFLAGS) -Isrc -Iinclude
LIBS = -lpthread -ldl

# In the order of the link: what every process runs comes first and lies together, for each 64 KiB
# of code that are touched cost a fault and count as memory of the process.
EVERYDAY = $(addprefix src/,$(addsuffix .c,api/start api/malloc alloc/refill alloc/release \
	alloc/resize alloc/collect base/options base/lock heap/arena heap/bins heap/mcache heap/ready \
	heap/pages heap/runs heap/huge heap/pages_release heap/sizeclass heap/span os/vm_linux os/host_linux os/vdso_linux \
	world/thread \
	world/fork watch/stats gc/sweep gc/cycle gc/limiter gc/pacer world/stop_answer world/stop alloc/collector))
SOURCES = $(EVERYDAY) \
	$(filter-out src/heap/mksizeclasses.c $(EVERYDAY),$(sort $(wildcard src/*/*.c)))
OBJECTS = $(SOURCES:src/%.c=$(BUILD)/obj/%.o)

.PHONY: all demo test check bench bench-full bench-results bench-spawn bench-pauses bench-throughput leak-table torture install uninstall help clean sizeclasses lint stress
.DELETE_ON_ERROR:

all: $(BUILD)/libgcalloc.so $(BUILD)/libgcalloc.a	## build/libgcalloc.so and build/libgcalloc.a

$(BUILD)/obj/%.o: src/%.c Makefile
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/libgcalloc.so: $(OBJECTS) src/api/exports.map
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) -shared -o $@.tmp $(OBJECTS) -Wl,-soname,$(SONAME) \
		-Wl,--version-script=src/api/exports.map \
		-Wl,-z,now,-z,relro,-z,nodelete,-z,initfirst,-z,noexecstack $(LIBS)
	mv $@.tmp $@
	ln -sf libgcalloc.so $(BUILD)/$(SONAME)

# One object with hidden symbols made local: internal names need no library prefix.
$(BUILD)/libgcalloc.a: $(OBJECTS)
	$(LD) -r -o $(BUILD)/gcalloc.o $(OBJECTS)
	$(OBJCOPY) --localize-hidden $(BUILD)/gcalloc.o
	rm -f $@
	$(AR) rcs $@ $(BUILD)/gcalloc.o

-include $(OBJECTS:.o=.d)

demo: all	## the main job, seen in a minute: a leaking program without and with the library
	tests/demo/run.sh

test:	## everything CI runs; installs what only the tests need
	tests/run.sh

check:	## unit and model tests only; MODE=asan or tsan: the floors that can run under them
	MODE=$(MODE) tests/run.sh unit

stress: all	## the stress programs only
	tests/run.sh stress

torture: all	## every torture configuration, two minutes each
	@mkdir -p build/tests
	$(CC) -std=gnu17 -O1 -g -fno-builtin -Wall -Wextra -Iinclude -Isrc -o build/tests/torture \
		tests/stress/torture.c build/libgcalloc.a -lpthread -ldl -lrt
	tests/stress/torture.sh 120

bench: all	## beside the other mallocs that are installed (minutes); PEERS="name=lib.so ..." adds some
	bench/run.py --quick $(PEERS)

bench-full: all	## the whole comparison (half an hour)
	bench/run.py --full $(PEERS)

bench-results: all	## the whole comparison into bench/RESULTS.md and bench/plots/
	bench/run.py --full --publish $(PEERS)

bench-spawn: all	## start-up and small commands, 1,000 runs each
	bench/spawn.py --full $(PEERS)

bench-pauses: all	## pauses, beside libgc and Go
	bench/pauses.py

bench-throughput: all	## binary trees, GCBench, churn beside libgc, Go and malloc/free
	bench/throughput.py

leak-table: all	## the leak table of README.md
	tests/demo/leak-table.sh

lint:	## floors, headers that compile alone, exported symbols
	tests/tools/lint.sh

sizeclasses:	## regenerate the size class tables
	@mkdir -p build
	$(CC) -O1 -Wall -Wextra -o build/mksizeclasses src/heap/mksizeclasses.c
	build/mksizeclasses header > src/heap/sizeclass_table.h
	build/mksizeclasses > src/heap/sizeclass_table.inc

install: all	## PREFIX, DESTDIR: library, archive, header, gcalloc.pc, gcalloc(7)
	$(INSTALL) -d $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(INCLUDEDIR) $(DESTDIR)$(MANDIR)/man7
	$(INSTALL) -m 755 $(BUILD)/libgcalloc.so $(DESTDIR)$(LIBDIR)/libgcalloc.so.$(VERSION)
	ln -sf libgcalloc.so.$(VERSION) $(DESTDIR)$(LIBDIR)/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(LIBDIR)/libgcalloc.so
	$(INSTALL) -m 644 $(BUILD)/libgcalloc.a $(DESTDIR)$(LIBDIR)/libgcalloc.a
	$(INSTALL) -m 644 include/gcalloc.h $(DESTDIR)$(INCLUDEDIR)/gcalloc.h
	$(INSTALL) -m 644 src/man/gcalloc.7 $(DESTDIR)$(MANDIR)/man7/gcalloc.7
	sed -e 's|@PREFIX@|$(PREFIX)|; s|@LIBDIR@|$(LIBDIR)|; s|@INCLUDEDIR@|$(INCLUDEDIR)|; s|@VERSION@|$(VERSION)|' \
		src/man/gcalloc.pc.in > $(DESTDIR)$(LIBDIR)/pkgconfig/gcalloc.pc

uninstall:	## undo install
	rm -f $(DESTDIR)$(LIBDIR)/libgcalloc.so* $(DESTDIR)$(LIBDIR)/libgcalloc.a \
		$(DESTDIR)$(INCLUDEDIR)/gcalloc.h $(DESTDIR)$(MANDIR)/man7/gcalloc.7 \
		$(DESTDIR)$(LIBDIR)/pkgconfig/gcalloc.pc

help:	## this list
	@sed -n 's/^\([a-z-]*\):.*## /  \1|/p' $(MAKEFILE_LIST) | column -t -s '|'

clean:	## remove build/
	rm -rf build
