#!/usr/bin/env bash
# A machine that is gone without a word: how long a connection of it takes a place in the filter. Needs
# root, for a network namespace that stands for the machine; takes five minutes or so.
#
#   test/half-open.sh
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."

name=temse-half-open
port=20025
server=10.213.7.1
directory=$(mktemp -d)
filter=
client=

clean_up() {
  for process in $client $filter; do
    kill "$process" 2>/dev/null || true
  done
  ip netns delete "$name" 2>/dev/null || true
  ip link delete "$name" 2>/dev/null || true
  rm -rf "$directory"
}
trap clean_up EXIT

ip netns add "$name"
ip link add "$name" type veth peer name client netns "$name"
ip address add "$server/24" dev "$name"
ip link set "$name" up
ip -n "$name" address add 10.213.7.2/24 dev client
ip -n "$name" link set client up

bin/temse run examples/add_header.clj --listen "inet:$port@$server" >"$directory/log" 2>&1 &
filter=$!
until (exec 3<>"/dev/tcp/$server/$port") 2>/dev/null; do
  kill -0 "$filter" || { cat "$directory/log"; exit 1; }
done

# It negotiates and says no more.
ip netns exec "$name" bash -c '
  exec 3<>"/dev/tcp/$1/$2"
  printf "\0\0\0\15O\0\0\0\6\0\0\1\377\0\37\377\377" >&3
  head -c 17 <&3 >/dev/null
  echo negotiated
  exec sleep infinity' - "$server" "$port" >"$directory/client" &
client=$!
until [[ -s $directory/client ]]; do
  kill -0 "$client"
done

established() {
  ss -Htn state established "( sport = :$port )" | grep -c "$server:$port" || true
}
[[ $(established) == 1 ]] || { echo "there is no connection"; exit 1; }

ip link set "$name" down
start=$SECONDS
until [[ $(established) == 0 ]]; do
  ((SECONDS - start < 900)) || { echo "after 15 minutes the connection is still there"; exit 1; }
  sleep 1
done
echo "the connection of a machine that is gone was closed after $((SECONDS - start)) seconds"
