# Words first: `make` alone says what there is.

PREFIX  = /usr/local
DESTDIR =
CARGO   = cargo
# `make test` takes the same inputs for everybody; these targets take others each time, and say which.
SEED   := $(or $(MAILHAUL_SEED),$(shell od -An -N4 -tu4 /dev/urandom | tr -d ' '))

BIN     = $(DESTDIR)$(PREFIX)/bin
LIB     = $(DESTDIR)$(PREFIX)/lib
SHARE   = $(DESTDIR)$(PREFIX)/share
ETC     = $(DESTDIR)/etc/mailhaul
BUILT   = $(or $(CARGO_TARGET_DIR),target)/release

# What the tests and the demonstration use besides Rust.
PACKAGES = bsdutils bzip2 courier-imap cyrus-imapd dnsmasq-base dovecot-imapd dovecot-lmtpd dovecot-pop3d \
	dovecot-sieve exim4-daemon-light logrotate mutt openssl python3 rspamd systemd unzip xz-utils zip zstd

help:
	@echo 'make demo       builds, starts a private Dovecot with real messages, and brings them home'
	@echo 'make test       runs every test (installs Dovecot and others if root; no service is started)'
	@echo 'make build      builds target/release/mailhauld and mailhaulctl'
	@echo 'make soak       1000 kill -9 each of two polls, a migration and a rollback (an hour); KILLS='
	@echo 'make fuzz       each of the targets in tests/fuzz 10 million times; EXECUTIONS=100000 for fewer'
	@echo 'make faults     every call to disk and source fails once, and is once the last (ninety minutes)'
	@echo 'make power-cuts as root: 50 power cuts each of a poll, a migration and a rollback; CUTS='
	@echo 'make test-systemd'
	@echo '                as root: the real unit under a real systemd, in a throw-away container'
	@echo 'make check      format, lints, documentation: no complaint is allowed'
	@echo 'make install    installs what was built; PREFIX=$(PREFIX), DESTDIR=$(DESTDIR)'
	@echo 'make uninstall  removes it; /etc/mailhaul and /var/lib/mailhaul stay'
	@echo 'make clean      removes what was built'

rust:
	@tests/tools/need-rust.sh

build: rust
	$(CARGO) build --release --locked

demo: rust
	@tests/tools/need-packages.sh dovecot-imapd dovecot-pop3d
	$(CARGO) build --release --locked
	@tests/tools/demo.sh '$(BUILT)'

# Tests wait for servers most of the time: more of them at once than there are processors, and never too many servers.
THREADS = $(shell n=$$(($$(nproc) * 2 + 1)); echo $$((n < 16 ? n : 16)))
test: rust
	@tests/tools/need-packages.sh $(PACKAGES)
	RUST_TEST_THREADS=$(THREADS) $(CARGO) test --locked

# Not part of `make test`: it needs root, and a kernel that lets a container be made.
test-systemd: rust
	@tests/tools/need-packages.sh systemd systemd-container dbus dovecot-imapd dovecot-pop3d
	$(CARGO) build --release --locked
	@tests/tools/systemd-box.sh '$(BUILT)'

KILLS = 1000
soak: rust
	@tests/tools/need-packages.sh $(PACKAGES)
	MAILHAUL_SEED=$(SEED) MAILHAUL_KILLS=$(KILLS) $(CARGO) test --locked --test crash -- --nocapture --test-threads 1

# Stable Rust is enough; a C++ compiler for libFuzzer, which comes with its crate.
EXECUTIONS = 10000000
fuzz: rust
	@EXECUTIONS='$(EXECUTIONS)' SEED='$(SEED)' CARGO='$(CARGO)' tests/tools/fuzz.sh

# `make test` takes a spread of these.
faults: rust
	@tests/tools/need-packages.sh $(PACKAGES)
	MAILHAUL_SEED=$(SEED) MAILHAUL_FAULTS=all $(CARGO) test --locked --test faults -- --nocapture

# Not part of `make test`: it needs root and a loop device.
CUTS = 50
power-cuts: rust
	@tests/tools/need-packages.sh $(PACKAGES)
	MAILHAUL_SEED=$(SEED) MAILHAUL_CUTS=$(CUTS) $(CARGO) test --locked --test power -- --ignored --nocapture --test-threads 1

check: rust
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps
	@if command -v cargo-deny >/dev/null; then $(CARGO) deny --locked check licenses bans sources; fi

# Does not build, so that root needs no Rust: run `make build` first.
install:
	@test -x '$(BUILT)/mailhauld' -a -x '$(BUILT)/mailhaulctl' || \
		{ echo 'Nothing is built yet: run make build first (as yourself, not as root).' >&2; exit 1; }
	install -d '$(BIN)' '$(LIB)/systemd/system' '$(LIB)/sysusers.d' '$(LIB)/tmpfiles.d'
	install -m 0755 '$(BUILT)/mailhauld' '$(BUILT)/mailhaulctl' '$(BIN)/'
	sed 's#^ExecStart=/usr/bin/#ExecStart=$(PREFIX)/bin/#' systemd/mailhauld.service \
		> '$(LIB)/systemd/system/mailhauld.service'
	chmod 0644 '$(LIB)/systemd/system/mailhauld.service'
	install -m 0644 systemd/mailhauld.socket '$(LIB)/systemd/system/mailhauld.socket'
	install -m 0644 systemd/mailhaul.sysusers '$(LIB)/sysusers.d/mailhaul.conf'
	install -m 0644 systemd/mailhaul.tmpfiles '$(LIB)/tmpfiles.d/mailhaul.conf'
	install -d '$(SHARE)/mailhaul' '$(SHARE)/doc/mailhaul'
	install -m 0644 systemd/vmail.conf '$(SHARE)/mailhaul/vmail.conf'
	install -m 0644 config/mailhaul.logrotate '$(SHARE)/mailhaul/mailhaul.logrotate'
	install -m 0644 README.md LICENSE-MIT LICENSE-APACHE '$(SHARE)/doc/mailhaul/'
	install -d '$(ETC)' '$(ETC)/servers.d'
	test -d '$(ETC)/accounts.d' || install -d -m 0750 '$(ETC)/accounts.d'
	test -e '$(ETC)/mailhaul.toml' || install -m 0644 config/mailhaul.toml '$(ETC)/mailhaul.toml'
	@for f in config/accounts.d/*.example config/servers.d/*.example; do \
		test -e "$$f" || continue; d='$(ETC)'/$${f#config/}; \
		test -e "$$d" || install -m 0644 "$$f" "$$d"; done
	@for f in man/*.[1-8]; do test -e "$$f" || continue; s=$${f##*.}; \
		install -d "$(SHARE)/man/man$$s"; install -m 0644 "$$f" "$(SHARE)/man/man$$s/"; done
	install -d '$(SHARE)/bash-completion/completions' '$(SHARE)/zsh/site-functions' \
		'$(SHARE)/fish/vendor_completions.d'
	'$(BUILT)/mailhaulctl' completions bash > '$(SHARE)/bash-completion/completions/mailhaulctl'
	'$(BUILT)/mailhaulctl' completions zsh > '$(SHARE)/zsh/site-functions/_mailhaulctl'
	'$(BUILT)/mailhaulctl' completions fish > '$(SHARE)/fish/vendor_completions.d/mailhaulctl.fish'
	@echo; echo 'Next, as root:'
	@echo '  systemd-sysusers && systemd-tmpfiles --create mailhaul.conf'
	@echo '  systemctl daemon-reload && systemctl enable --now mailhauld'

uninstall:
	rm -f '$(BIN)/mailhauld' '$(BIN)/mailhaulctl'
	rm -f '$(LIB)/systemd/system/mailhauld.service' '$(LIB)/systemd/system/mailhauld.socket'
	rm -f '$(LIB)/sysusers.d/mailhaul.conf' '$(LIB)/tmpfiles.d/mailhaul.conf'
	rm -f '$(SHARE)/man/man8/mailhauld.8' '$(SHARE)/man/man1/mailhaulctl.1' '$(SHARE)/man/man5/mailhaul.toml.5'
	rm -f '$(SHARE)/bash-completion/completions/mailhaulctl' '$(SHARE)/zsh/site-functions/_mailhaulctl' \
		'$(SHARE)/fish/vendor_completions.d/mailhaulctl.fish'
	rm -rf '$(SHARE)/mailhaul' '$(SHARE)/doc/mailhaul'
	@echo 'Settings, definitions and progress stay in /etc/mailhaul and /var/lib/mailhaul.'

clean:
	$(CARGO) clean

.PHONY: help rust build demo test test-systemd soak faults power-cuts fuzz check install uninstall clean
.DEFAULT_GOAL := help
