#!/bin/sh
# Unpacks Sendmail from its Debian packages into a directory (default: target/sendmail of this
# project) without installing it, since it conflicts with the package of Postfix. Does and prints
# nothing if it is there already.
#
#   test/clojure/temse/harness/sendmail-setup.sh [DIRECTORY]

set -eu

directory=${1:-$(dirname "$(readlink -f "$0")")/../../../../target/sendmail}
[ ! -d "$directory" ] || exit 0

mkdir -p "$(dirname "$directory")"
directory=$(readlink -f "$directory")
new=$(mktemp -d "$directory-XXXXXX")
cd "$new"

# What is printed on the way is of interest only if it ends badly.
finish() {
  status=$?
  [ $status = 0 ] || {
    echo "Cannot unpack Sendmail, which needs Debian's apt-get and dpkg-deb:"
    cat log
  } >&3
  rm -rf "$new"
}
trap finish EXIT
exec 3>&2 >log 2>&1

# Fetches all packages that an installation of Sendmail would add to this machine, and its own.
fetch() {
  plan=$(apt-get install --simulate --no-install-recommends --reinstall \
    sendmail-bin m4 libnss-wrapper) &&
    apt-get download $(echo "$plan" | sed -n 's/^Inst \([^ ]*\) .*/\1/p')
}

fetch || {
  apt-get update
  fetch
}
for package in *.deb; do
  dpkg-deb --extract "$package" root
done

# Libraries of ours are not loaded into programs with the privileges of others.
chmod -R ug-s root

libraries=$(echo "$new"/root/usr/lib/*-linux-gnu)
if LD_LIBRARY_PATH=$libraries ldd root/usr/libexec/sendmail/sendmail | grep "not found"; then
  exit 1
fi

# Another one of us may have been faster.
mv -T root "$directory" || [ -d "$directory" ]
