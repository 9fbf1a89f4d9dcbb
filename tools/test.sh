#!/usr/bin/env bash
# Everything that is tested: installs what the tests need, builds release, asan, tsan and fuzz, runs the unit tests in
# each, the end-to-end tests, and each fuzzer for a bounded time. Ends with one line, "N passed, N failed", and fails
# when a test did. Works without network once everything is there.
#
#   tools/test.sh [STAGE…]    only these: release oracles cuda e2e asan e2e-asan tsan e2e-tsan fuzz
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/lib/common.sh"
cd "$root"

all_stages="release oracles cuda e2e asan e2e-asan tsan e2e-tsan fuzz"
for word in "$@"; do
    case $word in
    -h | --help)
        sed -n '2,6s/^# \{0,1\}//p' "$root/tools/test.sh"
        exit 0
        ;;
    esac
    case " $all_stages " in
    *" $word "*) ;;
    *)
        say "error: '$word' is no stage; there are $all_stages"
        exit 2
        ;;
    esac
done
stages=${*:-$all_stages}
fuzz_seconds=${FUZZ_SECONDS:-10}
results=$root/build/results
venv=$root/build/venv
python_packages=(
    pytest openai prometheus_client pyyaml tokenizers sentencepiece tiktoken mistral-common jinja2 numpy protobuf
)

wants() { case " $stages " in *" $1 "*) ;; *) return 1 ;; esac }

started=$SECONDS
stage() {
    local name=$1 from=$SECONDS
    shift
    say "== $name"
    "$@"
    say "== $name: $((SECONDS - from)) s"
}

packages() {
    apt_install "${build_packages[@]}" libcmocka-dev python3-venv python3-pip
    if wants fuzz; then
        apt_install clang libclang-rt-dev llvm
    fi
}

python_env() {
    local list="${python_packages[*]}"
    [ "$(cat "$venv/.installed" 2>/dev/null)" = "$list" ] && return 0
    say "making $venv with $list"
    [ -x "$venv/bin/python" ] || python3 -m venv "$venv"
    "$venv/bin/pip" -q --disable-pip-version-check install "${python_packages[@]}" </dev/null >&2 ||
        die "could not install the Python packages"
    echo "$list" >"$venv/.installed"
}

bring_models() {
    fetch_smollm2 >/dev/null
    fetch_gemma3 >/dev/null
}

# unit PRESET [CTEST-FLAG…]: the ctests of a build; their results as JUnit in build/results. The real models are for
# the release build: under a sanitizer they would take most of an hour and find what the tiny models find.
unit() {
    if [ "$1" = release ]; then
        export TEST_MODELS=$models
    else
        unset TEST_MODELS
    fi
    ctest --test-dir "build/$1" "${@:2}" --output-on-failure --timeout 300 -j "$(nproc)" \
        --output-junit "$results/$1.xml" >"$results/$1.log" 2>&1 || {
        grep -v '^ *[0-9]*/[0-9]* Test .*Passed' "$results/$1.log" | tail -150 >&2
    }
    [ -s "$results/$1.xml" ] || broken "$1"
}

e2e() {
    (cd tests/e2e && E2E_BINARY=$root/build/$1/tandem E2E_MODELS=$models "$venv/bin/python" -m pytest -q \
        -p no:cacheprovider --junitxml "$results/e2e-$1.xml" </dev/null >"$results/e2e-$1.log" 2>&1) ||
        tail -150 "$results/e2e-$1.log" >&2
    [ -s "$results/e2e-$1.xml" ] || broken "e2e-$1"
}

# The server under ThreadSanitizer: on the scripted engine, and on the real one with a model of a megabyte. The rest of
# the end-to-end tests are about programs with one thread, or take the demo model, which is an hour's work there.
e2e_tsan() {
    "$venv/bin/python" tests/e2e/tiny_model.py build/tiny-model
    (cd tests/e2e && E2E_BINARY=$root/build/tsan/tandem E2E_MODEL=$root/build/tiny-model E2E_SLOW=6 \
        "$venv/bin/python" -m pytest -q -p no:cacheprovider --junitxml "$results/e2e-tsan.xml" \
        test_requests.py test_openai.py test_openapi.py test_access.py test_http_faults.py test_lifecycle.py \
        </dev/null >"$results/e2e-tsan.log" 2>&1) ||
        tail -150 "$results/e2e-tsan.log" >&2
    [ -s "$results/e2e-tsan.xml" ] || broken e2e-tsan
}

# Reference libraries against ours: tokenizers, SentencePiece, jinja2. The templates of more than 60 real models, and
# vocabularies with the ids of texts, come out of llama.cpp's tests.
oracles() {
    local tests=build/release/tests/unit peer
    peer=$(fetch_llama_cpp)
    (cd tests/e2e && TANDEM_BUILD=$root/build/release TANDEM_TOK_CLI=$root/$tests/tok_cli \
        TANDEM_TEMPLATES=$peer/templates TANDEM_VOCABS=$peer/vocabs \
        TANDEM_GGUF=$models/SmolLM2-135M-Instruct.Q4_1.gguf:$models/gemma-3-270m-Q4_K_M.gguf \
        "$venv/bin/python" -m pytest -q -p no:cacheprovider -W ignore::SyntaxWarning \
        --junitxml "$results/oracles.xml" ./*_oracle.py ./*_fuzz.py </dev/null >"$results/oracles.log" 2>&1) ||
        tail -150 "$results/oracles.log" >&2
    [ -s "$results/oracles.xml" ] || broken oracles
}

# Where nvcc is: every kernel for every target, the spill gate, the instructions in the PTX; on a card its products too.
cuda() {
    PATH=$PATH:/usr/local/cuda/bin
    if command -v nvcc >/dev/null; then
        build cuda -DTANDEM_TESTS=ON cuda_tests
        unit cuda -R '^(cuda_|unit_cuda)'
    else
        say "no nvcc: the CUDA kernels are not compiled"
        printf '<testsuite name="cuda" tests="1" skipped="1"/>\n' >"$results/cuda.xml"
    fi
}

# A runner that left no results counts as one failure, never as nothing.
broken() {
    say "$1 left no results"
    printf '<testsuite name="%s" tests="1" failures="1"/>\n' "$1" >"$results/$1.xml"
}

count() {
    python3 - "$results" <<'PY'
import pathlib, sys, xml.etree.ElementTree as tree
passed = failed = skipped = 0
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.xml")):
    root = tree.parse(path).getroot()
    for suite in [root] if root.tag == "testsuite" else root.findall("testsuite"):
        number = lambda key: int(suite.get(key) or 0)
        bad, skip = number("failures") + number("errors"), number("skipped") + number("disabled")
        failed, skipped, passed = failed + bad, skipped + skip, passed + number("tests") - bad - skip
        print(f"{path.stem}: {number('tests') - bad - skip} passed, {bad} failed, {skip} skipped", file=sys.stderr)
        for case in suite.iter("testcase"):
            if case.find("failure") is not None or case.find("error") is not None:
                print(f"  failed: {path.stem} {case.get('classname') or ''} {case.get('name')}", file=sys.stderr)
if skipped:
    print(f"{skipped} skipped", file=sys.stderr)
print(f"{passed} passed, {failed} failed")
sys.exit(failed != 0 or passed == 0)
PY
}

rm -rf "$results"
mkdir -p "$results"
stage packages packages
stage python python_env
stage models bring_models
for name in release asan tsan; do
    if wants $name || wants "e2e-$name" || { [ $name = release ] && { wants e2e || wants oracles; }; }; then
        stage "build $name" build $name -DTANDEM_TESTS=ON
    fi
    if wants $name; then
        stage "$name" unit $name
    fi
done
if wants oracles; then
    stage oracles oracles
fi
if wants cuda; then
    stage cuda cuda
fi
if wants e2e; then
    stage e2e e2e release
fi
if wants e2e-asan; then
    stage e2e-asan e2e asan
fi
if wants e2e-tsan; then
    stage e2e-tsan e2e_tsan
fi
if wants fuzz; then
    stage "build fuzz" build fuzz -DTANDEM_TESTS=ON "-DTANDEM_FUZZ_SECONDS=$fuzz_seconds" fuzzers
    stage fuzz unit fuzz -R '^fuzz_'
fi
say "== all: $((SECONDS - started)) s"
count
