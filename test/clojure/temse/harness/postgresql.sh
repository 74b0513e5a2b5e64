# Runs a new PostgreSQL in directory $1, with the programs in $2, until standard input ends, then removes
# the directory. Prints "ready" once it listens. The pipe to standard input ends with the program at its
# other end, however that ends, so PostgreSQL never outlives it.

trap 'until rm -rf "$1"; do :; done' EXIT
cd "$1" || exit

chmod 711 .
install -d -m 700 -o postgres data
install -m 600 -o postgres /dev/null mail.log
cd data || exit
as_postgres() {
  runuser -u postgres -- "$@"
}

as_postgres "$2/initdb" -D "$1/data" -U temse -A trust --no-sync --locale=C --encoding=UTF8 > ../initdb.log 2>&1 || {
  cat ../initdb.log
  exit 1
}
cat ../postgresql.conf >> postgresql.conf
as_postgres "$2/pg_ctl" -D "$1/data" -l "$1/mail.log" -w start > /dev/null || {
  cat ../mail.log
  exit 1
}
echo ready
cat > /dev/null
as_postgres "$2/pg_ctl" -D "$1/data" -m immediate -w stop > /dev/null
