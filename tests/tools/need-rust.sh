#!/bin/sh
# Says what to do when Rust, or the C compiler that it links with, is missing or too old.
# Quiet and 0 when all is well.
set -eu
cd "$(dirname "$0")/../.."
want=$(sed -n 's/^rust-version *= *"\([0-9.]*\)".*/\1/p' Cargo.toml)

how() {
    cat >&2 <<EOF
Mailhaul needs Rust $want or newer. Either
  - with rustup (https://rustup.rs):
      curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh
      . "\$HOME/.cargo/env"
    or, if rustup is there already:  rustup update stable
  - or with your distribution's packages cargo and rustc, if they are new enough.
EOF
    exit 1
}

if ! command -v cargo >/dev/null 2>&1; then
    echo "cargo was not found." >&2
    how
fi
if ! have=$(cargo --version 2>&1); then
    echo "cargo does not run: $have" >&2
    how
fi
have=$(echo "$have" | sed -n 's/^cargo \([0-9]*\.[0-9]*\(\.[0-9]*\)\{0,1\}\).*/\1/p')
oldest=$(printf '%s\n%s\n' "$want" "$have" | sort -t . -k 1,1n -k 2,2n -k 3,3n | head -n 1)
if [ "$oldest" != "$want" ]; then
    echo "cargo is ${have:-of an unknown version}." >&2
    how
fi

if ! command -v cc >/dev/null 2>&1; then
    echo "A C compiler (cc) was not found. On Debian and Ubuntu:" >&2
    echo "  apt-get install --no-install-recommends gcc libc6-dev" >&2
    exit 1
fi
