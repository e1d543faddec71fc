# evbus. `make help` says what there is; every output lies under build/ (B=DIR for another place).

VERSION := $(shell sed -n 's/^.define EVB_VERSION "\(.*\)"$$/\1/p' lib/base/version.h)
SOVERSION = 0

PREFIX = /usr/local
BINDIR = $(PREFIX)/bin
LIBDIR = $(PREFIX)/lib
INCLUDEDIR = $(PREFIX)/include
DATADIR = $(PREFIX)/share
MANDIR = $(DATADIR)/man
UNITDIR = $(PREFIX)/lib/systemd
ZSHDIR = $(DATADIR)/zsh/site-functions
DESTDIR =
INSTALL = install

B = build
OPT = -O2 -g
WARN = -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes
PKG_CONFIG = pkg-config

ifneq ($(filter 1 true,$(CI) $(WERROR)),)
WARN += -Werror
endif
# SAN=1 is what `make asan` sets.
ifeq ($(SAN),1)
SANITIZE = -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
LINK_ZMQ = shared
endif
# FUZZ=1, with clang, is what `make fuzz` sets: libFuzzer is main of the fuzz targets.
ifeq ($(FUZZ),1)
SANITIZE += -fsanitize=fuzzer-no-link
FUZZ_MAIN = -fsanitize=fuzzer
else
FUZZ_MAIN = $(B)/obj/tests/fuzz/replay.o
endif

ZMQ_CFLAGS := $(shell $(PKG_CONFIG) --cflags libzmq 2>/dev/null)
CPPFLAGS += -D_GNU_SOURCE -Ilib
EVB_CFLAGS = -std=c11 -fvisibility=hidden -fPIC $(WARN) $(OPT) $(SANITIZE) $(ZMQ_CFLAGS) $(CFLAGS)
EVB_LDFLAGS = $(SANITIZE) -Wl,-O1,--as-needed,-z,relro,-z,now $(LDFLAGS)
LIBS = -lzmq -lmsgpackc -llmdb -linih -ljansson -lpthread -lm

# ---- what is made of what ----

# libevbus: the client's side. The hub archive: the rest of lib, for evbusd and evctl only; never installed.
LINK_C := $(wildcard lib/net/link*.c lib/net/url.c)
API_C := $(wildcard lib/base/*.c) $(wildcard lib/event/*.c) $(LINK_C) $(wildcard lib/client/*.c) $(wildcard lib/run/*.c)
HUB_C := $(wildcard lib/journal/*.c) $(wildcard lib/hub/*.c) $(filter-out $(LINK_C),$(wildcard lib/net/*.c))
# JSON (jansson), output formats and expressions (libjq) are for the programs: the public API has none of them, and
# libevbus.so goes without, and without what only evctl looks at.
SO_C := $(filter-out $(patsubst %,lib/event/%.c,json format expr jv_event where) lib/client/watch.c lib/run/%,$(API_C))
# A program is cmd/NAME.c; what else lies in cmd/ is theirs together.
PROGRAMS := $(filter evbusd evpub evsub evctl evfold evcmd evlisten evrun,$(patsubst cmd/%.c,%,$(wildcard cmd/*.c)))
SHARED_C := $(filter-out $(PROGRAMS:%=cmd/%.c),$(wildcard cmd/*.c)) $(wildcard lib/spool/*.c)
UNIT_C := $(wildcard tests/unit/test_*.c)
UNIT_SHARED_C := $(filter-out $(UNIT_C),$(wildcard tests/unit/*.c))
BENCH_C := $(filter-out tests/bench/line.c,$(wildcard tests/bench/*.c))
FUZZ_C := $(wildcard tests/fuzz/fuzz_*.c)
FUZZ_SHARED_C := $(filter-out $(FUZZ_C) tests/fuzz/replay.c,$(wildcard tests/fuzz/*.c))
MANUALS := $(wildcard man/*.[1-8])

API_O := $(API_C:%.c=$(B)/obj/%.o)
HUB_O := $(HUB_C:%.c=$(B)/obj/%.o)
SHARED_O := $(SHARED_C:%.c=$(B)/obj/%.o)
BINS := $(PROGRAMS:%=$(B)/bin/%)
UNITS := $(UNIT_C:tests/unit/%.c=$(B)/unit/%)
BENCHES := $(BENCH_C:tests/bench/%.c=$(B)/bench/%)
FUZZERS := $(FUZZ_C:tests/fuzz/fuzz_%.c=$(B)/targets/%)
SO := $(B)/lib/libevbus.so.$(SOVERSION)
LIBRARIES := $(B)/lib/libevbus.a $(SO) $(B)/lib/libevbus.so
BASH_COMPLETIONS := $(PROGRAMS:%=$(B)/share/bash-completion/completions/%)
ZSH_COMPLETIONS := $(PROGRAMS:%=$(B)/share/zsh/site-functions/_%)

# ---- targets ----

.PHONY: all help programs libraries completions units fuzzers instruments check try asan faults fuzz bench soak deb
.PHONY: stranger lint format install uninstall clean
.DELETE_ON_ERROR:
# One line for each thing made; V=1 shows the commands.
ifneq ($(V),1)
Q = @
SAY = @echo '  $(1) $(@:$(B)/%=%)'
endif
.SECONDARY:
MAKEFLAGS += --no-builtin-rules

all: programs libraries completions

help:
	@echo 'make            the programs and libraries, in $(B)/'
	@echo 'make try        carries real lines through a hub and back; installs by apt what is missing'
	@echo 'make check      builds, checks and tests everything; installs by apt what is missing'
	@echo 'make asan       the tests with AddressSanitizer and UndefinedBehaviorSanitizer, in build/asan'
	@echo 'make faults     kills, full and failing disks, power failures, cut connections: what is lost? Half an hour; --short in check'
	@echo 'make fuzz       libFuzzer on every parser, FUZZ_SECONDS (600) each, FUZZ_JOBS at once; TARGETS: only these'
	@echo 'make bench      measures beside mosquitto, redis and NATS, which it installs by apt: build/bench/report.md, plots;'
	@echo '                BENCH=--quick: in some minutes; BENCH=--help: what else'
	@echo 'make soak       SOAK_SECONDS=7200 of mixed work; whether memory, files and latency stay flat; build/soak/report.md'
	@echo 'make lint       format, manuals, cppcheck and shellcheck, as far as they are there'
	@echo 'make format     brings every C file into form (clang-format)'
	@echo 'make deb        Debian packages, in $(B)/deb, looked at by lintian'
	@echo 'make stranger   all that README and manuals say, in a fresh Debian root (as root, by debootstrap)'
	@echo 'make install    DESTDIR= PREFIX=$(PREFIX); make uninstall takes away the same'
	@echo 'make clean      removes $(B)/'
	@echo 'V=1 shows the commands; WERROR=1 or CI=1: warnings are errors; LINK_ZMQ=shared: evpub and evsub take libzmq.so;'
	@echo 'CC, CFLAGS, LDFLAGS as usual.'

programs: $(BINS)
libraries: $(LIBRARIES)
completions: $(BASH_COMPLETIONS) $(ZSH_COMPLETIONS)
units: $(UNITS) $(B)/soak/stream
fuzzers: $(FUZZERS)

check:
	@B='$(B)' MAKE='$(MAKE)' scripts/check

try:
	@B='$(B)' MAKE='$(MAKE)' scripts/try

asan:
	@B=build/asan SAN=1 MAKE='$(MAKE)' scripts/check

faults: programs
	@scripts/deps faults
	@B='$(B)' CC='$(CC)' scripts/faults

fuzz:
	@MAKE='$(MAKE)' scripts/fuzz

# scripts/bench installs the peers first, then has `make instruments` make what measures them: the clients of those whose
# libraries are there.
bench:
	@B='$(B)' MAKE='$(MAKE)' scripts/bench $(BENCH)

BENCH_NEEDS = nats_pipe:nats/nats.h redis_pipe:hiredis/hiredis.h
NO_BENCHES = $(foreach n,$(BENCH_NEEDS),$(if $(wildcard /usr/include/$(word 2,$(subst :, ,$(n)))),,%/$(word 1,$(subst :, ,$(n)))))
instruments: $(filter-out $(NO_BENCHES),$(BENCHES))

# What scripts/soak sends and checks its lines with.
$(B)/soak/stream: $(B)/obj/tests/soak/stream.o $(B)/obj/tests/bench/line.o
	@mkdir -p $(@D)
	$(call SAY,LINK)
	$(Q)$(CC) $(EVB_LDFLAGS) -o $@ $^

soak:
	@scripts/deps build plots
	@$(MAKE) --no-print-directory all $(B)/soak/stream
	@B='$(B)' scripts/soak

deb:
	@B='$(B)' scripts/deb

stranger:
	@B='$(B)' scripts/stranger

lint:
	@B='$(B)' scripts/lint

format:
	@scripts/check-format --write

clean:
	rm -rf '$(B)'

# ---- how ----

$(B)/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call SAY,CC  )
	$(Q)$(CC) $(CPPFLAGS) $(EVB_CFLAGS) -MMD -MP -c -o $@ $<

# cmocka gives every test a void **state, passes integers of all widths, and clang does not know that its asserts leave.
$(B)/obj/tests/unit/%.o: WARN += -Wno-conversion -Wno-unused-parameter -Wno-sometimes-uninitialized
$(B)/obj/tests/unit/%.o: CPPFLAGS += -Itests/unit

$(B)/obj/tests/fuzz/%.o: CPPFLAGS += -Icmd -Itests/fuzz

$(B)/lib/libevbus.a: $(API_O)
$(B)/lib/libevbushub.a: $(HUB_O)
$(B)/lib/libcmd.a: $(SHARED_O)
$(B)/lib/libunit.a: $(UNIT_SHARED_C:%.c=$(B)/obj/%.o)
$(B)/lib/%.a:
	@mkdir -p $(@D)
	@rm -f $@
	$(call SAY,AR  )
	$(Q)$(AR) rcs $@ $^

$(SO): $(SO_C:%.c=$(B)/obj/%.o)
	@mkdir -p $(@D)
	$(call SAY,LINK)
	$(Q)$(CC) -shared -Wl,-soname,$(@F) -Wl,-z,defs -Wl,--exclude-libs,ALL $(EVB_LDFLAGS) -o $@ $^ -lzmq -lmsgpackc -lpthread

$(B)/lib/libevbus.so: $(SO)
	$(call SAY,LINK)
	$(Q)ln -sf $(<F) $@

# How evpub and evsub get libzmq. They often live for a few milliseconds only, and libzmq.so with the 14 libraries that
# it brings takes 2 ms to load, most of it for krb5 and libstdc++; linked statically it is 0.3 ms (all beside the 0.7 ms
# of an empty program). So they take the archives where those are and link, without the GSSAPI mechanism, which evbus
# never asks for: its symbols are given the address of abort. Else, or with LINK_ZMQ=shared, they take libzmq.so as the
# hub always does. The choice is a file of linker arguments.
GSS := accept_sec_context acquire_cred delete_sec_context display_name import_name init_sec_context release_buffer \
       release_cred release_name unwrap wrap
ZMQ_STATIC = -static-libgcc -Wl,--gc-sections -Wl,-Bstatic -lzmq -lsodium -lpgm -lnorm -lprotokit -lstdc++ -lbsd -lmd \
             -ljansson -Wl,-Bdynamic $(GSS:%=-Wl,--defsym=gss_%=abort) \
             $(patsubst %,-Wl$(,)--defsym=GSS_C_NT_%=abort,HOSTBASED_SERVICE USER_NAME) -lmsgpackc -lpthread -lm
, := ,
$(B)/zmq.link: Makefile
	@mkdir -p $(@D)
	@printf '%s\n' '#include <stdlib.h>' '#include <zmq.h>' \
	    'int main(void) { return zmq_ctx_new() ? 0 : abs(1); }' >$(B)/probe.c
	@echo '$(ZMQ_STATIC)' >$@
	@if [ '$(LINK_ZMQ)' = shared ] || \
	    ! $(CC) $(CPPFLAGS) $(EVB_CFLAGS) $(EVB_LDFLAGS) -o $(B)/probe $(B)/probe.c @$@ 2>$(B)/probe.log || \
	    ! $(B)/probe; then \
	    echo '$(LIBS)' >$@; \
	    echo 'evpub and evsub: libzmq.so (static libzmq: $(if $(LINK_ZMQ),not wanted,see $(B)/probe.log))'; \
	fi

# What evaluates expressions loads libjq; no other program does.
JQ_BINS := $(filter %/evfold %/evsub %/evlisten,$(BINS))
# What draws screens.
TOP_BINS := $(filter %/evctl,$(BINS))
HUB_BINS := $(filter %/evbusd %/evctl,$(BINS))
$(HUB_BINS): $(B)/bin/%: $(B)/obj/cmd/%.o $(B)/lib/libcmd.a $(B)/lib/libevbushub.a $(B)/lib/libevbus.a
	@mkdir -p $(@D)
	$(call SAY,LINK)
	$(Q)$(CC) $(EVB_LDFLAGS) -o $@ $^ $(LIBS) $(if $(filter $(TOP_BINS),$@),-lncursesw -ltinfo)

$(filter-out $(HUB_BINS),$(BINS)): $(B)/bin/%: $(B)/obj/cmd/%.o $(B)/lib/libcmd.a $(B)/lib/libevbushub.a $(B)/lib/libevbus.a \
    $(B)/zmq.link
	@mkdir -p $(@D)
	$(call SAY,LINK)
	$(Q)$(CC) $(EVB_LDFLAGS) -o $@ $(filter-out %.link,$^) @$(B)/zmq.link $(if $(filter $(JQ_BINS),$@),-ljq)

$(UNITS): $(B)/unit/%: $(B)/obj/tests/unit/%.o $(B)/lib/libunit.a $(B)/lib/libcmd.a $(B)/lib/libevbushub.a \
    $(B)/lib/libevbus.a
	@mkdir -p $(@D)
	$(call SAY,LINK)
	$(Q)$(CC) $(EVB_LDFLAGS) -o $@ $^ -lcmocka -ljq $(LIBS)

$(FUZZERS): $(B)/targets/%: $(B)/obj/tests/fuzz/fuzz_%.o $(FUZZ_SHARED_C:%.c=$(B)/obj/%.o) \
    $(if $(FUZZ),,$(FUZZ_MAIN)) $(B)/lib/libcmd.a $(B)/lib/libevbushub.a $(B)/lib/libevbus.a
	@mkdir -p $(@D)
	$(call SAY,LINK)
	$(Q)$(CC) $(EVB_LDFLAGS) $(if $(FUZZ),$(FUZZ_MAIN)) -o $@ $^ -ljq $(LIBS)

$(BENCHES): $(B)/bench/%: $(B)/obj/tests/bench/%.o $(B)/obj/tests/bench/line.o $(B)/lib/libevbus.a
	@mkdir -p $(@D)
	$(call SAY,LINK)
	$(Q)$(CC) $(EVB_LDFLAGS) -o $@ $^ $(LIBS) $(if $(filter nats_pipe,$*),-lnats) $(if $(filter redis_pipe,$*),-lhiredis)

$(BASH_COMPLETIONS): $(B)/share/bash-completion/completions/%: $(B)/bin/%
	@mkdir -p $(@D)
	@$< --print-completion=bash >$@

$(ZSH_COMPLETIONS): $(B)/share/zsh/site-functions/_%: $(B)/bin/%
	@mkdir -p $(@D)
	@$< --print-completion=zsh >$@

# ---- installing ----

D = $(DESTDIR)
UNIT_FILES := $(foreach u,evbusd evlisten,system/$u.service user/$u.service)

install: all
	$(INSTALL) -d '$D$(BINDIR)' '$D$(LIBDIR)/pkgconfig' '$D$(INCLUDEDIR)'
	$(INSTALL) $(BINS) '$D$(BINDIR)'
	$(INSTALL) -m 644 lib/evbus.h '$D$(INCLUDEDIR)'
	$(INSTALL) -m 644 $(B)/lib/libevbus.a $(SO) '$D$(LIBDIR)'
	ln -sf $(notdir $(SO)) '$D$(LIBDIR)/libevbus.so'
	sed 's|@PREFIX@|$(PREFIX)|; s|@LIBDIR@|$(LIBDIR)|; s|@INCLUDEDIR@|$(INCLUDEDIR)|; s|@VERSION@|$(VERSION)|' \
	    scripts/evbus.pc.in >'$D$(LIBDIR)/pkgconfig/evbus.pc'
	for m in $(MANUALS); do \
	    $(INSTALL) -D -m 644 $$m '$D$(MANDIR)'/man$${m##*.}/$${m##*/} || exit; done
	for u in $(UNIT_FILES); do \
	    $(INSTALL) -d '$D$(UNITDIR)'/$${u%/*} && \
	    sed 's|/usr/local/bin|$(BINDIR)|' scripts/systemd/$$u >'$D$(UNITDIR)'/$$u || exit; done
	$(INSTALL) -d '$D$(DATADIR)/bash-completion/completions' '$D$(ZSHDIR)'
	$(INSTALL) -m 644 $(BASH_COMPLETIONS) '$D$(DATADIR)/bash-completion/completions'
	$(INSTALL) -m 644 $(ZSH_COMPLETIONS) '$D$(ZSHDIR)'
	@[ '$D$(LIBDIR)' != /usr/local/lib ] || [ "$$(id -u)" -ne 0 ] || ldconfig # programs find libevbus.so.$(SOVERSION) at once

uninstall:
	rm -f $(PROGRAMS:%='$D$(BINDIR)'/%) '$D$(INCLUDEDIR)/evbus.h' '$D$(LIBDIR)/libevbus.a' \
	    '$D$(LIBDIR)/$(notdir $(SO))' '$D$(LIBDIR)/libevbus.so' '$D$(LIBDIR)/pkgconfig/evbus.pc' \
	    $(UNIT_FILES:%='$D$(UNITDIR)'/%) $(PROGRAMS:%='$D$(DATADIR)/bash-completion/completions'/%) \
	    $(PROGRAMS:%='$D$(ZSHDIR)'/_%)
	for m in $(MANUALS); do rm -f '$D$(MANDIR)'/man$${m##*.}/$${m##*/}; done

-include $(wildcard $(B)/obj/*/*.d $(B)/obj/*/*/*.d)
