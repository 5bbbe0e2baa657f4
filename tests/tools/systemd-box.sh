#!/bin/bash
# systemd-box.sh [DIRECTORY OF THE BINARIES]
# The real unit with the real binaries under a real systemd, in a throw-away container: installed with
# `make install`, polled, reloaded, stopped, killed, unplugged and booted again. The container's root is
# an overlay of this machine's; what it writes goes to a disk of its own, which lies in memory and can be
# switched off as by a power cut: what was not made durable is gone then. Its network is a loopback of its
# own. Needs root and the packages systemd, systemd-container, dbus, dovecot-imapd and dovecot-pop3d; this
# machine need not have been booted with systemd.
set -eu
PATH=$PATH:/usr/sbin:/sbin

[ "$(id -u)" = 0 ] || { echo 'systemd-box.sh needs root: it makes a container.' >&2; exit 1; }
for program in systemd-nspawn nsenter unshare setpriv dovecot make; do
    command -v "$program" >/dev/null || {
        echo "$program is missing: apt-get install --no-install-recommends systemd systemd-container dbus" \
            "util-linux make dovecot-imapd dovecot-pop3d" >&2
        exit 1
    }
done

# A mount name space of our own: whatever is mounted here is gone when we are.
if [ -z "${IN_A_NAME_SPACE:-}" ]; then
    IN_A_NAME_SPACE=yes exec unshare --mount --propagation private -- "$0" "$@"
fi

here=$(cd "$(dirname "$0")/../.." && pwd)
bin=$(cd "${1:-$here/target/release}" && pwd)

# How many messages are moved: enough that the daemon is killed in the midst of it.
messages=${MESSAGES:-10000}
# It has to be seen nowhere but where it was written.
password=Qw7-swordfish-4711

tmp= cgroup= nspawn= leader=
checks=0

say() { printf '\n== %s\n' "$*"; }
ok() { checks=$((checks + 1)); echo "ok: $* (after $SECONDS s)"; }

alive() { [ -n "$1" ] && kill -0 "$1" 2>/dev/null; }

# within SECONDS COMMAND...: tries until it works.
within() {
    local end=$((SECONDS + $1))
    shift
    while ! "$@" 2>/dev/null; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.1
    done
}

gone() { ! alive "$1"; }

finish() {
    local status=$?
    trap - EXIT
    [ -z "$leader" ] || kill -9 "$leader" 2>/dev/null || true
    [ -z "$nspawn" ] || { within 10 gone "$nspawn" || kill -9 "$nspawn" 2>/dev/null || true; }
    if [ -n "$cgroup" ]; then
        echo $$ > /sys/fs/cgroup/cgroup.procs
        find "$cgroup" -depth -type d -exec rmdir {} \; 2>/dev/null || true
    fi
    # Everything that was written is in memory, and goes with the mount.
    if [ -n "$tmp" ]; then
        umount -l "$root" "$disk" "$tmp/overlay" 2>/dev/null || true
        rm -rf --one-file-system "$tmp"
    fi
    exit "$status"
}

fail() {
    printf '\nFAILED: %s\n' "$*" >&2
    if alive "$leader"; then
        echo '--- systemctl status mailhauld' >&2
        inside systemctl status --no-pager -n 0 mailhauld.service mailhauld.socket >&2 || true
        echo '--- the last lines of the journal' >&2
        inside journalctl --no-pager -q -n 40 -u mailhauld -u mailhauld.socket -u old-provider >&2 || true
    elif [ -s "$tmp/console" ]; then
        echo '--- the last lines of the console' >&2
        tail -n 30 "$tmp/console" >&2
    fi
    exit 1
}

[ -x "$bin/mailhauld" ] && [ -x "$bin/mailhaulctl" ] || { echo "mailhauld and mailhaulctl are not in $bin: run make build" >&2; exit 1; }

tmp=$(mktemp -d "${TMPDIR:-/tmp}/mailhaul-box.XXXXXX")
trap finish EXIT
trap 'exit 130' INT TERM
root=$tmp/overlay/root
disk=$tmp/overlay/disk
old=$tmp/overlay/old

# ---- the machine

make_machine() {
    mkdir "$tmp/overlay"
    mount -t tmpfs -o mode=755 tmpfs "$tmp/overlay"
    mkdir "$disk" "$old"
    truncate -s 8G "$disk.image"
    mkfs.ext4 -q "$disk.image"
    switch_on
    [ -d /run/systemd/system ] && return
    # Nobody manages the cgroups of this machine: those of version 2, and in them a branch of our own.
    if [ ! -e /sys/fs/cgroup/cgroup.procs ]; then
        umount -l /sys/fs/cgroup 2>/dev/null || true
        mount -t cgroup2 cgroup2 /sys/fs/cgroup
    fi
    cgroup=/sys/fs/cgroup/mailhaul-box-$$
    mkdir "$cgroup"
}

# A disk that does by itself as little as it may for what was not made durable.
switch_on() {
    mount -o loop,commit=300,noauto_da_alloc "$disk.image" "$disk" || fail 'a disk cannot be made: are there loop devices?'
    mkdir -p "$disk/upper" "$disk/work" "$root"
    mount -t overlay overlay -o "lowerdir=/,upperdir=$disk/upper,workdir=$disk/work" "$root"
}

# FS_IOC_SHUTDOWN, with nothing written any more, not even what waits in the file system's own journal.
# What is written just before is the proof that the cut is one.
switch_off() {
    perl -e 'open(my $disk, "<", $ARGV[0]) or die "$!\n"; my $how = pack("L", 2);
        open(my $file, ">", "$ARGV[0]/volatile") or die "$!\n";
        print $file "not durable\n";
        close($file);
        ioctl($disk, 0x8004587d, $how) or die "$!\n"' "$disk" || fail 'the disk cannot be switched off'
}

inside() { nsenter -t "$leader" -m -u -i -n -p -- "$@"; }

is_up() {
    leader=$(cat "/proc/$nspawn/task/$nspawn/children") && leader=${leader%% *}
    [ -n "$leader" ] || return 1
    case $(inside systemctl is-system-running) in running | degraded) ;; *) return 1 ;; esac
}

boot() {
    # A machine that was booted with systemd gives the container a cgroup itself.
    # shellcheck disable=SC2016
    SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 setsid sh -eu -c '
        [ -z "$1" ] || echo $$ > "$1/cgroup.procs"
        shift
        exec systemd-nspawn "$@"' sh "$cgroup" -q -D "$root" --boot --private-network --register=no \
        ${cgroup:+--keep-unit} --bind="$old:/srv/old" --machine="mailhaul-box-$$" --console=pipe --link-journal=no \
        > "$tmp/console" 2>&1 < /dev/null &
    nspawn=$!
    within 60 is_up || fail 'the container does not boot'
}

cut_the_power() {
    switch_off
    kill -9 "$leader"
    within 10 gone "$nspawn" || fail 'the container goes on without its first process'
    wait "$nspawn" 2>/dev/null || true
    leader= nspawn=
    # A frozen cgroup would freeze what is started in it after the next boot.
    [ -z "$cgroup" ] || find "$cgroup" -mindepth 1 -depth -type d -exec rmdir {} \;
    within 10 umount "$root" && within 10 umount "$disk" || fail 'something holds the disk'
    switch_on
    # The old provider is another machine, and had no power cut. It was only killed.
    find "$old" \( -name 'dovecot*.lock' -o -name 'dovecot.index*' \) -delete
    [ ! -s "$disk/volatile" ] || fail 'the disk keeps what was not made durable: this is no power cut'
}

# ---- what is in it

prepare() {
    # Nothing that this machine happens to have enabled, and no Mailhaul but this one.
    rm -rf "$root"/etc/systemd/system/*.wants "$root"/etc/systemd/system/mailhauld.* \
        "$root/etc/mailhaul" "$root/var/lib/mailhaul" "$root/var/vmail" "$root/var/log/journal"
    ln -sf /lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
    # The journal has to survive a power cut too.
    mkdir -p "$root/var/log/journal"
    make -s -C "$here" install DESTDIR="$root" PREFIX=/usr BUILT="$bin" > /dev/null

    old_mailbox alice 'INBOX' 1 30
    local folder per=$((messages / 20))
    for folder in $(seq 20); do
        old_mailbox bob ".Archive.$folder" $((folder * per)) "$per"
    done
    printf '%s:{PLAIN}%s:65534:65534::/srv/old/%s\n' alice "$password" alice bob "$password" bob \
        dora "$password" dora > "$old/users"
    chown -R 65534:65534 "$old"
    dovecot_settings > "$old/dovecot.conf"

    cat > "$root/etc/mailhaul/mailhaul.toml" <<EOF
[daemon]
allow_private_hosts = true
[polling]
interval = "1h"
[notices]
to_member = false
EOF
    account alice poll > "$root/etc/mailhaul/accounts.d/alice.toml"
    account bob migrate > "$root/etc/mailhaul/accounts.d/bob.toml"
    sync -f "$disk"
}

# old_mailbox WHO FOLDER FIRST COUNT
old_mailbox() {
    local maildir=$old/$1/Maildir folder
    folder=$maildir
    [ "$2" = INBOX ] || folder=$maildir/$2
    mkdir -p "$folder/cur" "$folder/new" "$folder/tmp"
    awk -v folder="$folder/cur" -v first="$3" -v count="$4" 'BEGIN {
        for (line = 0; line < 30; line++) body = body "Sphinx of black quartz, judge my vow. " line "\n"
        for (n = first; n < first + count; n++) {
            file = folder "/" (1030000000 + n) ".M" n "P1.old:2,S"
            printf "From: <a@old.example>\nTo: <b@old.example>\nSubject: Number %d\n", n > file
            printf "Message-ID: <%d@old.example>\nX-Number: %d\n\n%s", n, n, body > file
            close(file)
        }
    }'
}

dovecot_settings() {
    local spelling=2.3
    case $(dovecot --version) in 2.[0-3].*) ;; *) spelling=2.4 ;; esac
    [ "$spelling" = 2.3 ] || printf 'dovecot_config_version = 2.4.0\ndovecot_storage_version = 2.4.0\n'
    cat <<EOF
base_dir = /run/old
state_dir = /run/old
log_path = /dev/stderr
protocols = imap pop3
listen = 127.0.0.1
ssl = no
first_valid_uid = 1
service imap-login {
  inet_listener imaps {
    port = 0
  }
}
service pop3-login {
  inet_listener pop3s {
    port = 0
  }
}
EOF
    if [ "$spelling" = 2.3 ]; then
        cat <<EOF
mail_location = maildir:~/Maildir
disable_plaintext_auth = no
passdb {
  driver = passwd-file
  args = /srv/old/users
}
userdb {
  driver = passwd-file
  args = /srv/old/users
}
EOF
    else
        cat <<EOF
mail_driver = maildir
mail_path = ~/Maildir
auth_allow_cleartext = yes
passdb passwd-file {
  passwd_file_path = /srv/old/users
}
userdb passwd-file {
  passwd_file_path = /srv/old/users
}
EOF
    fi
}

# account WHO poll|migrate [PASSWORD]
account() {
    local protocol=pop3 port=110 secret="{ file = \"../$1.secret\" }"
    [ $# -lt 3 ] || secret=$3
    [ "$2" = poll ] || protocol=imap port=143
    cat <<EOF
[[account]]
name = "$1-old"
member = "$1@example.com"
agreed = true
[account.source]
protocol = "$protocol"
server = { host = "127.0.0.1", port = $port, security = "none" }
username = "$1"
password = $secret
[account.$2]
EOF
}

# Secrets, for whoever the daemon runs as.
secrets() {
    local who
    for who in alice bob dora; do
        inside sh -c "printf '%s\n' '$password' > /etc/mailhaul/$who.secret"
        inside chown "$1" "/etc/mailhaul/$who.secret"
        inside chmod 600 "/etc/mailhaul/$who.secret"
    done
}

old_provider() {
    inside systemd-run -q --unit=old-provider dovecot -F -c /srv/old/dovecot.conf
    within 20 inside bash -c 'exec 3<>/dev/tcp/127.0.0.1/110 4<>/dev/tcp/127.0.0.1/143' ||
        fail 'Dovecot does not start in the container'
}

# Makes the old provider slow, until the machine is switched off: it is frozen most of the time.
slow_provider() {
    inside sh -c 'while systemctl freeze old-provider; do
        sleep 0.1
        systemctl thaw old-provider
        sleep 0.02
    done' > /dev/null 2>&1 &
}

# ---- questions

property() { inside systemctl show -P "$1" mailhauld.service; }
is() { [ "$(property "$1")" = "$2" ]; }
expect() { is "$1" "$2" || fail "$1 is '$(property "$1")', not '$2'"; }
ctl() { inside mailhaulctl "$@"; }
answers() { ctl status > /dev/null; }

# Of the migration: a number, and its state. What stands before and inside its folders is left out.
migration() { ctl --json show bob-old | grep -o '"migration":{.*' | sed 's/"folders":\[.*//'; }
number() { migration | grep -o "\"$1\":[0-9]*" | cut -d : -f 2; }
state() { migration | grep -o '"state":"[a-z-]*"' | cut -d '"' -f 4; }
has_state() { [ "$(state)" = "$1" ]; }
above() { local n; n=$(number messages_done) && [ -n "$n" ] && [ "$n" -gt "$1" ]; }
# as UID GROUP COMMAND...
as() {
    local uid=$1 group=$2
    shift 2
    inside setpriv --reuid="$uid" --regid="$uid" --groups="$group" -- "$@"
}

# status_of COMMAND...: its exit status, its words in $tmp/words.
status_of() {
    local status=0
    "$@" > "$tmp/words" 2>&1 || status=$?
    echo "$status"
}

here_count() { inside find "/var/vmail/example.com/$1" -type f \( -path '*/cur/*' -o -path '*/new/*' \) | wc -l; }
here_files() {
    inside find /var/vmail/example.com/bob -type f -path '*/cur/*' -printf '%i %p\n' | LC_ALL=C sort
}

# What had arrived is still there, as it was, after WHAT.
nothing_lost() {
    here_files > "$tmp/after"
    LC_ALL=C comm -23 "$tmp/before" "$tmp/after" > "$tmp/lost"
    [ ! -s "$tmp/lost" ] || { head -n 3 "$tmp/lost" >&2; fail "$(wc -l < "$tmp/lost") messages are gone or were written anew after $1"; }
}

# The migration is seen in the midst of it.
midst() {
    within 120 above "$1" || fail "the migration does not get beyond $1 messages (it is $(state), at $(number messages_done))"
    [ "$(number messages_done)" -lt "$messages" ] || fail 'the migration was over too soon; call with a greater MESSAGES='
}

# ---- the checks

make_machine
say "A machine with $(systemctl --version | head -n 1), installed with make install"
prepare
boot
inside systemd-sysusers
inside systemd-tmpfiles --create mailhaul.conf
inside systemctl daemon-reload
[ "$(inside stat -c '%U:%G %a' /etc/mailhaul/accounts.d)" = 'root:mailhaul 750' ] || fail 'accounts.d belongs to somebody else'
inside install -d -o mailhaul -g mailhaul -m 700 /var/vmail
secrets mailhaul
old_provider
ok 'installed, with user and directories'

say 'Start'
inside systemctl enable -q --now mailhauld || fail 'the service does not start'
expect ActiveState active
expect NRestarts 0
[ "$(inside stat -c '%U:%G %a' /run/mailhaul/control)" = 'mailhaul:mailhaul 660' ] ||
    fail "the socket is $(inside stat -c '%U:%G %a' /run/mailhaul/control)"
[ "$(inside stat -c '%U %a' /var/lib/mailhaul)" = 'mailhaul 700' ] || fail 'the state directory is open'
ok 'READY, with the control socket in place'
within 10 inside sh -c "systemctl show -P StatusText mailhauld | grep -q '2 accounts'" || fail "STATUS is '$(property StatusText)'"
ok "STATUS: $(property StatusText)"

say 'Who may ask'
answers || fail 'root is not answered'
as "$(inside id -u mailhaul)" "$(inside id -g mailhaul)" mailhaulctl status > /dev/null || fail "the daemon's own user is not answered"
as 4711 "$(inside id -g mailhaul)" mailhaulctl status > /dev/null || fail 'a member of the group is not answered'
status=$(status_of as 65534 65534 mailhaulctl status)
[ "$status" = 4 ] || fail "nobody got exit status $status: $(cat "$tmp/words")"
ok "root, its user and its group; not nobody: $(cat "$tmp/words")"

say 'A poll'
ctl poll alice-old || fail 'the poll failed'
[ "$(here_count alice)" = 30 ] || fail "$(here_count alice) of 30 messages arrived"
ctl poll alice-old > /dev/null || fail 'the second poll failed'
[ "$(here_count alice)" = 30 ] || fail 'the second poll brought something again'
ok '30 messages, each one once'

say 'The journal'
inside journalctl -q -u mailhauld ACCOUNT=alice-old -o json > "$tmp/journal"
[ -s "$tmp/journal" ] || fail 'no entry has ACCOUNT=alice-old'
grep -q '"ACCOUNT":"alice-old"' "$tmp/journal" || fail "ACCOUNT is no plain field: $(head -n 1 "$tmp/journal")"
grep -q '"MEMBER":"alice@example.com"' "$tmp/journal" || fail "no entry has MEMBER: $(head -n 1 "$tmp/journal")"
grep -q '"SYSLOG_IDENTIFIER":"mailhauld"' "$tmp/journal" || fail 'SYSLOG_IDENTIFIER is another one'
grep -q '"PRIORITY":"6"' "$tmp/journal" || fail 'no entry is an information'
! grep -q '"F_' "$tmp/journal" || fail 'fields have a prefix'
ok "$(wc -l < "$tmp/journal") entries with fields, such as: $(tail -n 1 "$tmp/journal" | grep -o '"MESSAGE":"[^"]*"')"

say 'Reload'
old_mailbox dora INBOX 1 3
chown -R 65534:65534 "$old/dora"
inside sh -c 'cat > /etc/mailhaul/accounts.d/dora.toml' < <(account dora poll '{ command = ["/bin/cat", "/etc/mailhaul/dora.secret"] }')
inside chmod 644 /etc/mailhaul/accounts.d/dora.toml
main=$(property MainPID)
inside systemctl reload mailhauld || fail 'systemctl reload failed'
listed() { ctl --json list | grep -q "\"name\":\"$1\""; }
within 10 listed dora-old || fail 'the new account does not appear'
expect MainPID "$main"
expect ActiveState active
inside sh -c 'echo "[[account]]" > /etc/mailhaul/accounts.d/broken.toml'
inside systemctl reload mailhauld || fail 'systemctl reload failed'
within 10 inside sh -c 'mailhaulctl list | grep -q invalid' || fail 'the broken definition is not listed as invalid'
listed alice-old || fail 'a broken definition took the good ones down'
inside rm /etc/mailhaul/accounts.d/broken.toml
ctl reload || fail 'mailhaulctl reload failed'
ctl poll dora-old > /dev/null || fail 'the new account, whose password a command tells, cannot be polled'
inside cp /etc/mailhaul/mailhaul.toml /srv/good.toml
inside sh -c 'echo "nonsense" >> /etc/mailhaul/mailhaul.toml'
! ctl reload > "$tmp/words" 2>&1 || fail 'mailhaulctl reload is content with settings that cannot be used'
inside systemctl reload mailhauld || true
sleep 1
expect MainPID "$main"
expect ActiveState active
listed dora-old || fail 'settings that cannot be used changed something'
inside cp /srv/good.toml /etc/mailhaul/mailhaul.toml
ctl reload > /dev/null || fail 'the settings cannot be used again'
ok 'a new account, a broken one beside it, broken settings, by signal and by call'

# The administrator's files are not the matter here.
sync -f "$disk"

say 'A migration, and the daemon is stopped in the midst of it'
slow_provider
ctl start bob-old > /dev/null || fail 'the migration does not start'
midst $((messages / 50))
here_files > "$tmp/before"
began=$(date +%s%N)
inside systemctl stop mailhauld
took=$((($(date +%s%N) - began) / 1000000))
[ "$took" -lt 10000 ] || fail "it took $took ms to stop"
expect Result success
expect ExecMainStatus 0
nothing_lost 'systemctl stop'
inside systemctl start mailhauld || fail 'it does not start again'
ok "stopped within $took ms, with $(wc -l < "$tmp/before") messages here"

say 'Killed'
done_before=$(wc -l < "$tmp/before")
midst $((done_before + messages / 50))
here_files > "$tmp/before"
expect NRestarts 0
inside kill -9 "$(property MainPID)"
within 20 is NRestarts 1 || fail 'systemd does not start it again'
within 20 answers || fail 'it does not answer after it was killed'
nothing_lost 'kill -9'
ok "started again, with $(wc -l < "$tmp/before") messages here"

say 'A power cut'
done_before=$(wc -l < "$tmp/before")
old_mailbox alice INBOX 31 5
chown -R 65534:65534 "$old/alice"
sync -f "$disk"
midst $((done_before + messages / 50))
ctl poll alice-old > /dev/null || fail 'the poll beside the migration failed'
[ "$(here_count alice)" = 35 ] || fail "$(here_count alice) of 35 messages arrived"
promised=$(number messages_done)
cut_the_power
found=$(find "$root/var/vmail/example.com/bob" -type f -path '*/cur/*' -size +0 | wc -l)
[ "$found" -ge "$promised" ] || fail "$promised messages were counted as imported, $found are on the disk after the power cut"
found_polled=$(find "$root/var/vmail/example.com/alice" -type f \( -path '*/cur/*' -o -path '*/new/*' \) -size +0 | wc -l)
[ "$found_polled" = 35 ] ||
    fail "35 messages were told to be imported by polls, $found_polled are on the disk after the power cut"
boot
old_provider
within 20 answers || fail 'it does not come up with the machine'
ok "up again by itself; $promised messages were counted, $found are on the disk; the migration is $(state)"
within 600 has_state completed || fail "the migration is $(state), at $(number messages_done)"
[ "$(number messages_done)" = "$messages" ] || fail "$(number messages_done) of $messages messages are counted"
# What was forgotten would have been found at the destination, and be counted so.
[ "$(number messages_already_there)" = 0 ] || fail "$(number messages_already_there) messages were brought, and forgotten"
sums() { inside find "$1" -type f -path '*/cur/*' -exec sha256sum {} + | cut -c 1-64 | LC_ALL=C sort; }
sums /srv/old/bob > "$tmp/there"
sums /var/vmail/example.com/bob > "$tmp/here"
cmp -s "$tmp/there" "$tmp/here" ||
    fail "the octets differ: $(wc -l < "$tmp/here") files with $(uniq "$tmp/here" | wc -l) of $messages messages are here"
ctl poll alice-old > /dev/null || fail 'the poll failed after the power cut'
[ "$(here_count alice)" = 35 ] || fail 'polled mail came again after the power cut'
ok "all $messages messages came, each one once"

say 'A configuration that cannot run'
inside systemctl stop mailhauld
inside sh -c 'echo "intervall = 1" >> /etc/mailhaul/mailhaul.toml'
! inside systemctl start mailhauld 2>/dev/null || fail 'it starts on a configuration that cannot run'
sleep 5
expect ExecMainStatus 78
expect ActiveState failed
expect NRestarts 0
inside journalctl -q -u mailhauld -n 20 | grep -q 'mailhaul.toml:[0-9]*:[0-9]*: ' || fail 'the journal does not say where the mistake is'
inside cp /srv/good.toml /etc/mailhaul/mailhaul.toml
inside systemctl start mailhauld || fail 'it does not start with the good configuration'
ok 'exit status 78, and no restart'

say 'The watchdog'
inside mkdir -p /etc/systemd/system/mailhauld.service.d
inside sh -c 'printf "[Service]\nWatchdogSec=4\n" > /etc/systemd/system/mailhauld.service.d/box.conf'
inside systemctl daemon-reload
inside systemctl restart mailhauld
sleep 10
expect NRestarts 0
inside kill -STOP "$(property MainPID)"
within 40 is NRestarts 1 || fail 'a daemon that stands still is not started again'
within 20 answers || fail 'it does not answer after the watchdog'
inside rm /etc/systemd/system/mailhauld.service.d/box.conf
inside systemctl daemon-reload
ok 'fed while it lives, and started again when it stood still'

say 'Socket activation'
inside systemctl stop mailhauld
inside systemctl enable -q --now mailhauld.socket || fail 'the socket unit does not start'
expect ActiveState inactive
status=$(status_of as 65534 65534 mailhaulctl status)
[ "$status" = 4 ] || fail "nobody got exit status $status at the socket unit: $(cat "$tmp/words")"
expect ActiveState inactive
answers || fail 'a call does not start the daemon'
expect ActiveState active
inside systemctl stop mailhauld 2>/dev/null
answers || fail 'the socket is gone after the daemon stopped'
inside systemctl restart mailhauld &
restart=$!
answers || fail 'a call during a restart is turned away'
wait "$restart" || fail 'the restart failed'
answers || fail 'it does not answer after the restart'
inside systemctl stop mailhauld 2>/dev/null
inside sh -c 'echo "intervall = 1" >> /etc/mailhaul/mailhaul.toml'
for _ in 1 2 3; do
    ! ctl status > /dev/null 2>&1 || fail 'it answers with a configuration that cannot run'
done
sleep 3
inside systemctl -q is-active mailhauld.socket || fail 'the socket unit has given up'
inside cp /srv/good.toml /etc/mailhaul/mailhaul.toml
answers || fail 'a call does not start the daemon after its configuration was mended'
ok 'the first call starts the daemon, and calls wait while it restarts'

say 'With mailboxes of another user, and the log at its loudest'
inside sh -c 'echo "u vmail - \"Mailboxes\" /var/vmail" | systemd-sysusers -' 
inside chown -R vmail:vmail /var/vmail
inside install -D -m 0644 /usr/share/mailhaul/vmail.conf /etc/systemd/system/mailhauld.service.d/vmail.conf
inside sh -c 'printf "[Service]\nEnvironment=MAILHAUL_LOG=trace\nLoadCredential=alice:/srv/alice.secret\n" \
    > /etc/systemd/system/mailhauld.service.d/loud.conf'
secrets vmail
inside mv /etc/mailhaul/alice.secret /srv/alice.secret
inside chown root: /srv/alice.secret
inside sh -c 'cat > /etc/mailhaul/accounts.d/alice.toml' < <(account alice poll '{ credential = "alice" }')
inside systemctl daemon-reload
inside systemctl restart mailhauld || fail 'it does not start as vmail'
[ "$(inside ps -o user= -p "$(property MainPID)")" = vmail ] || fail 'it runs as somebody else'
old_mailbox alice INBOX 36 5
chown -R 65534:65534 "$old/alice"
as 4711 "$(inside id -g mailhaul)" mailhaulctl poll alice-old || fail 'a member of the group mailhaul cannot poll'
[ "$(here_count alice)" = 40 ] || fail "$(here_count alice) of 40 messages are here"
[ -z "$(inside find /var/vmail ! -user vmail)" ] || fail 'something in /var/vmail does not belong to vmail'
ctl poll alice-old dora-old > /dev/null || fail 'the second poll as vmail failed'
ctl check > /dev/null || fail 'check failed'
ctl start bob-old --wait > /dev/null || fail 'the second run of the migration failed'
inside journalctl -q -u mailhauld -o export > "$tmp/journal"
grep -aq '^PRIORITY=7' "$tmp/journal" || fail 'the log was not loud'
grep -aq '^MIGRATION=bob-old' "$tmp/journal" || fail 'no entry has MIGRATION'
! grep -aq "$password" "$tmp/journal" || fail 'the password is in the journal'
! grep -aq 'Number [0-9]\|Sphinx' "$tmp/journal" || fail 'a subject or a body is in the journal'
ok "as vmail; no password, subject or body in $(grep -ac '^MESSAGE=' "$tmp/journal") entries"

say "Done: $checks checks passed."
