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
        courier-imap) program=couriertcpd ;;
        dovecot-*) program=dovecot ;;
        exim4-*) program=exim4 ;;
        dnsmasq-base) program=dnsmasq ;;
        systemd) program=systemd-analyze ;;
        systemd-container) program=systemd-nspawn ;;
        dbus) program=dbus-daemon ;;
        bsdutils) program=script ;;
        xz-utils) program=xz ;;
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

# Cyrus and Courier cannot be installed beside Dovecot, and Cyrus brings a mail server along: their programs are
# unpacked where nobody else sees them, and only the libraries that they need are installed.
cyrus='cyrus-imapd cyrus-common sasl2-bin'
courier='courier-imap courier-pop courier-base courier-authlib courier-authlib-userdb'
beside=$(dirname "$0")/../../${CARGO_TARGET_DIR:-target}
case ${CARGO_TARGET_DIR:-} in /*) beside=$CARGO_TARGET_DIR ;; esac

# unpack NAME PACKAGE...
unpack() {
    place=$beside/$1
    shift
    [ -e "$place/complete" ] && return
    rm -rf "$place"
    mkdir -p "$place"
    echo "Unpacking: $*" >&2
    (cd "$place" && { apt-get download -q "$@" || { apt-get update -q && apt-get download -q "$@"; }; }) >&2
    for archive in "$place"/*.deb; do
        dpkg-deb -x "$archive" "$place"
    done
    rm "$place"/*.deb
    touch "$place/complete"
}

unpack_wanted() {
    # shellcheck disable=SC2086
    [ "$wants_cyrus" = no ] || unpack cyrus $cyrus
    # shellcheck disable=SC2086
    [ "$wants_courier" = no ] || unpack courier $courier
}

# Of two that would do, the first. A new machine does not know yet what there is.
want_libraries_of() {
    apt-cache show "$1" >/dev/null 2>&1 || [ "$(id -u)" != 0 ] || apt-get update -q >&2
    for library in $(apt-cache depends --important "$@" |
        sed -n 's/^[ |]*Depends: \(lib[^ <]*\)$/\1/p' | sort -u); do
        is_there "$library" || missing="$missing $library"
    done
}

missing=
wants_cyrus=no
wants_courier=no
for package; do
    case $package in
    cyrus-imapd)
        is_there cyrus-imapd && continue
        wants_cyrus=yes
        # shellcheck disable=SC2086
        want_libraries_of $cyrus
        ;;
    courier-imap)
        is_there courier-imap && is_there courier-pop && continue
        wants_courier=yes
        # shellcheck disable=SC2086
        want_libraries_of $courier
        ;;
    *) is_there "$package" || missing="$missing $package" ;;
    esac
done
if [ -z "$missing" ]; then
    unpack_wanted
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
unpack_wanted
