#!/bin/bash
# demo.sh [DIRECTORY OF THE BINARIES]
# A private Dovecot with real messages, a daemon of its own, two accounts; what arrived is compared
# with what was there. Nothing outside a temporary directory is touched. KEEP=1 keeps it.
set -eu
PATH=$PATH:/usr/sbin:/sbin
here=$(cd "$(dirname "$0")/../.." && pwd)
bin=$(cd "${1:-$here/target/release}" && pwd)
messages=$here/tests/data/messages
tmp=$(mktemp -d "${TMPDIR:-/tmp}/mailhaul-demo.XXXXXX")
chmod 711 "$tmp"
dovecot_pid= daemon_pid=

say() { printf '\n== %s\n' "$*"; }

# Ends a process that we started, and waits for it: a while in peace, then by force.
end() {
    [ -n "$1" ] && kill "$1" 2>/dev/null || return 0
    for _ in $(seq 150); do
        kill -0 "$1" 2>/dev/null || break
        sleep 0.1
    done
    kill -9 "$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || true
}

finish() {
    status=$?
    trap - EXIT
    end "$daemon_pid"
    end "$dovecot_pid"
    if [ -n "${KEEP:-}" ]; then echo "Kept: $tmp"; else rm -rf "$tmp"; fi
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

fail() {
    printf '\nThe demonstration failed: %s\n' "$*" >&2
    for log in "$tmp/mailhauld.log" "$tmp/dovecot.log"; do
        [ -s "$log" ] || continue
        echo "--- the last lines of ${log##*/}" >&2
        tail -n 30 "$log" >&2
    done
    exit 1
}

[ -x "$bin/mailhauld" ] && [ -x "$bin/mailhaulctl" ] || fail "mailhauld and mailhaulctl are not in $bin: run make build"
command -v dovecot >/dev/null || fail "Dovecot is not installed: apt-get install --no-install-recommends dovecot-imapd dovecot-pop3d"

# ---- the old provider: a Dovecot with two mailboxes

if [ "$(id -u)" = 0 ]; then uid=65534 gid=65534; else uid=$(id -u) gid=$(id -g); fi
src=$tmp/source
mkdir -p "$src" "$tmp/run"

# folder ACCOUNT MAILDIR-NAME COUNT: takes the next COUNT messages, with flags and dates of their own.
files=("$messages"/*.eml)
next=0
flags=("" S S RS S FS "" S RS FRS)
folder() {
    local dir=$src/$1/Maildir
    [ "$2" = INBOX ] || { dir=$dir/$2; echo "${2#.}" >> "$src/$1/Maildir/subscriptions"; }
    mkdir -p "$dir/cur" "$dir/new" "$dir/tmp"
    [ "$2" = INBOX ] || : > "$dir/maildirfolder"
    local n=0 time name
    while [ "$n" -lt "$3" ]; do
        time=$((1030000000 + next * 86399))
        name=$dir/cur/$time.M${next}P1.old:2,${flags[next % 10]}
        cp "${files[next % ${#files[@]}]}" "$name"
        touch -d "@$time" "$name"
        n=$((n + 1)) next=$((next + 1))
    done
}

for who in alice bob; do mkdir -p "$src/$who/Maildir"; done
folder alice INBOX ${#files[@]}

next=0
folder bob INBOX 60
folder bob .Sent 40
folder bob '.Entw&APw-rfe' 5                    # Entwürfe
folder bob '.&vPSwuNO4ycDVaA-' 12               # 보낸편지함
folder bob .Archive.2023 20
folder bob .Archive.2024.Q1 60
folder bob .Archive.2024.Q2 40
folder bob '.R&-D' 10                           # R&D
folder bob '.Kunden.Gr&APYA3w-e &- Co' 8        # Kunden/Größe & Co
folder bob '.Lists.rust users' 20
folder bob .Junk 20
folder bob .Trash 5
folder bob .Empty 0

for who in alice bob; do echo "$who:{PLAIN}demo:$uid:$gid::$src/$who"; done > "$tmp/users"
chown -R "$uid:$gid" "$src" "$tmp/users"

port_is_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
free_port() {
    local port
    while port=$(shuf -n 1 -i 20000-32000); do
        port_is_free "$port" && { echo "$port"; return; }
    done
}

# Dovecot 2.4 spells several settings anew, and wants its version first.
old_dovecot() { case $(dovecot --version) in 2.[0-3].*) ;; *) return 1 ;; esac; }

version_settings() {
    old_dovecot && return
    echo "dovecot_config_version = 2.4.0"
    echo "dovecot_storage_version = 2.4.0"
}

user_settings() {
    if [ "$(id -u)" != 0 ]; then
        echo "default_internal_user = $(id -un)"
        echo "default_internal_group = $(id -gn)"
        echo "default_login_user = $(id -un)"
    fi
    if old_dovecot; then
        cat <<EOF
mail_location = maildir:~/Maildir
disable_plaintext_auth = no
passdb {
  driver = passwd-file
  args = $tmp/users
}
userdb {
  driver = passwd-file
  args = $tmp/users
}
EOF
    else
        cat <<EOF
mail_driver = maildir
mail_path = ~/Maildir
auth_allow_cleartext = yes
passdb passwd-file {
  passwd_file_path = $tmp/users
}
userdb passwd-file {
  passwd_file_path = $tmp/users
}
EOF
    fi
}

start_dovecot() {
    pop3=$(free_port)
    imap=$(free_port)
    [ "$pop3" != "$imap" ] || return 1
    cat > "$tmp/dovecot.conf" <<EOF
$(version_settings)
base_dir = $tmp/run
state_dir = $tmp/run
log_path = $tmp/dovecot.log
protocols = imap pop3
listen = 127.0.0.1
ssl = no
first_valid_uid = 1
$(user_settings)
service imap-login {
  chroot =
  inet_listener imap {
    port = $imap
  }
  inet_listener imaps {
    port = 0
  }
}
service pop3-login {
  chroot =
  inet_listener pop3 {
    port = $pop3
  }
  inet_listener pop3s {
    port = 0
  }
}
service anvil {
  chroot =
}
namespace inbox {
  inbox = yes
  separator = /
}
EOF
    dovecot -F -c "$tmp/dovecot.conf" >> "$tmp/dovecot.log" 2>&1 &
    dovecot_pid=$!
    for _ in $(seq 100); do
        kill -0 "$dovecot_pid" 2>/dev/null || return 1
        port_is_free "$imap" || port_is_free "$pop3" || return 0
        sleep 0.1
    done
    return 1
}

started=no
for _ in 1 2 3; do
    if start_dovecot; then started=yes; break; fi
    end "$dovecot_pid"
    dovecot_pid=
done
[ "$started" = yes ] || fail "Dovecot did not start"

say "The old provider: $(dovecot --version | cut -d ' ' -f 1) on 127.0.0.1, POP3 port $pop3, IMAP port $imap"

# ---- Mailhaul: settings, two definitions, the daemon

mkdir -p "$tmp/etc/accounts.d" "$tmp/mail"
chmod 700 "$tmp/etc/accounts.d"
for who in alice bob; do mkdir -p "$tmp/mail/$who/Maildir"/{cur,new,tmp}; done
cat > "$tmp/etc/mailhaul.toml" <<EOF
[daemon]
state_directory = "$tmp/state"
control_socket = "$tmp/control"
control_group = "$(id -gn)"
allow_private_hosts = true      # the old provider is on this machine

[destination.default.maildir]
path = "$tmp/mail/{local}/Maildir"

[notices]
to_member = false               # here both sides are compared, message by message
EOF
cat > "$tmp/etc/accounts.d/alice.toml" <<EOF
[[account]]
name = "alice-old"
member = "alice@example.com"
agreed = true

[account.source]
protocol = "pop3"
server = { host = "127.0.0.1", port = $pop3, security = "none" }
username = "alice"
password = { value = "demo" }

[account.poll]
mailbox = "INBOX/Old provider"
EOF
cat > "$tmp/etc/accounts.d/bob.toml" <<EOF
[[account]]
name = "bob-old"
member = "bob@example.com"
agreed = true

[account.source]
protocol = "imap"
server = { host = "127.0.0.1", port = $imap, security = "none" }
username = "bob"
password = { value = "demo" }

[account.migrate]
EOF
chmod 600 "$tmp"/etc/accounts.d/*.toml
say "The settings and the two accounts"
tail -n +1 "$tmp/etc/mailhaul.toml" "$tmp"/etc/accounts.d/*.toml | sed "s#$tmp#TMP#g"

"$bin/mailhauld" --config "$tmp/etc/mailhaul.toml" --log stderr > "$tmp/mailhauld.log" 2>&1 &
daemon_pid=$!

ctl() { "$bin/mailhaulctl" --socket "$tmp/control" "$@"; }
run() {
    say "mailhaulctl $*"
    ctl "$@" || fail "mailhaulctl $1 ended with exit status $?"
}
up() {
    for _ in $(seq 300); do
        kill -0 "$daemon_pid" 2>/dev/null || fail "mailhauld ended at once"
        ctl status >/dev/null 2>&1 && return 0
        sleep 0.1
    done
    fail "mailhauld did not answer within 30 seconds"
}
up

# ---- bring it home

run status
run poll alice-old
run start bob-old --wait
run list
run show bob-old

# ---- what arrived, and is it what was there?

maildir_files() { find "$1" -type f \( -path '*/cur/*' -o -path '*/new/*' \) "${@:2}"; }
count() { maildir_files "$1" | wc -l; }

# Every folder with its number of messages, as the disk has it; its name decoded where iconv can.
folders() {
    find "$1" -type d -name cur | LC_ALL=C sort | while read -r cur; do
        name=${cur%/cur}
        name=${name#"$1"}
        name=$(iconv -f UTF-7-IMAP -t UTF-8 <<< "${name#/.}" 2>/dev/null) || name=${name#/.}
        printf '%7d  %s\n' "$(find "${cur%/cur}/cur" "${cur%/cur}/new" -type f | wc -l)" "${name:-INBOX}"
    done
}

# A line a message: the checksum of its octets, then folder, flags and date. A Maildir has LF line ends,
# but a message may hold a CR of its own. awk ends the last line: POP3 cannot say that it has no end.
facts() {
    maildir_files "$1" -printf '%P\t%Ts\n' | while IFS=$'\t' read -r path time; do
        folder=${path%/*}
        flag=; case $path in *:2,*) flag=${path##*:2,} ;; esac
        read -r sum _ < <(LC_ALL=C awk '{ sub(/\r$/, ""); print }' "$1/$path" | sha256sum)
        echo "$sum ${folder%???} ${flag//[^DFPRST]/} ${time%.*}"
    done | LC_ALL=C sort
}

# same WHAT FILE FILE
same() {
    if diff "$2" "$3" > "$tmp/difference"; then
        echo "the same: $1"
    else
        head -n 10 "$tmp/difference" >&2
        fail "not the same: $1"
    fi
}

compare() {
    for who in alice bob; do
        local from=$src/$who/Maildir to=$tmp/mail/$who/Maildir
        echo "$who: $(count "$from") messages at the old provider, $(count "$to") here"
        [ "$(count "$from")" = "$(count "$to")" ] || fail "$who has another number of messages here"
        facts "$from" > "$tmp/there"
        facts "$to" > "$tmp/here"
        same "the octets of every message of $who" <(cut -c 1-64 "$tmp/there") <(cut -c 1-64 "$tmp/here")
    done
    same "folder, flags and date of every message of bob" "$tmp/there" "$tmp/here"
}

say "What arrived, and where"
for who in alice bob; do echo "$who, in mail/$who/Maildir:"; folders "$tmp/mail/$who/Maildir"; done

say "Source and destination compared"
compare

# ---- a second time nothing may move

for who in alice bob; do maildir_files "$tmp/mail/$who/Maildir" -printf '%p %i %T@\n'; done | sort > "$tmp/before"
run poll alice-old
run start bob-old --wait
for who in alice bob; do maildir_files "$tmp/mail/$who/Maildir" -printf '%p %i %T@\n'; done | sort > "$tmp/after"

say "The second time"
same "every file here, by name, inode and time: nothing moved" "$tmp/before" "$tmp/after"

say "Done: $(count "$tmp/mail") messages came home, each one once."
