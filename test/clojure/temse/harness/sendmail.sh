# Runs the Sendmail configured in directory $1, with the programs below directory $2, until standard
# input ends, then removes directory $1. Prints "ready" once Sendmail listens. The pipe to standard
# input ends with the program at its other end, however that ends, so Sendmail never outlives it.

trap 'until rm -rf "$1"; do :; done' EXIT
cd "$1" || exit

LD_LIBRARY_PATH=$(echo "$2"/usr/lib/*-linux-gnu)
export LD_LIBRARY_PATH

mkdir -m 700 queue
echo "hosts files" > service.switch

cf=$2/usr/share/sendmail/cf
PATH=$2/usr/bin:$PATH m4 -D "_CF_DIR_=$cf/" -D "_DIRECTORY_=$1" "$cf/m4/cf.m4" sendmail.mc \
  > sendmail.cf || exit
cat options.cf >> sendmail.cf

# A file own-hosts takes the place of the machine's hosts file, for this Sendmail alone.
with_hosts() {
  if [ -e own-hosts ]; then
    exec unshare -m sh -c 'mount --bind own-hosts /etc/hosts && exec "$@"' sh "$@"
  else
    exec "$@"
  fi
}

# Before it reads its configuration, Sendmail waits for a minute if the name of the machine is known
# but has no domain; with libnss_wrapper it is not known. What it logs goes to the system log, or to
# the file for debugging with -d89.8. With -d15.1 it says there that it listens.
echo "127.0.0.1 localhost" > hosts
[ ! -e own-hosts ] || cat own-hosts >> hosts
with_hosts env NSS_WRAPPER_HOSTS="$1/hosts" LD_PRELOAD=libnss_wrapper.so \
  setsid "$2/usr/libexec/sendmail/sendmail" -C "$1/sendmail.cf" -D "$1/mail.log" -d89.8,15.1 -bD \
  < /dev/null > sendmail.out 2>&1 &
sendmail=$!

until grep -qs "^getrequests: daemon MTA: socket" mail.log; do
  kill -0 $sendmail 2> /dev/null || {
    cat sendmail.out
    exit 1
  }
  sleep 0.02
done
echo ready
cat > /dev/null
kill -s KILL -- -$sendmail && wait
