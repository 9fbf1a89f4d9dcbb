#!/usr/bin/env bash
# From a fresh checkout to a served model: installs what building needs, builds, brings a small model and serves it on
# 127.0.0.1:8000. With -p TEXT it answers the text instead and ends. Other words go to `tandem` as they are.
# Asks nothing; the second run only starts the model.
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/lib/common.sh"

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
serve=("$root/build/release/tandem" serve "$model" --served-model-name SmolLM2-135M-Instruct "$@")

# The port that a process listens on, whatever flags, environment or files made it.
port_of() {
    local address inode
    while read -r address inode; do
        if ls -l "/proc/$1/fd" 2>/dev/null | grep -q "socket:\[$inode\]"; then
            echo $((16#${address##*:}))
            return
        fi
    done < <(awk '$4 == "0A" { print $2, $10 }' /proc/net/tcp /proc/net/tcp6 2>/dev/null)
    return 1
}

is_ready() {
    local status=
    {
        exec 3<>"/dev/tcp/$1/$2" && printf 'GET /ready HTTP/1.1\r\nhost: %s\r\n\r\n' "$1" >&3 &&
            read -r -t 5 _ status _ <&3
    } 2>/dev/null || true
    [ "$status" = 200 ]
}

# Tells how to ask the server of process $1 once it answers, and nothing when it ends before. Over TLS and on a unix
# socket the server's own line, which names the address, has to do.
hint() {
    local config host port key=
    config=$("${serve[@]}" --print-config 2>/dev/null) || return 0
    host=$(sed -n 's/^host = "\([^"]*\)".*/\1/p' <<<"$config")
    case $host in 0.0.0.0 | ::) host=127.0.0.1 ;; esac
    grep -q '^\(uds\|ssl-certfile\) = "' <<<"$config" && return 0
    grep -q '^api-key = (hidden)\|^api-key-file = "' <<<"$config" && key=" -H 'authorization: Bearer KEY'"
    until port=$(port_of "$1") && is_ready "$host" "$port"; do
        [ -e "/proc/$1/exe" ] || return 0 # ended, collected or not
        sleep 0.4
    done
    case $host in *:*) host="[$host]" ;; esac
    say "try"
    say "  curl http://$host:$port/v1/chat/completions -H 'content-type: application/json'$key \\"
    say "    -d '{\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}],\"max_tokens\":60,\"temperature\":0.2}'"
}

(hint $$ </dev/null &) # not a child of the server, which would have to collect it
exec "${serve[@]}"
