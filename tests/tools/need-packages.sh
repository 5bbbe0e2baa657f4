#!/bin/sh
# need-packages.sh PACKAGE...
# Makes sure that Debian packages are there. Root: the missing ones are installed, and nothing that
# they bring is started or enabled. Anyone else: told which command to run, and exit status 1.
set -eu

if ! command -v dpkg-query >/dev/null 2>&1; then
    # Not Debian: go by the programs.
    PATH=$PATH:/usr/sbin:/sbin
    missing=
    for package; do
        case $package in
        cyrus-imapd) program=cyrmaster ;;
        dovecot-*) program=dovecot ;;
        exim4-*) program=exim4 ;;
        dnsmasq-base) program=dnsmasq ;;
        systemd) program=systemd-analyze ;;
        systemd-container) program=systemd-nspawn ;;
        dbus) program=dbus-daemon ;;
        *) program=$package ;;
        esac
        command -v "$program" >/dev/null 2>&1 || missing="$missing $program"
    done
    [ -z "$missing" ] && exit 0
    echo "Please install:$missing (here the Debian packages are called: $*)" >&2
    exit 1
fi

is_there() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# Cyrus cannot be installed beside Dovecot, and brings a mail server along: its programs are unpacked where
# nobody else sees them, and only the libraries that they need are installed.
cyrus='cyrus-imapd cyrus-common sasl2-bin'
beside=$(dirname "$0")/../../${CARGO_TARGET_DIR:-target}/cyrus
case ${CARGO_TARGET_DIR:-} in /*) beside=$CARGO_TARGET_DIR/cyrus ;; esac

unpack_cyrus() {
    [ -e "$beside/complete" ] && return
    rm -rf "$beside"
    mkdir -p "$beside"
    echo "Unpacking: $cyrus" >&2
    # shellcheck disable=SC2086
    (cd "$beside" && { apt-get download -q $cyrus || { apt-get update -q && apt-get download -q $cyrus; }; }) >&2
    for archive in "$beside"/*.deb; do
        dpkg-deb -x "$archive" "$beside"
    done
    rm "$beside"/*.deb
    touch "$beside/complete"
}

libraries_of_cyrus() {
    # shellcheck disable=SC2086
    apt-cache depends --important $cyrus | sed -n 's/^ *Depends: \(lib[^ <]*\)$/\1/p' | sort -u
}

missing=
wants_cyrus=no
for package; do
    case $package in
    cyrus-imapd)
        is_there cyrus-imapd && continue
        wants_cyrus=yes
        for library in $(libraries_of_cyrus); do
            is_there "$library" || missing="$missing $library"
        done
        ;;
    *) is_there "$package" || missing="$missing $package" ;;
    esac
done
if [ -z "$missing" ]; then
    [ "$wants_cyrus" = no ] || unpack_cyrus
    exit 0
fi

if [ "$(id -u)" != 0 ]; then
    echo "Missing packages. Run as root:" >&2
    echo "  apt-get install --no-install-recommends$missing" >&2
    case $missing in
    *dovecot*) echo "(Only the programs are needed: systemctl disable --now dovecot if you do not want the service.)" >&2 ;;
    esac
    exit 1
fi

had_dovecot=no
is_there dovecot-core && had_dovecot=yes

# Packages ask policy-rc.d before they start anything; 101 is no. One that is there is left alone.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 1' HUP INT TERM
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
fi

export DEBIAN_FRONTEND=noninteractive
install() {
    # shellcheck disable=SC2086
    RUNLEVEL=1 apt-get install -y -q --no-install-recommends $missing
}
echo "Installing:$missing" >&2
if ! install >&2; then
    apt-get update -q >&2
    install >&2
fi

# Nor at the next boot.
if [ "$had_dovecot" = no ] && is_there dovecot-core && command -v systemctl >/dev/null 2>&1; then
    systemctl disable dovecot.service dovecot.socket >/dev/null 2>&1 || true
fi
[ "$wants_cyrus" = no ] || unpack_cyrus
