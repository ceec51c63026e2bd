# Sourced by the scripts: brings what they need into the checkout's own .venv, and says what is missing.
#
#   . scripts/_env.sh            also changes to the checkout's folder and puts .venv/bin first in PATH
#   env_ready hub dev            installs the project with these extras, if it is not there yet
#   env_convert                  .venv-convert with what turns torch modules into .tflite and .onnx
#   env_mosquitto                mosquitto from the system's packages
#   env_compiler                 a C compiler, for the tests that cut the power
#   env_systemd                  systemd-analyze, for the tests of the service file

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VENV="$ROOT/.venv"
cd "$ROOT" || exit 1
# compiled once, everything starts in a fraction of the time
unset PYTHONDONTWRITEBYTECODE
export PATH="$VENV/bin:$PATH:/usr/sbin:/usr/local/sbin" PIP_DISABLE_PIP_VERSION_CHECK=1

say() { printf '== %s\n' "$*" >&2; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

env_ready() {
    local stamp missing=() extra
    stamp=$(cat "$ROOT/pyproject.toml" "$ROOT/configs/constraints.txt" | sha256sum | cut -c1-16)
    for extra in base "$@"; do
        [ "$(cat "$VENV/.skerry-$extra" 2>/dev/null)" = "$stamp" ] || missing+=("$extra")
    done
    [ ${#missing[@]} -eq 0 ] && return
    _env_create
    _env_install "$@"
    for extra in base "$@"; do echo "$stamp" > "$VENV/.skerry-$extra"; done
}

env_mosquitto() {
    command -v mosquitto > /dev/null && return
    _env_package mosquitto mosquitto
}

env_compiler() {
    command -v cc > /dev/null && return
    _env_package cc gcc libc6-dev
}

env_systemd() {
    command -v systemd-analyze > /dev/null && return
    _env_package systemd-analyze systemd
}

# The large converters, which fight with nobody in an environment of their own: 2 GB, minutes.
env_convert() {
    local python="$ROOT/.venv-convert/bin/python" stamp
    stamp=$(sha256sum "$ROOT/configs/convert.txt" | cut -c1-16)
    [ "$(cat "$ROOT/.venv-convert/.skerry" 2>/dev/null)" = "$stamp" ] && return
    say "making .venv-convert, where models are converted"
    "$(_env_python)" -m venv "$ROOT/.venv-convert" || fail "cannot make .venv-convert"
    "$python" -m pip install --no-compile --progress-bar off "$(grep '^torch==' configs/convert.txt)" >&2 &&
        "$python" -m pip install --no-compile --progress-bar off -r configs/convert.txt >&2 || fail "could not install the converters"
    echo "$stamp" > "$ROOT/.venv-convert/.skerry"
}

_env_create() {
    [ -x "$VENV/bin/python" ] && return
    local python
    python=$(_env_python) || fail "Skerry needs Python 3.11 or newer: none of python3, python3.11 to python3.14 is one"
    say "making .venv with $("$python" --version)"
    "$python" -m venv "$VENV" || fail "$python cannot make a virtual environment (Debian: apt-get install python3-venv)"
}

_env_python() {
    local name
    for name in ${SKERRY_PYTHON:-python3 python3.13 python3.12 python3.11 python3.14}; do
        "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null && { echo "$name"; return; }
    done
    return 1
}

# torch comes first and alone: it is by far the largest, and its version decides what the others may be.
_env_install() {
    local extras
    extras=$(IFS=,; echo "$*")
    case ",$extras," in *,hub,* | *,torch,*) _env_pip "torch, the largest part" "$(grep '^torch==' configs/constraints.txt)" ;; esac
    _env_pip "Skerry${extras:+ with $extras}" -e ".${extras:+[$extras]}"
}

_env_pip() {
    local what=$1 progress=(); shift
    [ -t 1 ] || progress=(--progress-bar off)
    say "installing $what"
    python -m pip install --no-compile "${progress[@]}" -c configs/constraints.txt "$@" >&2 || fail "could not install $what: see above"
}

_env_package() {
    local command=$1; shift
    if ! command -v apt-get > /dev/null || [ "$(id -u)" -ne 0 ]; then
        fail "'$command' is missing and cannot be installed from here; as root: apt-get install $*"
    fi
    say "installing $* from the system's packages"
    apt-get update -qq >&2 || true
    DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -q --no-install-recommends "$@" >&2
    command -v "$command" > /dev/null || fail "apt-get did not install '$command': see above"
}
