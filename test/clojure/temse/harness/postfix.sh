# Runs the Postfix configured in directory $1 until standard input ends, then removes the directory.
# Prints "ready" once Postfix listens. Since the pipe to standard input ends with the program that
# holds its other end, nothing outlives that program, however it ends.

PATH=$PATH:/usr/sbin
trap 'until rm -rf "$1"; do :; done' EXIT
cd "$1" || exit

# "postfix check" would do the same, in a hundred times the time.
chmod 755 .
install -d -m 755 queue queue/pid
install -d -m 700 -o postfix data
install -d -m 710 -o postfix -g postdrop queue/public
for name in active bounce corrupt defer deferred flush hold incoming private saved trace; do
  install -d -m 700 -o postfix "queue/$name"
done

"$(postconf -d -h daemon_directory)/master" -c "$1" -w || {
  # Postfix tells only the system log what is wrong with main.cf; postconf says it here.
  postconf -c "$1" > /dev/null
  exit 1
}
read -r master < queue/pid/master.pid
echo ready
cat > /dev/null
kill -s KILL -- "-$master"
