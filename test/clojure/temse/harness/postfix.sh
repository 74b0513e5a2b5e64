# Runs the Postfix configured in directory $1 until standard input ends, then removes the directory.
# Prints "ready" once Postfix listens. The pipe to standard input ends with the program at its other
# end, however that ends, so Postfix never outlives it.

PATH=$PATH:/usr/sbin
trap 'until rm -rf "$1"; do :; done' EXIT
cd "$1" || exit

chmod 755 .
install -d -m 755 queue queue/pid
install -d -m 710 -o postfix -g postdrop queue/public
cd queue || exit
install -d -m 700 -o postfix ../data active bounce corrupt defer deferred flush hold incoming \
  private saved trace
cd ..

# Postfix waits for two seconds if main.cf is new: somebody might still be writing it.
touch -t 200001010000 main.cf

"$(postconf -d -h daemon_directory)/master" -c "$1" -w || {
  # What is wrong goes to the system log, or else to a terminal.
  script -q -c "postfix -c $1 check" /dev/null < /dev/null
  exit 1
}
read -r master < queue/pid/master.pid
echo ready
cat > /dev/null
kill -s KILL -- "-$master"
