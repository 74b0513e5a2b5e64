# Runs the spamd configured in directory $1, on the port of 127.0.0.1 that the file "port" says and on the
# socket spamd.sock, until standard input ends, then removes the directory. Prints "ready" once spamd listens.

PATH=$PATH:/usr/sbin
trap 'until rm -rf "$1"; do :; done' EXIT
cd "$1" || exit

chmod 755 .
mkdir rules site users queue
mv rules.cf rules
mv plugins.pre site
# One file for each user: NAME.prefs
for file in *.prefs; do
  [ -e "$file" ] || continue
  mkdir "users/${file%.prefs}"
  mv "$file" "users/${file%.prefs}/user_prefs"
done

read -r port < port
HOME=$1 spamd --daemonize --local --nouser-config --username=nobody --pidfile="$1/spamd.pid" \
  --listen="127.0.0.1:$port" --listen="$1/spamd.sock" --socketmode=0666 \
  --configpath="$1/rules" --siteconfigpath="$1/site" --virtual-config-dir="$1/users/%u" \
  --syslog="$1/mail.log" --max-children=2 --min-children=1 || {
  cat mail.log
  exit 1
}
read -r spamd < spamd.pid
echo ready
cat > /dev/null
kill -s KILL -- "-$spamd"
