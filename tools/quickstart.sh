#!/usr/bin/env bash
# From a fresh checkout to a served model: installs what building needs, builds, brings a small model and serves it on
# 127.0.0.1:8000. With -p TEXT it answers the text instead and ends. Other words go to `tandem` as they are.
# Asks nothing; the second run only starts the model.
set -euo pipefail
. "$(dirname "$0")/lib/common.sh"

prompt=
has_prompt=
while [ $# -gt 0 ]; do
    case $1 in
    -p | --prompt)
        [ $# -gt 1 ] || die "-p needs a text"
        prompt=$2 has_prompt=1
        shift 2
        ;;
    -h | --help)
        sed -n '2,4s/^# //p' "$0"
        echo "usage: tools/quickstart.sh [-p TEXT] [flags of tandem]"
        exit 0
        ;;
    *) break ;;
    esac
done

apt_install "${build_packages[@]}"
if [ -x "$root/build/release/tandem" ]; then
    build release tandem
else
    say "building (a minute or two)"
    build release -DTANDEM_TESTS=OFF tandem
fi
model=$(fetch_smollm2)

if [ -n "$has_prompt" ]; then
    # What this model's authors advise; at temperature 1 so small a model loses its thread.
    exec "$root/build/release/tandem" chat "$model" -p "$prompt" --temperature 0.2 --top-p 0.9 --max-tokens 512 "$@"
fi
if [ $# = 0 ]; then
    say "serving $(basename "$model") on http://127.0.0.1:8000; try"
    say "  curl http://127.0.0.1:8000/v1/chat/completions -H 'content-type: application/json' \\"
    say "    -d '{\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}'"
fi
exec "$root/build/release/tandem" serve "$model" --served-model-name SmolLM2-135M-Instruct "$@"
