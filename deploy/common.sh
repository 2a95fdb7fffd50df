# Sourced by the scripts beside it: what they need on the machine, where they build, how they talk.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${YUNBASE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/yunbase}
# Outside the clone, so that a fresh clone on the same machine does not compile RocksDB again.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}
# Cargo takes crates of two clones of this project for the same and judges what is fresh by time alone, so after
# another clone has built here, everything of ours (and only ours) is built again.
mkdir -p "$CARGO_TARGET_DIR"
if [[ $(cat "$CARGO_TARGET_DIR/clone" 2>/dev/null) != "$root" ]]; then
  rm -rf "$CARGO_TARGET_DIR"/*/.fingerprint/yunbase*
  printf '%s\n' "$root" >"$CARGO_TARGET_DIR/clone"
fi
# One profile for everything, for the same reason.
profile=release

say() { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# Installs Debian packages of which the given command or file is missing: ensure <package> <probe> ...
ensure_packages() {
  local missing=()
  while (($#)); do
    local package=$1 probe=$2
    shift 2
    case $probe in
      /*) compgen -G "$probe" >/dev/null || missing+=("$package") ;;
      *) command -v "$probe" >/dev/null || missing+=("$package") ;;
    esac
  done
  ((${#missing[@]})) || return 0
  local install="apt-get install --yes --no-install-recommends ${missing[*]}"
  if [[ $(id -u) != 0 ]]; then
    fail "these packages are missing; run:  sudo apt-get update && sudo $install"
  fi
  say "installing Debian packages: ${missing[*]}"
  apt-get update --quiet --quiet >&2
  DEBIAN_FRONTEND=noninteractive $install --quiet --quiet >&2
}

# What compiling RocksDB and generating its bindings takes.
ensure_build_tools() {
  command -v cargo >/dev/null || fail "a Rust toolchain is needed: install rustup, then run this again"
  ensure_packages g++ g++ make make \
    libclang1-14 '/usr/lib/llvm-*/lib/libclang-[0-9]*.so*' \
    libclang-common-14-dev '/usr/lib/llvm-*/lib/clang/*/include/stddef.h'
}

ensure_node() {
  ensure_packages nodejs node npm npm
}

# Sets `chromium` to the browser that the tests of the web packages drive.
ensure_chromium() {
  chromium=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
  [[ $chromium ]] && return
  ensure_packages chromium chromium
  chromium=$(command -v chromium)
}

# Installs the npm packages of a folder of this project into the cache and prints the folder whose `node_modules` has
# them: npm_packages <folder with package.json>
npm_packages() {
  local folder=$1 key into
  key=$(cat "$folder/package.json" "$folder/package-lock.json" | sha256sum | cut -c1-16)
  into=$cache/npm/$(basename "$(dirname "$folder")")-$(basename "$folder")-$key
  if [[ ! -e $into/installed ]]; then
    say "installing npm packages of ${folder#"$root"/}"
    mkdir -p "$into"
    cp "$folder/package.json" "$folder/package-lock.json" "$into/"
    (cd "$into" && npm ci --no-audit --no-fund --loglevel=error >&2) || fail "npm could not install the packages of $folder"
    touch "$into/installed"
  fi
  printf '%s\n' "$into"
}

# Checks what may be linked into yunbase. Pinned, so that a new release does not change what the check means.
cargo_deny_version=0.20.2

# Sets `cargo_deny` to the cargo-deny to use: the one on PATH, else one that is compiled into the cache once.
ensure_cargo_deny() {
  local tools=$cache/tools/cargo-deny-$cargo_deny_version
  if command -v cargo-deny >/dev/null; then
    cargo_deny=$(command -v cargo-deny)
    return
  fi
  cargo_deny=$tools/bin/cargo-deny
  [[ -x $cargo_deny ]] && return
  say "installing cargo-deny $cargo_deny_version into $tools (once; compiling it takes some minutes)"
  # A target directory of its own: its dependencies are nobody else's, and go when it is installed.
  (cd "$root" && nice cargo install --locked --quiet --version "=$cargo_deny_version" --root "$tools" --target-dir "$tools/target" cargo-deny >&2) ||
    fail "cargo could not install cargo-deny $cargo_deny_version; put a cargo-deny on PATH, then run this again"
  rm -rf "$tools/target"
}

build_yunbase() {
  say "building yunbase (the first build compiles RocksDB: 10 to 20 minutes on two cores)"
  (cd "$root" && cargo build --locked "--$profile" --package yunbase)
  yunbase=$CARGO_TARGET_DIR/$profile/yunbase
}
