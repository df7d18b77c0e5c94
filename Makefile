# SPDX-License-Identifier: GPL-2.0-only
#
#   make                   modules, library, scattoctl, selftests
#   make check             every test: native ones, and in a VM on each kernel
#   make check K=6.1 T=x   one kernel ("native" is one too), one test
#   make check-hostile     attacks, faults, fuzzers, races, a soak
#   make check-long        all of both with full counts
#   make check-debug       all of both on kernels with KASAN, lockdep, KCSAN...
#   make demo              scheduler events on screen, two processes exchanging events
#   make bench             scatto beside its peers, half an hour; QUICK=1 for a glance
#   make lint              W=1, sparse, checkpatch, shellcheck
#   make install           library, headers, scattoctl, man pages
#   make modules_install   scatto.ko, scatto_sched.ko
#
#   KDIR=    kernel headers to build the modules against
#   BUILD=   where output goes; nothing is written beside the sources
#   WERROR=1 makes warnings in user-space code errors

BUILD ?= build
override BUILD := $(abspath $(BUILD))
PREFIX ?= /usr/local
export BUILD PREFIX DESTDIR WERROR

# The running kernel's headers, else the newest installed.
ifeq ($(origin KDIR),undefined)
KDIR := $(wildcard /lib/modules/$(shell uname -r)/build)
ifeq ($(KDIR),)
KDIR := $(lastword $(shell ls -d /lib/modules/*/build 2>/dev/null | sort -V))
endif
endif
KVER := $(shell sed -n 's/.*UTS_RELEASE "\(.*\)"/\1/p' $(KDIR)/include/generated/utsrelease.h 2>/dev/null)
KOBJ ?= $(BUILD)/kmod-$(KVER)
# Type information and signatures are extras that need a program and a key.
KBUILD = $(MAKE) -C $(KDIR) M=$(KOBJ) $(if $(shell command -v pahole),,CONFIG_DEBUG_INFO_BTF_MODULES=) \
	 $(if $(wildcard $(KDIR)/certs/signing_key.pem),,CONFIG_MODULE_SIG_ALL=)

all: modules lib selftests

# Modules are built in a folder of links to the sources, one for each set of
# headers: objects of two kernels must not meet, and the kernel's own ways to
# say so (O=, MO=) differ between versions.
KSRC = $(shell find Kbuild kmod uapi selftests/kmod \( -name '*.[ch]' ! -name '*.mod.c' \) -o -name Kbuild)

modules:
	@test -f '$(KDIR)/Makefile' || { echo >&2 'No kernel headers in "$(KDIR)":' \
		'install linux-headers-amd64 or set KDIR.'; exit 1; }
	@mkdir -p $(addprefix $(KOBJ)/,$(sort $(dir $(KSRC))))
	@find $(KOBJ) -xtype l -delete
	@for f in $(KSRC); do test $(KOBJ)/$$f -ef $$f || ln -sf $(CURDIR)/$$f $(KOBJ)/$$f; done
	+flock $(KOBJ)/.lock $(KBUILD) modules

modules_install: modules
	+$(KBUILD) INSTALL_MOD_PATH=$(DESTDIR) modules_install

lib:
	$(MAKE) -C lib

selftests: lib
	$(MAKE) -C selftests

install: lib
	$(MAKE) -C lib install
	install -d $(DESTDIR)$(PREFIX)/include/linux
	install -m 644 uapi/linux/*.h $(DESTDIR)$(PREFIX)/include/linux/
	for page in $(wildcard Documentation/man/*.[1-9]); do \
		install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man$${page##*.} $$page || exit; done

check:
	selftests/deps check
	selftests/check $(if $(K),--kernel '$(K)') $(T)

check-hostile:
	selftests/deps check
	selftests/check $(if $(K),--kernel '$(K)') --hostile $(T)

check-long:
	selftests/deps check
	SCATTO_LONG=1 selftests/check $(if $(K),--kernel '$(K)') --all $(T)

check-debug:
	selftests/deps check debug
	selftests/check --kernel '$(or $(K),7.2-kasan 6.12-kcsan)' --at-once --all $(T)

lint:
	selftests/deps lint
	selftests/lint

demo:
	selftests/deps demo
	selftests/vm/demo

# The figures of the bars, beside their peers; nothing else should run meanwhile.
bench:
	selftests/deps bench
	selftests/deps peers || echo "bench: going on without them"
	selftests/bench/run $(if $(filter-out 0,$(QUICK)),--quick)

clean:
	rm -rf $(BUILD)

.PHONY: all modules modules_install lib selftests install check check-hostile check-long check-debug \
	lint demo bench clean
